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

"""Frames of codes in sequences of MossTTSLocal, where nothing is delayed."""

import torch

from ..moss_tts_delay.delay_pattern import last_index_of


def split_frames(
    config, sequences: torch.LongTensor, prompt_length: int
) -> tuple[list[torch.LongTensor], list[torch.LongTensor]]:
    """
    The codes of the last turn that the prompt of `prompt_length` positions opened, in `sequences` of shape
    `(batch_size, length, 1 + n_vq)`: those that the prompt itself has, and the generated ones, each a list of
    `(frames, n_vq)`. They stand between audio_start and audio_end.
    """
    prefixes, generated = [], []
    turns = last_index_of(sequences[:, :prompt_length, 0], config.im_start_token_id).tolist()
    for sequence, turn in zip(sequences, turns):
        tokens = sequence[turn + 1 :, 0]
        starts = (tokens == config.audio_start_token_id).nonzero().flatten().tolist()
        first = turn + 2 + starts[0] if starts else len(sequence)
        ends = (sequence[first:, 0] == config.audio_end_token_id).nonzero().flatten().tolist()
        last = first + ends[0] if ends else len(sequence)
        middle = min(max(prompt_length, first), last)
        prefixes.append(sequence[first:middle, 1:])
        generated.append(sequence[middle:last, 1:])
    return prefixes, generated
