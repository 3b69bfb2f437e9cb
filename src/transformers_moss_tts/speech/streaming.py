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
"""Speech that is heard while it is generated."""

import asyncio
import threading
import time
import weakref
from collections.abc import AsyncIterable, AsyncIterator, Iterator, Mapping
from typing import Any, Literal

import numpy as np
import torch

from .guards import Guards
from .mailbox import Mailbox
from .narration import Narration, Text, is_written
from .passages import (
    Passage,
    PassageDecoder,
    check_codec,
    check_generate_kwargs,
    derive_seed,
    generate_passage,
    with_voices,
)
from .threads import end_at_exit


# Longest chunk, in seconds: decoding longer ones at once is hardly cheaper.
_LONGEST_CHUNK = 2.0
# The next chunk waits for no more than this share of the audio that the listener has not heard yet.
_SHARE_OF_LEAD = 0.5
_WHOLE_TEXT_FIELDS = ("conversations", "script", "voices", "mode", "tokens", "duration_seconds")


def stream_speech(
    model: Any,
    processor: Any,
    text: Text = None,
    *,
    seed: int | None = None,
    guards: Guards | None = Guards(),
    return_tensors: Literal["np", "pt"] = "np",
    generate_kwargs: Mapping[str, Any] | None = None,
    **fields: Any,
) -> "SpeechStream":
    """
    Speaks, and yields the audio while it is generated. The first chunk is one frame; the further ahead of a listener the audio is,
    the longer they get, which costs less. Any number of streams can run on one model at once.

    Args:
        model, processor:
            Generator and its processor, with a codec.
        text (`str`, `dict`, `list`, `BatchFeature` or `Iterable[str]`):
            What the processor's call takes for one utterance: a text, or a conversation; a prompt that it has made; or pieces of a
            text that is still being written, also an async iterable, which may block. These are spoken sentence by sentence, in the
            voice of `reference` or else of the first of them, which the further ones clone. `[pause 1.5s]` is a silence, wherever
            the text stands; what stands before and behind it is spoken in turn, in the same way. Dialogues, and replies that
            have begun, go on from what was said.
        seed (`int`, *optional*):
            Seed of the sampling.
        guards ([`Guards`], *optional*):
            What ends a generation that is no speech any more; `None` for nothing.
        return_tensors (`str`, *optional*, defaults to `"np"`):
            `"np"` for arrays, `"pt"` for tensors on the CPU.
        generate_kwargs (`dict`, *optional*):
            Further arguments of `generate`, such as `max_new_tokens`. With a `compile_config` the codec is compiled too, for chunks
            of one frame.
        fields:
            Further arguments of the processor's call, such as `reference` and `language`.

    Returns:
        [`SpeechStream`]: iterate with `for` or with `async for`. Audio has shape `(channels, samples)`, in float32.

    Raises:
        ValueError: if the processor has no codec, or an argument cannot be used. Errors of the prompt and of `generate` are raised
            in the loop.

    Example:

    ```python
    >>> for audio in stream_speech(model, processor, "Hello there."):
    ...     loudspeaker.write(audio.T)
    ```
    """
    if return_tensors not in ("np", "pt"):
        raise ValueError(f"`return_tensors` must be 'np' or 'pt', got {return_tensors!r}.")
    check_codec(processor)
    in_pieces = is_written(text)
    if given := [name for name in _WHOLE_TEXT_FIELDS if fields.get(name) is not None and in_pieces]:
        raise ValueError(f"A text that comes in pieces takes no {', '.join(given)}: they are of one whole text.")
    options = check_generate_kwargs(generate_kwargs)
    if in_pieces:
        _, fields, options = with_voices(None, fields, options)
    else:
        text, fields, options = with_voices(text, fields, options)
    speaker = _Speaker(model, processor, seed, guards, options, fields)
    return SpeechStream(speaker, text, return_tensors)


class SpeechStream:
    """
    Speech while it is generated, made by [`stream_speech`]. `for` and `async for` yield its audio; leaving the loop, and the end of
    a `with` or `async with` block, closes it.

    Attributes:
        sampling_rate (`int`): rate of the audio, in Hz.
        num_channels (`int`): number of channels of the audio.
    """

    def __init__(self, speaker: "_Speaker", text: Text, return_tensors: str):
        self.sampling_rate = speaker.codec.config.sampling_rate
        self.num_channels = speaker.codec.config.num_channels
        self._speaker = speaker
        self._return_tensors = return_tensors
        self._async_text = text if isinstance(text, AsyncIterable) else None
        self._written: Mailbox | None = None
        if self._async_text is not None:
            self._written = text = Mailbox()
        # A stream that nobody holds any more is closed.
        self._finalizer = weakref.finalize(self, speaker.close)
        end_at_exit(threading.Thread(target=speaker.run, args=(text,), daemon=True), speaker.close)

    @property
    def first_audio(self) -> float | None:
        """Seconds from the call to the first audio, once it is there."""
        return self._speaker.clock.first_audio

    @property
    def seconds(self) -> float:
        """Seconds of audio that were made so far."""
        return self._speaker.clock.seconds

    @property
    def lead(self) -> float:
        """Seconds that the audio is ahead of one who listens since the first of it; below 0 that listener waited."""
        return self._speaker.clock.lead

    @property
    def faults(self) -> list[str]:
        """Names of the guards that acted, in their order, and of other faults (see [`Watch`]); one for a generation at most."""
        return list(self._speaker.faults)

    def close(self) -> None:
        """Stops the generation at its next step. What was made is not yielded any more."""
        self._speaker.close()
        self._speaker.audio.clear()

    def __enter__(self) -> "SpeechStream":
        return self

    def __exit__(self, *_) -> None:
        self.close()

    async def __aenter__(self) -> "SpeechStream":
        return self

    async def __aexit__(self, *_) -> None:
        self.close()

    def __next__(self) -> np.ndarray | torch.Tensor:
        if self._async_text is not None:
            raise TypeError("A text that is an async iterable is spoken in an `async for` loop.")
        return self._of(next(self._speaker.audio))

    def __iter__(self) -> Iterator[np.ndarray | torch.Tensor]:
        try:
            while True:
                try:
                    audio = next(self)
                except StopIteration:
                    return
                yield audio
        finally:
            self.close()

    async def __anext__(self) -> np.ndarray | torch.Tensor:
        return self._of(await anext(self._speaker.audio))

    async def __aiter__(self) -> AsyncIterator[np.ndarray | torch.Tensor]:
        writing = None if self._async_text is None else asyncio.ensure_future(_write(self._async_text, self._written))
        try:
            async for audio in self._speaker.audio:
                yield self._of(audio)
        finally:
            self.close()
            if writing is not None:
                writing.cancel()

    def _of(self, audio: np.ndarray) -> np.ndarray | torch.Tensor:
        return torch.from_numpy(audio) if self._return_tensors == "pt" else audio


async def _write(text: AsyncIterable[str], written: "Mailbox") -> None:
    try:
        async for piece in text:
            written.put(piece)
    except Exception as error:
        written.end(error)
    else:
        written.end()


class _Clock:
    """How far the audio is ahead of one who listens."""

    def __init__(self):
        self.start = time.perf_counter()
        self.first_audio: float | None = None
        self.seconds = 0.0

    @property
    def lead(self) -> float:
        if self.first_audio is None:
            return 0.0
        return self.seconds - (time.perf_counter() - self.start - self.first_audio)

    def add(self, seconds: float) -> None:
        if self.first_audio is None:
            self.first_audio = time.perf_counter() - self.start
        self.seconds += seconds


class _Speaker:
    """What a stream does in its thread, which holds no reference to the stream."""

    def __init__(
        self,
        model: Any,
        processor: Any,
        seed: int | None,
        guards: Guards | None,
        generate_kwargs: dict[str, Any],
        fields: dict[str, Any],
    ):
        self.model, self.processor, self.codec = model, processor, processor.audio_tokenizer
        self.seed, self.guards, self.generate_kwargs, self.fields = seed, guards, generate_kwargs, fields
        self.audio = Mailbox()
        self.clock = _Clock()
        self.faults: list[str] = []
        self.is_closed = False

    def close(self) -> None:
        self.is_closed = True
        self.audio.end()

    def run(self, text: Text) -> None:
        try:
            self._speak_all(Narration(self.processor, text, self.fields))
        except StopIteration as error:
            # In a loop it would be the end.
            failure = RuntimeError("The generation raised StopIteration.")
            failure.__cause__ = error
            self.audio.end(failure)
        except BaseException as error:
            self.audio.end(error)
        else:
            self.audio.end()

    def _speak_all(self, narration: Narration) -> None:
        number = 0
        for part in narration:
            if self.is_closed:
                return
            if isinstance(part, float):
                self._be_silent(narration.silence(part))
                continue
            decoder = self._speak(part, number)
            narration.keep(decoder, is_guarded=self.guards is not None)
            number += 1

    def _be_silent(self, silence: Iterator[np.ndarray]) -> None:
        for audio in silence:
            if self.is_closed:
                return
            self._emit(audio)

    def _speak(self, passage: Passage, number: int) -> PassageDecoder:
        """What was said of a passage."""
        watch = passage.watch(self.guards, self.processor.frame_rate)
        options = dict(self.generate_kwargs)
        compile_config = None if options.get("disable_compile") else options.get("compile_config")
        decoder = PassageDecoder(self.model, self.processor, watch, self._emit, self._num_wanted, compile_config)
        if self.seed is not None:
            options["seed"] = derive_seed(self.seed, number)
        generate_passage(self.model, passage, decoder, options, lambda: self.is_closed)
        if watch.fault is not None:
            self.faults.append(watch.fault)
        return decoder

    def _emit(self, audio: np.ndarray) -> None:
        self.audio.put(audio)
        self.clock.add(audio.shape[1] / self.codec.config.sampling_rate)

    def _num_wanted(self) -> int:
        seconds = min(_SHARE_OF_LEAD * self.clock.lead, _LONGEST_CHUNK)
        return max(1, int(seconds * self.processor.frame_rate))


__all__ = ["SpeechStream", "stream_speech"]
