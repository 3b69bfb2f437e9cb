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
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import nn
from transformers import initialization as init
from transformers.generation import CompileConfig
from transformers.modeling_utils import PreTrainedAudioTokenizerBase
from transformers.utils import ModelOutput, auto_docstring, can_return_tuple

from ..compatibility import takes_past_key_values
from ..loading.checkpoint import CheckpointMixin
from ..loading.remote_code import RemoteCodeMixin
from ..utils.checks import check_number
from ..utils.compiling import CompiledFunctions
from .cache_moss_audio_tokenizer import MossAudioTokenizerCache
from .configuration_moss_audio_tokenizer import MossAudioTokenizerConfig
from .inputs_moss_audio_tokenizer import (
    check_audio,
    check_codes,
    check_num_quantizers,
    interleave_channels,
    split_channels,
)
from .quantizer_moss_audio_tokenizer import MossAudioTokenizerResidualLFQ
from .stages_moss_audio_tokenizer import context_duration, transformer_stages
from .transformer_moss_audio_tokenizer import (
    MossAudioTokenizerLayerScale,
    MossAudioTokenizerPatch,
    MossAudioTokenizerProjectedTransformer,
    MossAudioTokenizerUnpatch,
)
from .upstream_moss_audio_tokenizer import UpstreamCallsMixin


# Length in attention windows from which inference runs in chunks.
_MANY_WINDOWS = 4


@auto_docstring
@dataclass
class MossAudioTokenizerEncoderOutput(ModelOutput):
    r"""
    audio_codes (`torch.LongTensor` of shape `(num_quantizers, batch_size, frames)`):
        Codes. Frames past `audio_codes_lengths` are padding, a last partial frame of audio among them.
    audio_codes_lengths (`torch.LongTensor` of shape `(batch_size,)`):
        Number of whole frames of audio of each sequence.
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
        Number of samples of each sequence.
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
        Number of samples of each sequence.
    audio_codes (`torch.LongTensor` of shape `(num_quantizers, batch_size, frames)`):
        Codes that were decoded.
    audio_codes_lengths (`torch.LongTensor` of shape `(batch_size,)`):
        Number of frames of each sequence.
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


@auto_docstring
class MossAudioTokenizerPreTrainedModel(RemoteCodeMixin, CheckpointMixin, PreTrainedAudioTokenizerBase):
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
class MossAudioTokenizerModel(UpstreamCallsMixin, MossAudioTokenizerPreTrainedModel):
    def __init__(self, config: MossAudioTokenizerConfig):
        super().__init__(config)
        self._compute_dtype: torch.dtype | None = None
        self._compiled_functions = CompiledFunctions()
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

    def init_cache(
        self, part: str, batch_size: int = 1, compile_config: CompileConfig | None = None
    ) -> MossAudioTokenizerCache:
        """
        Returns an empty [`MossAudioTokenizerCache`] for `batch_size` streams through the `"encoder"` or the `"decoder"`,
        on the device and in the [`~MossAudioTokenizerModel.compute_dtype`] of the model. With a `compile_config` chunks of one
        frame run compiled, whose first takes as long as compiling does.
        """
        return MossAudioTokenizerCache(
            self.config, part, batch_size, device=self.device, dtype=self.compute_dtype, compile_config=compile_config
        )

    @property
    def compute_dtype(self) -> torch.dtype:
        """
        What encoder and decoder compute in: what was set here (`None`: no more), else that of the weights. Weights in float32
        follow the `compute_dtype` of the configuration on a GPU in evaluation. The quantizer always computes in float32.
        """
        if self._compute_dtype is not None:
            return self._compute_dtype
        preferred = self.config.preferred_compute_dtype
        is_served = self.device.type == "cuda" and self.dtype == torch.float32 and not self.training
        return preferred if preferred is not None and is_served else self.dtype

    @compute_dtype.setter
    def compute_dtype(self, dtype: torch.dtype | None) -> None:
        if dtype == torch.float32 and self.dtype != torch.float32:
            raise ValueError(
                f"Weights in {self.dtype} cannot compute in {dtype}: load the codec with `dtype=torch.float32`, or call "
                "`model.float()`."
            )
        self._compute_dtype = dtype

    def _computing(self) -> AbstractContextManager:
        dtype = self.compute_dtype
        return nullcontext() if dtype == self.dtype else torch.autocast(self.device.type, dtype)

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
                whole frames; a stream that has no frame in `padding_mask` is left as it was.
            chunk_duration (`float`, *optional*):
                Encode in chunks of so many seconds: the same result in bounded memory. Without gradients, audio of more
                than four windows is encoded in chunks of a window by default.

        Raises:
            ValueError: for a wrong shape, no, NaN or infinite audio, a part of a frame, a foreign cache.
            TypeError: for input that is not a floating point tensor.
        """
        input_values, lengths = check_audio(self.config, input_values, padding_mask, is_stream=cache is not None)
        self._check_cache(cache, "encoder", input_values.shape[0])
        num_quantizers = check_num_quantizers(self.config, num_quantizers)
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
        Turns codes into waveforms; no frames into waveforms without samples.

        Args:
            audio_codes (`torch.LongTensor` of shape `(num_quantizers, batch_size, frames)` or `(num_quantizers, frames)`):
                Codes of any number of codebooks, padded on the right.
            padding_mask (`torch.BoolTensor` of shape `(batch_size, frames)`, *optional*):
                True where there are codes; what stands elsewhere is not read.
            num_quantizers (`int`, *optional*, defaults to all of `audio_codes`):
                Use the first codebooks only (a lower bitrate).
            cache ([`MossAudioTokenizerCache`], *optional*):
                Streaming: the state of these streams, from [`~MossAudioTokenizerModel.init_cache`]. A stream that has no
                frame in `padding_mask` is left as it was.
            chunk_duration (`float`, *optional*):
                Decode in chunks of so many seconds: the same result in bounded memory. Without gradients, more than four
                windows are decoded in chunks of a window by default.

        Raises:
            ValueError: for a wrong shape or number of codebooks, codes out of range, a foreign cache.
            TypeError: for codes that are not integers.
        """
        audio_codes, lengths = check_codes(self.config, audio_codes, padding_mask, num_quantizers)
        self._check_cache(cache, "decoder", audio_codes.shape[1])
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
            codes, lengths = check_codes(self.config, audio_codes, padding_mask, num_quantizers)
            decoded = self._decode_frames(codes, lengths)
            return MossAudioTokenizerOutput(decoded.audio, decoded.audio_lengths, codes, lengths)

        input_values, lengths = check_audio(self.config, input_values, padding_mask, is_stream=False)
        num_quantizers = check_num_quantizers(self.config, num_quantizers)
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
        with self._computing():
            for module in self.encoder:
                hidden_states = module(hidden_states, cache, frame_lengths)
        if cache is not None:
            cache.num_frames.add_(frame_lengths)
        return hidden_states.transpose(1, 2).to(self.dtype), frame_lengths

    def _run_decoder(
        self,
        quantized: torch.Tensor,
        frame_lengths: torch.Tensor,
        cache: MossAudioTokenizerCache | None = None,
    ) -> MossAudioTokenizerDecoderOutput:
        hidden_states = quantized.transpose(1, 2).to(self.dtype)
        with self._computing():
            for module in self.decoder:
                hidden_states = module(hidden_states, cache, frame_lengths)
        if cache is not None:
            cache.num_frames.add_(frame_lengths)
        lengths = frame_lengths * self.config.downsample_rate
        audio = split_channels(hidden_states[..., 0].to(self.dtype), self.config.num_channels)
        is_audio = torch.arange(audio.shape[2], device=audio.device) < lengths[:, None]
        return MossAudioTokenizerDecoderOutput(audio * is_audio[:, None], lengths, cache)

    def _encode_frames(
        self,
        input_values: torch.Tensor,
        lengths: torch.Tensor,
        num_quantizers: int,
        cache: MossAudioTokenizerCache | None = None,
    ) -> MossAudioTokenizerEncoderOutput:
        encode = self._of_a_chunk(self._encode_waveforms, cache, input_values.shape[-1] // self.config.downsample_rate)
        return encode(input_values, lengths, num_quantizers, cache)

    def _encode_waveforms(
        self,
        input_values: torch.Tensor,
        lengths: torch.Tensor,
        num_quantizers: int,
        cache: MossAudioTokenizerCache | None,
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
        if audio_codes.shape[2] == 0:
            shape = (audio_codes.shape[1], self.config.num_channels, 0)
            audio = torch.zeros(shape, dtype=self.dtype, device=audio_codes.device)
            return MossAudioTokenizerDecoderOutput(audio, frame_lengths, cache)
        decode = self._of_a_chunk(self._decode_codes, cache, audio_codes.shape[2])
        return decode(audio_codes, frame_lengths, cache)

    def _decode_codes(
        self, audio_codes: torch.Tensor, frame_lengths: torch.Tensor, cache: MossAudioTokenizerCache | None
    ) -> MossAudioTokenizerDecoderOutput:
        return self._run_decoder(self.quantizer.decode(audio_codes), frame_lengths, cache)

    def _of_a_chunk(self, function: Callable, cache: MossAudioTokenizerCache | None, num_frames: int) -> Callable:
        """A function as a chunk of so many frames runs it: that of one frame is compiled where the stream wants it."""
        if cache is None or cache.compile_config is None or num_frames != 1:
            return function
        return self._compiled_functions.get(function, cache.compile_config)

    def _check_cache(self, cache: MossAudioTokenizerCache | None, part: str, batch_size: int) -> None:
        if cache is None:
            return
        if not isinstance(cache, MossAudioTokenizerCache):
            raise TypeError(
                f"`cache` must be a MossAudioTokenizerCache, got {type(cache).__name__}. Make one with "
                f"`model.init_cache({part!r}, batch_size={batch_size})`."
            )
        cache.check(self.config, part, batch_size, self.device, self.compute_dtype)

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
            if torch.is_grad_enabled() or torch.compiler.is_compiling() or num_frames <= _MANY_WINDOWS:
                return None
            window = int(context_duration(self.config) * self.config.frame_rate)
            # Beyond a few windows chunks are faster, and memory stays flat; a chunk's cache carries no gradient.
            return max(1, window) if num_frames > _MANY_WINDOWS * window else None
        check_number("chunk_duration", chunk_duration, math.ulp(0), unit="seconds")
        frames = chunk_duration * self.config.frame_rate
        if not 1 <= frames < math.inf or abs(frames - round(frames)) > 1e-6:
            frame_duration = 1 / self.config.frame_rate
            nearest = max(1, round(min(frames, num_frames)))
            raise ValueError(
                f"`chunk_duration` must be a whole number of frames of {frame_duration:g} s, got {chunk_duration} s "
                f"({frames:g} frames). Try {nearest * frame_duration:g}."
            )
        return round(frames)


def _split(tensor: torch.Tensor, step: int) -> list[tuple[int, torch.Tensor]]:
    return [(start, tensor[..., start : start + step]) for start in range(0, tensor.shape[-1], step)]


__all__ = ["MossAudioTokenizerModel", "MossAudioTokenizerPreTrainedModel"]
