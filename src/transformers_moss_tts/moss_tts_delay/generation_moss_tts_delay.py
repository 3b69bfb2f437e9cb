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
"""Generation in the delay pattern."""

from typing import Any

import torch
from torch import nn
from transformers.generation import GenerationConfig

from ..moss_tts.generation_moss_tts import FrameSampler, MossTTSGenerationMixin
from ..moss_tts.sampling import StepSampler
from .delay_pattern import DelayPatternState


class MossTTSDelayGenerationMixin(MossTTSGenerationMixin):
    """`generate` for MossTTSDelay."""

    @property
    def modules_read_a_step(self) -> list[nn.Module]:
        return [self.language_model, self.audio_heads]

    def new_sampler(self, input_ids: torch.LongTensor, generation_config: GenerationConfig) -> "DelaySampler":
        return DelaySampler(self.config, input_ids, generation_config)


class DelaySampler(FrameSampler):
    """Samples text token and codes of a step at once, as far as the pattern leaves a choice."""

    def __init__(self, config, input_ids: torch.LongTensor, generation_config: GenerationConfig):
        super().__init__(input_ids, generation_config)
        self.state = DelayPatternState(config, input_ids)
        # Codebook 1 has a history of its own, the others share theirs.
        groups = [0] + [1] * (config.n_vq - 1)
        self.tokens = StepSampler(config, generation_config, input_ids, groups)

    @property
    def ended(self) -> torch.BoolTensor:
        return self.state.ended

    @property
    def needs_text(self) -> torch.BoolTensor:
        return self.state.needs_text

    def next_step(self, outputs) -> torch.LongTensor:
        may_end = self.num_steps >= self.min_steps
        text_scores = self.state.mask_text(outputs.logits[:, -1].float(), may_end)
        token = self.tokens.sample_text(text_scores, self.state.slots)
        codes = self.tokens.sample_codes(outputs.audio_logits[:, -1].float())
        step = self.state.advance(token, codes, must_end=self.num_steps == self.forced_end)
        self.tokens.remember(step)
        self.num_steps += 1
        return step

    def end(self, is_stopped: torch.BoolTensor) -> None:
        self.state.ended = self.state.ended | is_stopped

    def forward_options(self, needs_text: bool) -> dict[str, Any]:
        return {"text_candidates": None if needs_text else self.state.slots}


__all__ = ["MossTTSDelayGenerationMixin"]
