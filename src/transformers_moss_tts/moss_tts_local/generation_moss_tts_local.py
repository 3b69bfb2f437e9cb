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

"""Generation of MossTTSLocal: a frame at a time, its streams one after the other."""

from typing import Any, ClassVar

from transformers.configuration_utils import PreTrainedConfig
from transformers.generation import GenerationConfig

from ..moss_tts.frame_generation import FrameGenerationMixin


class MossTTSLocalGenerationMixin(FrameGenerationMixin):
    """
    `generate` for MossTTSLocal v1.5. With a `compile_config` the local transformer runs compiled, which takes seconds once for
    every batch size.
    """

    default_variant: ClassVar[str] = "MOSS-TTS-Local-Transformer-v1.5"

    def _prepare_generation_config(self, generation_config: GenerationConfig | None, **kwargs: Any):
        for name in ("n_vq_for_inference", "text_repetition_penalty"):
            if kwargs.get(name) is not None and name not in self.other_parameters:
                raise ValueError(
                    f"`{name}` is an option of MossTTSLocal v1.0; {type(self).__name__} speaks with all "
                    f"{self.config.n_vq} codebooks and decides between two text tokens."
                )
        return super()._prepare_generation_config(generation_config, **kwargs)


class MossTTSLocalV1GenerationMixin(MossTTSLocalGenerationMixin):
    """
    `generate` for MossTTSLocal v1.0. `n_vq_for_inference` speaks with the first codebooks alone: the others are 0 in the
    sequences and missing in `audio_codes`. `text_repetition_penalty`, 1 by default, is of the text stream.
    """

    default_variant: ClassVar[str] = "MOSS-TTS-Local-Transformer"
    other_parameters: ClassVar[dict[str, Any]] = {
        "seed": None,
        "n_vq_for_inference": None,
        "text_repetition_penalty": 1.0,
    }
    penalizes_prompt = True
    penalizes_greedy = False
    end_step_has_codes = True

    @staticmethod
    def text_candidates(config: PreTrainedConfig) -> list[int] | None:
        return None

    @staticmethod
    def silent_code(config: PreTrainedConfig) -> int:
        return 0


__all__ = ["MossTTSLocalGenerationMixin", "MossTTSLocalV1GenerationMixin"]
