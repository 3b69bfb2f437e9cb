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
"""Takes of a text: guards and a scorer decide which is kept."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from ..audio_io import load_audio
from .guards import Guards
from .narration import Narration
from .passages import Passage, PassageDecoder, check_generate_kwargs, derive_seed, generate_passage, with_voices


# Frames that are decoded at once, for the guards to look at.
_CHUNK = 25
# Faults of takes, the least first.
FAULTS = (None, "shortest", "limit", "longest", "repetition", "silence", "empty")


@dataclass(frozen=True)
class Take:
    """
    One generation of a text.

    Args:
        audio (`np.ndarray` of shape `(channels, samples)`): what was said, with the pauses of the text, without the silence or the
            pattern that a guard ended.
        codes (`torch.LongTensor` of shape `(frames, n_vq)`): its codes, without the pauses.
        seed (`int`): seed of the sampling.
        fault (`str`, *optional*): name of the guard that acted, or of another fault, see [`Watch`].
        score (`float`, *optional*): what the scorer gave: a share of wrong words (WER or CER), a similarity or an opinion score.
    """

    audio: np.ndarray
    codes: torch.LongTensor
    seed: int
    fault: str | None
    score: float | None = None


@dataclass(frozen=True)
class SpokenText:
    """
    The take that was chosen, and all that were made.

    Args:
        audio (`np.ndarray` of shape `(channels, samples)`): speech in float32.
        sampling_rate (`int`): its rate, in Hz.
        codes (`torch.LongTensor` of shape `(frames, n_vq)`): its codes.
        fault (`str`, *optional*): fault of the chosen take: then all have one.
        takes (`list[Take]`): all takes, in their order.
        chosen (`int`): index of the chosen one.
        reason (`str`): why it was chosen.
    """

    audio: np.ndarray
    sampling_rate: int
    codes: torch.LongTensor
    fault: str | None
    takes: list[Take]
    chosen: int
    reason: str


def speak(
    model: Any,
    processor: Any,
    text: Any = None,
    *,
    seed: int | None = None,
    guards: Guards | None = Guards(),
    retries: int = 2,
    scorer: str | None = None,
    generate_kwargs: Mapping[str, Any] | None = None,
    **fields: Any,
) -> SpokenText:
    """
    Speaks a text, again where it went wrong, and says which take it chose and why.

    Args:
        model, processor:
            Generator and its processor, with a codec.
        text (`str`, `dict`, `list` or `BatchFeature`):
            What the processor's call takes for one utterance, or a prompt that it has made. `[pause 1.5s]` is a silence: what stands
            before and behind it is spoken in turn, as [`stream_speech`] does.
        seed (`int`, *optional*):
            Seed of the first take, from which those of the others are derived. Without one it is drawn from the global generator.
        guards ([`Guards`], *optional*):
            What ends a generation that is no speech any more; `None` for nothing.
        retries (`int`, *optional*, defaults to 2):
            Number of further takes at most. Without a scorer one is made where a guard acted.
        scorer (`str`, *optional*):
            Name of a scorer of the evaluation (`pip install 'transformers-moss-tts[eval]'`). A speech recognizer, such as
            `"whisper-base"`, asks for further takes until it hears every word; a speaker encoder, such as `"resemblyzer"`, and a
            predictor of opinions, such as `"distillmos"`, compare all takes.
        generate_kwargs (`dict`, *optional*):
            Further arguments of `generate`.
        fields:
            Further arguments of the processor's call, such as `reference` and `language`.

    Returns:
        [`SpokenText`]

    Raises:
        ValueError: if the processor has no codec, an argument cannot be used, or the scorer is unknown, not installed or lacks what
            it compares with.

    Example:

    ```python
    >>> spoken = speak(model, processor, "Hello there.", seed=0, retries=3, scorer="whisper-base")
    >>> spoken.reason
    'take 2 of 2: no guard acted, WER 0.000'
    ```
    """
    if isinstance(retries, bool) or not isinstance(retries, int) or retries < 0:
        raise ValueError(f"`retries` must be a whole number, 0 or more, got {retries!r}.")
    text, fields, options = with_voices(text, fields, check_generate_kwargs(generate_kwargs))
    narration = Narration(processor, text, fields)
    said = narration.spoken_text if isinstance(text, str) else text
    judge = None if scorer is None else Judge(scorer, processor, said, fields)
    if seed is None:
        seed = int(torch.randint(2**62, ()))
    takes: list[Take] = []
    while len(takes) <= retries:
        take = _take(model, narration, guards, options | {"seed": derive_seed(seed, len(takes))}, judge)
        takes.append(take)
        if take.fault is None and (judge is None or judge.is_perfect(take.score)):
            break
    chosen = min(
        range(len(takes)), key=lambda number: (FAULTS.index(takes[number].fault), _cost(takes[number], judge))
    )
    take, rate = takes[chosen], processor.audio_tokenizer.config.sampling_rate
    return SpokenText(take.audio, rate, take.codes, take.fault, takes, chosen, _reason(takes, chosen, judge))


class Judge:
    """
    A scorer of the evaluation that compares takes.

    Args:
        name (`str`): name of the scorer.
        processor: processor of the generator.
        text, fields: what is said, as the processor's call takes it.

    Raises:
        ValueError: if the scorer is unknown or not installed, or lacks the text or the reference that it compares with.
    """

    def __init__(self, name: str, processor: Any, text: Any, fields: Mapping[str, Any]):
        # Imported where a scorer is asked for: it brings the packages of the evaluation.
        from ..evaluation.scorers import RATE, load_scorer, scorer_names

        kinds = [kind for kind in ("asr", "speaker", "mos") if name in scorer_names(kind)]
        self.kind = kinds[0] if kinds else "asr"
        self.rate, self.sampling_rate = RATE, processor.audio_tokenizer.config.sampling_rate
        self.text = text
        self.language = _code_of(fields.get("language"))
        if self.kind == "asr" and not isinstance(text, str):
            raise ValueError(f"The scorer {name!r} compares with a text: pass the text itself.")
        reference = fields.get("reference")
        if self.kind == "speaker" and (reference is None or isinstance(reference, list)):
            raise ValueError(f"The scorer {name!r} compares with one `reference`: pass it, or choose another scorer.")
        self.scorer = load_scorer(self.kind, name)
        if self.kind == "speaker":
            self.voice = self.scorer.embed(self._recording_of(reference, processor))

    @property
    def label(self) -> str:
        from ..evaluation.measures.text_errors import rate_name

        return {"asr": rate_name(self.language), "speaker": "SIM", "mos": "MOS"}[self.kind]

    def score(self, audio: np.ndarray) -> float:
        """Score of a take `(channels, samples)`."""
        wave = load_audio(audio, self.rate, array_sampling_rate=self.sampling_rate)
        if self.kind == "speaker":
            return float(self.scorer.embed(wave) @ self.voice)
        if self.kind == "mos":
            return float(self.scorer.predict(wave))
        from ..evaluation.measures.text_errors import count_errors

        return count_errors(self.text, self.scorer.transcribe(wave, self.language), self.language).rate

    def cost(self, score: float) -> float:
        """The lower, the better."""
        return score if self.kind == "asr" else -score

    def is_perfect(self, score: float | None) -> bool:
        """Whether no take can be better."""
        return self.kind == "asr" and score == 0

    def _recording_of(self, reference: Any, processor: Any) -> np.ndarray:
        if hasattr(reference, "reference_codes"):
            reference = reference.reference_codes()
        if isinstance(reference, torch.Tensor) and not reference.is_floating_point():
            reference = (processor.decode(reference).numpy(), self.sampling_rate)
        return load_audio(reference, self.rate)


def _take(
    model: Any, narration: Narration, guards: Guards | None, options: dict[str, Any], judge: Judge | None
) -> Take:
    config = narration.processor.audio_tokenizer.config
    audio = [np.zeros((config.num_channels, 0), dtype=np.float32)]
    codes: list[torch.LongTensor] = []
    faults: list[str | None] = []
    for part in narration:
        if isinstance(part, float):
            audio += narration.silence(part)
            continue
        seed = derive_seed(options["seed"], len(faults))
        said = _said(model, narration, part, guards, options | {"seed": seed})
        audio.append(said[0])
        codes.append(said[1])
        faults.append(said[2])
    heard = np.concatenate(audio, axis=1)
    fault = max(faults, key=FAULTS.index)
    score = judge.score(heard) if judge is not None and fault != "empty" else None
    return Take(heard, torch.cat(codes), options["seed"], fault, score)


def _said(
    model: Any, narration: Narration, passage: Passage, guards: Guards | None, options: dict[str, Any]
) -> tuple[np.ndarray, torch.LongTensor, str | None]:
    """Audio and codes of a passage, and its fault."""
    processor, audio = narration.processor, []
    watch = passage.watch(guards, processor.frame_rate)
    decoder = PassageDecoder(model, processor, watch, audio.append, lambda: _CHUNK)
    generate_passage(model, passage, decoder, options)
    narration.keep(decoder, is_guarded=guards is not None)
    config = processor.audio_tokenizer.config
    codes = torch.cat(
        [torch.zeros(0, model.config.n_vq, dtype=torch.long)[:, : decoder.num_codebooks], *decoder.codes]
    )
    heard = np.concatenate([np.zeros((config.num_channels, 0), dtype=np.float32), *audio], axis=1)
    codes = codes[: watch.num_good_frames]
    return heard[:, : len(codes) * config.downsample_rate], codes, watch.fault


def _cost(take: Take, judge: Judge | None) -> float:
    return 0.0 if judge is None or take.score is None else judge.cost(take.score)


def _reason(takes: list[Take], chosen: int, judge: Judge | None) -> str:
    take = takes[chosen]
    reason = (
        "no guard acted" if take.fault is None else f"the guard {take.fault!r} acted, and none of the others is better"
    )
    if judge is not None and take.score is not None:
        reason += f", {judge.label} {take.score:.3f}"
    return f"take {chosen + 1} of {len(takes)}: {reason}"


def _code_of(language: Any) -> str:
    """Code of a language that is named as in prompts; English by default."""
    from transformers.models.whisper.tokenization_whisper import TO_LANGUAGE_CODE

    name = str(language or "English").lower()
    if name not in TO_LANGUAGE_CODE and name not in TO_LANGUAGE_CODE.values():
        raise ValueError(f"A scorer needs the English name of the language, such as 'English', got {language!r}.")
    return TO_LANGUAGE_CODE.get(name, name)


__all__ = ["FAULTS", "Judge", "SpokenText", "Take", "speak"]
