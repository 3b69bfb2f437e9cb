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
"""Frames of codes in sequences of text tokens and codebooks."""

from bisect import bisect_right

import torch
from transformers.configuration_utils import PreTrainedConfig


def last_index_of(tokens: torch.LongTensor, token_id: int) -> torch.LongTensor:
    """Index of the last `token_id` in each sequence of `(batch_size, length)`, -1 where there is none."""
    positions = torch.arange(tokens.shape[1], device=tokens.device)
    return torch.where(tokens == token_id, positions, -1).amax(1)


def frames_of_steps(config: PreTrainedConfig, steps: torch.LongTensor) -> torch.LongTensor:
    """
    The complete frames `(frames, n_vq)` of a span's steps `(steps, 1 + n_vq)`: codebook k of a frame is `k * codebook_delay`
    steps later than its first.

    A frame of delayed codebooks begins on a gen slot. Generation forces one delay slot more than training has, so the reference
    returns one more frame, of codes that nothing was trained on; it is left out here.
    """
    delay, n_vq = config.codebook_delay, config.n_vq
    num_frames = max(len(steps) - delay * (n_vq - 1), 0)
    if delay:
        num_frames = min(num_frames, int((steps[:, 0] == config.audio_assistant_gen_slot_token_id).sum()))
    return torch.stack([steps[delay * k : delay * k + num_frames, 1 + k] for k in range(n_vq)], dim=1)


def ends_span(config: PreTrainedConfig, steps: torch.LongTensor) -> torch.BoolTensor:
    """Which of the steps `(..., 1 + n_vq)` after audio_start are no longer of its span: audio_end, and what has no codes."""
    return (steps[..., 0] == config.audio_end_token_id) | (steps[..., 1:] == config.audio_pad_code).all(-1)


def split_audio_codes(
    config: PreTrainedConfig, sequences: torch.LongTensor, prompt_length: int
) -> tuple[list[torch.LongTensor], list[torch.LongTensor]]:
    """
    The codes of the last turn that the prompt opened.

    Args:
        config ([`MossTTSConfig`]): configuration of the model; its `codebook_delay` says how codes lie in sequences.
        sequences (`torch.LongTensor` of shape `(batch_size, length, 1 + n_vq)`): prompts and what was generated.
        prompt_length (`int`): number of steps of the prompts.

    Returns:
        Two lists of `(frames, n_vq)`, no longer delayed: the codes that the prompt itself has, and the generated ones.
    """
    prefixes, generated = [], []
    turns = last_index_of(sequences[:, :prompt_length, 0], config.im_start_token_id).tolist()
    for sequence, turn in zip(sequences, turns):
        frames, num_prefix_frames = [sequence.new_zeros(0, config.n_vq)], 0
        for first, last in _spans(config, sequence, turn + 1):
            frames.append(frames_of_steps(config, sequence[first:last]))
            num_prefix_frames += min(max(prompt_length - first, 0), len(frames[-1]))
        codes = torch.cat(frames)
        prefixes.append(codes[:num_prefix_frames])
        generated.append(codes[num_prefix_frames:])
    return prefixes, generated


def _spans(config: PreTrainedConfig, sequence: torch.LongTensor, first: int) -> list[tuple[int, int]]:
    """First step, and the one after the last, of every span of audio from step `first` on."""
    starts = (sequence[:, 0] == config.audio_start_token_id).nonzero().flatten().tolist()
    ends = ends_span(config, sequence).nonzero().flatten().tolist()
    spans = []
    for start in starts:
        # MossTTSLocal v1.0 may choose any text token over a frame, audio_start too.
        if start >= first:
            place = bisect_right(ends, start)
            first = ends[place] if place < len(ends) else len(sequence)
            spans.append((start + 1, first))
    return spans
