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
"""Sampling of all streams: repetition penalty, temperature, top-k, top-p, multinomial, in this order."""

import torch
from transformers.generation import GenerationConfig


def sample_tokens(
    logits: torch.Tensor,
    temperature: float,
    top_k: int | None = None,
    top_p: float | None = None,
    uniforms: torch.Tensor | None = None,
    keeps_ties: bool = False,
) -> torch.LongTensor:
    """
    Samples a token from each of the scores `(..., num_tokens)`, returned with shape `(...)`.

    Args:
        logits (`torch.FloatTensor` of shape `(..., num_tokens)`): scores of the tokens.
        temperature (`float`): 0 takes the best token.
        top_k (`int`, *optional*): keep the best `top_k` tokens; `None` or 0 keeps all.
        top_p (`float`, *optional*): of those, keep the best until their probabilities exceed `top_p`, the one that
            crosses it included; `None` or 1 keeps all.
        uniforms (`torch.FloatTensor` of shape `(...)`, *optional*): the random numbers, from 0 to below 1, that choose among the
            kept tokens; those of PyTorch's global generator by default.
        keeps_ties (`bool`, *optional*, defaults to `False`): whether `top_k` keeps too what scores as much as the last that it
            keeps, which is common among scores of 16 bits.
    """
    if temperature == 0:
        return logits.argmax(-1)
    num_tokens = logits.shape[-1]
    num_kept = min(top_k or num_tokens, num_tokens)
    scores, tokens = (logits.float() / temperature).topk(num_tokens if keeps_ties else num_kept)
    if num_kept < scores.shape[-1]:
        scores = scores.masked_fill(scores < scores[..., num_kept - 1, None], float("-inf"))
    probabilities = scores.softmax(-1)
    if top_p is not None and top_p < 1:
        before = probabilities.cumsum(-1)[..., :-1]
        scores = torch.cat([scores[..., :1], scores[..., 1:].masked_fill(before > top_p, float("-inf"))], dim=-1)
        probabilities = scores.softmax(-1)
    if uniforms is None:
        choice = torch.multinomial(probabilities.flatten(0, -2), 1).view(*logits.shape[:-1], 1)
    else:
        choice = _invert(probabilities, uniforms)
    return tokens.gather(-1, choice).squeeze(-1)


def _invert(probabilities: torch.Tensor, uniforms: torch.Tensor) -> torch.LongTensor:
    """Indices `(..., 1)` where the cumulative probability exceeds the random numbers: impossible tokens change nothing."""
    exceeds = probabilities.cumsum(-1) > uniforms[..., None]
    # The first is the most probable token: it is taken too where rounding leaves none.
    return exceeds.int().argmax(-1, keepdim=True)


def sequence_seeds(seed: int | list[int], batch_size: int) -> list[int]:
    """
    The seed of every sequence of a batch. With one number for all it is that number plus the sequence's index.

    Raises:
        ValueError: if there are more or fewer seeds than sequences.
    """
    if not isinstance(seed, list):
        return [(int(seed) + index) % 2**64 for index in range(batch_size)]
    if len(seed) != batch_size:
        raise ValueError(
            f"`seed` must be one number, or one for each of the {batch_size} sequences, got {len(seed)} numbers."
        )
    return [int(value) % 2**64 for value in seed]


class TokenHistory:
    """
    Which tokens each sequence has seen, for the repetition penalty. Streams of one group share what they have seen.

    Args:
        tokens (`torch.LongTensor` of shape `(batch_size, length, streams)`): the history so far.
        num_tokens (`int`): number of tokens of a stream, the pad code included.
        groups (`list[int]` of length `streams`): the group of each stream.
    """

    def __init__(self, tokens: torch.LongTensor, num_tokens: int, groups: list[int]):
        self.groups = torch.tensor(groups, device=tokens.device)
        self._is_shared = groups != list(range(len(groups)))
        self.num_tokens = num_tokens
        shape = (tokens.shape[0], (max(groups) + 1) * num_tokens)
        self.seen = torch.zeros(shape, dtype=torch.bool, device=tokens.device)
        self._add(tokens.flatten(1), self.groups.repeat(tokens.shape[1]))

    def add(self, tokens: torch.LongTensor) -> None:
        """Remembers tokens of shape `(batch_size, streams)`."""
        self._add(tokens, self.groups)

    def _add(self, tokens: torch.LongTensor, groups: torch.LongTensor) -> None:
        self.seen.scatter_(1, groups * self.num_tokens + tokens, True)

    def penalize(self, logits: torch.Tensor, penalty: float, streams: slice = slice(None)) -> torch.Tensor:
        """
        Divides positive and multiplies negative scores `(batch_size, streams, num_tokens)` of seen tokens by `penalty`.
        """
        # A view where each stream has its own history.
        groups = self.groups[streams] if self._is_shared else streams
        seen = self.seen.unflatten(1, (-1, self.num_tokens))[:, groups, : logits.shape[-1]]
        return torch.where(seen, torch.where(logits > 0, logits / penalty, logits * penalty), logits)


class StepSampler:
    """
    Samples the tokens of a step, all streams, by the generation parameters.

    Args:
        config ([`MossTTSConfig`]): configuration of the model.
        generation_config (`GenerationConfig`): the parameters.
        history (`torch.LongTensor` of shape `(batch_size, length, 1 + n_vq)`): what a repetition penalty looks at.
        groups (`list[int]`): the history that each codebook looks at, see [`TokenHistory`].
        keeps_ties (`bool`, *optional*, defaults to `False`): what top-k does with equal scores, see [`sample_tokens`].
    """

    def __init__(
        self,
        config,
        generation_config: GenerationConfig,
        history: torch.LongTensor,
        groups: list[int],
        keeps_ties: bool = False,
    ):
        self.parameters = generation_config
        self.keeps_ties = keeps_ties
        self.num_streams = 1 + config.n_vq
        seeds = [] if generation_config.seed is None else sequence_seeds(generation_config.seed, len(history))
        self.generators = [torch.Generator(history.device).manual_seed(seed) for seed in seeds]
        self._next_uniforms()
        self.text_penalty = getattr(generation_config, "text_repetition_penalty", 1.0)
        self.text_history = self.code_history = None
        if self.text_penalty != 1.0:
            self.text_history = TokenHistory(history[..., :1], config.vocab_size, [0])
        if generation_config.audio_repetition_penalty != 1.0:
            self.code_history = TokenHistory(history[..., 1:], config.audio_vocab_size + 1, groups)

    def forget(self) -> None:
        """Leaves the repetition penalty out."""
        self.text_history = self.code_history = None

    def sample_text(self, logits: torch.Tensor, candidates: torch.LongTensor | None = None) -> torch.LongTensor:
        """Text tokens `(batch_size,)` of scores of the whole vocabulary, or of `candidates` alone."""
        parameters = self.parameters
        if self.text_history is not None:
            logits = self.text_history.penalize(logits[:, None], self.text_penalty)[:, 0]
        temperature = parameters.text_temperature if parameters.do_sample else 0
        uniforms = None if self.uniforms is None else self.uniforms[:, 0]
        token = self._sample(logits, temperature, parameters.text_top_k, parameters.text_top_p, uniforms)
        return token if candidates is None or logits.shape[-1] != len(candidates) else candidates[token]

    def sample_codes(self, logits: torch.Tensor, codebooks: slice = slice(None)) -> torch.LongTensor:
        """Codes `(batch_size, codebooks)` of scores `(batch_size, codebooks, num_codes)`."""
        parameters = self.parameters
        if self.code_history is not None:
            logits = self.code_history.penalize(logits, parameters.audio_repetition_penalty, codebooks)
        temperature = parameters.audio_temperature if parameters.do_sample else 0
        first = 1 + (codebooks.start or 0)
        uniforms = None if self.uniforms is None else self.uniforms[:, first : first + logits.shape[1]]
        return self._sample(logits, temperature, parameters.audio_top_k, parameters.audio_top_p, uniforms)

    def _sample(self, *arguments) -> torch.LongTensor:
        return sample_tokens(*arguments, keeps_ties=self.keeps_ties)

    def remember(self, step: torch.LongTensor) -> None:
        """Adds a step `(batch_size, 1 + n_vq)` to the history and goes on to the next step's random numbers."""
        self._next_uniforms()
        if self.text_history is not None:
            self.text_history.add(step[:, :1])
        if self.code_history is not None:
            self.code_history.add(step[:, 1:])

    def _next_uniforms(self) -> None:
        # From each sequence's own generator, as many whatever is sampled: a batch gives what single runs give.
        drawn = [torch.rand(self.num_streams, generator=each, device=each.device) for each in self.generators]
        self.uniforms = torch.stack(drawn) if drawn else None
