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
"""How a stretch of a long speech keeps the voice: the prompts of the modes, and what is remembered of what was said."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from transformers.feature_extraction_utils import BatchFeature

from ..moss_tts.dialogue import has_words
from ..moss_tts.voice import CodecIdentity, Voice, as_voice
from .edges import find_sound
from .stretches import Stretch, join_texts


MODES = ("clone", "continuation", "anchored")
# A voice that is so far from what it was when it last began anew has drifted: cosine of a speaker encoder.
_DRIFT = 0.05


@dataclass(frozen=True)
class Said:
    """A text and the codes `(frames, n_vq)` that say it."""

    text: str
    codes: torch.Tensor


class Prompt(NamedTuple):
    """
    The prompt of a stretch.

    Attributes:
        inputs (`BatchFeature`): inputs of `generate`.
        goes_on (`bool`): whether the reply begins with something.
        is_anchor (`bool`): whether the voice alone says how it sounds, and not what was said last.
    """

    inputs: BatchFeature
    goes_on: bool
    is_anchor: bool


@dataclass(frozen=True)
class GivenVoice:
    """
    The voice of a speaker, as prompts need it.

    Args:
        codes (`torch.LongTensor` of shape `(frames, n_vq)`): codes of the reference.
        said ([`Said`], *optional*): its words, where they are known, with its codes but for the silence at their end.
        kept ([`Voice`], *optional*): the voice, if it is one that is kept, with its language and its settings.
    """

    codes: torch.Tensor
    said: Said | None = None
    kept: Voice | None = None

    @classmethod
    def of(cls, voice: Any, processor: Any) -> "GivenVoice":
        """
        What a caller gave: a recording, codes, a [`Voice`] or its path, or a pair of one of these and its words.

        Raises:
            ValueError: if it cannot be used, see the processor's call.
        """
        words = None
        if has_words(voice):
            voice, words = voice
        if (kept := as_voice(voice)) is None:
            # Its length and its codec are checked as those of any reference.
            processor(text="1", reference=voice)
            (codes,) = processor.encode_audio([voice])
            return cls(codes, _said(words, codes, processor))
        kept.check_codec(processor.audio_tokenizer, processor.model_config)
        longest = int(processor.max_reference_duration * processor.frame_rate)
        codes = kept.reference_codes(longest)
        num_recordings = int(np.searchsorted(np.cumsum([len(item) for item in kept.codes]), len(codes))) + 1
        texts = kept.texts[:num_recordings]
        text = words or (None if None in texts else join_texts(text.strip() for text in texts if text))
        (codes,) = processor.encode_audio([codes])
        return cls(codes, _said(text, codes, processor), kept)


@dataclass
class Memory:
    """
    What is remembered of what a speaker said.

    Attributes:
        first, last ([`Said`], *optional*): first and last stretch; there is no last one where the next begins from the voice alone.
        level (`float`, *optional*): likeness of the last stretch that began from the voice alone.
    """

    first: Said | None = None
    last: Said | None = None
    level: float | None = None

    def add(self, said: Said, fault: str | None, similarity: float | None, is_anchor: bool) -> None:
        """Takes a stretch. One that a guard ended, or whose voice has drifted, is not gone on from."""
        if fault is not None or len(said.codes) == 0:
            self.last = None
            return
        self.first = self.first or said
        if is_anchor:
            self.level = similarity
        has_drifted = similarity is not None and self.level is not None and similarity < self.level - _DRIFT
        self.last = None if has_drifted else said


def build_prompt(
    processor: Any,
    mode: str,
    text: str,
    voice: GivenVoice | None,
    memory: Memory,
    language: str | None,
) -> Prompt:
    """
    The prompt of a text.

    Args:
        processor ([`MossTTSProcessor`]): processor of the generator.
        mode (`str`): `"clone"`, the reference alone; `"continuation"`, what was said last begins the reply; `"anchored"`, both,
            and what was said first begins the reply too.
        text (`str`): what to say.
        voice ([`GivenVoice`], *optional*): voice, where there is one.
        memory ([`Memory`]): what was said before.
        language (`str`, *optional*): name of the language.
    """
    reference = None if voice is None else voice.codes
    beginning: list[Said] = []
    if mode == "continuation":
        if memory.last is not None:
            beginning = [memory.last]
        elif voice is not None and voice.said is not None:
            beginning = [voice.said]
        reference = None if beginning else reference
    elif mode == "anchored" and memory.last is not None:
        beginning = [said for said in (memory.first, memory.last) if said is not None]
        beginning = beginning[:1] if beginning[0] is beginning[-1] else beginning
    words = join_texts([*(said.text for said in beginning), text])
    user = processor.build_user_message(text=words, reference=reference, language=language)
    if not beginning:
        return Prompt(processor([[user]]), goes_on=False, is_anchor=True)
    reply = processor.build_assistant_message([torch.cat([said.codes for said in beginning])])
    inputs = processor([[user, reply]], mode="continuation")
    return Prompt(inputs, goes_on=True, is_anchor=memory.last is None)


def build_script_prompt(
    processor: Any, stretch: Stretch, voices: Mapping[str, GivenVoice], language: str | None
) -> Prompt:
    """The prompt of turns of a dialogue, for a model that speaks whole scripts; it goes on from the voices where their words are known."""
    numbers = {speaker: f"S{number}" for number, speaker in enumerate(voices, 1)}
    script = " ".join(f"[{numbers[speaker]}] {text}" for speaker, text in zip(stretch.speakers, stretch.sentences))
    spoken = {numbers[speaker]: voices[speaker] for speaker in dict.fromkeys(stretch.speakers)}
    words = {number: voice.said.text for number, voice in spoken.items() if voice.said is not None}
    has_all_words = len(words) == len(spoken)
    given = {
        number: (voice.codes, words[number]) if has_all_words else voice.codes for number, voice in spoken.items()
    }
    inputs = processor(script=script, voices=given, language=language)
    # It has no other way to say several turns.
    return Prompt(inputs, goes_on=False, is_anchor=True)


def _said(text: str | None, codes: torch.Tensor, processor: Any) -> Said | None:
    if not text:
        return None
    (audio,) = processor.batch_decode([codes])
    config = processor.audio_tokenizer.config
    _, last = find_sound(audio.reshape(config.num_channels, -1).numpy(), config.sampling_rate)
    return Said(text, codes[: last // config.downsample_rate])


def identity_of(processor: Any) -> list[float]:
    """Numbers that tell the codec of a processor from others."""
    return CodecIdentity.of(processor.audio_tokenizer).codebook_values.flatten().tolist()


__all__ = [
    "MODES",
    "GivenVoice",
    "Memory",
    "Prompt",
    "Said",
    "build_prompt",
    "build_script_prompt",
    "identity_of",
]
