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
"""What the configurations of all generators share."""

import math
from typing import Any, ClassVar

from huggingface_hub.dataclasses import strict
from transformers.activations import ACT2FN
from transformers.configuration_utils import PreTrainedConfig
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS
from transformers.models.qwen3 import Qwen3Config

from ..compatibility import CACHE_NAME
from ..loading.released_config import ReleasedConfigMixin, check_sizes
from ..utils.checks import check_number


# Largest sizes that a configuration may ask for, far above those of any model: what a file asks for is built before its weights
# are looked at.
_LARGEST = {
    "n_vq": 256,
    "audio_vocab_size": 2**20,
    "sampling_rate": 10**6,
    "vocab_size": 2**24,
    "hidden_size": 2**17,
    "intermediate_size": 2**20,
    "num_hidden_layers": 1024,
    "num_attention_heads": 2**12,
    "num_key_value_heads": 2**12,
    "head_dim": 2**14,
    "n_layer": 1024,
    "n_head": 2**12,
    "n_inner": 2**20,
    "local_num_layers": 1024,
    "local_transformer_layers": 1024,
    "local_hidden_size": 2**17,
    "local_ffn_hidden_size": 2**20,
    "additional_mlp_ffn_hidden_size": 2**20,
}


@strict
class MossTTSConfig(ReleasedConfigMixin, PreTrainedConfig):
    """
    Base of the generators' configurations: a backbone, codebooks, and the text tokens around audio.

    Args:
        language_config (`Qwen3Config` or `dict`, *optional*):
            Configuration of the backbone. `vocab_size` and `hidden_size` of the model are those of the backbone.
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
            Text token that closes a turn.
        audio_start_token_id (`int`, *optional*, defaults to 151652):
            Text token before a span of audio.
        audio_end_token_id (`int`, *optional*, defaults to 151653):
            Text token after a span of audio.
        audio_user_slot_token_id (`int`, *optional*, defaults to 151654):
            Text token over every step of audio in a user turn.
        audio_assistant_gen_slot_token_id (`int`, *optional*, defaults to 151656):
            Text token over a step of audio in an assistant turn.
        sampling_rate (`int`, *optional*, defaults to 24000):
            Sampling rate of the audio, in Hz.
        initializer_range (`float`, *optional*, defaults to 0.02):
            Standard deviation of the initial weights.
        moss_tts_variant (`str`, *optional*):
            Release that the model is of, for instance `"MOSS-TTSD-v1.0"`: its prompt, and its sampling where no
            generation_config.json says another.

    Raises:
        ValueError: if a size is below 1 or absurdly large, a text token outside of the vocabulary, or a config.json of
            another class of the family.
    """

    # Steps by which each codebook comes later than the one before.
    codebook_delay: ClassVar[int] = 0
    # Keys of config.json that no other configuration of the same `model_type` has.
    distinctive_keys: ClassVar[tuple[str, ...]] = ()
    sub_configs = {"language_config": Qwen3Config}
    keys_to_ignore_at_inference = [CACHE_NAME]
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
    sampling_rate: int = 24000
    initializer_range: float = 0.02
    tie_word_embeddings: bool = False
    moss_tts_variant: str | None = None

    @classmethod
    def describes(cls, config_dict: dict[str, Any]) -> bool:
        """Whether the content of a config.json is of this class, and not of another one of the family."""
        if config_dict.get("model_type", cls.model_type) != cls.model_type:
            return False
        others = [other for other in MossTTSConfig.__subclasses__() if other.model_type == cls.model_type]
        foreign = {key for other in others for key in other.distinctive_keys} - set(cls.distinctive_keys)
        return all(key in config_dict for key in cls.distinctive_keys) and not any(
            key in config_dict for key in foreign
        )

    @classmethod
    def from_dict(cls, config_dict: dict[str, Any], **kwargs):
        """As [`~transformers.PreTrainedConfig.from_dict`], of files that describe this class alone."""
        if not cls.describes(config_dict):
            names = [other.__name__ for other in MossTTSConfig.__subclasses__() if other.describes(config_dict)]
            model_type = config_dict.get("model_type")
            found = names[0] if names else f"another family (its `model_type` is {model_type!r})"
            way_out = f"use {found} and {found.removesuffix('Config')}Model, or " if names else ""
            raise ValueError(
                f"The configuration is one of {found}, not of {cls.__name__}: {way_out}AutoConfig and AutoModel, which choose "
                "the class themselves."
            )
        return super().from_dict(config_dict, **kwargs)

    def __post_init__(self, **kwargs):
        # The backbone's; released files have them twice.
        kwargs.pop("vocab_size", None)
        kwargs.pop("hidden_size", None)
        self.language_config = self._sub_config("language_config", Qwen3Config)
        super().__post_init__(**kwargs)
        self._check_sizes()
        if not 0 <= self.audio_pad_code <= self.audio_vocab_size:
            raise ValueError(
                f"`audio_pad_code` must be between 0 and `audio_vocab_size` ({self.audio_vocab_size}), got "
                f"{self.audio_pad_code}: codebooks have `audio_vocab_size` + 1 entries."
            )
        for name, token in self.special_tokens.items():
            if not 0 <= token < self.vocab_size:
                raise ValueError(
                    f"`{name}` must be a text token, between 0 and {self.vocab_size - 1}, got {token}. Correct it, or "
                    "`vocab_size` of `language_config`."
                )
        if not (math.isfinite(self.initializer_range) and self.initializer_range >= 0):
            raise ValueError(f"`initializer_range` must be a number of at least 0, got {self.initializer_range}.")

    def _sub_config(self, name: str, config_class: type[PreTrainedConfig], **defaults) -> PreTrainedConfig:
        config = getattr(self, name)
        if not isinstance(config, PreTrainedConfig):
            given = defaults | (config or {})
            # Before the class is made: it has a list of its layers.
            check_sizes(given, _LARGEST, f"{name}.")
            config = config_class(**given)
        _check_sub_config(config, name)
        return config

    def _check_sizes(self) -> None:
        check_sizes(self.to_sizes(), _LARGEST)

    def to_sizes(self) -> dict[str, int]:
        """Sizes of the model by their names in config.json, those of the backbone too."""
        language = self.language_config
        return {name: getattr(self, name, getattr(language, name, None)) for name in _LARGEST}

    @property
    def special_tokens(self) -> dict[str, int]:
        """Text tokens that have a meaning, by their names in the configuration."""
        names = [name for name in self.__dataclass_fields__ if name.endswith("_token_id")]
        return {name: getattr(self, name) for name in names if getattr(self, name) is not None}

    @property
    def vocab_size(self) -> int:
        """Number of text tokens."""
        return self.language_config.vocab_size

    @property
    def hidden_size(self) -> int:
        """Width of the backbone."""
        return self.language_config.hidden_size

    def get_text_config(self, decoder=None, encoder=None) -> PreTrainedConfig:
        return self.language_config

    def to_dict(self) -> dict[str, Any]:
        output = super().to_dict()
        output["vocab_size"] = self.vocab_size
        output["hidden_size"] = self.hidden_size
        return output


def _check_sub_config(config: PreTrainedConfig, name: str) -> None:
    for field in ("hidden_act", "activation_function"):
        activation = getattr(config, field, None)
        if activation is not None and activation not in ACT2FN:
            raise ValueError(f"`{name}.{field}` must be one of {', '.join(sorted(ACT2FN))}, got {activation!r}.")
    for field in ("embd_pdrop", "resid_pdrop", "attn_pdrop", "attention_dropout"):
        if (probability := getattr(config, field, None)) is not None:
            check_number(f"{name}.{field}", probability, 0, 1)
    rope = getattr(config, "rope_parameters", None) or {}
    if "rope_theta" in rope:
        check_number(f"{name}.rope_parameters.rope_theta", rope["rope_theta"], math.ulp(0), 1e30)
    kind = rope.get("rope_type", "default")
    if not isinstance(kind, str) or kind not in ("default", *ROPE_INIT_FUNCTIONS):
        raise ValueError(
            f"`{name}.rope_parameters.rope_type` must be one of default, {', '.join(ROPE_INIT_FUNCTIONS)}, got {kind!r:.80}."
        )
    if config.pad_token_id is not None and not 0 <= config.pad_token_id < config.vocab_size:
        raise ValueError(
            f"`{name}.pad_token_id` must be a text token, between 0 and {config.vocab_size - 1}, got {config.pad_token_id}."
        )


__all__ = ["MossTTSConfig"]
