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

"""MossTTSLocal model configurations."""

from typing import Any, ClassVar

from huggingface_hub.dataclasses import strict
from transformers import GPT2Config, PreTrainedConfig, Qwen3Config
from transformers.utils import auto_docstring

from ..moss_tts.configuration_moss_tts import MossTTSConfig


# The local transformer of v1.5 where config.json does not say otherwise.
_LOCAL_TRANSFORMER = {
    "position_embedding_type": "rope",
    "rope_base": 10000.0,
    "activation_function": "silu",
    "layer_norm_epsilon": 1e-6,
    "resid_pdrop": 0.0,
    "embd_pdrop": 0.0,
    "attn_pdrop": 0.0,
}


@strict
class MossTTSLocalV1Config(MossTTSConfig):
    """
    Configuration of [`MossTTSLocalV1Model`], for instance
    [OpenMOSS-Team/MOSS-TTS-Local-Transformer](https://huggingface.co/OpenMOSS-Team/MOSS-TTS-Local-Transformer). On disk its
    `model_type` is that of [`MossTTSDelayConfig`], as in the release.

    Args:
        audio_assistant_delay_slot_token_id (`int`, *optional*, defaults to 151662):
            Text token that the release names and does not use.
        local_num_layers (`int`, *optional*, defaults to 4):
            Layers of the local transformer.
        local_hidden_size (`int`, *optional*, defaults to 1536):
            Width of the local transformer.
        local_ffn_hidden_size (`int`, *optional*, defaults to 8960):
            Width of its feed-forward layers.
        additional_mlp_ffn_hidden_size (`int`, *optional*, defaults to 2048):
            Width inside the adapters between backbone and local transformer.
        kwargs:
            The fields of [`MossTTSConfig`].
    """

    model_type = "moss_tts_delay"
    distinctive_keys: ClassVar[tuple[str, ...]] = ("local_num_layers",)

    audio_assistant_delay_slot_token_id: int = 151662
    local_num_layers: int = 4
    local_hidden_size: int = 1536
    local_ffn_hidden_size: int = 8960
    additional_mlp_ffn_hidden_size: int = 2048

    @property
    def local_config(self) -> Qwen3Config:
        """Of the local transformer: the backbone's but for its size."""
        changes = {
            "num_hidden_layers": self.local_num_layers,
            "hidden_size": self.local_hidden_size,
            "intermediate_size": self.local_ffn_hidden_size,
            "layer_types": None,
        }
        config = Qwen3Config(**(self.language_config.to_dict() | changes))
        config._attn_implementation = self.language_config._attn_implementation
        return config

    def to_dict(self) -> dict[str, Any]:
        output = super().to_dict()
        if output.get("architectures"):
            # The release names this architecture like the other one.
            output["architectures"] = ["MossTTSDelayModel"]
        return output


@auto_docstring(
    custom_intro="Configuration of [`MossTTSLocalModel`]. The defaults are those of OpenMOSS-Team/MOSS-TTS-Local-Transformer-v1.5."
)
@strict
class MossTTSLocalConfig(MossTTSConfig):
    r"""
    language_config (`Qwen3Config` or `dict`, *optional*):
        Configuration of the Qwen3 backbone; on disk also as `qwen3_config`.
    gpt2_config (`GPT2Config` or `dict`, *optional*):
        Configuration of the local transformer. Its `position_embedding_type` is `"rope"` or `"absolute"`, its `rope_base`
        the base of the rotary embedding.
    n_vq (`int`, *optional*, defaults to 12):
        Number of codebooks.
    audio_vocab_size (`int`, *optional*, defaults to 1024):
        Number of codes of a codebook.
    audio_pad_code (`int`, *optional*, defaults to 1024):
        Code of positions that carry no audio. On disk also `audio_pad_token_id`.
    im_start_token_id (`int`, *optional*, defaults to 151644):
        Text token that opens a turn.
    im_end_token_id (`int`, *optional*, defaults to 151645):
        Text token that closes a turn.
    audio_start_token_id (`int`, *optional*, defaults to 151669):
        Text token before a span of audio.
    audio_end_token_id (`int`, *optional*, defaults to 151670):
        Text token after a span of audio; it ends a generation.
    audio_user_slot_token_id (`int`, *optional*, defaults to 151654):
        Text token over every frame of audio in a user turn.
    audio_assistant_gen_slot_token_id (`int`, *optional*, defaults to 151656):
        Text token over every frame that the assistant speaks. On disk also `audio_assistant_slot_token_id`.
    local_text_head_mode (`str`, *optional*, defaults to `"binary"`):
        `"binary"`: a head of two entries decides whether a frame follows. `"full_vocab"`: two entries of the text head do.
    audio_tokenizer_name_or_path (`str`, *optional*):
        Codec that the checkpoint names.
    sampling_rate (`int`, *optional*, defaults to 48000):
        Sampling rate of the audio, in Hz.
    initializer_range (`float`, *optional*, defaults to 0.02):
        Standard deviation of the initial weights.
    moss_tts_variant (`str`, *optional*):
        Release that the model is of, for instance `"MOSS-TTSD-v1.0"`: its prompt, and its sampling where no
        generation_config.json says another.
    """

    model_type = "moss_tts_local"
    sub_configs = {"language_config": Qwen3Config, "gpt2_config": GPT2Config}

    gpt2_config: dict | PreTrainedConfig | None = None
    n_vq: int = 12
    audio_start_token_id: int = 151669
    audio_end_token_id: int = 151670
    local_text_head_mode: str = "binary"
    audio_tokenizer_name_or_path: str | None = None
    sampling_rate: int = 48000
    tie_word_embeddings: bool = True

    def __post_init__(self, **kwargs):
        # The release writes these twice; `to_dict` does so again.
        spelled = {
            "language_config": kwargs.pop("qwen3_config", None),
            "audio_pad_code": kwargs.pop("audio_pad_token_id", None),
            "audio_assistant_gen_slot_token_id": kwargs.pop("audio_assistant_slot_token_id", None),
        }
        for name, value in spelled.items():
            if value is not None and getattr(self, name) == type(self).__dataclass_fields__[name].default:
                setattr(self, name, value)
        if self.language_config is None:
            self.language_config = {"tie_word_embeddings": True}
        self.language_config = self._sub_config("language_config", Qwen3Config)
        self._check_sizes()
        hidden_size, positions = self.hidden_size, self.n_vq + 1
        if self.gpt2_config is None:
            self.gpt2_config = {
                "n_layer": 1,
                "n_head": max(hidden_size // 64, 1),
                "n_inner": self.language_config.intermediate_size,
            }
        if isinstance(self.gpt2_config, dict):
            self.gpt2_config = self.gpt2_config | {"n_embd": hidden_size, "n_positions": positions, "n_ctx": positions}
        self.gpt2_config = self._sub_config("gpt2_config", GPT2Config, **_LOCAL_TRANSFORMER)
        sizes = kwargs.pop("audio_codebook_sizes", None) or [self.audio_vocab_size] * self.n_vq
        kwargs.pop("local_hidden_size", None)
        super().__post_init__(**kwargs)
        if sizes != [self.audio_vocab_size] * self.n_vq:
            raise ValueError(
                f"`audio_codebook_sizes` must be {self.n_vq} times `audio_vocab_size` ({self.audio_vocab_size}), got {sizes!r:.200}."
            )
        if self.local_text_head_mode not in ("binary", "full_vocab"):
            raise ValueError(
                f"`local_text_head_mode` must be 'binary' or 'full_vocab', got {self.local_text_head_mode!r}."
            )
        if hidden_size % self.gpt2_config.n_head:
            raise ValueError(
                f"`gpt2_config.n_head` must divide the width of the backbone ({hidden_size}), got {self.gpt2_config.n_head}."
            )
        position_type = self.gpt2_config.position_embedding_type
        if position_type not in ("rope", "absolute"):
            raise ValueError(
                f"`position_embedding_type` of the local transformer must be 'rope' or 'absolute', got {position_type!r}."
            )

    def to_dict(self) -> dict[str, Any]:
        output = super().to_dict()
        return output | {
            "local_hidden_size": self.hidden_size,
            "qwen3_config": output["language_config"],
            "audio_pad_token_id": self.audio_pad_code,
            "audio_assistant_slot_token_id": self.audio_assistant_gen_slot_token_id,
            "audio_codebook_sizes": [self.audio_vocab_size] * self.n_vq,
        }


__all__ = ["MossTTSLocalConfig", "MossTTSLocalV1Config"]
