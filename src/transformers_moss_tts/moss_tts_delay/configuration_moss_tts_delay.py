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
"""MossTTSDelay model configuration"""

from typing import ClassVar

from huggingface_hub.dataclasses import strict
from transformers.utils import auto_docstring

from ..moss_tts.configuration_moss_tts import MossTTSConfig


@auto_docstring(
    custom_intro="Configuration of [`MossTTSDelayModel`]. The defaults are those of OpenMOSS-Team/MOSS-TTS."
)
@strict
class MossTTSDelayConfig(MossTTSConfig):
    r"""
    language_config (`Qwen3Config` or `dict`, *optional*):
        Configuration of the Qwen3 backbone. `vocab_size` and `hidden_size` of the model are those of the backbone.
    n_vq (`int`, *optional*, defaults to 32):
        Number of codebooks. `n_codebooks` is accepted as another name for it.
    audio_vocab_size (`int`, *optional*, defaults to 1024):
        Number of codes of a codebook. `codebook_size` is accepted as another name for it.
    audio_pad_code (`int`, *optional*, defaults to 1024):
        Code of positions that carry no audio. `codebook_pad_token_id` is accepted as another name for it.
    pad_token_id (`int`, *optional*, defaults to 151643):
        Text token of padding, and of sequences that have ended.
    im_start_token_id (`int`, *optional*, defaults to 151644):
        Text token that opens a turn.
    im_end_token_id (`int`, *optional*, defaults to 151645):
        Text token that closes a turn and ends a generation.
    audio_start_token_id (`int`, *optional*, defaults to 151652):
        Text token before a span of audio.
    audio_end_token_id (`int`, *optional*, defaults to 151653):
        Text token after a span of audio.
    audio_user_slot_token_id (`int`, *optional*, defaults to 151654):
        Text token over every step of audio in a user turn.
    audio_assistant_gen_slot_token_id (`int`, *optional*, defaults to 151656):
        Text token over a step of audio in an assistant turn.
    audio_assistant_delay_slot_token_id (`int`, *optional*, defaults to 151662):
        Text token over the last steps of a span in an assistant turn, in which the delayed codebooks run out.
    sampling_rate (`int`, *optional*, defaults to 24000):
        Sampling rate of the audio, in Hz.
    initializer_range (`float`, *optional*, defaults to 0.02):
        Standard deviation of the initial weights.
    moss_tts_variant (`str`, *optional*):
        Release that the model is of, for instance `"MOSS-TTSD-v1.0"`: its prompt, and its sampling where no
        generation_config.json says another.

    Example:

    ```python
    >>> from transformers_moss_tts import MossTTSDelayConfig

    >>> configuration = MossTTSDelayConfig(n_vq=16)
    ```"""

    model_type = "moss_tts_delay"
    codebook_delay: ClassVar[int] = 1

    audio_assistant_delay_slot_token_id: int = 151662


__all__ = ["MossTTSDelayConfig"]
