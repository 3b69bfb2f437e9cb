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
"""State of MossAudioTokenizer streams."""

from typing import Literal

import torch

from .configuration_moss_audio_tokenizer import MossAudioTokenizerConfig


def context_duration(config: MossAudioTokenizerConfig) -> float:
    """Seconds that the attention of a stage without a `context_duration` of its own sees: the encoder's fewest."""
    stages = [module for module in config.encoder_kwargs if module["module_type"] == "Transformer"]
    fallback = config.causal_transformer_context_duration
    return min([stage.get("context_duration", fallback) for stage in stages] or [fallback])


def transformer_stages(config: MossAudioTokenizerConfig, part: Literal["encoder", "decoder"]) -> list[dict]:
    """
    Timing of the transformer stages of one half of the codec, in order of execution.

    Returns a dict a stage: `index` of its module, its `kwargs`, `steps_per_frame` (positions a frame of codes) and
    `window` (positions that its attention sees: the seconds of its context at its rate).
    """
    modules = config.encoder_kwargs if part == "encoder" else config.decoder_kwargs
    steps_per_frame = config.downsample_rate * config.num_channels if part == "encoder" else 1
    default = context_duration(config)
    # The releases differ where a window is no whole number of positions.
    whole = round if config.is_v2 else int
    stages = []
    for index, kwargs in enumerate(modules):
        if kwargs["module_type"] == "PatchedPretransform":
            patch = kwargs["patch_size"]
            steps_per_frame = steps_per_frame // patch if part == "encoder" else steps_per_frame * patch
            continue
        window = whole(config.frame_rate * steps_per_frame * kwargs.get("context_duration", default))
        stages.append({"index": index, "kwargs": kwargs, "steps_per_frame": steps_per_frame, "window": window})
    return stages


class MossAudioTokenizerCache:
    """
    What a batch of streams remembers between chunks: the last `window - 1` keys and values of every attention layer and
    the number of frames that each row has seen. The caller holds it; the model keeps no state, so any number of streams
    can share one model. Buffers are allocated once and written in place, which keeps shapes and addresses static for
    `torch.compile`. (transformers' own sliding window layers count one length for the whole batch; here rows start and
    end at different times.)

    Args:
        config ([`MossAudioTokenizerConfig`]):
            Configuration of the model that will use the cache.
        part (`str`):
            `"encoder"` or `"decoder"`.
        batch_size (`int`):
            Number of rows.
        device (`torch.device`, *optional*):
            Where the model is.
        dtype (`torch.dtype`, *optional*):
            What the model computes in.

    Attributes:
        num_frames (`torch.LongTensor` of shape `(batch_size,)`): frames that each row has seen.
    """

    def __init__(
        self,
        config: MossAudioTokenizerConfig,
        part: Literal["encoder", "decoder"],
        batch_size: int,
        device: torch.device | str | None = None,
        dtype: torch.dtype = torch.float32,
    ):
        if part not in ("encoder", "decoder"):
            raise ValueError(f"`part` must be 'encoder' or 'decoder', got {part!r}.")
        if batch_size < 1:
            raise ValueError(f"`batch_size` must be at least 1, got {batch_size}.")
        self.part = part
        self.batch_size = batch_size
        self.layer_shapes = self.expected_layer_shapes(config, part)
        self.num_frames = torch.zeros(batch_size, dtype=torch.long, device=device)
        self.keys = [torch.zeros(batch_size, *shape, dtype=dtype, device=device) for shape in self.layer_shapes]
        self.values = [torch.zeros_like(keys) for keys in self.keys]

    @staticmethod
    def expected_layer_shapes(config: MossAudioTokenizerConfig, part: str) -> list[tuple[int, int, int]]:
        """`(num_heads, window - 1, head_dim)` of every attention layer of one half of the codec."""
        shapes = []
        for stage in transformer_stages(config, part):
            heads, width = stage["kwargs"]["num_heads"], stage["kwargs"]["d_model"]
            shapes += [(heads, stage["window"] - 1, width // heads)] * stage["kwargs"]["num_layers"]
        return shapes

    @property
    def device(self) -> torch.device:
        return self.num_frames.device

    @property
    def dtype(self) -> torch.dtype:
        return self.keys[0].dtype

    def update(
        self, layer_idx: int, keys: torch.Tensor, values: torch.Tensor, lengths: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """
        Appends the keys and values of a chunk, shape `(batch_size, num_heads, chunk, head_dim)`, and returns the cached
        ones followed by them. Of row `i` only the first `lengths[i]` new positions are remembered (`None`: all).
        """
        return self._append(self.keys[layer_idx], keys, lengths), self._append(self.values[layer_idx], values, lengths)

    @staticmethod
    def _append(past: torch.Tensor, new: torch.Tensor, lengths: torch.Tensor | None) -> torch.Tensor:
        full = torch.cat([past, new], dim=2)
        if lengths is None:
            past.copy_(full[:, :, new.shape[2] :].detach())
            return full
        kept = lengths[:, None] + torch.arange(past.shape[2], device=past.device)
        past.copy_(full.detach().gather(2, kept[:, None, :, None].expand(past.shape)))
        return full

    def reset(self, rows: torch.Tensor | list[int] | None = None) -> None:
        """Forgets the streams of `rows` (indices or a boolean mask; all of them by default), so that new ones start."""
        # Keys need no clearing: a position is only seen once `num_frames` says that it is real.
        self.num_frames[slice(None) if rows is None else rows] = 0


__all__ = ["MossAudioTokenizerCache"]
