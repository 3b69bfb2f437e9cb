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
"""The delay pattern: codebook k of a span of audio is shifted by k rows."""

import torch

from .configuration_moss_tts_delay import MossTTSDelayConfig


# "No delay slot drawn yet" among counts of steps since the first one.
_NEVER = 2**31


def apply_delay_pattern(codes: torch.LongTensor, pad_code: int) -> torch.LongTensor:
    """Codes `(frames, n_vq)` to delayed rows `(frames + n_vq - 1, n_vq)`, `pad_code` in the corners."""
    num_frames, n_vq = codes.shape
    rows = codes.new_full((num_frames + n_vq - 1, n_vq), pad_code)
    for codebook in range(n_vq):
        rows[codebook : codebook + num_frames, codebook] = codes[:, codebook]
    return rows


def undo_delay_pattern(rows: torch.LongTensor) -> torch.LongTensor:
    """Delayed rows `(rows, n_vq)` to the frames that are complete, `(max(rows - n_vq + 1, 0), n_vq)`."""
    n_vq = rows.shape[1]
    num_frames = max(rows.shape[0] - n_vq + 1, 0)
    return torch.stack([rows[k : k + num_frames, k] for k in range(n_vq)], dim=1)


def last_index_of(tokens: torch.LongTensor, token_id: int) -> torch.LongTensor:
    """Index of the last `token_id` in each row of `(batch_size, length)`, -1 where there is none."""
    positions = torch.arange(tokens.shape[1], device=tokens.device)
    return torch.where(tokens == token_id, positions, -1).amax(1)


def split_audio_codes(
    config: MossTTSDelayConfig, sequences: torch.LongTensor, prompt_length: int
) -> tuple[list[torch.LongTensor], list[torch.LongTensor]]:
    """
    The codes of the last turn that the prompt of `prompt_length` positions opened, in `sequences` of shape
    `(batch_size, length, 1 + n_vq)`: those that the prompt itself has, and the generated ones, each a list of
    `(frames, n_vq)`, no longer delayed.

    A frame begins on a gen slot. Generation forces one delay slot more than training has, so the reference returns one more
    frame, of codes that nothing was trained on; it is left out here.
    """
    prefixes, generated = [], []
    turns = last_index_of(sequences[:, :prompt_length, 0], config.im_start_token_id).tolist()
    for sequence, turn in zip(sequences, turns):
        spans, num_prefix_frames = [], 0
        tokens = sequence[turn + 1 :, 0]
        starts = (tokens == config.audio_start_token_id).nonzero().flatten().tolist()
        in_span = (tokens == config.audio_assistant_gen_slot_token_id) | (
            tokens == config.audio_assistant_delay_slot_token_id
        )
        for start in starts:
            length = int(in_span[start + 1 :].cumprod(0).sum())
            first = turn + 2 + start
            slots = sequence[first : first + length, 0] == config.audio_assistant_gen_slot_token_id
            frames = undo_delay_pattern(sequence[first : first + length, 1:])[: int(slots.sum())]
            spans.append(frames)
            num_prefix_frames += min(max(prompt_length - first, 0), len(frames))
        frames = torch.cat(spans) if spans else sequence.new_zeros(0, config.n_vq)
        prefixes.append(frames[:num_prefix_frames])
        generated.append(frames[num_prefix_frames:])
    return prefixes, generated


class DelayPatternState:
    """
    Where each row of a batch is in its turn, and what it may emit next. Everything is a tensor over the batch; nothing here
    waits for the device.

    Attributes:
        ended (`torch.BoolTensor` of shape `(batch_size,)`): rows that have emitted `im_end_token_id`.
        in_audio (`torch.BoolTensor` of shape `(batch_size,)`): rows between audio_start and audio_end.
        audio_length (`torch.LongTensor` of shape `(batch_size,)`): rows since audio_start: codebook k starts at k.
        delayed_length (`torch.LongTensor` of shape `(batch_size,)`): rows since the first delay slot: codebook k ends at k.
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
        """Whether any row chooses among more than the two slots of audio; shape `()`."""
        return (~self.ended & ~self.in_audio).any()

    def mask_text(self, logits: torch.Tensor) -> torch.Tensor:
        """Text scores, of the whole vocabulary `(batch_size, vocab_size)` or of `slots` `(batch_size, 2)`, legal ones only."""
        if logits.shape[-1] == len(self.slots):
            if self.num_steps > 0:
                return logits
            return logits.masked_fill(self.slots == self.config.audio_assistant_delay_slot_token_id, float("-inf"))
        illegal = torch.where(self.in_audio[:, None], ~self.is_slot, self.never_outside)
        tokens = torch.arange(logits.shape[-1], device=logits.device)
        if self.num_steps == 0:
            illegal = illegal | (tokens == self.config.audio_assistant_delay_slot_token_id)
        if self.num_steps <= self.config.n_vq:
            illegal = illegal | (tokens == self.config.im_end_token_id)
        return logits.masked_fill(illegal, float("-inf"))

    def advance(self, drawn_token: torch.LongTensor, drawn_codes: torch.LongTensor) -> torch.LongTensor:
        """
        Takes the drawn text tokens `(batch_size,)` and codes `(batch_size, n_vq)`, replaces those that the pattern forces,
        and moves on by one row. Returns the row, `(batch_size, 1 + n_vq)`.
        """
        config = self.config
        delayed = self.delayed_length != _NEVER
        is_last = self.delayed_length == config.n_vq
        token = torch.where(delayed, config.audio_assistant_delay_slot_token_id, drawn_token)
        token = torch.where(is_last, config.audio_end_token_id, token)
        token = torch.where(self.ended, config.pad_token_id, token)

        is_live = (self.codebooks < self.audio_length[:, None]) & ~self.ended[:, None]
        is_live &= ~delayed[:, None] | (self.codebooks >= self.delayed_length[:, None])
        codes = torch.where(is_live, drawn_codes, config.audio_pad_code)

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
