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
"""
What scripts for the remote code of the released repositories call otherwise. They run as they are; what new ones call instead
is said at each name.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..audio_io import normalize_loudness
from .prompt import AUDIO_PLACEHOLDER, PromptLayout


class DecodedAudio(torch.Tensor):
    """
    A waveform that is also a message of the remote code, for `for message in processor.decode(outputs)`. Whatever is computed
    from it is a plain tensor.
    """

    __torch_function__ = torch._C._disabled_torch_function_impl
    role = "assistant"
    content = AUDIO_PLACEHOLDER

    @property
    def audio_codes_list(self) -> list[torch.Tensor]:
        """The waveform alone. Instead: the tensor that `decode` returns."""
        return [self.as_subclass(torch.Tensor)]

    def __reduce_ex__(self, protocol):
        # As a plain tensor, so that `torch.load` reads it without this class.
        return self.as_subclass(torch.Tensor).__reduce_ex__(protocol)

    def __deepcopy__(self, memo) -> "DecodedAudio":
        return self.clone().as_subclass(DecodedAudio)


class UserMessage(dict):
    """
    A user message that knows two more keys, as in the remote code: `message["content"]`, the text of the user's turn, and
    `message["audio_codes_list"]`, its references. Instead: `message["text"]` and `message["reference"]`.
    """

    layout: PromptLayout

    def __missing__(self, key: str) -> Any:
        references = self["reference"]
        references = references if references is None or isinstance(references, list) else [references]
        if key == "audio_codes_list":
            return [item for item in references or [] if item is not None]
        if key == "content":
            said = references and [None if item is None else AUDIO_PLACEHOLDER for item in references]
            return "".join(self.layout.user_parts(said, self))
        raise KeyError(key)


class UpstreamMixin:
    """For processors that encode and decode audio."""

    def encode_audios_from_wav(
        self, wav_list: list[torch.Tensor | np.ndarray], sampling_rate: int, n_vq: int | None = None
    ) -> list[torch.LongTensor]:
        """
        Codes `(frames, n_vq)` of waveforms `(samples,)` or `(channels, samples)` of `sampling_rate` Hz. Instead:
        `processor.encode_audio(wav_list, sampling_rate)`.
        """
        return self._first_codebooks(self.encode_audio(list(wav_list), sampling_rate), n_vq)

    def encode_audios_from_path(
        self, wav_path_list: str | Path | list[str | Path], n_vq: int | None = None
    ) -> list[torch.LongTensor]:
        """Codes `(frames, n_vq)` of the recordings in files. Instead: `processor.encode_audio(paths)`."""
        paths = [wav_path_list] if isinstance(wav_path_list, str | Path) else list(wav_path_list)
        return self._first_codebooks(self.encode_audio(paths), n_vq)

    def decode_audio_codes(self, audio_tokens_list: torch.Tensor | list[torch.Tensor]) -> list[torch.FloatTensor]:
        """Waveforms of codes `(frames, n_vq)`. Instead: `processor.decode(codes)`."""
        return self.batch_decode(audio_tokens_list)

    @staticmethod
    def loudness_normalize(
        wav: torch.Tensor, target_dbfs: float = -20.0, gain_range: tuple[float, float] = (-3.0, 3.0)
    ) -> torch.Tensor:
        """
        A waveform whose level is moved towards `target_dbfs` dB of full scale, by a gain in dB within `gain_range`. Instead:
        nothing, since `encode_audio` does it, or [`~transformers_moss_tts.audio_io.normalize_loudness`].
        """
        lowest, highest = gain_range
        if lowest != -highest:
            raise ValueError(f"`gain_range` must reach as far down as up, got {gain_range}.")
        levelled = normalize_loudness(wav.detach().cpu().float().numpy(), target_dbfs, highest)
        return torch.from_numpy(levelled).to(wav)

    def _first_codebooks(self, codes: list[torch.LongTensor], n_vq: int | None) -> list[torch.LongTensor]:
        most = self.model_config.n_vq
        if n_vq is not None and not 1 <= n_vq <= most:
            raise ValueError(f"`n_vq` must be between 1 and the {most} codebooks of the model, got {n_vq}.")
        return [item[:, :n_vq] for item in codes]


def check_call_options(options: Mapping[str, Any], n_vq: int) -> None:
    """
    Takes the options of a call of the remote code's processors that say what is done anyway.

    Raises:
        ValueError: if one asks for something else.
        TypeError: for other options.
    """
    only = {"n_vq": (n_vq,), "apply_chat_template": (True,), "truncation": (False, None)}
    reasons = {
        "n_vq": f"the model has {n_vq} codebooks; `generate(..., n_vq_for_inference=)` of MossTTSLocal v1.0 and MossTTSNano makes fewer",
        "apply_chat_template": "a prompt without its turns is none that the model knows",
        "truncation": "a prompt that is cut is another prompt: shorten `text` or `reference`",
    }
    if unknown := sorted(options.keys() - only.keys()):
        raise TypeError(f"A processor has no option {', '.join(f'`{name}`' for name in unknown)}.")
    for name, value in options.items():
        if not isinstance(value, bool | int | None) or value not in only[name]:
            raise ValueError(f"`{name}` cannot be {value!r}: {reasons[name]}.")
