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

"""Generation of MossTTSLocal: a frame at a time, its channels one after the other."""

from typing import Any, ClassVar

import torch
from transformers.generation import GenerationConfig

from ..compatibility import CACHE_NAME
from ..moss_tts.generation_moss_tts import GENERATION_DEFAULTS, MossTTSGenerationMixin, TokenDraw
from .frames import split_frames


class MossTTSLocalGenerationMixin(MossTTSGenerationMixin):
    """
    `generate` for MossTTSLocal v1.5. With a `compile_config` the local transformer runs compiled, which takes seconds once for
    every batch size.
    """

    generation_defaults: ClassVar[dict[str, Any]] = GENERATION_DEFAULTS | {"text_temperature": 1.0}
    # What the repetition penalty looks at: the prompt's codes too, or the generated ones alone; and whether it holds where
    # the best code is taken.
    penalizes_prompt: bool = False
    penalizes_greedy: bool = True
    # Whether the row that ends the audio has codes, which mean nothing, or pads.
    end_row_has_codes: bool = False

    @staticmethod
    def end_token_id(config) -> int:
        return config.audio_end_token_id

    def new_row_decoder(self, input_ids: torch.LongTensor, generation_config: GenerationConfig) -> "LocalRowDecoder":
        return LocalRowDecoder(self, input_ids, generation_config)

    @staticmethod
    def text_candidates(config) -> list[int] | None:
        """Text tokens that a frame may have, in the order of a binary head; `None` for the whole vocabulary."""
        return [config.audio_assistant_gen_slot_token_id, config.audio_end_token_id]

    def _prepare_generation_config(self, generation_config: GenerationConfig | None, **kwargs: Any):
        if "n_vq_for_inference" in kwargs and "n_vq_for_inference" not in self.generation_defaults:
            raise ValueError(
                f"`n_vq_for_inference` is an option of MossTTSLocal v1.0; {type(self).__name__} speaks with all "
                f"{self.config.n_vq} codebooks."
            )
        return super()._prepare_generation_config(generation_config, **kwargs)

    def _valid_auto_compile_criteria(self, model_kwargs: dict[str, Any], generation_config: GenerationConfig) -> bool:
        # Without the warning that nothing is compiled: the local transformer is, whatever cache the backbone has.
        cache = model_kwargs.get(CACHE_NAME)
        return (
            cache is not None
            and cache.is_compileable
            and super()._valid_auto_compile_criteria(model_kwargs, generation_config)
        )

    def split_audio_codes(
        self, sequences: torch.LongTensor, prompt_length: int
    ) -> tuple[list[torch.LongTensor], list[torch.LongTensor]]:
        return split_frames(self.config, sequences, prompt_length)


class MossTTSLocalV1GenerationMixin(MossTTSLocalGenerationMixin):
    """
    `generate` for MossTTSLocal v1.0. `n_vq_for_inference` speaks with the first codebooks alone: the others are 0 in the
    sequences and missing in `audio_codes`.
    """

    generation_defaults: ClassVar[dict[str, Any]] = GENERATION_DEFAULTS | {
        "audio_temperature": 1.0,
        "audio_top_p": 0.95,
        "audio_top_k": 50,
        "audio_repetition_penalty": 1.1,
        "n_vq_for_inference": None,
    }
    penalizes_prompt = True
    penalizes_greedy = False
    end_row_has_codes = True

    @staticmethod
    def text_candidates(config) -> list[int] | None:
        return None

    def _prepare_generation_config(self, generation_config: GenerationConfig | None, **kwargs: Any):
        generation_config, model_kwargs = super()._prepare_generation_config(generation_config, **kwargs)
        count = generation_config.n_vq_for_inference
        if count is not None and not 1 <= count <= self.config.n_vq:
            raise ValueError(f"`n_vq_for_inference` must be between 1 and {self.config.n_vq}, got {count}.")
        return generation_config, model_kwargs | {"n_vq_for_inference": count}

    def _sample(self, input_ids, logits_processor, stopping_criteria, generation_config, **kwargs):
        outputs = super()._sample(input_ids, logits_processor, stopping_criteria, generation_config, **kwargs)
        count = generation_config.n_vq_for_inference
        if count is not None and generation_config.return_dict_in_generate:
            outputs.audio_codes = [codes[:, :count] for codes in outputs.audio_codes]
            outputs.prefix_codes = [codes[:, :count] for codes in outputs.prefix_codes]
        return outputs


class LocalRowDecoder:
    """The rows of a generation: one pass of the local transformer for every channel, with a cache over the frame."""

    def __init__(self, model, input_ids: torch.LongTensor, generation_config: GenerationConfig):
        self.model = model
        self.config = config = model.config
        self.num_codebooks = getattr(generation_config, "n_vq_for_inference", None) or config.n_vq
        candidates = model.text_candidates(config)
        self.candidates = None if candidates is None else input_ids.new_tensor(candidates)
        self.keeps_scores = generation_config.output_logits
        history = input_ids[..., 1:] if model.penalizes_prompt else input_ids[:, :0, 1:]
        self.draw = TokenDraw(config, generation_config, history, list(range(config.n_vq)))
        is_greedy = not generation_config.do_sample or generation_config.audio_temperature == 0
        if is_greedy and not model.penalizes_greedy:
            self.draw.history = None
        self.cache, self.step = model.new_local_cache(), model.local_step
        if generation_config.compile_config is not None and not generation_config.disable_compile:
            self.cache = model.new_static_local_cache(len(input_ids))
            self.step = model.compiled_local_step(generation_config.compile_config)
        self.ended = torch.zeros_like(input_ids[:, 0, 0], dtype=torch.bool)
        self.needs_text = torch.zeros((), dtype=torch.bool, device=input_ids.device)

    def next_row(self, outputs) -> torch.LongTensor:
        """The row `(batch_size, 1 + n_vq)` that follows from the backbone's last state."""
        if torch.compiler.is_compiling():
            return self._draw_row(outputs)
        # Hundreds of small operations, each cheaper where nothing is kept for gradients; the copy is an ordinary tensor.
        with torch.inference_mode():
            row = self._draw_row(outputs)
        return row.clone()

    def _draw_row(self, outputs) -> torch.LongTensor:
        model, config = self.model, self.config
        self.cache.reset()
        # A copy lies in memory like the other inputs: one compiled step serves all.
        state = self.step(outputs.last_hidden_state[:, -1].clone(memory_format=torch.contiguous_format), self.cache)
        scores = model.text_scores(state).float()
        if self.candidates is not None and scores.shape[-1] != len(self.candidates):
            scores = scores[..., self.candidates]
        text = self.draw.text(scores, self.candidates)
        codes, kept = [], []
        drawn = text
        for codebook in range(self.num_codebooks):
            # The channel before the codebook in the row has the codebook's number: channel 0 is text.
            if codebook + model.first_audio_position > 0:
                state = self.step(model.embed_channel(codebook, drawn), self.cache)
            audio_scores = model.audio_scores(codebook, state).float()
            audio_scores[:, config.audio_pad_code :] = float("-inf")
            drawn = self.draw.codes(audio_scores[:, None], slice(codebook, codebook + 1))[:, 0]
            codes.append(drawn)
            kept.append(audio_scores)
        if self.keeps_scores:
            outputs.logits, outputs.audio_logits = scores[:, None], torch.stack(kept, dim=1)[:, None]
        return self._row(text, torch.stack(codes, dim=1))

    def _row(self, text: torch.LongTensor, codes: torch.LongTensor) -> torch.LongTensor:
        config = self.config
        codes = torch.nn.functional.pad(codes, (0, config.n_vq - self.num_codebooks))
        is_end = text == config.audio_end_token_id
        is_silent = self.ended if self.model.end_row_has_codes else self.ended | is_end
        codes = codes.masked_fill(is_silent[:, None], config.audio_pad_code)
        text = text.masked_fill(self.ended, config.pad_token_id)
        self.draw.remember(codes)
        self.ended = self.ended | is_end
        return torch.cat([text[:, None], codes], dim=1)

    def end(self, is_stopped: torch.BoolTensor) -> None:
        """Ends the rows that a stopping criterion stops."""
        self.ended = self.ended | is_stopped

    def forward_options(self, needs_text: bool) -> dict[str, Any]:
        """Arguments of the next forward pass."""
        return {}


__all__ = ["MossTTSLocalGenerationMixin", "MossTTSLocalV1GenerationMixin"]
