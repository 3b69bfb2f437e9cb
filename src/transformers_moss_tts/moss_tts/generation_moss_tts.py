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
"""Generation of MOSS-TTS models."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import nn
from transformers.cache_utils import Cache, DynamicCache
from transformers.generation import GenerateDecoderOnlyOutput, GenerationConfig, GenerationMixin, GenerationMode
from transformers.generation.logits_process import LogitsProcessorList
from transformers.generation.stopping_criteria import StoppingCriteriaList
from transformers.utils import logging

from ..compatibility import CACHE_NAME, takes_either_cache_name
from ..modules.few_row_linear import ready_weights
from ..moss_tts_delay.delay_pattern import DelayPatternState, split_audio_codes
from .growing_cache import let_grow
from .sampling import CodeHistory, sample_tokens


if TYPE_CHECKING:
    from transformers.generation.streamers import BaseStreamer


logger = logging.get_logger(__name__)

# The reference's defaults, used where neither the `generate` call nor the generation config says otherwise. `seed` is ours.
GENERATION_DEFAULTS = {
    "text_temperature": 1.5,
    "text_top_p": 1.0,
    "text_top_k": 50,
    "audio_temperature": 1.7,
    "audio_top_p": 0.8,
    "audio_top_k": 25,
    "audio_repetition_penalty": 1.0,
    "seed": None,
}
# What the reference's examples ask for: 5 minutes and 27 seconds of audio.
DEFAULT_MAX_NEW_TOKENS = 4096

# transformers' own knobs of one vocabulary, and ours that take their place.
_REPLACED_KNOBS = {
    "temperature": "text_temperature and audio_temperature",
    "top_k": "text_top_k and audio_top_k",
    "top_p": "text_top_p and audio_top_p",
    "repetition_penalty": "audio_repetition_penalty",
}


@dataclass
class MossTTSGenerateOutput(GenerateDecoderOnlyOutput):
    """
    Outputs of `generate` with `return_dict_in_generate=True`.

    Args:
        sequences (`torch.LongTensor` of shape `(batch_size, length, 1 + n_vq)`):
            The prompt and what was generated; rows that ended are padded on the right.
        scores:
            Always `None`: there is no one tensor of processed scores.
        logits (`tuple(torch.FloatTensor)`, *optional*, returned when `output_logits=True`):
            Text scores of every step, `(batch_size, vocab_size)`.
        audio_logits (`tuple(torch.FloatTensor)`, *optional*, returned when `output_logits=True`):
            Scores of the codebooks of every step, `(batch_size, n_vq, audio_vocab_size + 1)`.
        attentions, hidden_states (`tuple(tuple(torch.FloatTensor))`, *optional*):
            Of every step, as transformers returns them.
        cache (`Cache`, *optional*):
            Keys and values of the backbone; `past_key_values` before transformers 5.24.
        audio_codes (`list[torch.LongTensor]`):
            The generated codes of every row, `(frames, n_vq)`, no longer delayed and without those of the prompt. Only
            complete frames; the spans of a row that has several are joined.
        prefix_codes (`list[torch.LongTensor]`):
            The codes that the prompt's assistant turn began with, `(frames, n_vq)`: a codec that decodes the continuation
            alone would miss its context. Empty where the prompt was no continuation.
        reached_limit (`torch.BoolTensor` of shape `(batch_size,)`):
            Rows that did not end by themselves but were cut.
    """

    audio_codes: list[torch.LongTensor] | None = None
    prefix_codes: list[torch.LongTensor] | None = None
    audio_logits: tuple[torch.FloatTensor, ...] | None = None
    reached_limit: torch.BoolTensor | None = None


class MossTTSGenerationMixin(GenerationMixin):
    """`generate` for models with a text channel and codebooks; as it stands, in the delay pattern."""

    # Knobs of `generate` that are not transformers' own, and the reference's values of them.
    generation_defaults: ClassVar[dict[str, Any]] = GENERATION_DEFAULTS

    @staticmethod
    def end_token_id(config) -> int:
        """Text token that ends a generation."""
        return config.im_end_token_id

    @classmethod
    def default_generation_config(cls, config) -> GenerationConfig:
        """The family's generation config: sampling with the reference's defaults."""
        return GenerationConfig(
            do_sample=True,
            max_new_tokens=DEFAULT_MAX_NEW_TOKENS,
            eos_token_id=cls.end_token_id(config),
            pad_token_id=config.pad_token_id,
            **cls.generation_defaults,
        )

    @property
    def modules_read_a_step(self) -> list[nn.Module]:
        """Parts of the model whose weights every step inside audio reads."""
        return [self.language_model, self.audio_heads]

    def new_row_decoder(self, input_ids: torch.LongTensor, generation_config: GenerationConfig) -> "DelayRowDecoder":
        """What turns the outputs of a step into the next row of tokens."""
        return DelayRowDecoder(self.config, input_ids, generation_config)

    def split_audio_codes(
        self, sequences: torch.LongTensor, prompt_length: int
    ) -> tuple[list[torch.LongTensor], list[torch.LongTensor]]:
        """Codes `(frames, n_vq)` of every row: those that its prompt began with, and the generated ones."""
        return split_audio_codes(self.config, sequences, prompt_length)

    def adjust_generation_fn(self, *args, **kwargs):
        super().adjust_generation_fn(*args, **kwargs)
        loaded, self.generation_config = self.generation_config, self.default_generation_config(self.config)
        # Checkpoints without a generation_config.json get one made from config.json, which says nothing of generation.
        if not loaded._from_model_config:
            self.generation_config.update(allow_custom_entries=True, **loaded.to_diff_dict())

    @takes_either_cache_name
    @torch.no_grad()
    def generate(
        self,
        inputs: torch.LongTensor | None = None,
        attention_mask: torch.Tensor | None = None,
        **kwargs,
    ) -> MossTTSGenerateOutput | torch.LongTensor:
        r"""
        Generates speech; see [`~transformers.GenerationMixin.generate`] for what is not said here.

        Args:
            inputs (`torch.LongTensor` of shape `(batch_size, length, 1 + n_vq)`):
                The prompt. Can also be passed as `input_ids`. Padding, wherever `attention_mask` says it is, moves to the
                left.
            attention_mask (`torch.Tensor` of shape `(batch_size, length)`, *optional*):
                0 or False where the prompt is padding.
            text_temperature, text_top_p, text_top_k, audio_temperature, audio_top_p, audio_top_k (*optional*):
                Sampling of the text channel and of the codebooks. A temperature of 0, or `do_sample=False` for both, takes
                the best token.
            audio_repetition_penalty (`float`, *optional*):
                Above 1 it makes codes of the row's history less likely. Codebook 1 has a history of its own, the others
                share theirs, as in the reference.
            seed (`int`, *optional*):
                Seed of this call's own random generator. Without it the global one is used.
            max_new_tokens (`int`, *optional*):
                Longest generation in rows; a second of audio takes 12.5 of them and every span `n_vq` more.

        Returns:
            `torch.LongTensor` of shape `(batch_size, length, 1 + n_vq)` with the prompt, or a [`MossTTSGenerateOutput`].

        Raises:
            ValueError: for a prompt of the wrong shape or with ids out of range, or a mode or option that one vocabulary has
                and these models do not (beam search, assisted generation, logits processors, `top_k`, ...).
        """
        input_ids = kwargs.pop("input_ids", None) if inputs is None else inputs
        input_ids, attention_mask = self._check_prompt(input_ids, attention_mask, kwargs)
        return super().generate(input_ids, attention_mask=attention_mask, **kwargs)

    def _check_prompt(
        self, input_ids: torch.LongTensor | None, attention_mask: torch.Tensor | None, kwargs: dict[str, Any]
    ) -> tuple[torch.LongTensor, torch.Tensor | None]:
        if input_ids is None or kwargs.get("inputs_embeds") is not None:
            raise ValueError("`generate` needs `input_ids`: the states of a prompt do not say which codes it has.")
        num_channels = 1 + self.config.n_vq
        if input_ids.ndim != 3 or input_ids.shape[-1] != num_channels or input_ids.shape[1] == 0:
            raise ValueError(
                f"`input_ids` must have shape (batch_size, length, {num_channels}), a text token and {self.config.n_vq} "
                f"codes a position, got {tuple(input_ids.shape)}. The processor makes it."
            )
        if attention_mask is not None:
            if attention_mask.shape != input_ids.shape[:2]:
                raise ValueError(
                    f"`attention_mask` must have shape {tuple(input_ids.shape[:2])}, got {tuple(attention_mask.shape)}."
                )
            input_ids, attention_mask = self._align_prompts(input_ids, attention_mask)
        limits = input_ids.new_full((num_channels,), self.config.audio_vocab_size + 1)
        limits[0] = self.config.vocab_size
        if ((input_ids < 0) | (input_ids >= limits)).any():
            raise ValueError(
                f"`input_ids` has ids out of range: text tokens must be below {self.config.vocab_size}, codes between 0 "
                f"and {self.config.audio_vocab_size - 1}, or {self.config.audio_pad_code} where there is no audio. Got at "
                f"most {input_ids.amax((0, 1)).tolist()} and at least {int(input_ids.min())}."
            )
        return input_ids, attention_mask

    def _align_prompts(
        self, input_ids: torch.LongTensor, attention_mask: torch.Tensor
    ) -> tuple[torch.LongTensor, torch.Tensor]:
        """Padding to the left, in the pads of each channel: what pads a batch, a pipeline say, may know neither."""
        order = attention_mask.bool().long().argsort(dim=1, stable=True)
        attention_mask = attention_mask.gather(1, order)
        input_ids = input_ids.gather(1, order[..., None].expand_as(input_ids))
        pad = input_ids.new_full(input_ids.shape[2:], self.config.audio_pad_code)
        pad[0] = self.config.pad_token_id
        return torch.where(attention_mask.bool()[..., None], input_ids, pad), attention_mask

    def _prepare_generation_config(self, generation_config: GenerationConfig | None, **kwargs: Any):
        for name, ours in _REPLACED_KNOBS.items():
            if kwargs.get(name) is not None:
                raise ValueError(f"`{name}` is for one vocabulary; this model has {ours}.")
        knobs = {name: kwargs.pop(name) for name in self.generation_defaults if name in kwargs}
        asks_for_length = kwargs.get("max_length") is not None and kwargs.get("max_new_tokens") is None
        generation_config, model_kwargs = super()._prepare_generation_config(generation_config, **kwargs)
        if asks_for_length:
            # The model's own `max_new_tokens` would overrule it.
            generation_config.max_new_tokens = None
        for name, default in self.generation_defaults.items():
            value = getattr(generation_config, name, None)
            value = getattr(self.generation_config, name, None) if value is None else value
            setattr(generation_config, name, knobs.get(name, default if value is None else value))
        if generation_config.eos_token_id is None:
            generation_config.eos_token_id = self.end_token_id(self.config)
        if generation_config.pad_token_id is None:
            generation_config.pad_token_id = self.config.pad_token_id
        _check_knobs(generation_config)
        return generation_config, model_kwargs

    def _prepare_cache_for_generation(self, generation_config, model_kwargs, *args, **kwargs):
        is_given = model_kwargs.get(CACHE_NAME) is not None
        super()._prepare_cache_for_generation(generation_config, model_kwargs, *args, **kwargs)
        cache = model_kwargs.get(CACHE_NAME)
        if type(cache) is DynamicCache and not is_given and not cache.offloading:
            model_kwargs[CACHE_NAME] = let_grow(cache)

    def _validate_generation_mode(self, generation_mode, generation_config, generation_mode_kwargs):
        if generation_mode not in (GenerationMode.GREEDY_SEARCH, GenerationMode.SAMPLE):
            raise ValueError(
                f"{type(self).__name__} generates by sampling or greedily, not by {generation_mode.value}: leave "
                "`num_beams` at 1 and pass no assistant model."
            )
        if generation_config.output_scores:
            raise ValueError("`output_scores` is not supported: ask for `output_logits`, which are of all channels.")
        if generation_config.prefill_chunk_size is not None:
            raise ValueError("`prefill_chunk_size` is not supported: it would cut a prompt between its channels.")
        super()._validate_generation_mode(generation_mode, generation_config, generation_mode_kwargs)

    def _get_logits_processor(self, *args, logits_processor=None, prefix_allowed_tokens_fn=None, **kwargs):
        if logits_processor or prefix_allowed_tokens_fn is not None:
            raise ValueError(
                "Logits processors and `prefix_allowed_tokens_fn` see one vocabulary; this model has a text channel and "
                f"{self.config.n_vq} codebooks. Use the text_* and audio_* options."
            )
        return LogitsProcessorList()

    def _sample(
        self,
        input_ids: torch.LongTensor,
        logits_processor: LogitsProcessorList,
        stopping_criteria: StoppingCriteriaList,
        generation_config: GenerationConfig,
        synced_gpus: bool = False,
        streamer: "BaseStreamer | None" = None,
        **model_kwargs,
    ) -> MossTTSGenerateOutput | torch.LongTensor:
        """Stopping criteria see the text channel, `(batch_size, length)`; the streamer gets rows of all channels."""
        with ready_weights(self.modules_read_a_step, len(input_ids)):
            return self._generate_rows(
                input_ids, stopping_criteria, generation_config, synced_gpus, streamer, model_kwargs
            )

    def _generate_rows(
        self,
        input_ids: torch.LongTensor,
        stopping_criteria: StoppingCriteriaList,
        generation_config: GenerationConfig,
        synced_gpus: bool,
        streamer: "BaseStreamer | None",
        model_kwargs: dict[str, Any],
    ) -> MossTTSGenerateOutput | torch.LongTensor:
        prompt_length = input_ids.shape[1]
        loop = _GenerationBuffers(self, input_ids, stopping_criteria.max_length, model_kwargs)
        decoder = self.new_row_decoder(input_ids, generation_config)
        record = _Record(generation_config)

        model_forward = (
            self.get_compiled_call(generation_config.compile_config)
            if self._valid_auto_compile_criteria(model_kwargs, generation_config)
            else self.__call__
        )
        outputs = self._prefill(input_ids, generation_config, model_kwargs)
        forward_options, is_finished = {}, False
        while True:
            if not is_finished:
                row = decoder.next_row(outputs)
                record.add(outputs)
                loop.append(row)
                if streamer is not None:
                    streamer.put(row.cpu())
                # A criterion that stops a row ends it like its own end of turn does.
                decoder.end(stopping_criteria(loop.sequences[..., 0], None))
                # The one wait for the device in a step.
                is_finished, needs_text = torch.stack([decoder.ended.all(), decoder.needs_text]).tolist()
                forward_options = decoder.forward_options(needs_text or generation_config.output_logits)
            if not self._has_unfinished_sequences(is_finished, synced_gpus, device=input_ids.device):
                break
            if is_finished:
                # Other processes still run: keep their collectives company.
                self(input_ids=loop.sequences[:, -1:], use_cache=False)
                continue
            model_kwargs[CACHE_NAME] = getattr(outputs, CACHE_NAME)
            del outputs
            model_inputs = self.prepare_inputs_for_generation(**loop.next_inputs(model_kwargs))
            outputs = model_forward(**model_inputs, **forward_options, return_dict=True)

        if streamer is not None:
            streamer.end()
        sequences = loop.sequences.clone()
        new_tokens = sequences[:, prompt_length:, 0]
        reached_limit = ~torch.isin(new_tokens, generation_config._eos_token_tensor).any(1)
        if reached_limit.any():
            logger.warning(
                f"{int(reached_limit.sum())} of {len(sequences)} generations did not end by themselves within "
                f"{new_tokens.shape[1]} new tokens: their audio is cut. Raise `max_new_tokens`."
            )
        if not generation_config.return_dict_in_generate:
            return sequences
        prefix_codes, audio_codes = self.split_audio_codes(sequences, prompt_length)
        return MossTTSGenerateOutput(
            sequences=sequences,
            audio_codes=audio_codes,
            prefix_codes=prefix_codes,
            reached_limit=reached_limit,
            **{CACHE_NAME: model_kwargs.get(CACHE_NAME)},
            **record.kept,
        )


class _GenerationBuffers:
    """Token ids, attention mask and positions of the longest possible sequence, allocated once and filled row by row."""

    def __init__(self, model, input_ids: torch.LongTensor, max_length: int, model_kwargs: dict[str, Any]):
        batch_size, length, num_channels = input_ids.shape
        self.model = model
        self.length = length
        self.input_ids = input_ids.new_zeros(batch_size, max(max_length, length + 1), num_channels)
        self.input_ids[:, :length] = input_ids
        num_new = self.input_ids.shape[1] - length
        mask = model_kwargs.get("attention_mask")
        self.attention_mask = None if mask is None else nn.functional.pad(mask, (0, num_new), value=1)
        if model_kwargs.get("position_ids") is None:
            seen = torch.ones_like(input_ids[..., 0]) if mask is None else mask.long()
            positions = (seen.cumsum(1) - 1).clamp(min=0)
        else:
            positions = model_kwargs["position_ids"]
        following = positions[:, -1:] + 1 + torch.arange(num_new, device=input_ids.device)
        self.position_ids = torch.cat([positions, following], dim=1)

    @property
    def sequences(self) -> torch.LongTensor:
        return self.input_ids[:, : self.length]

    def append(self, row: torch.LongTensor) -> None:
        self.input_ids[:, self.length] = row
        self.length += 1

    def next_inputs(self, model_kwargs: dict[str, Any]) -> dict[str, Any]:
        """Arguments of `prepare_inputs_for_generation` for the next step."""
        use_cache = model_kwargs.get("use_cache", True)
        first = self.length - 1 if use_cache else 0
        inputs = model_kwargs | {
            "input_ids": self.sequences,
            "next_sequence_length": 1 if use_cache else None,
            "position_ids": self.position_ids[:, first : self.length],
        }
        if self.attention_mask is not None:
            inputs["attention_mask"] = self._mask(model_kwargs.get(CACHE_NAME), use_cache)
        return inputs

    def _mask(self, cache: Cache | None, use_cache: bool) -> torch.Tensor:
        mask = self.attention_mask[:, : self.length]
        implementation = self.model.config.language_config._attn_implementation
        if not use_cache or cache.is_compileable or implementation not in ("sdpa", "eager"):
            return mask
        # In four dimensions transformers takes it as it is; in two it would ask the device whether there is padding.
        mask = mask[:, None, None].bool()
        if implementation == "sdpa":
            return mask
        dtype = self.model.dtype
        return torch.zeros(mask.shape, dtype=dtype, device=mask.device).masked_fill(~mask, torch.finfo(dtype).min)


class DelayRowDecoder:
    """The rows of a generation in the delay pattern."""

    def __init__(self, config, input_ids: torch.LongTensor, generation_config: GenerationConfig):
        self.state = DelayPatternState(config, input_ids)
        # Codebook 1 has a history of its own, the others share theirs.
        groups = [0] + [1] * (config.n_vq - 1)
        self.draw = TokenDraw(config, generation_config, input_ids[..., 1:], groups)

    @property
    def ended(self) -> torch.BoolTensor:
        return self.state.ended

    @property
    def needs_text(self) -> torch.BoolTensor:
        return self.state.needs_text

    def next_row(self, outputs) -> torch.LongTensor:
        """The row `(batch_size, 1 + n_vq)` that follows from the outputs of a step."""
        token = self.draw.text(self.state.mask_text(outputs.logits[:, -1].float()), self.state.slots)
        row = self.state.advance(token, self.draw.codes(outputs.audio_logits[:, -1].float()))
        self.draw.remember(row[:, 1:])
        return row

    def end(self, is_stopped: torch.BoolTensor) -> None:
        """Ends the rows that a stopping criterion stops."""
        self.state.ended = self.state.ended | is_stopped

    def forward_options(self, needs_text: bool) -> dict[str, Any]:
        """Arguments of the next forward pass."""
        return {"text_head_rows": None if needs_text else self.state.slots}


class TokenDraw:
    """
    Draws the tokens of all channels as a generation config says.

    Args:
        config: configuration of the model.
        generation_config (`GenerationConfig`): what to draw by.
        history (`torch.LongTensor` of shape `(batch_size, length, n_vq)`): codes that a repetition penalty looks at.
        groups (`list[int]`): the history that each codebook looks at, see [`CodeHistory`].
    """

    def __init__(self, config, generation_config: GenerationConfig, history: torch.LongTensor, groups: list[int]):
        self.config = generation_config
        self.generator = None
        if generation_config.seed is not None:
            self.generator = torch.Generator(history.device).manual_seed(generation_config.seed)
        self.history = None
        if generation_config.audio_repetition_penalty != 1.0:
            self.history = CodeHistory(history, config.audio_vocab_size + 1, groups)

    def text(self, logits: torch.Tensor, slots: torch.LongTensor | None = None) -> torch.LongTensor:
        """Text tokens `(batch_size,)` of scores of the whole vocabulary, or of `slots` alone."""
        config = self.config
        temperature = config.text_temperature if config.do_sample else 0
        token = sample_tokens(logits, temperature, config.text_top_k, config.text_top_p, self.generator)
        return token if slots is None or logits.shape[-1] != len(slots) else slots[token]

    def codes(self, logits: torch.Tensor, codebooks: slice = slice(None)) -> torch.LongTensor:
        """Codes `(batch_size, codebooks)` of scores `(batch_size, codebooks, num_codes)`."""
        config = self.config
        if self.history is not None:
            logits = self.history.penalize(logits, config.audio_repetition_penalty, codebooks)
        temperature = config.audio_temperature if config.do_sample else 0
        return sample_tokens(logits, temperature, config.audio_top_k, config.audio_top_p, self.generator)

    def remember(self, codes: torch.LongTensor) -> None:
        """Adds codes `(batch_size, n_vq)` to the history."""
        if self.history is not None:
            self.history.add(codes)


class _Record:
    """What the caller asked to keep of every step."""

    def __init__(self, config: GenerationConfig):
        asked = {
            "logits": config.output_logits,
            "audio_logits": config.output_logits,
            "attentions": config.output_attentions,
            "hidden_states": config.output_hidden_states,
        }
        self.kept = {name: () for name, is_asked in asked.items() if is_asked and config.return_dict_in_generate}

    def add(self, outputs) -> None:
        for name in self.kept:
            value = getattr(outputs, name)
            if name.endswith("logits"):
                value = value[:, -1].float().clone()
            self.kept[name] += (value,)


def _check_knobs(config: GenerationConfig) -> None:
    for name in ("text_temperature", "audio_temperature"):
        if getattr(config, name) < 0:
            raise ValueError(f"`{name}` must be 0 (the best token) or above, got {getattr(config, name)}.")
    for name in ("text_top_p", "audio_top_p"):
        value = getattr(config, name)
        if value is not None and not 0 < value <= 1:
            raise ValueError(f"`{name}` must be above 0 and at most 1, got {value}.")
    for name in ("text_top_k", "audio_top_k"):
        value = getattr(config, name)
        if value is not None and (value < 0 or int(value) != value):
            raise ValueError(f"`{name}` must be a whole number, 0 for all tokens, got {value}.")
    if config.audio_repetition_penalty <= 0:
        raise ValueError(f"`audio_repetition_penalty` must be above 0, got {config.audio_repetition_penalty}.")


__all__ = ["MossTTSGenerateOutput", "MossTTSGenerationMixin"]
