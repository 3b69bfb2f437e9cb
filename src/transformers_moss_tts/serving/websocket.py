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
"""Text that arrives in pieces, and speech that leaves in pieces, over a WebSocket."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Literal

from fastapi import FastAPI, WebSocket, WebSocketDisconnect
from pydantic import BaseModel, ConfigDict, ValidationError

from ..speech.streaming import SpeechStream, stream_speech
from .encoding import AudioEncoder
from .protocol import DEFAULT_VOICE, ProtocolError, SamplingFields, SpeechRequest


if TYPE_CHECKING:
    from .app import SpeechServer

PATH = "/v1/audio/speech/stream"
_TRY_AGAIN, _POLICY, _FAILED = 1013, 1008, 1011


class SessionConfig(SamplingFields):
    """First message of a client: how the session speaks. The fields are those of `POST /v1/audio/speech`."""

    type: Literal["session.config"]
    model: str | None = None
    voice: str = DEFAULT_VOICE
    instructions: str | None = None
    response_format: Literal["pcm", "wav", "mp3", "opus", "aac", "flac"] = "pcm"
    ref_audio: str | None = None
    language: str | None = None


class _Input(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    type: Literal["input.text", "input.done"]
    text: str = ""


def add_websocket(app: FastAPI, server: "SpeechServer", max_sessions: int) -> None:
    """Adds the route; of more than `max_sessions` at once the further ones are asked to come again."""
    places = asyncio.Semaphore(max_sessions)

    @app.websocket(PATH)
    async def speak(socket: WebSocket) -> None:
        await socket.accept()
        if places.locked():
            await socket.close(_TRY_AGAIN, "All places are taken: try again later.")
            return
        async with places:
            with contextlib.suppress(WebSocketDisconnect):
                await _hold(socket, server)


async def _hold(socket: WebSocket, server: "SpeechServer") -> None:
    """A session, from its configuration to its end."""
    try:
        await asyncio.wait_for(_converse(socket, server), server.options.timeout)
    except ValidationError as error:
        first = error.errors()[0]
        await _fail(socket, _POLICY, f"`{'.'.join(map(str, first['loc']))}`: {first['msg']}")
    except (ProtocolError, ValueError, TypeError) as error:
        await _fail(socket, _POLICY, str(getattr(error, "detail", error)))
    except (asyncio.TimeoutError, TimeoutError):  # two classes before Python 3.11
        await _fail(socket, _POLICY, "The session took too long.")
    except (RuntimeError, OSError) as error:
        await _fail(socket, _FAILED, f"The generation failed ({type(error).__name__}).")


async def _converse(socket: WebSocket, server: "SpeechServer") -> None:
    config = SessionConfig.model_validate_json(await _message(socket, server))
    stream = await _open(server, config, _text(socket, server))
    async with stream:
        await _speak(socket, config, stream)
    await socket.close()


async def _open(server: "SpeechServer", config: SessionConfig, text: AsyncIterator[str]) -> SpeechStream:
    # The checks of one whole request hold here too; the text comes later.
    given = config.model_dump(exclude={"type", "response_format"}, exclude_none=True)
    request = SpeechRequest(input="-", **given)
    server.check(request)
    fields, settings = await asyncio.to_thread(server.fields_of, request)
    options = settings | {"max_new_tokens": config.max_new_tokens or server.options.max_new_tokens}
    return stream_speech(server.model, server.processor, text, seed=config.seed, generate_kwargs=options, **fields)


async def _text(socket: WebSocket, server: "SpeechServer") -> AsyncIterator[str]:
    text = ""
    while True:
        message = _Input.model_validate_json(await _message(socket, server))
        if message.type == "input.done":
            return
        # A pause may come in pieces.
        text += message.text
        if len(text) > server.options.max_characters:
            raise ValueError(f"The text has more than {server.options.max_characters} characters.")
        server.check_pauses(text)
        yield message.text


async def _message(socket: WebSocket, server: "SpeechServer") -> str:
    text = await socket.receive_text()
    if len(text) > server.options.max_request_bytes:
        raise ValueError(f"The message is larger than {server.options.max_request_bytes} bytes.")
    return text


async def _speak(socket: WebSocket, config: SessionConfig, stream: SpeechStream) -> None:
    encoder = AudioEncoder(config.response_format, stream.sampling_rate, stream.num_channels)
    start = {"format": config.response_format, "sample_rate": stream.sampling_rate, "channels": stream.num_channels}
    has_begun = False
    async for audio in stream:
        if not has_begun:
            await socket.send_json({"type": "audio.start", **start})
            has_begun = True
        if data := encoder.encode(audio):
            await socket.send_bytes(data)
    if data := encoder.finish():
        await socket.send_bytes(data)
    await socket.send_json({"type": "audio.done", "seconds": round(stream.seconds, 3)})


async def _fail(socket: WebSocket, code: int, message: str) -> None:
    with contextlib.suppress(RuntimeError, WebSocketDisconnect):
        await socket.send_json({"type": "error", "message": message})
        # What fits into the frame that closes.
        await socket.close(code, message[:100])


__all__ = ["PATH", "SessionConfig", "add_websocket"]
