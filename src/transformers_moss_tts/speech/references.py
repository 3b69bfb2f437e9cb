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
"""References that are looked at before a model is there."""

import torch

from ..audio_io import is_remote, load_audio
from ..moss_tts.voice import Voice, check_recording
from ..moss_tts.voice_file import VOICE_SUFFIX


# Sampling rate at which references are checked, in Hz.
_RATE = 16000


def check_references(references: list[str], max_duration: float) -> list[Voice]:
    """
    Checks references before a model is loaded.

    Args:
        references (`list[str]`): recordings or files of voices; downloads are not checked, and so not made twice.
        max_duration (`float`): longest recording, in seconds.

    Returns:
        Those that are voices in files.

    Raises:
        OSError, ValueError, TypeError: if one cannot be read, or a recording is silent, too short or too long.
    """
    voices = []
    for reference in references:
        if reference.lower().endswith(VOICE_SUFFIX) and not is_remote(reference):
            voices.append(Voice.load(reference))
        elif not reference.lower().startswith(("http://", "https://")):
            waveform = torch.from_numpy(load_audio(reference, _RATE))[None]
            name = reference if len(reference) <= 100 else f"{reference[:97]}..."
            check_recording(waveform, _RATE, f"The reference {name!r}")
            seconds, most = waveform.shape[1] / _RATE, max_duration
            if seconds > most:
                raise ValueError(
                    f"The reference {name!r} lasts {seconds:.1f} s; at most {most:g} s are allowed: cut it."
                )
    return voices


__all__ = ["check_references"]
