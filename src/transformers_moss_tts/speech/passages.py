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
"""One generation that is decoded while it runs."""

import copy
import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from transformers.feature_extraction_utils import BatchFeature
from transformers.generation import CompileConfig, StoppingCriteria

from transformers_moss_tts import MossTTSFrameStreamer, MossTTSGenerateOutput

from ..moss_tts.dialogue import has_words
from ..moss_tts.voice import language_of, settings_of
from .durations import expected_duration
from .guards import Guards, Watch


_MADE_HERE = ("streamer", "return_dict_in_generate", "inputs", "input_ids", "attention_mask", "seed")


@dataclass(frozen=True)
class Passage:
    """
    What one generation says.

    Args:
        inputs (`BatchFeature`): prompt of one sequence.
        duration (`float`, *optional*): seconds that were asked for or that the text takes, where they are known.
        includes_prompt (`bool`): whether these are also the seconds of the reply's beginning in the prompt.
        is_sound (`bool`): whether it is a sound and no speech.
    """

    inputs: BatchFeature
    duration: float | None = None
    includes_prompt: bool = False
    is_sound: bool = False

    def watch(self, guards: Guards | None, frame_rate: float) -> Watch:
        """What watches the generation; the sound of an engine may repeat."""
        if guards is None:
            guards = Guards(silence=None, repetition=None, longest=None, shortest=None)
        if self.is_sound:
            guards = dataclasses.replace(guards, repetition=None)
        return guards.watch(frame_rate, self.duration)


def build_passage(processor: Any, text: Any, fields: Mapping[str, Any]) -> Passage:
    """
    Builds the prompt of one text or conversation, with the fields of the processor's call; a prompt that is built already is taken
    as it is.

    Raises:
        ValueError: if the processor has no codec, or what is given is several texts.
    """
    check_codec(processor)
    if isinstance(text, Mapping) and "input_ids" in text:
        if fields:
            raise ValueError(f"A prompt has its fields already: leave {', '.join(fields)} out.")
        return Passage(_of_one(BatchFeature(dict(text))))
    inputs = _of_one(processor(text, **fields))
    message, includes_prompt = message_said(text, fields)
    is_sound = message.get("sound_event") is not None or message.get("ambient_sound") is not None
    return Passage(inputs, _duration_of(message, processor.frame_rate), includes_prompt, is_sound)


def _of_one(inputs: BatchFeature) -> BatchFeature:
    if len(inputs["input_ids"]) != 1:
        raise ValueError(f"One text is spoken at a time, got {len(inputs['input_ids'])}: call once for each.")
    return inputs


def _duration_of(message: Mapping[str, Any], frame_rate: float) -> float | None:
    if (seconds := only(message.get("duration_seconds"))) is not None:
        return seconds
    if (tokens := only(message.get("tokens"))) is not None:
        return tokens / frame_rate
    text = only(message.get("text"))
    return expected_duration(text, only(message.get("language"))) if isinstance(text, str) else None


def check_codec(processor: Any) -> None:
    """
    Raises:
        ValueError: if the processor has no codec.
    """
    if processor.audio_tokenizer is None:
        raise ValueError("Speech needs a codec and the processor has none: load it with `codec_path=`.")


def check_generate_kwargs(generate_kwargs: Mapping[str, Any] | None) -> dict[str, Any]:
    """
    Raises:
        ValueError: for arguments of `generate` that are made here.
    """
    given = dict(generate_kwargs or {})
    if refused := sorted(given.keys() & set(_MADE_HERE)):
        advice = "pass `seed` beside it" if refused == ["seed"] else "leave it out"
        raise ValueError(f"`generate_kwargs` may not have {', '.join(refused)}: {advice}.")
    if given.get("num_return_sequences", 1) != 1:
        raise ValueError(
            "One text is spoken at a time: leave `num_return_sequences` out, and call again for another take."
        )
    return given


def with_voices(
    text: Any, fields: Mapping[str, Any], options: dict[str, Any]
) -> tuple[Any, dict[str, Any], dict[str, Any]]:
    """
    Text and fields of the processor's call, and arguments of `generate`, with the language and the settings of kept voices among the
    references where the caller says nothing else.
    """
    fields = dict(fields)
    if isinstance(text, Mapping) and "input_ids" in text:
        return text, fields, options
    try:
        message, is_of_conversation = message_said(text, fields)
    except (KeyError, IndexError, TypeError):
        # The processor says what is wrong with it.
        return text, fields, options
    voices = [*_items(message.get("reference")), *map(_recording_of, _items(fields.get("voices")))]
    options = settings_of(voices, options)
    if (language := language_of(voices)) is None or message.get("language") is not None:
        return text, fields, options
    if not is_of_conversation:
        return text, fields | {"language": language}, options
    slot = "text" if fields.get("conversations") is None else "conversations"
    conversation = conversation_of(text if slot == "text" else fields[slot])
    message = copy.copy(message)
    message["language"] = language
    last = last_user(conversation)
    conversation = [message if item is last else item for item in conversation]
    if slot == "text":
        return [conversation], fields, options
    return text, fields | {slot: [conversation]}, options


def _items(value: Any) -> list[Any]:
    if isinstance(value, Mapping):
        return list(value.values())
    return list(value) if isinstance(value, list) else [] if value is None else [value]


def _recording_of(voice: Any) -> Any:
    """The recording of a voice that may be a pair of it and its words."""
    return voice[0] if has_words(voice) else voice


class PassageDecoder(MossTTSFrameStreamer):
    """
    Decodes a generation while it runs, in its thread, and lets a guard look at every frame. The codec hears a beginning of the reply
    in the prompt first.

    Args:
        model, processor: generator and its processor, with a codec.
        watch ([`Watch`]): what looks at the frames.
        emit (`Callable`): takes each chunk of audio, `(channels, samples)` in float32.
        num_wanted (`Callable`): returns the number of frames that the next chunk waits for.
        compile_config ([`~transformers.CompileConfig`], *optional*): compiles the codec for chunks of one frame.

    Attributes:
        codes (`list[torch.LongTensor]`): codes of the chunks that were emitted, `(frames, n_vq)`.
    """

    def __init__(
        self,
        model: Any,
        processor: Any,
        watch: Watch,
        emit: Callable[[np.ndarray], None],
        num_wanted: Callable[[], int],
        compile_config: CompileConfig | None = None,
    ):
        super().__init__(model.config, skip_prompt=False)
        self.codec = processor.audio_tokenizer
        self.cache = self.codec.init_cache("decoder", compile_config=compile_config)
        self.watch, self.emit, self.num_wanted = watch, emit, num_wanted
        self.counts_prompt = False
        self.codes: list[torch.LongTensor] = []
        self._pending: list[torch.LongTensor] = []
        self._num_unheard: int | None = None

    def put(self, value: torch.LongTensor) -> None:
        """Takes a step, and decodes a chunk when there are frames enough."""
        super().put(value)
        self._take()
        num_new = len(self._pending) - (self._num_unheard or 0)
        if num_new > 0 and num_new >= self.num_wanted():
            self._decode()

    def end(self) -> None:
        """Decodes what is left."""
        self._take()
        if len(self._pending) > (self._num_unheard or 0):
            self._decode()
        super().end()

    def _take(self) -> None:
        while not self.frames.empty():
            self._pending.append(self.frames.get())
        if self._num_unheard is None and self._pending:
            self._num_unheard = self.num_prompt_frames
            self.watch.num_frames_before = self.num_prompt_frames if self.counts_prompt else 0

    def _decode(self) -> None:
        codes, first = torch.cat(self._pending), self._num_unheard or 0
        self._pending, self._num_unheard = [], 0
        if self.watch.fault is not None:
            return
        with torch.inference_mode():
            audio = self.codec.decode(codes.T.to(self.codec.device), cache=self.cache).audio[0].float().cpu().numpy()
        frame = audio.shape[-1] // len(codes)
        codes, audio = codes[first:], audio[:, first * frame :]
        num_kept = self.watch.add(codes, audio)
        if num_kept:
            self.codes.append(codes[:num_kept])
            self.emit(audio[:, : num_kept * frame])


class _StopWhen(StoppingCriteria):
    """Stops a generation of one sequence."""

    def __init__(self, is_over: Callable[[], bool]):
        self.is_over = is_over

    def __call__(self, input_ids: torch.LongTensor, scores: Any, **kwargs) -> torch.BoolTensor:
        return torch.full(input_ids.shape[:1], self.is_over(), device=input_ids.device)


def generate_passage(
    model: Any,
    passage: Passage,
    decoder: PassageDecoder,
    generate_kwargs: dict[str, Any],
    is_closed: Callable[[], bool] = lambda: False,
) -> MossTTSGenerateOutput:
    """Runs one generation to its end, to the step at which a guard acts, or to the one at which it is closed."""
    decoder.counts_prompt = passage.includes_prompt
    stop = _StopWhen(lambda: decoder.watch.fault is not None or is_closed())
    criteria = [*generate_kwargs.get("stopping_criteria", []), stop]
    options = generate_kwargs | {"stopping_criteria": criteria, "return_dict_in_generate": True}
    outputs = model.generate(**passage.inputs.to(model.device), streamer=decoder, **options)
    if not is_closed():
        decoder.watch.finish(bool(outputs.reached_limit))
    return outputs


def derive_seed(seed: int, number: int) -> int:
    """Seed of a further take or sentence: that of number 0 is the seed itself, the others lie far apart."""
    return (seed + number * 0x9E3779B97F4A7C15) % 2**63


def message_said(text: Any, fields: Mapping[str, Any]) -> tuple[Mapping[str, Any], bool]:
    """The message that is spoken, and whether it is of a conversation, so that its length is also that of the reply's beginning."""
    conversations = fields.get("conversations")
    if conversations is None and not isinstance(only(text), str | None):
        conversations = text
    if conversations is None:
        return dict(fields) | {"text": text if fields.get("script") is None else fields["script"]}, False
    return last_user(conversation_of(conversations)), True


def conversation_of(conversations: Any) -> list[Mapping[str, Any]]:
    conversation = conversations if isinstance(conversations, Mapping) else only(conversations)
    return [conversation] if isinstance(conversation, Mapping) else list(conversation)


def last_user(conversation: list[Mapping[str, Any]]) -> Mapping[str, Any]:
    return [message for message in conversation if message["role"] == "user"][-1]


def only(value: Any) -> Any:
    """The one item of a list of one, anything else as it is."""
    return value[0] if isinstance(value, list | tuple) and len(value) == 1 else value


__all__ = [
    "Passage",
    "PassageDecoder",
    "build_passage",
    "check_codec",
    "check_generate_kwargs",
    "conversation_of",
    "derive_seed",
    "generate_passage",
    "last_user",
    "message_said",
    "only",
    "with_voices",
]
