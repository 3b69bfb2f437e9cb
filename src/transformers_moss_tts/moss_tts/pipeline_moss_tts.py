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
"""The `text-to-speech` pipeline of the MOSS-TTS models."""

import os

import torch
from transformers.pipelines import PIPELINE_REGISTRY
from transformers.pipelines.text_to_audio import TextToAudioPipeline

from .processing_moss_tts import MossTTSProcessor


class MossTTSPipeline(TextToAudioPipeline):
    """
    [`~transformers.TextToAudioPipeline`] of a generator and a [`MossTTSProcessor`]: the codec is where the generator is, and
    what is saved has its processor. For the models of others it makes transformers' own.
    """

    def __new__(cls, *args, **kwargs):
        is_unpickled = not args and not kwargs
        if is_unpickled or isinstance(kwargs.get("processor"), MossTTSProcessor):
            return super().__new__(cls)
        return TextToAudioPipeline(*args, **kwargs)

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self._place_codec()

    def to(self, device: str | int | torch.device) -> "MossTTSPipeline":
        """Moves generator and codec."""
        self.device = torch.device(device)
        self.model.to(self.device)
        self._place_codec()
        return self

    def preprocess(self, text, **kwargs):
        self._place_codec()
        return super().preprocess(text, **kwargs)

    def save_pretrained(self, save_directory: str | os.PathLike, **kwargs) -> None:
        """Saves generator and processor; the codec by its name."""
        super().save_pretrained(save_directory, **kwargs)
        self.processor.save_pretrained(save_directory)

    def _place_codec(self) -> None:
        codec = self.processor.audio_tokenizer
        # A generator that is spread over devices takes its prompts on the pipeline's.
        device = self.model.device if getattr(self.model, "hf_device_map", None) is None else torch.device(self.device)
        if codec is not None and codec.device != device and getattr(codec, "hf_device_map", None) is None:
            codec.to(device)


def register_pipeline() -> None:
    """Makes `pipeline("text-to-speech")` the one above."""
    task = PIPELINE_REGISTRY.supported_tasks["text-to-audio"]
    # Not by `register_pipeline`, which would have every saved pipeline name code of its own.
    is_by_name = isinstance(task["impl"], str)
    task["impl"] = f"{__name__}.{MossTTSPipeline.__name__}" if is_by_name else MossTTSPipeline
