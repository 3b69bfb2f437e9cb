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
"""Generation of MOSS-TTS models: the loop over steps, and what `generate` takes."""

from typing import Any, ClassVar

import torch
from torch import nn
from transformers.cache_utils import Cache, DynamicCache
from transformers.configuration_utils import PreTrainedConfig
from transformers.generation import GenerationConfig, GenerationMixin, GenerationMode
from transformers.generation.logits_process import LogitsProcessorList
from transformers.generation.stopping_criteria import StoppingCriteriaList
from transformers.generation.streamers import BaseStreamer
from transformers.utils import logging

from ..compatibility import CACHE_NAME, takes_either_cache_name
from ..modules.packed_linear import keep_rows, pack_linears
from ..modules.small_batch_linear import small_batch_linears
from ..utils.compiling import compiled_on
from ..utils.devices import mark_varying
from .frames import split_audio_codes
from .generated_sequences import GeneratedSequences
from .generation_parameters import (
    AUDIO_NAMES,
    SAMPLING_PARAMETERS,
    check_arguments,
    check_no_effect,
    check_tokens,
    check_values,
    rename_audio_parameters,
)
from .growing_cache import let_grow
from .outputs import MossTTSGenerateOutput
from .variants import find_variant, get_variant, keep_variant


logger = logging.get_logger(__name__)

# What the reference's examples ask for: 5 minutes and 27 seconds of audio.
DEFAULT_MAX_NEW_TOKENS = 4096
# Steps that the buffers of a generation begin with, beside the prompt.
_FIRST_STEPS = 256


class FrameSampler:
    """
    Base of what turns the outputs of `forward` into the tokens of a step.

    Attributes:
        ended (`torch.BoolTensor` of shape `(batch_size,)`): sequences that have ended.
        needs_text (`torch.BoolTensor` of shape `()`): whether the next step needs the text scores of the whole vocabulary.
    """

    ended: torch.BoolTensor
    needs_text: torch.BoolTensor

    def __init__(self, input_ids: torch.LongTensor, generation_config: GenerationConfig):
        prompt_length = input_ids.shape[1]
        self.num_steps = 0
        self.min_steps = max((generation_config.min_length or 0) - prompt_length, 0)
        self.forced_end = None
        if generation_config.forced_eos_token_id is not None:
            self.forced_end = generation_config.max_length - prompt_length - 1

    def next_step(self, outputs) -> torch.LongTensor:
        """The tokens `(batch_size, 1 + n_vq)` that follow from the outputs of a step."""
        raise NotImplementedError

    def end(self, is_stopped: torch.BoolTensor) -> None:
        """Ends the sequences that a stopping criterion stops."""
        raise NotImplementedError

    def forward_options(self, needs_text: bool) -> dict[str, Any]:
        """Arguments of the next `forward`."""
        return {}


class MossTTSGenerationMixin(GenerationMixin):
    """`generate` for models with a text stream and codebooks. Subclasses sample a step, see [`FrameSampler`]."""

    # Release whose sampling a model has that says nothing else.
    default_variant: ClassVar[str] = "MOSS-TTS-v1.5"
    # The family's parameters of `generate` beside those of sampling, and what they are by default.
    other_parameters: ClassVar[dict[str, Any]] = {"seed": None}

    @staticmethod
    def end_token_id(config: PreTrainedConfig) -> int:
        """Text token that ends a generation."""
        return config.im_end_token_id

    @classmethod
    def default_generation_config(cls, config: PreTrainedConfig) -> GenerationConfig:
        """Generation parameters of the release that a configuration names, else of the family's usual one."""
        sampling = get_variant(config.moss_tts_variant or cls.default_variant).sampling
        parameters = {"do_sample": True, "max_new_tokens": DEFAULT_MAX_NEW_TOKENS} | cls.other_parameters | sampling
        return GenerationConfig(eos_token_id=cls.end_token_id(config), pad_token_id=config.pad_token_id, **parameters)

    @property
    def modules_read_a_step(self) -> list[nn.Module]:
        """Parts of the model whose weights every step inside audio reads."""
        raise NotImplementedError

    def pack_weights(self) -> "MossTTSGenerationMixin":
        """
        Holds the weights that every step reads as float16, in the layout that x86 processors multiply fastest, and frees the others.
        Products are of float32 as before. Weights that come from bfloat16, as those of the releases do, keep their values; others
        are rounded to 11 significant bits. The model no longer trains; it saves as before.

        Returns:
            The model itself.

        Raises:
            ValueError: if the model is not on an x86 processor, or has a weight beyond 65504, the largest number of float16.
        """
        pack_linears(self, self.modules_read_a_step)
        return self

    def new_sampler(self, input_ids: torch.LongTensor, generation_config: GenerationConfig) -> FrameSampler:
        """What samples the steps of a generation."""
        raise NotImplementedError

    def split_audio_codes(
        self, sequences: torch.LongTensor, prompt_length: int, generation_config: GenerationConfig
    ) -> tuple[list[torch.LongTensor], list[torch.LongTensor]]:
        """Codes `(frames, n_vq)` of every sequence: those that its prompt began with, and the generated ones."""
        return split_audio_codes(self.config, sequences, prompt_length)

    def adjust_generation_fn(
        self, generation_config, from_auto_class, from_pipeline, pretrained_model_name_or_path, *args, **kwargs
    ):
        try:
            super().adjust_generation_fn(
                generation_config, from_auto_class, from_pipeline, pretrained_model_name_or_path, *args, **kwargs
            )
        except (TypeError, ValueError, AttributeError, LookupError, ArithmeticError) as error:
            raise ValueError(
                f"The generation_config.json of {pretrained_model_name_or_path!s} cannot be used: {error}."
            ) from error
        # Checkpoints without a generation_config.json get one made from config.json, which says nothing of generation.
        loaded = {} if self.generation_config._from_model_config else self.generation_config.to_diff_dict()
        keep_variant(self.config, find_variant(self.config, pretrained_model_name_or_path, loaded))
        self.generation_config = self.default_generation_config(self.config)
        ends = loaded.pop("eos_token_id", None)
        if self.end_token_id(self.config) in (ends if isinstance(ends, list) else [ends]):
            # Others are those of the backbone, as Qwen's file has them.
            loaded["eos_token_id"] = ends
        loaded["pad_token_id"] = self.config.pad_token_id
        if loaded.get("max_length") is not None and loaded.get("max_new_tokens") is None:
            self.generation_config.max_new_tokens = None
        check_arguments(loaded)
        self.generation_config.update(allow_custom_entries=True, **rename_audio_parameters(loaded))

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
                Sampling of the text stream and of the codebooks. A temperature of 0, or `do_sample=False` for both, takes
                the best token. `temperature`, `top_p` and `top_k`, here, in a `GenerationConfig` or in generation_config.json,
                are those of the codebooks.
            audio_repetition_penalty (`float`, *optional*):
                Above 1 it makes codes of the sequence's history less likely. `repetition_penalty` is another name for it. With
                the delay pattern codebook 1 has a history of its own and the others share theirs, as in the reference.
            seed (`int` or `list[int]`, *optional*):
                Seed of this call's own random numbers, or a list of one for each sequence: a sequence with the same seed says
                the same alone and in any batch. One number for a batch gives each sequence that number plus its index.
                Without it PyTorch's global generator is used.
            max_new_tokens (`int`, *optional*):
                Longest generation in steps; a second of audio takes 12.5 of them and every span of delayed codebooks `n_vq`
                more.
            min_new_tokens (`int`, *optional*):
                Steps before which no sequence ends.
            eos_token_id (`int` or `list[int]`, *optional*):
                Text tokens that end a sequence too, beside the one that the model ends with.
            forced_eos_token_id (`int`, *optional*):
                The token that the model ends with, to end what reaches the limit with it.

        Returns:
            `torch.LongTensor` of shape `(batch_size, length, 1 + n_vq)` with the prompt, or a [`MossTTSGenerateOutput`].

        Raises:
            ValueError: for a prompt of the wrong shape or with ids out of range, numbers that no generation can have, or a mode
                or option that one vocabulary has and these models do not (beam search, logits processors, `min_p`, ...).
        """
        streamer = kwargs.get("streamer")
        try:
            input_ids = kwargs.pop("input_ids", None) if inputs is None else inputs
            check_arguments(kwargs | {"input_ids": input_ids, "attention_mask": attention_mask})
            input_ids, attention_mask = self._check_prompt(input_ids, attention_mask, kwargs)
            return super().generate(input_ids, attention_mask=attention_mask, **kwargs)
        except BaseException as error:
            # Who listens in another thread would wait for ever.
            if hasattr(streamer, "fail"):
                streamer.fail(error)
            elif hasattr(streamer, "end"):
                streamer.end()
            raise

    def _check_prompt(
        self, input_ids: torch.LongTensor | None, attention_mask: torch.Tensor | None, kwargs: dict[str, Any]
    ) -> tuple[torch.LongTensor, torch.Tensor | None]:
        if input_ids is None or kwargs.get("inputs_embeds") is not None:
            raise ValueError(
                "`generate` needs `input_ids`, not `inputs_embeds`: the states of a prompt do not say which codes it has."
            )
        num_streams = 1 + self.config.n_vq
        if input_ids.ndim != 3 or input_ids.shape[-1] != num_streams or 0 in input_ids.shape:
            raise ValueError(
                f"`input_ids` must have shape (batch_size, length, {num_streams}), a text token and {self.config.n_vq} "
                f"codes a step, got {tuple(input_ids.shape)}. The processor makes it."
            )
        if input_ids.is_floating_point() or input_ids.is_complex():
            raise ValueError(f"`input_ids` must be whole numbers (torch.long), got {input_ids.dtype}.")
        input_ids = input_ids.long()
        position_ids = kwargs.get("position_ids")
        if position_ids is not None and position_ids.shape != input_ids.shape[:2]:
            raise ValueError(
                f"`position_ids` must have shape {tuple(input_ids.shape[:2])}, got {tuple(position_ids.shape)}."
            )
        if attention_mask is not None:
            if attention_mask.shape != input_ids.shape[:2]:
                raise ValueError(
                    f"`attention_mask` must have shape {tuple(input_ids.shape[:2])}, got {tuple(attention_mask.shape)}."
                )
            if not attention_mask.bool().any(1).all():
                raise ValueError(
                    "`attention_mask` leaves nothing of a prompt: every sequence needs at least one step."
                )
            input_ids, attention_mask = self._align_prompts(input_ids, attention_mask, kwargs)
        limits = input_ids.new_full((num_streams,), self.config.audio_vocab_size + 1)
        limits[0] = self.config.vocab_size
        if ((input_ids < 0) | (input_ids >= limits)).any():
            raise ValueError(
                f"`input_ids` has ids out of range: text tokens must be below {self.config.vocab_size}, codes between 0 "
                f"and {self.config.audio_vocab_size - 1}, or {self.config.audio_pad_code} where there is no audio. Got at "
                f"most {input_ids.amax((0, 1)).tolist()} and at least {int(input_ids.min())}."
            )
        self._check_cache(kwargs.get(CACHE_NAME), input_ids, kwargs)
        return input_ids, attention_mask

    def _check_cache(self, cache: Cache | None, input_ids: torch.LongTensor, kwargs: dict[str, Any]) -> None:
        """A cache that is given holds the first steps of these prompts."""
        if cache is None:
            return
        length, num_steps = cache.get_seq_length(), input_ids.shape[1]
        if length >= num_steps:
            raise ValueError(
                f"`{CACHE_NAME}` holds {length} steps of a prompt of {num_steps}: pass a prompt that goes on after them."
            )
        config = kwargs.get("generation_config")
        asked = kwargs.get("num_return_sequences") or getattr(config, "num_return_sequences", None) or 1
        sizes = {
            len(keys) for layer in cache.layers if (keys := getattr(layer, "keys", None)) is not None and keys.numel()
        }
        if sizes - {asked * len(input_ids)}:
            raise ValueError(
                f"`{CACHE_NAME}` is of {max(sizes)} sequences, and {asked * len(input_ids)} are generated: pass a cache of as many."
            )

    def _align_prompts(
        self, input_ids: torch.LongTensor, attention_mask: torch.Tensor, kwargs: dict[str, Any]
    ) -> tuple[torch.LongTensor, torch.Tensor]:
        """Padding to the left, in the pads of each stream: what pads a batch, a pipeline say, may know neither."""
        order = attention_mask.bool().long().argsort(dim=1, stable=True)
        attention_mask = attention_mask.gather(1, order)
        if kwargs.get("position_ids") is not None:
            kwargs["position_ids"] = kwargs["position_ids"].gather(1, order)
        input_ids = input_ids.gather(1, order[..., None].expand_as(input_ids))
        pad = input_ids.new_full(input_ids.shape[2:], self.config.audio_pad_code)
        pad[0] = self.config.pad_token_id
        return torch.where(attention_mask.bool()[..., None], input_ids, pad), attention_mask

    # What follows overrides methods of `GenerationMixin` that are not public; docs/internals/upgrade_notes.md lists them.

    def _prepare_generation_config(self, generation_config: GenerationConfig | None, **kwargs: Any):
        defaults = vars(self.default_generation_config(self.config))
        own = dict.fromkeys([*SAMPLING_PARAMETERS, *self.other_parameters])
        kwargs = rename_audio_parameters(kwargs)
        call = {name: kwargs.pop(name) for name in own if name in kwargs}
        # `None` in the call means all tokens.
        call |= {name: 0 for name in call if call[name] is None and name.endswith("top_k")}
        call |= {name: 1.0 for name in call if call[name] is None and name.endswith("top_p")}
        given = {} if generation_config is None else vars(generation_config)
        parameters = {name: defaults[name] for name in own}
        for said in (vars(self.generation_config), given, call):
            renamed = rename_audio_parameters({name: said.get(name) for name in (*own, *AUDIO_NAMES)}, defaults)
            parameters |= {name: value for name, value in renamed.items() if value is not None}
        asks_for_length = _asks_for_length(kwargs, given)
        # Before transformers looks at values of kinds that it does not expect.
        # Assisted generation has an error of its own.
        options = vars(GenerationConfig()).keys() - {"prompt_lookup_num_tokens"}
        # `None` leaves the option to the model: transformers would count with it.
        kwargs = {name: value for name, value in kwargs.items() if value is not None or name not in options}
        check_no_effect(
            {name: value for name, value in (given | kwargs).items() if name in options and value is not True}, own
        )

        generation_config, model_kwargs = super()._prepare_generation_config(generation_config, **kwargs)
        if asks_for_length:
            # The model's own `max_new_tokens` would overrule it.
            generation_config.max_new_tokens = None
        for name, value in (dict.fromkeys(AUDIO_NAMES) | parameters).items():
            setattr(generation_config, name, value)
        self._prepare_end(generation_config)
        check_values(generation_config)
        if generation_config.compile_config is not None:
            generation_config.compile_config = compiled_on(self.device, generation_config.compile_config)
        return generation_config, model_kwargs

    def _prepare_end(self, generation_config: GenerationConfig) -> None:
        """The model's own end always ends a sequence; padding and the end that is forced are the model's."""
        end, pad = self.end_token_id(self.config), self.config.pad_token_id
        vocab_size = self.config.vocab_size
        ends = check_tokens("eos_token_id", generation_config.eos_token_id, vocab_size)
        generation_config.eos_token_id = [end, *(token for token in ends if token != end)]
        if generation_config.pad_token_id not in (None, pad):
            raise ValueError(
                f"`pad_token_id` must be that of the model's configuration ({pad}), got {generation_config.pad_token_id}."
            )
        generation_config.pad_token_id = pad
        if set(check_tokens("forced_eos_token_id", generation_config.forced_eos_token_id, vocab_size)) - {end}:
            raise ValueError(
                f"`forced_eos_token_id` must be the token that the model ends with ({end}), got "
                f"{generation_config.forced_eos_token_id}."
            )

    def _prepare_cache_for_generation(self, generation_config, model_kwargs, *args, **kwargs):
        is_given = model_kwargs.get(CACHE_NAME) is not None
        kind = generation_config.cache_implementation
        if not is_given and isinstance(kind, str) and kind.startswith("offloaded") and self.device.type == "cpu":
            raise ValueError(
                f"`cache_implementation={kind!r}` moves keys and values from a GPU to the memory of the machine, and the model is on "
                "a CPU: leave it out."
            )
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
            raise ValueError("`output_scores` is not supported: ask for `output_logits`, which are of all streams.")
        check_no_effect(vars(generation_config), dict.fromkeys([*SAMPLING_PARAMETERS, *self.other_parameters]))
        super()._validate_generation_mode(generation_mode, generation_config, generation_mode_kwargs)

    def _get_logits_processor(self, *args, logits_processor=None, prefix_allowed_tokens_fn=None, **kwargs):
        if logits_processor or prefix_allowed_tokens_fn is not None:
            raise ValueError(
                "A `logits_processor` and a `prefix_allowed_tokens_fn` see one vocabulary; this model has a text stream and "
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
        streamer: BaseStreamer | None = None,
        **model_kwargs,
    ) -> MossTTSGenerateOutput | torch.LongTensor:
        """
        Takes the place of [`~transformers.GenerationMixin._sample`], with the same arguments. What is otherwise there stands
        under the comment "MOSS-TTS specific": a step has a token of every stream and [`FrameSampler`] samples it; stopping
        criteria see the text stream, `(batch_size, length)`; the streamer gets steps `(batch_size, 1 + n_vq)`; buffers that
        grow by doubling take the place of concatenation; whether all have ended is asked once a step.
        """
        # *************** MOSS-TTS specific ***************
        prompt_length = input_ids.shape[1]
        buffers = _GenerationBuffers(self, input_ids, model_kwargs)
        sampler = self.new_sampler(input_ids, generation_config)
        record = _Record(generation_config)
        forward_options: dict[str, Any] = {}
        # =================================================
        this_peer_finished = False
        is_compiled = self._valid_auto_compile_criteria(model_kwargs, generation_config)
        model_forward = self.get_compiled_call(generation_config.compile_config) if is_compiled else self.__call__
        # *************** MOSS-TTS specific ***************
        if is_compiled and len(input_ids) == 1:
            keep_rows(*self.modules_read_a_step)
        with small_batch_linears(self, self.modules_read_a_step, len(input_ids)):
            # =============================================
            outputs = self._prefill(input_ids, generation_config, model_kwargs)
            # *************** MOSS-TTS specific ***************
            if is_compiled:
                for layer in getattr(outputs, CACHE_NAME).layers:
                    mark_varying(-2, layer.keys, layer.values)
            # =================================================
            while True:
                # *************** MOSS-TTS specific ***************
                if not this_peer_finished:
                    step = sampler.next_step(outputs)
                    record.add(outputs)
                    buffers.append(step)
                    if streamer is not None:
                        streamer.put(step.cpu())
                    # A criterion that stops a sequence ends it like its own end does.
                    sampler.end(stopping_criteria(buffers.sequences[..., 0], None))
                    # The one wait for the device in a step.
                    this_peer_finished, needs_text = torch.stack([sampler.ended.all(), sampler.needs_text]).tolist()
                    forward_options = sampler.forward_options(needs_text or generation_config.output_logits)
                # =================================================
                if not self._has_unfinished_sequences(this_peer_finished, synced_gpus, device=input_ids.device):
                    break
                # *************** MOSS-TTS specific ***************
                if this_peer_finished:
                    # Other processes still run: keep their collectives company.
                    self(input_ids=buffers.sequences[:, -1:], use_cache=False)
                    continue
                model_kwargs[CACHE_NAME] = getattr(outputs, CACHE_NAME)
                del outputs
                model_inputs = self.prepare_inputs_for_generation(**buffers.next_inputs(model_kwargs))
                if is_compiled:
                    masks = model_inputs.get("attention_mask")
                    mark_varying(-1, *(masks.values() if isinstance(masks, dict) else [masks]))
                outputs = model_forward(**model_inputs, **forward_options, return_dict=True)
                # =================================================

        if streamer is not None:
            streamer.end()

        # *************** MOSS-TTS specific ***************
        steps = buffers.sequences.clone()
        max_new_tokens = generation_config.max_length - prompt_length
        reached_limit = self._reached_limit(steps[:, prompt_length:, 0], max_new_tokens, generation_config)
        sequences = GeneratedSequences.of(steps, prompt_length)
        if not generation_config.return_dict_in_generate:
            return sequences
        prefix_codes, audio_codes = self.split_audio_codes(steps, prompt_length, generation_config)
        return MossTTSGenerateOutput(
            sequences=sequences,
            audio_codes=audio_codes,
            prefix_codes=prefix_codes,
            reached_limit=reached_limit,
            **{CACHE_NAME: model_kwargs.get(CACHE_NAME)},
            **record.kept,
        )
        # =================================================

    def _reached_limit(
        self, new_tokens: torch.LongTensor, max_new_tokens: int, generation_config: GenerationConfig
    ) -> torch.BoolTensor:
        reached_limit = ~torch.isin(new_tokens, generation_config._eos_token_tensor).any(1)
        # Those that a criterion stopped before know why, and are padded where others went on.
        is_longest = new_tokens.shape[1] >= max_new_tokens
        num_cut = (
            int((reached_limit & (new_tokens[:, -1] != generation_config.pad_token_id)).sum()) if is_longest else 0
        )
        if num_cut:
            logger.warning(
                f"{num_cut} of {len(new_tokens)} generations did not end by themselves within "
                f"{new_tokens.shape[1]} new tokens: their audio is cut. Raise `max_new_tokens`."
            )
        return reached_limit


class _GenerationBuffers:
    """Token ids, attention mask and positions of the sequences, in buffers that double when they are full."""

    def __init__(self, model, input_ids: torch.LongTensor, model_kwargs: dict[str, Any]):
        self.model = model
        self.length = input_ids.shape[1]
        self.input_ids = input_ids
        self.attention_mask = model_kwargs.get("attention_mask")
        self.position_ids = model_kwargs.get("position_ids")
        if self.position_ids is None:
            mask = self.attention_mask
            seen = torch.ones_like(input_ids[..., 0]) if mask is None else mask.long()
            self.position_ids = (seen.cumsum(1) - 1).clamp(min=0)

    @property
    def sequences(self) -> torch.LongTensor:
        return self.input_ids[:, : self.length]

    def append(self, step: torch.LongTensor) -> None:
        if self.length == self.input_ids.shape[1]:
            self._grow(max(self.length, _FIRST_STEPS))
        self.input_ids[:, self.length] = step
        self.length += 1

    def _grow(self, num_new: int) -> None:
        self.input_ids = nn.functional.pad(self.input_ids, (0, 0, 0, num_new))
        if self.attention_mask is not None:
            self.attention_mask = nn.functional.pad(self.attention_mask, (0, num_new), value=1)
        following = self.position_ids[:, -1:] + 1 + torch.arange(num_new, device=self.position_ids.device)
        self.position_ids = torch.cat([self.position_ids, following], dim=1)

    def next_inputs(self, model_kwargs: dict[str, Any]) -> dict[str, Any]:
        """Arguments of `prepare_inputs_for_generation` for the next step."""
        use_cache = model_kwargs.get("use_cache", True)
        first = self.length - 1 if use_cache else 0
        inputs = model_kwargs | {
            "input_ids": self.sequences,
            "next_sequence_length": 1 if use_cache else None,
            # A copy lies in memory alike whatever the buffer's length: one compiled step serves all.
            "position_ids": self.position_ids[:, first : self.length].clone(memory_format=torch.contiguous_format),
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


def _asks_for_length(*levels: dict[str, Any]) -> bool:
    """Whether `max_length` is said, and `max_new_tokens` is not, by the first of the levels that says either."""
    for said in levels:
        if said.get("max_new_tokens") is not None:
            return False
        if said.get("max_length") is not None:
            return True
    return False


__all__ = ["MossTTSGenerationMixin"]
