# Copyright 2026 The transformers-moss-tts team. All rights reserved.
#
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#
#     http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.
"""The delay pattern: codebook k of a span of audio is shifted by k steps."""

import torch

from ..moss_tts.frames import last_index_of
from .configuration_moss_tts_delay import MossTTSDelayConfig


# "No delay slot sampled yet" among counts of steps since the first one.
_NEVER = 2**31


def apply_delay_pattern(codes: torch.LongTensor, pad_code: int) -> torch.LongTensor:
    """Codes `(frames, n_vq)` to delayed steps `(frames + n_vq - 1, n_vq)`, `pad_code` in the corners."""
    num_frames, n_vq = codes.shape
    steps = codes.new_full((num_frames + n_vq - 1, n_vq), pad_code)
    for codebook in range(n_vq):
        steps[codebook : codebook + num_frames, codebook] = codes[:, codebook]
    return steps


def undo_delay_pattern(steps: torch.LongTensor) -> torch.LongTensor:
    """Delayed steps `(steps, n_vq)` to the frames that are complete, `(max(steps - n_vq + 1, 0), n_vq)`."""
    n_vq = steps.shape[1]
    num_frames = max(steps.shape[0] - n_vq + 1, 0)
    return torch.stack([steps[k : k + num_frames, k] for k in range(n_vq)], dim=1)


class DelayPatternState:
    """
    Where each sequence of a batch is in its turn, and what it may say next. Everything is a tensor over the batch; nothing here
    waits for the device.

    Attributes:
        ended (`torch.BoolTensor` of shape `(batch_size,)`): sequences that have ended.
        in_audio (`torch.BoolTensor` of shape `(batch_size,)`): sequences between audio_start and audio_end.
        audio_length (`torch.LongTensor` of shape `(batch_size,)`): steps since audio_start: codebook k starts at k.
        delayed_length (`torch.LongTensor` of shape `(batch_size,)`): steps since the first delay slot: codebook k ends at k.
    """

    def __init__(self, config: MossTTSDelayConfig, input_ids: torch.LongTensor):
        self.config = config
        tokens = input_ids[..., 0]
        last, start = tokens[:, -1], last_index_of(tokens, config.audio_start_token_id)
        opened = (last == config.audio_start_token_id) | (last == config.audio_assistant_gen_slot_token_id)
        self.in_audio = opened & (start >= 0)
        self.audio_length = torch.where(self.in_audio, tokens.shape[1] - start, 0)
        self.delayed_length = torch.full_like(self.audio_length, _NEVER)
        self.ended = torch.zeros_like(self.in_audio)
        self.codebooks = torch.arange(config.n_vq, device=input_ids.device)
        self.slots = input_ids.new_tensor(
            [config.audio_assistant_gen_slot_token_id, config.audio_assistant_delay_slot_token_id]
        )
        self.num_steps = 0
        self.is_slot = torch.zeros(config.vocab_size, dtype=torch.bool, device=input_ids.device)
        self.is_slot[self.slots] = True
        self.never_outside = self.is_slot.clone()
        self.never_outside[[config.pad_token_id, config.audio_end_token_id]] = True

    @property
    def needs_text(self) -> torch.BoolTensor:
        """Whether any sequence chooses among more than the two slots of audio; shape `()`."""
        return (~self.ended & ~self.in_audio).any()

    def mask_text(self, logits: torch.Tensor, may_end: bool) -> torch.Tensor:
        """
        Text scores, of the whole vocabulary `(batch_size, vocab_size)` or of `slots` `(batch_size, 2)`, legal ones only; the
        end of the turn is one only if `may_end`.
        """
        if logits.shape[-1] == len(self.slots):
            if self.num_steps > 0:
                return logits
            return logits.masked_fill(self.slots == self.config.audio_assistant_delay_slot_token_id, float("-inf"))
        illegal = torch.where(self.in_audio[:, None], ~self.is_slot, self.never_outside)
        tokens = torch.arange(logits.shape[-1], device=logits.device)
        if self.num_steps == 0:
            illegal = illegal | (tokens == self.config.audio_assistant_delay_slot_token_id)
        if self.num_steps <= self.config.n_vq or not may_end:
            illegal = illegal | (tokens == self.config.im_end_token_id)
        return logits.masked_fill(illegal, float("-inf"))

    def advance(
        self, sampled_token: torch.LongTensor, sampled_codes: torch.LongTensor, must_end: bool = False
    ) -> torch.LongTensor:
        """
        Takes the sampled text tokens `(batch_size,)` and codes `(batch_size, n_vq)`, replaces those that the pattern forces,
        or all by the end of the turn if it `must_end`, and moves on by a step. Returns the step, `(batch_size, 1 + n_vq)`.
        """
        config = self.config
        delayed = self.delayed_length != _NEVER
        is_last = self.delayed_length == config.n_vq
        token = torch.where(delayed, config.audio_assistant_delay_slot_token_id, sampled_token)
        token = torch.where(is_last, config.audio_end_token_id, token)
        if must_end:
            token = torch.full_like(token, config.im_end_token_id)
        token = torch.where(self.ended, config.pad_token_id, token)

        is_live = (self.codebooks < self.audio_length[:, None]) & ~self.ended[:, None]
        if must_end:
            is_live = torch.zeros_like(is_live)
        is_live &= ~delayed[:, None] | (self.codebooks >= self.delayed_length[:, None])
        codes = torch.where(is_live, sampled_codes, config.audio_pad_code)

        is_start = token == config.audio_start_token_id
        is_delay_slot = token == config.audio_assistant_delay_slot_token_id
        is_end = token == config.audio_end_token_id
        in_span = is_start | (token == config.audio_assistant_gen_slot_token_id) | is_delay_slot
        self.in_audio = (self.in_audio & ~is_end) | is_start
        self.audio_length = torch.where(is_end, 0, self.audio_length + in_span)
        self.delayed_length = torch.where(delayed, self.delayed_length + 1, torch.where(is_delay_slot, 1, _NEVER))
        self.delayed_length = torch.where(is_end, _NEVER, self.delayed_length)
        self.ended = self.ended | (token == config.im_end_token_id)
        self.num_steps += 1
        return torch.cat([token[:, None], codes], dim=1)
