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

"""MossTTSNano model configuration."""

from typing import Any, ClassVar

from huggingface_hub.dataclasses import strict
from transformers import GPT2Config, PreTrainedConfig
from transformers.utils import auto_docstring

from ..moss_tts.configuration_moss_tts import MossTTSConfig


# What config.json calls these fields of the family.
_RELEASED_NAMES = {
    "gpt2_config": "language_config",
    "audio_pad_token_id": "audio_pad_code",
    "audio_assistant_slot_token_id": "audio_assistant_gen_slot_token_id",
    "audio_tokenizer_pretrained_name_or_path": "audio_tokenizer_name_or_path",
    "audio_tokenizer_sample_rate": "sampling_rate",
}
_BACKBONE = {
    "vocab_size": 16384,
    "n_positions": 32768,
    "n_embd": 768,
    "n_layer": 12,
    "n_head": 12,
    "n_inner": 3072,
    "position_embedding_type": "rope",
    "rope_base": 10000.0,
    "activation_function": "gelu_new",
    "layer_norm_epsilon": 1e-5,
    "resid_pdrop": 0.0,
    "embd_pdrop": 0.0,
    "attn_pdrop": 0.0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 3,
}


@auto_docstring(
    custom_intro="Configuration of [`MossTTSNanoModel`]. The defaults are those of OpenMOSS-Team/MOSS-TTS-Nano."
)
@strict
class MossTTSNanoConfig(MossTTSConfig):
    r"""
    language_config (`GPT2Config` or `dict`, *optional*):
        Configuration of the backbone, GPT-2 with rotary positions; on disk `gpt2_config`. Its `rope_base` is the base of the
        rotary embedding.
    n_vq (`int`, *optional*, defaults to 16):
        Number of codebooks.
    audio_vocab_size (`int`, *optional*, defaults to 1024):
        Number of codes of a codebook.
    audio_pad_code (`int`, *optional*, defaults to 1024):
        Code of positions that carry no audio; on disk `audio_pad_token_id`.
    pad_token_id (`int`, *optional*, defaults to 3):
        Text token of padding, and of sequences that have ended.
    im_start_token_id (`int`, *optional*, defaults to 4):
        Text token that opens a turn.
    im_end_token_id (`int`, *optional*, defaults to 5):
        Text token that closes a turn.
    audio_start_token_id (`int`, *optional*, defaults to 6):
        Text token before a span of audio.
    audio_end_token_id (`int`, *optional*, defaults to 7):
        Text token after a span of audio; it ends a generation.
    audio_user_slot_token_id (`int`, *optional*, defaults to 8):
        Text token over every frame of audio in a user turn.
    audio_assistant_gen_slot_token_id (`int`, *optional*, defaults to 9):
        Text token over every frame that the assistant speaks; on disk `audio_assistant_slot_token_id`.
    local_transformer_layers (`int`, *optional*, defaults to 1):
        Layers of the local transformer, which else has the backbone's shape.
    audio_tokenizer_name_or_path (`str`, *optional*):
        Codec that the checkpoint names; on disk `audio_tokenizer_pretrained_name_or_path`.
    sampling_rate (`int`, *optional*, defaults to 48000):
        Sampling rate of the audio, in Hz; on disk `audio_tokenizer_sample_rate`.
    initializer_range (`float`, *optional*, defaults to 0.02):
        Standard deviation of the initial weights.
    moss_tts_variant (`str`, *optional*):
        Release that the model is of: its prompt and its sampling.
    """

    model_type = "moss_tts_nano"
    sub_configs = {"gpt2_config": GPT2Config}
    attribute_map: ClassVar[dict[str, str]] = MossTTSConfig.attribute_map | _RELEASED_NAMES

    n_vq: int = 16
    pad_token_id: int | None = 3
    im_start_token_id: int = 4
    im_end_token_id: int = 5
    audio_start_token_id: int = 6
    audio_end_token_id: int = 7
    audio_user_slot_token_id: int = 8
    audio_assistant_gen_slot_token_id: int = 9
    local_transformer_layers: int = 1
    audio_tokenizer_name_or_path: str | None = None
    sampling_rate: int = 48000
    tie_word_embeddings: bool = True

    def __post_init__(self, **kwargs):
        for released, name in _RELEASED_NAMES.items():
            value = kwargs.pop(released, None)
            if value is not None and getattr(self, name) == type(self).__dataclass_fields__[name].default:
                setattr(self, name, value)
        if not isinstance(self.language_config, PreTrainedConfig):
            given = self.language_config or {}
            # Tables that others resized say their size outside of `gpt2_config` alone.
            sizes = [size for size in (given.get("vocab_size"), kwargs.get("vocab_size")) if isinstance(size, int)]
            self.language_config = _BACKBONE | given | ({"vocab_size": max(sizes)} if sizes else {})
        self.language_config = self._sub_config("language_config", GPT2Config)
        sizes = kwargs.pop("audio_codebook_sizes", None) or [self.audio_vocab_size] * self.n_vq
        super().__post_init__(**kwargs)
        backbone = self.language_config
        if list(sizes) != [self.audio_vocab_size] * self.n_vq:
            raise ValueError(f"All {self.n_vq} codebooks must have {self.audio_vocab_size} codes, got {sizes}.")
        if backbone.n_embd % backbone.n_head or (backbone.n_embd // backbone.n_head) % 2:
            raise ValueError(
                f"`gpt2_config.n_head` must divide its width ({backbone.n_embd}) into heads of an even width, got "
                f"{backbone.n_head}."
            )
        if backbone.position_embedding_type != "rope":
            raise ValueError(
                f"`gpt2_config.position_embedding_type` must be 'rope', got {backbone.position_embedding_type!r}."
            )

    @property
    def local_config(self) -> GPT2Config:
        """Of the local transformer: the backbone's but for its layers and positions."""
        changes = {"n_layer": self.local_transformer_layers, "n_positions": self.n_vq + 1, "n_ctx": self.n_vq + 1}
        config = GPT2Config(**(self.language_config.to_dict() | changes))
        config._attn_implementation = self.language_config._attn_implementation
        return config

    def to_dict(self) -> dict[str, Any]:
        output = super().to_dict()
        output |= {released: output.pop(name) for released, name in _RELEASED_NAMES.items()}
        output["audio_codebook_sizes"] = [self.audio_vocab_size] * self.n_vq
        if output.get("architectures"):
            output["architectures"] = ["MossTTSNanoForCausalLM"]
        return output


__all__ = ["MossTTSNanoConfig"]
