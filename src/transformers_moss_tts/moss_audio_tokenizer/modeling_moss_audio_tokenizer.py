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
"""PyTorch MossAudioTokenizer model."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn.utils.parametrizations import weight_norm
from transformers import initialization as init
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS, PreTrainedAudioTokenizerBase
from transformers.utils import ModelOutput, auto_docstring, can_return_tuple

from ..compatibility import takes_past_key_values
from ..loading.remote_code import RemoteCodeMixin
from ..loading.strict_loading import StrictLoadingMixin
from ..modules.rotary import apply_rotary_embedding, rotary_embedding
from .cache_moss_audio_tokenizer import MossAudioTokenizerCache, context_duration, transformer_stages
from .configuration_moss_audio_tokenizer import MossAudioTokenizerConfig
from .windowed_attention import AttentionBlock, plan_attention_blocks, windowed_attention


@auto_docstring
@dataclass
class MossAudioTokenizerEncoderOutput(ModelOutput):
    r"""
    audio_codes (`torch.LongTensor` of shape `(num_quantizers, batch_size, frames)`):
        Codes. Frames past `audio_codes_lengths` are padding, a last partial frame of audio among them.
    audio_codes_lengths (`torch.LongTensor` of shape `(batch_size,)`):
        Number of whole frames of audio of each row.
    encoder_hidden_states (`torch.FloatTensor` of shape `(batch_size, hidden_size, frames)`):
        Output of the encoder before quantization.
    cache (`MossAudioTokenizerCache`, *optional*):
        The cache that was passed, advanced by this chunk.
    """

    audio_codes: torch.LongTensor | None = None
    audio_codes_lengths: torch.LongTensor | None = None
    encoder_hidden_states: torch.FloatTensor | None = None
    cache: MossAudioTokenizerCache | None = None


@auto_docstring
@dataclass
class MossAudioTokenizerDecoderOutput(ModelOutput):
    r"""
    audio (`torch.FloatTensor` of shape `(batch_size, 1, samples)`):
        Waveform, zero past `audio_lengths`.
    audio_lengths (`torch.LongTensor` of shape `(batch_size,)`):
        Number of samples of each row.
    cache (`MossAudioTokenizerCache`, *optional*):
        The cache that was passed, advanced by this chunk.
    """

    audio: torch.FloatTensor | None = None
    audio_lengths: torch.LongTensor | None = None
    cache: MossAudioTokenizerCache | None = None


@auto_docstring
@dataclass
class MossAudioTokenizerOutput(ModelOutput):
    r"""
    audio (`torch.FloatTensor` of shape `(batch_size, 1, samples)`):
        Reconstructed waveform, as long as the input and zero past `audio_lengths`.
    audio_lengths (`torch.LongTensor` of shape `(batch_size,)`):
        Number of samples of each row.
    audio_codes (`torch.LongTensor` of shape `(num_quantizers, batch_size, frames)`):
        Codes that were decoded.
    audio_codes_lengths (`torch.LongTensor` of shape `(batch_size,)`):
        Number of frames of each row.
    quantized_states (`torch.FloatTensor` of shape `(batch_size, output_dim, frames)`, *optional*):
        Input of the decoder, for losses on it. Not with `audio_codes`.
    commitment_loss (`torch.FloatTensor` of shape `()`, *optional*, only in training mode):
        Squared distance from the encoder's vectors to the codes they chose, which pulls the encoder: mean over frames and
        codebook dimensions, sum over codebooks, as in DAC (arXiv 2306.06546).
    codebook_loss (`torch.FloatTensor` of shape `()`, *optional*, only in training mode):
        The same distance, pulling the codebooks.
    """

    audio: torch.FloatTensor | None = None
    audio_lengths: torch.LongTensor | None = None
    audio_codes: torch.LongTensor | None = None
    audio_codes_lengths: torch.LongTensor | None = None
    quantized_states: torch.FloatTensor | None = None
    commitment_loss: torch.FloatTensor | None = None
    codebook_loss: torch.FloatTensor | None = None


# Length in attention windows from which inference runs in chunks.
_MANY_WINDOWS = 4


class MossAudioTokenizerLayerScale(nn.Module):
    """Learned scale of a residual branch (arXiv 2103.17239)."""

    def __init__(self, channels: int, initial_scale: float):
        super().__init__()
        self.initial_scale = initial_scale
        self.scale = nn.Parameter(torch.full((channels,), float(initial_scale)))

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        return self.scale * hidden_states


def eager_attention_forward(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float,
    dropout: float = 0.0,
    **kwargs,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Plain attention: the `eager` implementation of the attention interface."""
    scores = torch.matmul(query, key.transpose(2, 3)) * scaling
    if attention_mask is not None:
        scores = scores + attention_mask
    weights = nn.functional.softmax(scores, dim=-1, dtype=torch.float32).to(query.dtype)
    return torch.matmul(weights, value).transpose(1, 2).contiguous(), weights


class MossAudioTokenizerAttention(nn.Module):
    """Causal self-attention over a sliding window."""

    is_causal = True
    num_key_value_groups = 1

    def __init__(self, config: MossAudioTokenizerConfig, d_model: int, num_heads: int, window: int, layer_idx: int):
        super().__init__()
        self.config = config
        self.num_heads = num_heads
        self.head_dim = d_model // num_heads
        self.window = window
        self.layer_idx = layer_idx
        self._add_projections(d_model)

    def _add_projections(self, d_model: int) -> None:
        # Lists of one, for the parameter names of the release.
        self.in_projs = nn.ModuleList([nn.Linear(d_model, 3 * d_model, bias=False)])
        self.out_projs = nn.ModuleList([nn.Linear(d_model, d_model, bias=False)])

    def _projections(self) -> tuple[nn.Module, nn.Module]:
        return self.in_projs[0], self.out_projs[0]

    def forward(
        self,
        hidden_states: torch.Tensor,
        position_embeddings: tuple[torch.Tensor, torch.Tensor],
        blocks: list[AttentionBlock],
        layer_past: MossAudioTokenizerCache | None = None,
        lengths: torch.Tensor | None = None,
    ) -> torch.Tensor:
        in_proj, out_proj = self._projections()
        projected = in_proj(hidden_states).unflatten(-1, (3, self.num_heads, self.head_dim))
        query, key, value = projected.permute(2, 0, 3, 1, 4).unbind(0)
        query = apply_rotary_embedding(query, *position_embeddings)
        key = apply_rotary_embedding(key, *position_embeddings)
        if layer_past is not None:
            key, value = layer_past.update(self.layer_idx, key, value, lengths)
        attend: Callable = ALL_ATTENTION_FUNCTIONS.get_interface(
            self.config._attn_implementation, eager_attention_forward
        )
        attended = windowed_attention(attend, self, query, key, value, blocks, self.window, self.head_dim**-0.5)
        return out_proj(attended.flatten(2))


class MossAudioTokenizerV2Attention(MossAudioTokenizerAttention):
    """Under the parameter names of the second release."""

    def _add_projections(self, d_model: int) -> None:
        self.in_proj = nn.Linear(d_model, 3 * d_model, bias=False)
        self.out_proj = nn.Linear(d_model, d_model, bias=False)

    def _projections(self) -> tuple[nn.Module, nn.Module]:
        return self.in_proj, self.out_proj


class MossAudioTokenizerTransformerLayer(GradientCheckpointingLayer):
    """Pre-norm block: attention, then a GELU MLP, each scaled and added."""

    attention_class = MossAudioTokenizerAttention

    def __init__(self, config: MossAudioTokenizerConfig, stage: dict, layer_idx: int):
        super().__init__()
        kwargs = stage["kwargs"]
        d_model = kwargs["d_model"]
        self.self_attn = self.attention_class(config, d_model, kwargs["num_heads"], stage["window"], layer_idx)
        self._add_mlp(d_model, kwargs["dim_feedforward"])
        self.norm1 = nn.LayerNorm(d_model, eps=1e-5)
        self.norm2 = nn.LayerNorm(d_model, eps=1e-5)
        self.layer_scale_1 = MossAudioTokenizerLayerScale(d_model, kwargs["layer_scale"])
        self.layer_scale_2 = MossAudioTokenizerLayerScale(d_model, kwargs["layer_scale"])

    def _add_mlp(self, d_model: int, dim_feedforward: int) -> None:
        self.linear1 = nn.Linear(d_model, dim_feedforward, bias=False)
        self.linear2 = nn.Linear(dim_feedforward, d_model, bias=False)

    def mlp(self, hidden_states: torch.Tensor) -> torch.Tensor:
        return self.linear2(nn.functional.gelu(self.linear1(hidden_states)))

    def forward(self, hidden_states: torch.Tensor, **attention_kwargs) -> torch.Tensor:
        attended = self.self_attn(self.norm1(hidden_states), **attention_kwargs)
        hidden_states = hidden_states + self.layer_scale_1(attended)
        return hidden_states + self.layer_scale_2(self.mlp(self.norm2(hidden_states)))


class MossAudioTokenizerV2TransformerLayer(MossAudioTokenizerTransformerLayer):
    """Under the parameter names of the second release."""

    attention_class = MossAudioTokenizerV2Attention

    def _add_mlp(self, d_model: int, dim_feedforward: int) -> None:
        up, down = nn.Linear(d_model, dim_feedforward, bias=False), nn.Linear(dim_feedforward, d_model, bias=False)
        self.ffn = nn.Sequential(up, nn.GELU(), down)

    def mlp(self, hidden_states: torch.Tensor) -> torch.Tensor:
        return self.ffn(hidden_states)


class MossAudioTokenizerTransformer(nn.Module):
    """The layers of one stage."""

    def __init__(self, config: MossAudioTokenizerConfig, stage: dict, first_layer_idx: int):
        super().__init__()
        self.config = config
        self.window = stage["window"]
        self.steps_per_frame = stage["steps_per_frame"]
        self.head_dim = stage["kwargs"]["d_model"] // stage["kwargs"]["num_heads"]
        self.max_period = stage["kwargs"]["max_period"]
        layer_class = MossAudioTokenizerV2TransformerLayer if config.is_v2 else MossAudioTokenizerTransformerLayer
        self.layers = nn.ModuleList(
            layer_class(config, stage, first_layer_idx + i) for i in range(stage["kwargs"]["num_layers"])
        )

    def forward(
        self,
        hidden_states: torch.Tensor,
        cache: MossAudioTokenizerCache | None = None,
        frame_lengths: torch.Tensor | None = None,
    ) -> torch.Tensor:
        positions = torch.arange(hidden_states.shape[1], device=hidden_states.device)[None]
        past_lengths = lengths = None
        if cache is not None:
            past_lengths = cache.num_frames.to(hidden_states.device) * self.steps_per_frame
            positions = positions + past_lengths[:, None]
            lengths = None if frame_lengths is None else frame_lengths * self.steps_per_frame
        blocks = plan_attention_blocks(
            hidden_states.shape[1],
            self.window,
            self.config._attn_implementation,
            hidden_states.dtype,
            hidden_states.device,
            past_lengths,
        )
        position_embeddings = rotary_embedding(positions, self.head_dim, self.max_period)
        for layer in self.layers:
            hidden_states = layer(
                hidden_states,
                position_embeddings=position_embeddings,
                blocks=blocks,
                # By this name transformers leaves a cache out of gradient checkpointing, in every version.
                layer_past=cache,
                lengths=lengths,
            )
        return hidden_states


class MossAudioTokenizerProjectedTransformer(nn.Module):
    """A stage between its two projections, which the first release leaves out where the widths agree."""

    def __init__(self, config: MossAudioTokenizerConfig, stage: dict, first_layer_idx: int):
        super().__init__()
        kwargs = stage["kwargs"]
        d_model, d_in, d_out = kwargs["d_model"], kwargs["input_dimension"], kwargs["output_dimension"]
        leaves_out = not config.is_v2
        self.input_proj = self._projection(d_in, d_model, leaves_out)
        self.transformer = MossAudioTokenizerTransformer(config, stage, first_layer_idx)
        self.output_proj = self._projection(d_model, d_out, leaves_out)

    @staticmethod
    def _projection(d_in: int, d_out: int, leaves_out: bool) -> nn.Module:
        return nn.Identity() if leaves_out and d_in == d_out else nn.Linear(d_in, d_out, bias=False)

    def forward(self, hidden_states: torch.Tensor, *args) -> torch.Tensor:
        return self.output_proj(self.transformer(self.input_proj(hidden_states), *args))


class MossAudioTokenizerPatch(nn.Module):
    """Joins `patch_size` steps, `(batch, steps * patch, features)`, into one, `(batch, steps, features * patch)`."""

    def __init__(self, patch_size: int):
        super().__init__()
        self.patch_size = patch_size

    def forward(self, hidden_states: torch.Tensor, *args) -> torch.Tensor:
        return hidden_states.unflatten(1, (-1, self.patch_size)).transpose(2, 3).flatten(2)


class MossAudioTokenizerUnpatch(nn.Module):
    """The inverse of [`MossAudioTokenizerPatch`]."""

    def __init__(self, patch_size: int):
        super().__init__()
        self.patch_size = patch_size

    def forward(self, hidden_states: torch.Tensor, *args) -> torch.Tensor:
        return hidden_states.unflatten(2, (-1, self.patch_size)).transpose(2, 3).flatten(1, 2)


def _projection(d_in: int, d_out: int) -> nn.Module:
    if d_in == d_out:
        return nn.Identity()
    return weight_norm(nn.Conv1d(d_in, d_out, kernel_size=1, dtype=torch.float32))


class MossAudioTokenizerLFQ(nn.Module):
    """One codebook: the nearest row by cosine, in a space of few dimensions."""

    def __init__(self, input_dim: int, codebook_size: int, codebook_dim: int):
        super().__init__()
        self.in_proj = _projection(input_dim, codebook_dim)
        self.out_proj = _projection(codebook_dim, input_dim)
        self.codebook = nn.Embedding(codebook_size, codebook_dim, dtype=torch.float32)

    def forward(self, residual: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        """
        Returns, for a residual `(batch, features, frames)`, its quantized part (same shape, with the gradient of the
        residual), the codes `(batch, frames)` and the commitment and codebook losses a frame `(batch, frames)`.
        """
        latents = self.in_proj(residual)
        codes = self.nearest(latents)
        chosen = self.lookup(codes)
        commitment = (latents - chosen.detach()).pow(2).mean(1)
        codebook = (chosen - latents.detach()).pow(2).mean(1)
        # Straight through; also in evaluation, where its rounding is the reference's.
        quantized = self.out_proj(latents + (chosen - latents).detach())
        return quantized, codes, commitment, codebook

    def nearest(self, latents: torch.Tensor) -> torch.Tensor:
        """Codes `(batch, frames)` of latents `(batch, codebook_dim, frames)`."""
        vectors = nn.functional.normalize(latents.transpose(1, 2).flatten(0, 1))
        rows = nn.functional.normalize(self.codebook.weight)
        distances = vectors.pow(2).sum(1, keepdim=True) - 2 * vectors @ rows.t() + rows.pow(2).sum(1)
        return distances.argmin(1).view(latents.shape[0], -1)

    def lookup(self, codes: torch.Tensor) -> torch.Tensor:
        """Rows of the codebook, `(batch, codebook_dim, frames)`."""
        return self.codebook(codes).transpose(1, 2)

    def decode(self, codes: torch.Tensor) -> torch.Tensor:
        """What the codes `(batch, frames)` add to the sum over codebooks, `(batch, features, frames)`."""
        return self.out_proj(self.lookup(codes))


class MossAudioTokenizerResidualLFQ(nn.Module):
    """Residual quantizer: every codebook codes what the ones before left over. Always float32."""

    def __init__(self, config: MossAudioTokenizerConfig):
        super().__init__()
        kwargs = config.quantizer_kwargs
        width = kwargs["rvq_dim"]
        self.dropout = config.quantizer_dropout
        self.input_proj = _projection(kwargs["input_dim"], width)
        self.output_proj = _projection(width, kwargs["output_dim"])
        self.quantizers = nn.ModuleList(
            MossAudioTokenizerLFQ(width, kwargs["codebook_size"], kwargs["codebook_dim"])
            for _ in range(kwargs["num_quantizers"])
        )

    def _apply(self, fn, recurse: bool = True):
        # `model.half()` and `model.to(torch.bfloat16)` move the quantizer but leave it in float32.
        def keep_dtype(tensor: torch.Tensor) -> torch.Tensor:
            moved = fn(tensor)
            return moved if moved.dtype == tensor.dtype else tensor.to(moved.device)

        return super()._apply(keep_dtype, recurse)

    def forward(
        self, hidden_states: torch.Tensor, frame_lengths: torch.Tensor, num_quantizers: int
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        """
        Args:
            hidden_states (`torch.FloatTensor` of shape `(batch_size, input_dim, frames)`)
            frame_lengths (`torch.LongTensor` of shape `(batch_size,)`): frames of audio; the residual is zero past them.

        Returns:
            The quantized states `(batch_size, output_dim, frames)`, the codes `(num_quantizers, batch_size, frames)`
            and the commitment and codebook losses.
        """
        with torch.autocast(hidden_states.device.type, enabled=False):
            residual = self.input_proj(hidden_states.float())
            is_audio = torch.arange(residual.shape[2], device=residual.device) < frame_lengths[:, None]
            kept = self._draw_codebook_counts(residual, num_quantizers)
            quantized = torch.zeros_like(residual)
            codes, commitment, codebook = [], 0.0, 0.0
            for index, quantizer in enumerate(self.quantizers[:num_quantizers]):
                part, part_codes, part_commitment, part_codebook = quantizer(residual * is_audio[:, None])
                part = part * is_audio[:, None]
                residual = residual - part
                codes.append(part_codes)
                is_kept = is_audio & (index < kept)[:, None]
                quantized = quantized + part * is_kept[:, None]
                if self.training:
                    commitment = commitment + (part_commitment * is_kept).sum() / is_audio.sum()
                    codebook = codebook + (part_codebook * is_kept).sum() / is_audio.sum()
            return self.output_proj(quantized), torch.stack(codes), commitment, codebook

    def _draw_codebook_counts(self, residual: torch.Tensor, num_quantizers: int) -> torch.Tensor:
        counts = torch.full((residual.shape[0],), num_quantizers, device=residual.device)
        if not self.training or self.dropout == 0:
            return counts
        drawn = torch.randint(1, num_quantizers + 1, counts.shape, device=residual.device)
        dropped = torch.rand(counts.shape, device=residual.device) < self.dropout
        return torch.where(dropped, drawn, counts)

    def decode(self, codes: torch.Tensor) -> torch.Tensor:
        """Quantized states `(batch_size, output_dim, frames)` of codes `(num_quantizers, batch_size, frames)`."""
        with torch.autocast(codes.device.type, enabled=False):
            quantized = self.quantizers[0].decode(codes[0])
            for quantizer, part_codes in zip(self.quantizers[1:], codes[1:]):
                quantized = quantized + quantizer.decode(part_codes)
            return self.output_proj(quantized)


@auto_docstring
class MossAudioTokenizerPreTrainedModel(RemoteCodeMixin, StrictLoadingMixin, PreTrainedAudioTokenizerBase):
    config: MossAudioTokenizerConfig
    base_model_prefix = ""
    main_input_name = "input_values"
    input_modalities = "audio"
    supports_gradient_checkpointing = True
    _no_split_modules = [
        "MossAudioTokenizerTransformerLayer",
        "MossAudioTokenizerV2TransformerLayer",
        "MossAudioTokenizerResidualLFQ",
    ]
    _keep_in_fp32_modules_strict = ["quantizer"]
    _supports_flash_attn = True
    _supports_sdpa = True
    _supports_attention_backend = True
    _can_compile_fullgraph = True

    def save_pretrained(self, save_directory, *args, save_original_format: bool = False, **kwargs):
        """As [`~transformers.PreTrainedModel.save_pretrained`], under the released parameter names."""
        # The names in memory are the released ones; what was loaded as `weight_g` would be written back so.
        super().save_pretrained(save_directory, *args, save_original_format=save_original_format, **kwargs)

    @torch.no_grad()
    def _init_weights(self, module: nn.Module):
        # The layers' own defaults, as the release builds them, rather than one normal distribution for all.
        if isinstance(module, nn.Linear):
            init.kaiming_uniform_(module.weight, a=math.sqrt(5))
        elif isinstance(module, nn.Conv1d):
            magnitude, direction = module.parametrizations.weight.original0, module.parametrizations.weight.original1
            init.kaiming_uniform_(direction, a=math.sqrt(5))
            init.copy_(magnitude, direction.norm(dim=(1, 2), keepdim=True))
            # A random bias would outweigh the quiet signal of a fresh encoder: every frame would get the same codes.
            init.zeros_(module.bias)
        elif isinstance(module, nn.LayerNorm):
            init.ones_(module.weight)
            init.zeros_(module.bias)
        elif isinstance(module, nn.Embedding):
            init.normal_(module.weight)
        elif isinstance(module, MossAudioTokenizerLayerScale):
            init.constant_(module.scale, module.initial_scale)


@auto_docstring(
    custom_intro="""
    The MossAudioTokenizer codec: a causal Transformer that turns a waveform into residual codes at 12.5 Hz and back.
    """
)
class MossAudioTokenizerModel(MossAudioTokenizerPreTrainedModel):
    def __init__(self, config: MossAudioTokenizerConfig):
        super().__init__(config)
        self.encoder = self._build_half("encoder", config.encoder_kwargs, MossAudioTokenizerPatch)
        self.quantizer = MossAudioTokenizerResidualLFQ(config)
        self.decoder = self._build_half("decoder", config.decoder_kwargs, MossAudioTokenizerUnpatch)
        self.post_init()

    def _build_half(self, part: str, modules: list[dict], patch_class: type[nn.Module]) -> nn.ModuleList:
        stages = {stage["index"]: stage for stage in transformer_stages(self.config, part)}
        half, num_layers = nn.ModuleList(), 0
        for index, kwargs in enumerate(modules):
            if index not in stages:
                half.append(patch_class(kwargs["patch_size"]))
                continue
            half.append(MossAudioTokenizerProjectedTransformer(self.config, stages[index], num_layers))
            num_layers += kwargs["num_layers"]
        return half

    def init_cache(self, part: str, batch_size: int = 1) -> MossAudioTokenizerCache:
        """
        Returns an empty [`MossAudioTokenizerCache`] for `batch_size` streams through the `"encoder"` or the `"decoder"`,
        on the device and in the dtype of the model.
        """
        return MossAudioTokenizerCache(self.config, part, batch_size, device=self.device, dtype=self.dtype)

    @takes_past_key_values
    @can_return_tuple
    def encode(
        self,
        input_values: torch.FloatTensor,
        padding_mask: torch.Tensor | None = None,
        num_quantizers: int | None = None,
        cache: MossAudioTokenizerCache | None = None,
        chunk_duration: float | None = None,
        return_dict: bool | None = None,
    ) -> MossAudioTokenizerEncoderOutput:
        r"""
        Turns waveforms into codes.

        Args:
            input_values (`torch.FloatTensor` of shape `(batch_size, samples)` or `(batch_size, channels, samples)`):
                Waveforms at `config.sampling_rate` Hz, padded on the right. A stereo codec takes mono too, as both of its
                channels; a mono codec takes mono only. They are padded with zeros to a whole
                frame (`config.downsample_rate` samples); as in the reference, a last partial frame does not count in
                `audio_codes_lengths`.
            padding_mask (`torch.BoolTensor` of shape `(batch_size, samples)`, *optional*):
                True where there is audio.
            num_quantizers (`int`, *optional*, defaults to all):
                Number of codebooks.
            cache ([`MossAudioTokenizerCache`], *optional*):
                Streaming: the state of these streams, from [`~MossAudioTokenizerModel.init_cache`]. The chunk must be
                whole frames; a row that has no frame in `padding_mask` is left as it was.
            chunk_duration (`float`, *optional*):
                Encode in chunks of so many seconds: the same result in bounded memory. Without gradients, audio of more
                than four windows is encoded in chunks of a window by default.

        Raises:
            ValueError: for a wrong shape, no, NaN or infinite audio, a part of a frame, a foreign cache.
            TypeError: for input that is not a floating point tensor.
        """
        input_values, lengths = self._check_audio(input_values, padding_mask, cache)
        num_quantizers = self._check_num_quantizers(num_quantizers)
        chunk_frames = self._chunk_frames(chunk_duration, input_values.shape[-1] // self.config.downsample_rate)
        if chunk_frames is not None:
            return self._encode_chunks(input_values, lengths, num_quantizers, cache, chunk_frames)
        return self._encode_frames(input_values, lengths, num_quantizers, cache)

    @takes_past_key_values
    @can_return_tuple
    def decode(
        self,
        audio_codes: torch.LongTensor,
        padding_mask: torch.Tensor | None = None,
        num_quantizers: int | None = None,
        cache: MossAudioTokenizerCache | None = None,
        chunk_duration: float | None = None,
        return_dict: bool | None = None,
    ) -> MossAudioTokenizerDecoderOutput:
        r"""
        Turns codes into waveforms.

        Args:
            audio_codes (`torch.LongTensor` of shape `(num_quantizers, batch_size, frames)` or `(num_quantizers, frames)`):
                Codes of any number of codebooks, padded on the right.
            padding_mask (`torch.BoolTensor` of shape `(batch_size, frames)`, *optional*):
                True where there are codes; what stands elsewhere is not read.
            num_quantizers (`int`, *optional*, defaults to all of `audio_codes`):
                Use the first codebooks only (a lower bitrate).
            cache ([`MossAudioTokenizerCache`], *optional*):
                Streaming: the state of these streams, from [`~MossAudioTokenizerModel.init_cache`]. A row that has no
                frame in `padding_mask` is left as it was.
            chunk_duration (`float`, *optional*):
                Decode in chunks of so many seconds: the same result in bounded memory. Without gradients, more than four
                windows are decoded in chunks of a window by default.

        Raises:
            ValueError: for a wrong shape or number of codebooks, no codes, codes out of range, a foreign cache.
            TypeError: for codes that are not integers.
        """
        audio_codes, lengths = self._check_codes(audio_codes, padding_mask, num_quantizers, cache)
        chunk_frames = self._chunk_frames(chunk_duration, audio_codes.shape[2])
        if chunk_frames is not None:
            return self._decode_chunks(audio_codes, lengths, cache, chunk_frames)
        return self._decode_frames(audio_codes, lengths, cache)

    @can_return_tuple
    @auto_docstring
    def forward(
        self,
        input_values: torch.FloatTensor | None = None,
        padding_mask: torch.BoolTensor | None = None,
        audio_codes: torch.LongTensor | None = None,
        num_quantizers: int | None = None,
        return_dict: bool | None = None,
    ) -> MossAudioTokenizerOutput:
        r"""
        input_values (`torch.FloatTensor` of shape `(batch_size, samples)` or `(batch_size, channels, samples)`, *optional*):
            Waveforms to encode and decode. In training mode gradients pass straight through the quantizer, and its
            losses are returned.
        padding_mask (`torch.BoolTensor` of shape `(batch_size, samples)`, *optional*):
            True where there is audio (with `audio_codes`: of shape `(batch_size, frames)`, where there are codes).
        audio_codes (`torch.LongTensor` of shape `(num_quantizers, batch_size, frames)`, *optional*):
            Codes to decode, instead of `input_values`.
        num_quantizers (`int`, *optional*, defaults to all):
            Number of codebooks.

        Example:

        ```python
        >>> import torch
        >>> from transformers_moss_tts import MossAudioTokenizerModel

        >>> model = MossAudioTokenizerModel.from_pretrained("OpenMOSS-Team/MOSS-Audio-Tokenizer")
        >>> outputs = model(torch.randn(1, 24000))
        >>> outputs.audio_codes.shape
        torch.Size([32, 1, 13])
        ```"""
        if (input_values is None) == (audio_codes is None):
            raise ValueError("Pass either `input_values` (a waveform) or `audio_codes`, not both and not none.")
        if audio_codes is not None:
            codes, lengths = self._check_codes(audio_codes, padding_mask, num_quantizers, None)
            decoded = self._decode_frames(codes, lengths)
            return MossAudioTokenizerOutput(decoded.audio, decoded.audio_lengths, codes, lengths)

        input_values, lengths = self._check_audio(input_values, padding_mask, None)
        num_quantizers = self._check_num_quantizers(num_quantizers)
        hidden_states, lengths = self._run_encoder(input_values, lengths)
        quantized, codes, commitment_loss, codebook_loss = self.quantizer(hidden_states, lengths, num_quantizers)
        decoded = self._run_decoder(quantized, lengths)
        losses = (commitment_loss, codebook_loss) if self.training else (None, None)
        audio = decoded.audio[..., : input_values.shape[-1]]
        return MossAudioTokenizerOutput(audio, decoded.audio_lengths, codes, lengths, quantized, *losses)

    def _run_encoder(
        self, input_values: torch.Tensor, lengths: torch.Tensor, cache: MossAudioTokenizerCache | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        frame_lengths = lengths // self.config.downsample_rate
        padded = nn.functional.pad(input_values, (0, -input_values.shape[-1] % self.config.downsample_rate))
        hidden_states = interleave_channels(padded).to(self.dtype)[..., None]
        for module in self.encoder:
            hidden_states = module(hidden_states, cache, frame_lengths)
        if cache is not None:
            cache.num_frames.add_(frame_lengths)
        return hidden_states.transpose(1, 2), frame_lengths

    def _run_decoder(
        self,
        quantized: torch.Tensor,
        frame_lengths: torch.Tensor,
        cache: MossAudioTokenizerCache | None = None,
    ) -> MossAudioTokenizerDecoderOutput:
        hidden_states = quantized.transpose(1, 2).to(self.dtype)
        for module in self.decoder:
            hidden_states = module(hidden_states, cache, frame_lengths)
        if cache is not None:
            cache.num_frames.add_(frame_lengths)
        lengths = frame_lengths * self.config.downsample_rate
        audio = split_channels(hidden_states[..., 0], self.config.num_channels)
        is_audio = torch.arange(audio.shape[2], device=audio.device) < lengths[:, None]
        return MossAudioTokenizerDecoderOutput(audio * is_audio[:, None], lengths, cache)

    def _encode_frames(
        self,
        input_values: torch.Tensor,
        lengths: torch.Tensor,
        num_quantizers: int,
        cache: MossAudioTokenizerCache | None = None,
    ) -> MossAudioTokenizerEncoderOutput:
        hidden_states, frame_lengths = self._run_encoder(input_values, lengths, cache)
        codes = self.quantizer(hidden_states, frame_lengths, num_quantizers)[1]
        return MossAudioTokenizerEncoderOutput(codes, frame_lengths, hidden_states, cache)

    def _decode_frames(
        self,
        audio_codes: torch.Tensor,
        frame_lengths: torch.Tensor,
        cache: MossAudioTokenizerCache | None = None,
    ) -> MossAudioTokenizerDecoderOutput:
        return self._run_decoder(self.quantizer.decode(audio_codes), frame_lengths, cache)

    def _encode_chunks(
        self,
        input_values: torch.Tensor,
        lengths: torch.Tensor,
        num_quantizers: int,
        cache: MossAudioTokenizerCache | None,
        chunk_frames: int,
    ) -> MossAudioTokenizerEncoderOutput:
        step = chunk_frames * self.config.downsample_rate
        state = cache or self.init_cache("encoder", input_values.shape[0])
        chunks = [
            self._encode_frames(chunk, (lengths - start).clamp(0, chunk.shape[-1]), num_quantizers, state)
            for start, chunk in _split(input_values, step)
        ]
        return MossAudioTokenizerEncoderOutput(
            audio_codes=torch.cat([chunk.audio_codes for chunk in chunks], dim=-1),
            audio_codes_lengths=lengths // self.config.downsample_rate,
            encoder_hidden_states=torch.cat([chunk.encoder_hidden_states for chunk in chunks], dim=-1),
            cache=cache,
        )

    def _decode_chunks(
        self,
        audio_codes: torch.Tensor,
        lengths: torch.Tensor,
        cache: MossAudioTokenizerCache | None,
        chunk_frames: int,
    ) -> MossAudioTokenizerDecoderOutput:
        state = cache or self.init_cache("decoder", audio_codes.shape[1])
        chunks = [
            self._decode_frames(chunk, (lengths - start).clamp(0, chunk.shape[-1]), state)
            for start, chunk in _split(audio_codes, chunk_frames)
        ]
        return MossAudioTokenizerDecoderOutput(
            audio=torch.cat([chunk.audio for chunk in chunks], dim=-1),
            audio_lengths=lengths * self.config.downsample_rate,
            cache=cache,
        )

    def _chunk_frames(self, chunk_duration: float | None, num_frames: int) -> int | None:
        """Frames a chunk, or `None` to run all at once."""
        if chunk_duration is None:
            window = int(context_duration(self.config) * self.config.frame_rate)
            # Beyond a few windows chunks are faster, and memory stays flat; a chunk's cache carries no gradient.
            is_long = num_frames > _MANY_WINDOWS * window and not torch.is_grad_enabled()
            return max(1, window) if is_long and not torch.compiler.is_compiling() else None
        frames = chunk_duration * self.config.frame_rate
        if frames < 1 or abs(frames - round(frames)) > 1e-6:
            frame_duration = 1 / self.config.frame_rate
            raise ValueError(
                f"`chunk_duration` must be a whole number of frames of {frame_duration:g} s, got {chunk_duration} s "
                f"({frames:g} frames). Try {max(1, round(frames)) * frame_duration:g}."
            )
        return round(frames)

    def _check_num_quantizers(self, num_quantizers: int | None) -> int:
        if num_quantizers is None:
            return self.config.num_quantizers
        if not 1 <= num_quantizers <= self.config.num_quantizers:
            raise ValueError(
                f"`num_quantizers` must be between 1 and {self.config.num_quantizers}, got {num_quantizers}."
            )
        return num_quantizers

    def _check_audio(
        self,
        input_values: torch.Tensor,
        padding_mask: torch.Tensor | None,
        cache: MossAudioTokenizerCache | None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Waveforms `(batch_size, channels, samples)`, zero where there is no audio, and their lengths in samples."""
        if not isinstance(input_values, torch.Tensor) or not input_values.is_floating_point():
            given = getattr(input_values, "dtype", type(input_values).__name__)
            raise TypeError(f"`input_values` must be a floating point tensor with values in -1 to 1, got {given}.")
        num_channels = self.config.num_channels
        if input_values.ndim == 2:
            input_values = input_values[:, None]
        if input_values.ndim != 3 or input_values.shape[1] not in (1, num_channels):
            raise ValueError(
                "`input_values` must have shape (batch_size, samples) or (batch_size, channels, samples) and be mono"
                f"{' or stereo' * (num_channels == 2)}, got {tuple(input_values.shape)}. Add a batch dimension with "
                "`[None]`; mix channels with `.mean(1)`."
            )
        input_values = input_values.expand(-1, num_channels, -1)
        batch_size, _, num_samples = input_values.shape
        if input_values.numel() == 0:
            raise ValueError(f"`input_values` is empty: its shape is {tuple(input_values.shape)}.")
        lengths = _lengths_of(padding_mask, batch_size, num_samples, input_values.device)
        if padding_mask is not None:
            is_audio = torch.arange(num_samples, device=input_values.device) < lengths[:, None]
            input_values = input_values.masked_fill(~is_audio[:, None], 0)
        if cache is not None:
            self._check_cache(cache, "encoder", batch_size)
        if torch.compiler.is_compiling():
            return input_values, lengths
        if not torch.isfinite(input_values).all():
            raise ValueError("`input_values` has NaN or infinite samples: check how the audio was read.")
        frame = self.config.downsample_rate
        if cache is None and (lengths < frame).any():
            raise ValueError(
                f"Every row needs at least one frame of audio, {frame} samples ({1 / self.config.frame_rate:g} s), got "
                f"{lengths.tolist()}. Pad short audio with zeros."
            )
        if cache is not None and (num_samples % frame or (lengths % frame).any()):
            raise ValueError(
                f"A chunk of a stream must be a whole number of frames of {frame} samples, got {num_samples} samples "
                f"and lengths {lengths.tolist()}. Keep the rest for the next chunk; pad the last one with zeros."
            )
        return input_values, lengths

    def _check_codes(
        self,
        audio_codes: torch.Tensor,
        padding_mask: torch.Tensor | None,
        num_quantizers: int | None,
        cache: MossAudioTokenizerCache | None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Codes `(num_quantizers, batch_size, frames)`, 0 where there are none, and their lengths in frames."""
        if not isinstance(audio_codes, torch.Tensor) or audio_codes.is_floating_point() or audio_codes.is_complex():
            given = getattr(audio_codes, "dtype", type(audio_codes).__name__)
            raise TypeError(f"`audio_codes` must be an integer tensor, got {given}.")
        if audio_codes.ndim == 2:
            audio_codes = audio_codes[:, None]
        if audio_codes.ndim != 3:
            raise ValueError(
                "`audio_codes` must have shape (num_quantizers, batch_size, frames) or (num_quantizers, frames), got "
                f"{tuple(audio_codes.shape)}."
            )
        if audio_codes.numel() == 0:
            raise ValueError(f"`audio_codes` is empty: its shape is {tuple(audio_codes.shape)}.")
        if audio_codes.shape[0] > self.config.num_quantizers:
            raise ValueError(
                f"`audio_codes` has {audio_codes.shape[0]} codebooks, this codec has {self.config.num_quantizers}. Its "
                "layout is (num_quantizers, batch_size, frames); for (batch_size, frames, num_quantizers) call "
                "`.permute(2, 0, 1)` first."
            )
        if num_quantizers is not None:
            if not 1 <= num_quantizers <= audio_codes.shape[0]:
                raise ValueError(
                    f"`num_quantizers` must be between 1 and the {audio_codes.shape[0]} codebooks of `audio_codes`, "
                    f"got {num_quantizers}."
                )
            audio_codes = audio_codes[:num_quantizers]
        _, batch_size, num_frames = audio_codes.shape
        lengths = _lengths_of(padding_mask, batch_size, num_frames, audio_codes.device)
        if padding_mask is not None:
            is_audio = torch.arange(num_frames, device=audio_codes.device) < lengths[:, None]
            audio_codes = audio_codes.masked_fill(~is_audio, 0)
        if cache is not None:
            self._check_cache(cache, "decoder", batch_size)
        if torch.compiler.is_compiling():
            return audio_codes, lengths
        low, high = (int(bound) for bound in audio_codes.aminmax())
        if low < 0 or high >= self.config.codebook_size:
            raise ValueError(
                f"`audio_codes` must be between 0 and {self.config.codebook_size - 1}, got values from {low} to {high}. "
                "Remove pad codes, or mark them in `padding_mask`."
            )
        return audio_codes, lengths

    def _check_cache(self, cache: MossAudioTokenizerCache, part: str, batch_size: int) -> None:
        if not isinstance(cache, MossAudioTokenizerCache):
            raise TypeError(
                f"`cache` must be a MossAudioTokenizerCache, got {type(cache).__name__}. Make one with "
                f"`model.init_cache({part!r}, batch_size={batch_size})`."
            )
        expected = MossAudioTokenizerCache.expected_layer_shapes(self.config, part)
        if cache.part != part or cache.layer_shapes != expected:
            raise ValueError(
                f"This cache belongs to another model or to the other half of the codec ({cache.part}, "
                f"{len(cache.layer_shapes)} layers). Make one with `model.init_cache({part!r}, "
                f"batch_size={batch_size})`."
            )
        if cache.batch_size != batch_size:
            raise ValueError(
                f"This cache holds {cache.batch_size} streams but the batch has {batch_size} rows: pass all the rows "
                "of the cache and mark those without new frames in `padding_mask`, or make another cache."
            )
        if cache.dtype != self.dtype or cache.device != self.device:
            raise ValueError(
                f"This cache is {cache.dtype} on {cache.device}, the model is {self.dtype} on {self.device}: call "
                "`model.init_cache` after moving the model."
            )


def interleave_channels(waveforms: torch.Tensor) -> torch.Tensor:
    """Streams `(batch_size, samples * channels)` of waveforms `(batch_size, channels, samples)`: left, right, left, ..."""
    return waveforms.transpose(1, 2).flatten(1)


def split_channels(streams: torch.Tensor, num_channels: int) -> torch.Tensor:
    """The inverse of [`interleave_channels`]."""
    return streams.unflatten(1, (-1, num_channels)).transpose(1, 2)


def _lengths_of(
    padding_mask: torch.Tensor | None, batch_size: int, num_steps: int, device: torch.device
) -> torch.Tensor:
    if padding_mask is None:
        return torch.full((batch_size,), num_steps, device=device)
    if padding_mask.shape != (batch_size, num_steps):
        raise ValueError(
            f"`padding_mask` must have shape {(batch_size, num_steps)}, one value a step, got "
            f"{tuple(padding_mask.shape)}."
        )
    padding_mask = padding_mask.to(device=device, dtype=torch.bool)
    lengths = padding_mask.sum(1)
    if not torch.compiler.is_compiling():
        if not torch.equal(padding_mask, torch.arange(num_steps, device=device) < lengths[:, None]):
            raise ValueError("`padding_mask` must be True up to each row's length and False after it (right padding).")
    return lengths


def _split(tensor: torch.Tensor, step: int) -> list[tuple[int, torch.Tensor]]:
    return [(start, tensor[..., start : start + step]) for start in range(0, tensor.shape[-1], step)]


__all__ = ["MossAudioTokenizerModel", "MossAudioTokenizerPreTrainedModel"]
