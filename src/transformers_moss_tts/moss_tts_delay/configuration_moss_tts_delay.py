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

from typing import Any, ClassVar

from huggingface_hub.dataclasses import strict
from transformers.configuration_utils import PreTrainedConfig
from transformers.models.qwen3 import Qwen3Config
from transformers.utils import auto_docstring

from ..loading.remote_code import RemoteCodeConfigMixin


# The config.json of MossTTSLocal v1.0 has the same `model_type`, and this.
_LOCAL_FIELD = "local_num_layers"


@auto_docstring(checkpoint="OpenMOSS-Team/MOSS-TTS")
@strict
class MossTTSDelayConfig(RemoteCodeConfigMixin, PreTrainedConfig):
    r"""
    language_config (`Qwen3Config` or `dict`, *optional*):
        Configuration of the Qwen3 backbone. `vocab_size` and `hidden_size` of the model are those of the backbone.
    n_vq (`int`, *optional*, defaults to 32):
        Number of codebooks. `n_codebooks` is accepted as another name for it.
    audio_vocab_size (`int`, *optional*, defaults to 1024):
        Number of codes of a codebook. `codebook_size` is accepted as another name for it.
    audio_pad_code (`int`, *optional*, defaults to 1024):
        Code of channels that carry no audio. `codebook_pad_token_id` is accepted as another name for it.
    pad_token_id (`int`, *optional*, defaults to 151643):
        Text token of padding, and of rows that have ended.
    im_start_token_id (`int`, *optional*, defaults to 151644):
        Text token that opens a turn.
    im_end_token_id (`int`, *optional*, defaults to 151645):
        Text token that closes a turn and ends a generation.
    audio_start_token_id (`int`, *optional*, defaults to 151652):
        Text token before a span of audio.
    audio_end_token_id (`int`, *optional*, defaults to 151653):
        Text token after a span of audio.
    audio_user_slot_token_id (`int`, *optional*, defaults to 151654):
        Text token over every row of audio in a user turn.
    audio_assistant_gen_slot_token_id (`int`, *optional*, defaults to 151656):
        Text token over a row of audio in an assistant turn.
    audio_assistant_delay_slot_token_id (`int`, *optional*, defaults to 151662):
        Text token over the last rows of a span in an assistant turn, in which the delayed codebooks run out.
    sampling_rate (`int`, *optional*, defaults to 24000):
        Rate of the audio in Hz.
    initializer_range (`float`, *optional*, defaults to 0.02):
        Standard deviation of the initial weights.

    Example:

    ```python
    >>> from transformers_moss_tts import MossTTSDelayConfig

    >>> configuration = MossTTSDelayConfig(n_vq=16)
    ```"""

    model_type = "moss_tts_delay"
    # Steps by which each codebook comes later than the one before.
    codebook_delay: ClassVar[int] = 1
    sub_configs = {"language_config": Qwen3Config}
    keys_to_ignore_at_inference = ["past_key_values"]
    # The names of the native port under review in transformers (pull request 46447).
    attribute_map = {
        "n_codebooks": "n_vq",
        "codebook_size": "audio_vocab_size",
        "codebook_pad_token_id": "audio_pad_code",
    }

    language_config: dict | PreTrainedConfig | None = None
    n_vq: int = 32
    audio_vocab_size: int = 1024
    audio_pad_code: int = 1024
    pad_token_id: int | None = 151643
    im_start_token_id: int = 151644
    im_end_token_id: int = 151645
    audio_start_token_id: int = 151652
    audio_end_token_id: int = 151653
    audio_user_slot_token_id: int = 151654
    audio_assistant_gen_slot_token_id: int = 151656
    audio_assistant_delay_slot_token_id: int = 151662
    sampling_rate: int = 24000
    initializer_range: float = 0.02
    tie_word_embeddings: bool = False

    @classmethod
    def from_dict(cls, config_dict: dict[str, Any], **kwargs):
        """As [`~transformers.PreTrainedConfig.from_dict`]; of a MossTTSLocal v1.0 checkpoint its own configuration."""
        from ..moss_tts_local import MossTTSLocalV1Config

        is_local = cls is MossTTSDelayConfig and _LOCAL_FIELD in config_dict
        return super(MossTTSDelayConfig, MossTTSLocalV1Config if is_local else cls).from_dict(config_dict, **kwargs)

    def __post_init__(self, **kwargs):
        if self.language_config is None:
            self.language_config = Qwen3Config()
        elif isinstance(self.language_config, dict):
            self.language_config = Qwen3Config(**self.language_config)
        # Both are the backbone's; the release writes them twice.
        kwargs.pop("vocab_size", None)
        kwargs.pop("hidden_size", None)
        super().__post_init__(**kwargs)
        if not 0 <= self.audio_pad_code <= self.audio_vocab_size:
            raise ValueError(
                f"`audio_pad_code` must be between 0 and `audio_vocab_size` ({self.audio_vocab_size}), got "
                f"{self.audio_pad_code}: codebooks have `audio_vocab_size` + 1 rows."
            )
        if self.n_vq < 1:
            raise ValueError(f"`n_vq` must be at least 1, got {self.n_vq}.")

    @property
    def vocab_size(self) -> int:
        """Number of text tokens."""
        return self.language_config.vocab_size

    @property
    def hidden_size(self) -> int:
        """Width of the backbone."""
        return self.language_config.hidden_size

    def get_text_config(self, decoder=None, encoder=None) -> Qwen3Config:
        return self.language_config

    def to_dict(self) -> dict[str, Any]:
        output = super().to_dict()
        output["vocab_size"] = self.vocab_size
        output["hidden_size"] = self.hidden_size
        return output


__all__ = ["MossTTSDelayConfig"]
