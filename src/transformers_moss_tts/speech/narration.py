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
"""A text with pauses, or one that is still being written, as what is generated one after the other."""

from collections.abc import AsyncIterable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import torch

from ..moss_tts.dialogue import SPEAKER
from ..moss_tts.dialogue import has_words as is_pair
from ..moss_tts.messages import Message, is_codes, messages_of_fields, num_tokens_of
from ..moss_tts.prompt import USER_FIELDS
from ..moss_tts.voice import as_voice
from .durations import expected_duration
from .passages import (
    Passage,
    PassageDecoder,
    build_passage,
    check_codec,
    conversation_of,
    last_user,
    message_said,
    only,
)
from .sentences import iterate_sentences
from .stretches import check_words, has_pauses, join_texts, split_pauses


Text = str | Mapping[str, Any] | list | Iterable[str] | AsyncIterable[str] | None

# Length of what was said first that further passages clone, in seconds.
_BEGINNING = 4.0
# Silence between sentences that are generated one by one, in seconds.
_PAUSE = 0.2
# Silence is handed over in pieces of so many seconds: who leaves within one does not wait for its end.
_LONGEST_PIECE = 2.0
_FIELDS = (*USER_FIELDS, "duration_seconds")
_LENGTHS = ("tokens", "duration_seconds")


class Narration:
    """
    What is said one after the other: the passages of a text, and the seconds of silence between them. A text without a
    `[pause 1.5s]` is one passage. A voice that nobody gave is that of the first passage, which the further ones clone; dialogues,
    and replies that have begun, go on from what was said. A length that is asked for is that of all, with the pauses.

    It is iterated as often as it is spoken, and told what each passage has become before it is asked for the next.

    Args:
        processor ([`MossTTSProcessor`]): processor with a codec.
        text: what the processor's call takes for one utterance, a prompt that it has made, or pieces of a text, which are said sentence
            by sentence, once.
        fields (`Mapping[str, Any]`): further arguments of the processor's call.

    Attributes:
        num_passages (`int`, *optional*): number of passages; not known of a text that comes in pieces.
        spoken_text (`str`, *optional*): the text without its pauses, where it is one.

    Raises:
        ValueError: if there is nothing to say, a pause is none or too long, the pauses take longer than all may, or the prompt of the
            first passage cannot be built.
    """

    def __init__(self, processor: Any, text: Text, fields: Mapping[str, Any]):
        check_codec(processor)
        self.processor, self.fields = processor, dict(fields)
        self.num_passages: int | None = None
        self.spoken_text: str | None = None
        self._conversation: list[Message] | None = None
        self._goes_on = False
        self._first: Passage | None = None
        self._seconds: float | None = None
        self._encoded: torch.LongTensor | None = None
        self._said: list[tuple[str, torch.LongTensor]] = []
        self._text = ""
        if is_written(text):
            self._parts: Iterable[str | float | Passage] = _parts_of(iterate_sentences(text))
            return
        said = _text_said(text, fields)
        if said is not None:
            check_words(said)
        if not has_pauses(said):
            self.num_passages, self.spoken_text = 1, said
            self._parts = [build_passage(processor, text, fields)]
            return
        message = self._take_apart(text)
        self._parts = list(_parts_of([said if self._conversation is None else only(message["text"])]))
        texts = [part for part in self._parts if isinstance(part, str)]
        self.num_passages, self.spoken_text = len(texts), join_texts(texts)
        self._seconds = self._seconds_of(message)
        self._first = self._passage(texts[0])

    def __iter__(self) -> Iterator[Passage | float]:
        self._said.clear()
        first, follows_text = self._first, False
        for part in self._parts:
            if isinstance(part, str):
                if follows_text:
                    yield _PAUSE
                self._text = part
                yield first or self._passage(part)
                first = None
            else:
                yield part
            follows_text = isinstance(part, str)

    def keep(self, decoder: PassageDecoder, is_guarded: bool) -> None:
        """
        Keeps what the last passage has become, for those that follow, unless it went wrong.

        Args:
            decoder ([`PassageDecoder`]): what decoded it.
            is_guarded (`bool`): whether guards watched it; without them a speech that was stopped at its limit is a speech.
        """
        fault = decoder.watch.fault
        if self.num_passages == 1 or not decoder.codes or (fault is not None and (is_guarded or fault != "limit")):
            return
        num_kept = sum(len(codes) for _, codes in self._said)
        if self._conversation is not None or num_kept < _BEGINNING * self.processor.frame_rate:
            self._said.append((self._text, torch.cat(decoder.codes)))

    def silence(self, seconds: float) -> Iterator[np.ndarray]:
        """Silence of so many seconds, in pieces `(channels, samples)`."""
        config = self.processor.audio_tokenizer.config
        size = round(_LONGEST_PIECE * config.sampling_rate)
        num_samples = round(seconds * config.sampling_rate)
        for start in range(0, num_samples, size):
            yield np.zeros((config.num_channels, min(size, num_samples - start)), dtype=np.float32)

    def _take_apart(self, text: Any) -> Mapping[str, Any]:
        """The message that is said. What goes on from what was said is kept as a conversation, for each passage to be put into."""
        fields = self.fields
        names = {name: fields.get(name) for name in _FIELDS}
        if (script := fields.get("script")) is not None:
            _check_words(fields.get("voices"))
            (conversation,), _ = self.processor._conversations_of_script(
                script, fields.get("voices"), names, fields.get("conversations"), fields.get("sampling_rate")
            )
        elif (conversations := self._conversations(text)) is not None:
            conversation = conversation_of(conversations)
        elif SPEAKER.search(str(only(text))):
            conversation = messages_of_fields(names | {"text": only(text)})
        else:
            return names
        taken = (*_FIELDS, "script", "voices", "conversations", "mode")
        message = last_user(conversation)
        self._conversation = conversation
        self._goes_on = script is not None or message is not conversation[-1] or bool(SPEAKER.search(message["text"]))
        self.fields = {name: value for name, value in fields.items() if name not in taken}
        return message

    def _conversations(self, text: Any) -> Any:
        given = self.fields.get("conversations")
        return given if given is not None or isinstance(only(text), str | None) else text

    def _seconds_of(self, message: Mapping[str, Any]) -> float | None:
        """The seconds of speech, if a length is asked for."""
        seconds, tokens = (only(message.get(name)) for name in ("duration_seconds", "tokens"))
        if num_tokens_of(tokens, seconds, self.processor.frame_rate) is None:
            return None
        asked = tokens / self.processor.frame_rate if seconds is None else seconds
        pauses = sum(part for part in self._parts if isinstance(part, float))
        if asked <= pauses:
            raise ValueError(f"{asked:g} s are asked for, and the pauses of the text take {pauses:g} s: ask for more.")
        return asked - pauses

    def _passage(self, text: str) -> Passage:
        if self._conversation is None:
            fields = {
                name: value for name, value in self.fields.items() if self._seconds is None or name not in _LENGTHS
            }
            return build_passage(self.processor, text, fields | self._voice(fields) | self._length(text, fields))
        message, codes = last_user(self._conversation), [codes for _, codes in self._said]
        index = next(number for number, item in enumerate(self._conversation) if item is message)
        *_, reply = [None, *self._conversation[index + 1 :]]
        words = join_texts([*(said for said, _ in self._said), text]) if self._goes_on else text
        said = dict(message) | {"text": words} | self._length(words, message)
        if not self._goes_on:
            said |= self._voice(message)
        elif codes:
            reply = self._continued(reply, self._with_all_codebooks(torch.cat(codes)))
        conversation = [*self._conversation[:index], said, *([] if reply is None else [reply])]
        mode = "generation" if reply is None else "continuation"
        return build_passage(self.processor, None, self.fields | {"conversations": [conversation], "mode": mode})

    def _length(self, text: str, fields: Mapping[str, Any]) -> dict[str, Any]:
        """The share of a text in the length that is asked for."""
        if self._seconds is None:
            return {}
        language = only(fields.get("language"))
        share = expected_duration(text, language) / expected_duration(self.spoken_text or "", language)
        return {"tokens": None, "duration_seconds": self._seconds * share}

    def _voice(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        """The reference of a passage, if it is another than that of the first one."""
        if not self._said or not self.processor.abilities.clones_voices:
            return {}
        reference = only(fields.get("reference"))
        if reference is None:
            longest = int(self.processor.max_reference_duration * self.processor.frame_rate)
            return {"reference": self._with_all_codebooks(torch.cat([codes for _, codes in self._said])[:longest])}
        if is_codes(reference) or as_voice(reference) is not None or isinstance(reference, list):
            return {}
        # A recording is not encoded again for every passage.
        if self._encoded is None:
            (self._encoded,) = self.processor.encode_audio([reference], self.fields.get("sampling_rate"))
        return {"reference": self._encoded}

    def _continued(self, reply: Message | None, codes: torch.LongTensor) -> Message:
        """The beginning of a reply with what was said behind it."""
        if reply is None:
            return self.processor.build_assistant_message([codes])
        slot = "audio_codes_list" if isinstance(reply.get("content", ""), str) else "content"
        *before, last = reply[slot]
        (beginning,) = self.processor.encode_audio([last], self.fields.get("sampling_rate"))
        return dict(reply) | {slot: [*before, torch.cat([beginning, codes])]}

    def _with_all_codebooks(self, codes: torch.LongTensor) -> torch.LongTensor:
        """Codes with the codebooks too that were not spoken."""
        if codes.shape[1] == self.processor.model_config.n_vq:
            return codes
        codec = self.processor.audio_tokenizer
        with torch.inference_mode():
            audio = codec.decode(codes.T.to(codec.device)).audio[0].float().cpu().clone()
        (codes_of_all,) = self.processor.encode_audio([(audio, codec.config.sampling_rate)])
        return codes_of_all


def is_written(text: Any) -> bool:
    """Whether a text comes in pieces."""
    return not isinstance(text, str | Mapping | list | tuple | None) and isinstance(text, Iterable | AsyncIterable)


def _text_said(text: Any, fields: Mapping[str, Any]) -> str | None:
    """The text or the script that is said, where there is one; a prompt that is made has none."""
    if isinstance(text, Mapping) and "input_ids" in text:
        return None
    try:
        said = only(message_said(text, fields)[0].get("text"))
    except (KeyError, IndexError, TypeError):
        # The processor says what is wrong with it.
        return None
    return said if isinstance(said, str) else None


def _parts_of(texts: Iterable[str]) -> Iterator[str | float]:
    """What is said of texts, and the seconds of the pauses in them; a `ValueError` where there is nothing to say."""
    first, has_said = "", False
    for text in texts:
        first = first or text
        # All pauses are looked at before anything is said.
        for part in list(split_pauses(text)):
            has_said = has_said or isinstance(part, str)
            yield part
    if first and not has_said:
        check_words(first)


def _check_words(voices: Any) -> None:
    given = voices.values() if isinstance(voices, Mapping) else voices or ()
    if any(is_pair(voice) and has_pauses(voice[1]) for voice in given):
        raise ValueError("The words of a recording are what it says: leave `[pause ...]` out of them.")


__all__ = ["Narration", "Text", "is_written"]
