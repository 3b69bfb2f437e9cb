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

"""Generation of MossTTSNano: a frame at a time, its streams one after the other."""

from typing import Any, ClassVar

from ..moss_tts.frame_generation import FrameGenerationMixin


class MossTTSNanoGenerationMixin(FrameGenerationMixin):
    """
    `generate` for MossTTSNano. `n_vq_for_inference` speaks with the first codebooks alone: the others are pads in the sequences and
    missing in `audio_codes`. The defaults are those of the release's applications, which are steadier than those of its library:
    text 1.0 / 1.0 / 50 and audio 0.8 / 0.95 / 25 (temperature / top-p / top-k), a penalty of 1.2 on the codes that a codebook has
    had, and at most 375 frames, 30 seconds.
    """

    default_variant: ClassVar[str] = "MOSS-TTS-Nano"
    keeps_ties: ClassVar[bool] = True
    other_parameters: ClassVar[dict[str, Any]] = {"seed": None, "n_vq_for_inference": None}


__all__ = ["MossTTSNanoGenerationMixin"]
