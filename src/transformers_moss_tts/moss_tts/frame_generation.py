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

"""Generation a frame at a time, its streams one after the other."""

from typing import Any

import torch
from transformers.configuration_utils import PreTrainedConfig
from transformers.generation import GenerationConfig

from ..compatibility import CACHE_NAME
from .frame_streamer import MossTTSFrameStreamer
from .generation_moss_tts import FrameSampler, MossTTSGenerationMixin
from .sampling import StepSampler


class FrameGenerationMixin(MossTTSGenerationMixin):
    """
    `generate` for a [`MossTTSFrameModel`]. With a `compile_config` the local transformer runs compiled, which takes seconds once
    for every batch size. Classes whose `other_parameters` have `n_vq_for_inference` speak with the first codebooks alone if it is
    given: the others are missing in `audio_codes`.
    """

    # What the repetition penalty looks at: the prompt too, or what was generated alone; and whether it holds where the best
    # code is taken.
    penalizes_prompt: bool = False
    penalizes_greedy: bool = True
    # Whether top-k keeps too what scores as much as the last that it keeps.
    keeps_ties: bool = False
    # Whether the step that ends the audio has codes, which mean nothing, or pads.
    end_step_has_codes: bool = False

    @staticmethod
    def end_token_id(config: PreTrainedConfig) -> int:
        return config.audio_end_token_id

    def new_sampler(
        self, input_ids: torch.LongTensor, generation_config: GenerationConfig
    ) -> "LocalTransformerSampler":
        return LocalTransformerSampler(self, input_ids, generation_config)

    @staticmethod
    def text_candidates(config: PreTrainedConfig) -> list[int] | None:
        """Text tokens that a frame may have, in the order of a binary head; `None` for the whole vocabulary."""
        return [config.audio_assistant_gen_slot_token_id, config.audio_end_token_id]

    @staticmethod
    def silent_code(config: PreTrainedConfig) -> int:
        """Code, in the sequences, of codebooks that are not spoken with."""
        return config.audio_pad_code

    def split_audio_codes(
        self, sequences: torch.LongTensor, prompt_length: int, generation_config: GenerationConfig
    ) -> tuple[list[torch.LongTensor], list[torch.LongTensor]]:
        parts = super().split_audio_codes(sequences, prompt_length, generation_config)
        count = getattr(generation_config, "n_vq_for_inference", None)
        return tuple([codes[:, :count] for codes in part] for part in parts)

    def _prepare_generation_config(self, generation_config: GenerationConfig | None, **kwargs: Any):
        generation_config, model_kwargs = super()._prepare_generation_config(generation_config, **kwargs)
        if "n_vq_for_inference" not in self.other_parameters:
            return generation_config, model_kwargs
        count = generation_config.n_vq_for_inference
        if count is not None and not 1 <= count <= self.config.n_vq:
            raise ValueError(f"`n_vq_for_inference` must be between 1 and {self.config.n_vq}, got {count}.")
        return generation_config, model_kwargs | {"n_vq_for_inference": count}

    def _sample(self, input_ids, logits_processor, stopping_criteria, generation_config, streamer=None, **kwargs):
        count = getattr(generation_config, "n_vq_for_inference", None)
        if isinstance(streamer, MossTTSFrameStreamer) and count is not None:
            streamer.num_codebooks = count
        return super()._sample(
            input_ids, logits_processor, stopping_criteria, generation_config, streamer=streamer, **kwargs
        )

    def _valid_auto_compile_criteria(self, model_kwargs: dict[str, Any], generation_config: GenerationConfig) -> bool:
        # Without the warning that nothing is compiled: the local transformer is, whatever cache the backbone has.
        cache = model_kwargs.get(CACHE_NAME)
        return (
            cache is not None
            and cache.is_compileable
            and super()._valid_auto_compile_criteria(model_kwargs, generation_config)
        )


class LocalTransformerSampler(FrameSampler):
    """Samples the streams of a step one after the other: a pass of the local transformer each, with a cache over the frame."""

    def __init__(self, model, input_ids: torch.LongTensor, generation_config: GenerationConfig):
        super().__init__(input_ids, generation_config)
        self.model = model
        self.config = config = model.config
        self.num_codebooks = getattr(generation_config, "n_vq_for_inference", None) or config.n_vq
        candidates = model.text_candidates(config)
        self.candidates = None if candidates is None else input_ids.new_tensor(candidates)
        self.keeps_scores = generation_config.output_logits
        history = input_ids if model.penalizes_prompt else input_ids[:, :0]
        self.tokens = StepSampler(config, generation_config, history, list(range(config.n_vq)), model.keeps_ties)
        is_greedy = not generation_config.do_sample or generation_config.audio_temperature == 0
        if is_greedy and not model.penalizes_greedy:
            self.tokens.forget()
        self.cache = model.new_local_cache()
        self.local_step, self.score_step = model.local_step, model.score_step
        if generation_config.compile_config is not None and not generation_config.disable_compile:
            self.cache = model.new_static_local_cache(len(input_ids))
            steps = model.compiled_steps(generation_config.compile_config, len(input_ids))
            self.local_step, self.score_step = steps
        self.ended = torch.zeros_like(input_ids[:, 0, 0], dtype=torch.bool)
        self.needs_text = torch.zeros((), dtype=torch.bool, device=input_ids.device)

    def next_step(self, outputs) -> torch.LongTensor:
        if torch.compiler.is_compiling():
            return self._sample_step(outputs)
        # Hundreds of small operations, each cheaper where nothing is kept for gradients; the copy is an ordinary tensor.
        with torch.inference_mode():
            step = self._sample_step(outputs)
        return step.clone()

    def end(self, is_stopped: torch.BoolTensor) -> None:
        self.ended = self.ended | is_stopped

    def _sample_step(self, outputs) -> torch.LongTensor:
        model, config = self.model, self.config
        self.cache.reset()
        # A copy lies in memory like the other inputs: one compiled step serves all.
        state = outputs.last_hidden_state[:, -1].clone(memory_format=torch.contiguous_format)
        state = self.local_step(state, self.cache)
        scores = model.decision_scores(state, self.candidates).float()
        text = self._sample_text(scores)
        codes, kept = [], []
        token = text
        for codebook in range(self.num_codebooks):
            # The stream before the codebook has the codebook's number: stream 0 is text.
            if codebook + model.first_audio_position > 0:
                heard = model.embed_sampled(codebook, token)
                audio_scores = self.score_step(model.audio_head(codebook), heard, self.cache).float()
            else:
                audio_scores = model.audio_scores(codebook, state).float()
            if audio_scores.shape[1] > config.audio_pad_code:
                audio_scores[:, config.audio_pad_code :] = float("-inf")
            token = self.tokens.sample_codes(audio_scores[:, None], slice(codebook, codebook + 1))[:, 0]
            codes.append(token)
            kept.append(audio_scores)
        if self.keeps_scores:
            outputs.logits, outputs.audio_logits = scores[:, None], torch.stack(kept, dim=1)[:, None]
        return self._step_of(text, torch.stack(codes, dim=1))

    def _sample_text(self, scores: torch.Tensor) -> torch.LongTensor:
        end = self.config.audio_end_token_id
        if self.num_steps < self.min_steps:
            tokens = (
                torch.arange(scores.shape[-1], device=scores.device) if self.candidates is None else self.candidates
            )
            scores = scores.masked_fill(tokens == end, float("-inf"))
        text = self.tokens.sample_text(scores, self.candidates)
        return text.new_full(text.shape, end) if self.num_steps == self.forced_end else text

    def _step_of(self, text: torch.LongTensor, codes: torch.LongTensor) -> torch.LongTensor:
        config = self.config
        silent = self.model.silent_code(config)
        codes = torch.nn.functional.pad(codes, (0, config.n_vq - self.num_codebooks), value=silent)
        is_end = text == config.audio_end_token_id
        is_silent = self.ended if self.model.end_step_has_codes else self.ended | is_end
        codes = codes.masked_fill(is_silent[:, None], config.audio_pad_code)
        step = torch.cat([text.masked_fill(self.ended, config.pad_token_id)[:, None], codes], dim=1)
        self.tokens.remember(step)
        self.ended = self.ended | is_end
        self.num_steps += 1
        return step


__all__ = ["FrameGenerationMixin"]
