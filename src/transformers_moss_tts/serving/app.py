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
"""The HTTP server: OpenAI's speech protocol on one generator."""

import asyncio
import base64
import contextlib
import json
import secrets
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from fastapi import FastAPI, File, Form, Request, Response, UploadFile
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.middleware.trustedhost import TrustedHostMiddleware

from ..audio_io import AudioLimits
from ..moss_tts.voice import Voice, language_of, settings_of
from ..speech.durations import expected_duration
from ..speech.engine import EngineFullError, SpeechEngine, SpeechJob
from ..speech.narration import Narration
from ..speech.stretches import has_pauses, total_pause
from .connections import LimitedConnections, TimedStream
from .encoding import MEDIA_TYPES, AudioEncoder, encode_whole
from .metrics import Metrics
from .protocol import DEFAULT_VOICE, ProtocolError, SpeechRequest, error_body
from .voices import VoiceFolder, check_name
from .websocket import add_websocket


# The page is one file, and loads nothing from elsewhere.
_PAGE_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; media-src blob:; "
    "frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
)


@dataclass(frozen=True, kw_only=True)
class ServerOptions:
    """
    What a server allows.

    Args:
        model_name (`str`, *optional*, defaults to `"moss-tts"`): name of the model in the protocol.
        voices (`Path`, *optional*): folder of the voices.
        api_key (`str`, *optional*): key that clients must send as `Authorization: Bearer KEY`.
        allow_reference_urls (`bool`, *optional*, defaults to `False`): whether a reference may be a URL; addresses that are not
            public are refused even then.
        max_characters (`int`, *optional*, defaults to 4096): longest text.
        max_new_tokens (`int`, *optional*, defaults to 1500): longest generation in steps, 12.5 of them a second of speech.
        max_request_bytes (`int`, *optional*, defaults to 25 MiB): largest body of a request.
        timeout (`float`, *optional*, defaults to 300.0): longest time of a request, in seconds.
        idle_timeout (`float`, *optional*, defaults to 30.0): seconds that a client may take to read a piece.
        max_batch_size, max_waiting: see [`SpeechEngine`].
        max_sessions (`int`, *optional*, defaults to 8): most WebSockets at once.
        allowed_hosts (`tuple[str, ...]`, *optional*): names by which clients may call the server; all by default.
        audio_limits ([`AudioLimits`]): bounds on recordings that clients send.
    """

    model_name: str = "moss-tts"
    voices: Path | None = None
    api_key: str | None = None
    allow_reference_urls: bool = False
    max_characters: int = 4096
    max_new_tokens: int = 1500
    max_request_bytes: int = 25 * 2**20
    timeout: float = 300.0
    idle_timeout: float = 30.0
    max_batch_size: int = 8
    max_waiting: int = 128
    max_sessions: int = 8
    allowed_hosts: tuple[str, ...] = ("*",)
    audio_limits: AudioLimits = field(
        default_factory=lambda: AudioLimits(
            max_duration=120.0,
            max_bytes=20 * 2**20,
            max_channels=2,
            download_timeout=20.0,
            allow_private_addresses=False,
        )
    )


class SpeechServer:
    """What the routes of one app share."""

    def __init__(self, model: Any, processor: Any, options: ServerOptions):
        self.options = options
        self.model, self.processor = model, processor
        processor.audio_limits = options.audio_limits
        self.engine = SpeechEngine(
            model, processor, max_batch_size=options.max_batch_size, max_waiting=options.max_waiting
        )
        self.voices = VoiceFolder(options.voices)
        self.metrics = Metrics(self.engine)
        self.started = int(time.time())
        codec = processor.audio_tokenizer.config
        self.sampling_rate, self.num_channels = codec.sampling_rate, codec.num_channels
        rate, channels = str(codec.sampling_rate), str(codec.num_channels)
        self.audio_headers = {"X-Sampling-Rate": rate, "X-Channels": channels, "Cache-Control": "no-store"}
        # References are encoded one at a time: the model needs the processor more.
        self._encoding = asyncio.Semaphore(1)

    async def job_of(self, request: SpeechRequest) -> SpeechJob:
        """
        The job of a request, in the queue.

        Raises:
            ProtocolError: if the request cannot be met.
        """
        self.check(request)
        try:
            self.engine.check_place()
            async with self._encoding:
                job = await asyncio.to_thread(self._make_job, request)
            self.engine.submit(job)
        except EngineFullError as error:
            raise ProtocolError(
                429, str(error), code="rate_limit_exceeded", headers={"Retry-After": str(error.retry_after)}
            ) from error
        except (ValueError, TypeError) as error:
            raise ProtocolError(400, str(error)) from error
        return job

    def check(self, request: SpeechRequest) -> None:
        """
        Raises:
            ProtocolError: for what can be seen without a look at the reference.
        """
        options = self.options
        if request.model not in (None, options.model_name):
            raise ProtocolError(
                404,
                f"There is no model {request.model!r}: this server has {options.model_name!r}.",
                "model",
                "model_not_found",
            )
        if len(request.input) > options.max_characters:
            raise ProtocolError(
                400,
                f"The text has {len(request.input)} characters; at most {options.max_characters} are spoken.",
                "input",
            )
        self.check_pauses(request.input)
        if (request.max_new_tokens or 1) > options.max_new_tokens:
            raise ProtocolError(400, f"`max_new_tokens` may be at most {options.max_new_tokens}.", "max_new_tokens")
        is_cloned = request.ref_audio is not None or request.voice != DEFAULT_VOICE
        if request.ref_audio is not None and request.voice != DEFAULT_VOICE:
            raise ProtocolError(400, "`ref_audio` and `voice` are both a voice: send one of them.", "voice")
        if request.ref_text is not None and request.ref_audio is None:
            raise ProtocolError(400, "`ref_text` is what `ref_audio` says: send both.", "ref_text")
        if has_pauses(request.ref_text):
            raise ProtocolError(400, "`ref_text` is what `ref_audio` says, without pauses.", "ref_text")
        if request.voices is not None and is_cloned:
            raise ProtocolError(
                400, "`voices` are those of a dialogue: send neither `voice` nor `ref_audio`.", "voices"
            )
        if request.task_type == "Base" and not is_cloned:
            raise ProtocolError(400, "The task 'Base' clones a voice: send `ref_audio` or `voice`.", "task_type")
        if request.task_type == "CustomVoice" and request.voice == DEFAULT_VOICE:
            raise ProtocolError(400, "The task 'CustomVoice' speaks with a kept voice: send `voice`.", "task_type")
        if request.task_type == "VoiceDesign" and (is_cloned or not request.instructions):
            raise ProtocolError(
                400, "The task 'VoiceDesign' takes `instructions` and neither `voice` nor `ref_audio`.", "task_type"
            )

    def check_pauses(self, text: str) -> None:
        """
        Raises:
            ProtocolError: if a text has a pause that is none, or its pauses take longer than speech may.
        """
        longest = self.options.max_new_tokens / self.processor.frame_rate
        try:
            seconds = total_pause(text)
        except ValueError as error:
            raise ProtocolError(400, str(error), "input") from error
        if seconds > longest:
            raise ProtocolError(
                400, f"The pauses of the text take {seconds:g} s; at most {longest:g} s are allowed.", "input"
            )

    def fields_of(self, request: SpeechRequest) -> tuple[dict[str, Any], dict[str, Any]]:
        """Fields of the prompt beside its text, and arguments of `generate`."""
        if request.ref_audio is None:
            reference = self._voice_of(request.voice)
        else:
            reference = self._checked_reference(request.ref_audio)
        voices = [reference, *map(self._voice_of, (request.voices or {}).values())]
        language = request.language or language_of(voices)
        fields = {"reference": reference, "language": language, "instruction": request.instructions}
        if request.speed != 1.0:
            spoken = expected_duration(request.input, language) / request.speed
            fields["duration_seconds"] = spoken + total_pause(request.input)
        return {name: value for name, value in fields.items() if value is not None}, settings_of(
            voices, request.sampling
        )

    def _make_job(self, request: SpeechRequest) -> SpeechJob:
        fields, options = self.fields_of(request)
        return SpeechJob(
            narration=self._narration_of(request, fields),
            seed=secrets.randbits(62) if request.seed is None else request.seed,
            options=options,
            max_new_tokens=request.max_new_tokens or self.options.max_new_tokens,
            is_streamed=request.is_streamed,
            timeout=self.options.timeout,
            on_end=self.metrics.count,
        )

    def _narration_of(self, request: SpeechRequest, fields: dict[str, Any]) -> Narration:
        if request.voices is not None:
            voices = {speaker: self._voice_of(voice) for speaker, voice in request.voices.items()}
            return Narration(self.processor, None, fields | {"script": request.input, "voices": voices})
        if request.ref_text is None:
            return Narration(self.processor, request.input, fields)
        # The reply begins with the recording, whose words the text begins with.
        recording = fields.pop("reference")
        user = self.processor.build_user_message(text=f"{request.ref_text.strip()} {request.input}", **fields)
        conversation = [user, self.processor.build_assistant_message([recording])]
        return Narration(self.processor, None, {"conversations": [conversation], "mode": "continuation"})

    def _voice_of(self, name: str) -> Voice | str | None:
        """A kept voice, or a recording that came with the request."""
        if ":" in name:
            return self._checked_reference(name)
        if name == DEFAULT_VOICE:
            return None
        try:
            voice = self.voices.get(name)
        except KeyError as error:
            names = ", ".join([DEFAULT_VOICE, *self.voices.names()])
            raise ProtocolError(400, f"There is no voice {name!r:.80}: there are {names}.", "voice") from error
        voice.check_codec(self.processor.audio_tokenizer, self.processor.model_config)
        return voice

    def _checked_reference(self, reference: str) -> str:
        is_url = reference.lower().startswith(("http://", "https://"))
        if is_url and not self.options.allow_reference_urls:
            raise ProtocolError(
                400,
                "This server loads no URLs: send the recording as a data URI (data:audio/wav;base64,...).",
                "ref_audio",
            )
        if not is_url and not reference.lower().startswith("data:"):
            raise ProtocolError(
                400, "`ref_audio` must be a data URI, or a URL where the server allows it.", "ref_audio"
            )
        return reference


def create_app(model: Any, processor: Any, options: ServerOptions | None = None) -> FastAPI:
    """
    An app that serves a generator; run it with uvicorn, or within another app.

    Args:
        model, processor: generator and its processor, with a codec.
        options ([`ServerOptions`], *optional*): what it allows.
    """
    options = options or ServerOptions()
    server = SpeechServer(model, processor, options)

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        await asyncio.to_thread(server.engine.close)

    app = FastAPI(title="MOSS-TTS", lifespan=lifespan, openapi_url="/openapi.json", redoc_url=None)
    app.state.server = server
    app.add_middleware(
        LimitedConnections,
        max_request_bytes=options.max_request_bytes,
        idle_timeout=options.idle_timeout,
        api_key=options.api_key,
    )
    # Pages elsewhere could give this machine a name of theirs.
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=list(options.allowed_hosts), www_redirect=False)
    _add_errors(app)
    _add_speech(app, server)
    _add_voices(app, server)
    _add_state(app, server)
    add_websocket(app, server, options.max_sessions)
    return app


def _add_errors(app: FastAPI) -> None:
    @app.exception_handler(HTTPException)
    async def of_protocol(request: Request, error: HTTPException) -> JSONResponse:
        param, code = getattr(error, "param", None), getattr(error, "code", None)
        body = error_body(error.status_code, str(error.detail), param, code)
        return JSONResponse(body, error.status_code, headers=error.headers)

    @app.exception_handler(RequestValidationError)
    async def of_fields(request: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        param = ".".join(str(part) for part in first["loc"] if part != "body") or None
        message = first["msg"] if param is None else f"`{param}`: {first['msg']}"
        return JSONResponse(error_body(400, message, param), 400)


def _add_speech(app: FastAPI, server: SpeechServer) -> None:
    @app.post("/v1/audio/speech", response_class=Response)
    async def speech(request: SpeechRequest, connection: Request) -> Response:
        job = await server.job_of(request)
        try:
            if request.is_streamed:
                return await _stream(server, request, job)
            return await _whole(server, request, job, connection)
        except BaseException:
            job.cancel()
            raise


async def _whole(server: SpeechServer, request: SpeechRequest, job: SpeechJob, connection: Request) -> Response:
    leaving = asyncio.ensure_future(_left(connection))
    making = asyncio.ensure_future(_collect(job))
    try:
        await asyncio.wait({leaving, making}, return_when=asyncio.FIRST_COMPLETED)
        if not making.done():
            raise ProtocolError(499, "The client has left.")
        chunks = making.result()
    finally:
        leaving.cancel()
        making.cancel()
    if not chunks:
        raise ProtocolError(500, f"Nothing was spoken ({job.finish_reason}).")
    audio = np.concatenate(chunks, axis=1)
    content = await asyncio.to_thread(encode_whole, audio, request.response_format, server.sampling_rate)
    headers = server.audio_headers | {"X-Finish-Reason": str(job.finish_reason)}
    return Response(content, media_type=MEDIA_TYPES[request.response_format], headers=headers)


async def _left(connection: Request) -> None:
    """Returns when the client has left."""
    while (await connection.receive())["type"] != "http.disconnect":
        pass


async def _collect(job: SpeechJob) -> list[np.ndarray]:
    with _protocol_errors():
        return [chunk async for chunk in job.audio]


@contextlib.contextmanager
def _protocol_errors():
    try:
        yield
    except TimeoutError as error:
        raise ProtocolError(504, str(error), code="timeout") from error
    except (ValueError, TypeError) as error:
        # What the prompt did not show, such as a temperature that no generation can have.
        raise ProtocolError(400, str(error)) from error
    except RuntimeError as error:
        raise ProtocolError(500, f"The generation failed ({type(error).__name__}).") from error


async def _stream(server: SpeechServer, request: SpeechRequest, job: SpeechJob) -> Response:
    chunks = aiter(job.audio)
    with _protocol_errors():
        # What fails before the first sound has a status of its own.
        first = await anext(chunks, None)
    if first is None:
        raise ProtocolError(500, f"Nothing was spoken ({job.finish_reason}).")
    encoder = AudioEncoder(request.response_format, server.sampling_rate, server.num_channels)
    is_sse = request.stream_format == "sse"
    pieces = _pieces(job, encoder, first, chunks)
    content = _events(job, pieces) if is_sse else pieces
    media_type = "text/event-stream" if is_sse else MEDIA_TYPES[request.response_format]
    headers = server.audio_headers
    return TimedStream(content, job.cancel, media_type=media_type, headers=headers)


async def _pieces(
    job: SpeechJob, encoder: AudioEncoder, first: np.ndarray, chunks: AsyncIterator[np.ndarray]
) -> AsyncIterator[bytes]:
    if data := encoder.encode(first):
        yield data
    async for chunk in chunks:
        if data := encoder.encode(chunk):
            yield data
    if data := encoder.finish():
        yield data


async def _events(job: SpeechJob, pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    async for data in pieces:
        yield _event({"type": "speech.audio.delta", "audio": base64.b64encode(data).decode()})
    usage = {"input_tokens": job.num_prompt_tokens, "output_tokens": job.num_frames}
    usage["total_tokens"] = sum(usage.values())
    yield _event({"type": "speech.audio.done", "usage": usage})


def _event(fields: dict[str, Any]) -> bytes:
    return f"data: {json.dumps(fields)}\n\n".encode()


def _add_voices(app: FastAPI, server: SpeechServer) -> None:
    @app.get("/v1/audio/voices")
    async def list_voices() -> dict[str, Any]:
        names = [DEFAULT_VOICE, *await asyncio.to_thread(server.voices.names)]
        return {"object": "list", "voices": names, "data": [{"id": name, "object": "voice"} for name in names]}

    @app.post("/v1/audio/voices")
    async def add_voice(
        name: Annotated[str, Form()],
        consent: Annotated[str, Form()],
        audio_sample: Annotated[UploadFile, File()],
        ref_text: Annotated[str | None, Form()] = None,
        language: Annotated[str | None, Form()] = None,
        licence: Annotated[str | None, Form()] = None,
    ) -> dict[str, Any]:
        """Keeps the voice of a recording."""
        data = await audio_sample.read()

        def make() -> Voice:
            check_name(name)
            notes = {"text": ref_text or None, "language": language or None, "licence": licence or None}
            voice = Voice.from_recording(data, server.processor, name=name, consent=consent, **notes)
            server.voices.add(name, voice)
            return voice

        try:
            voice = await asyncio.to_thread(make)
        except (ValueError, TypeError) as error:
            raise ProtocolError(400, str(error)) from error
        except OSError as error:
            raise ProtocolError(507, f"The voice could not be written: {error.strerror}.") from error
        return {"id": name, "object": "voice", "name": name, "seconds": round(voice.duration, 2), "consent": consent}

    @app.delete("/v1/audio/voices/{name}")
    async def delete_voice(name: str) -> dict[str, Any]:
        try:
            await asyncio.to_thread(server.voices.delete, name)
        except KeyError as error:
            raise ProtocolError(404, f"There is no voice {name!r:.80}.", "voice") from error
        return {"id": name, "object": "voice", "deleted": True}


def _add_state(app: FastAPI, server: SpeechServer) -> None:
    name = server.options.model_name
    page = Path(__file__).with_name("page.html").read_bytes()

    @app.get("/", include_in_schema=False)
    async def show_page() -> Response:
        return Response(page, media_type="text/html", headers={"Content-Security-Policy": _PAGE_POLICY})

    def describe() -> dict[str, Any]:
        return {"id": name, "object": "model", "created": server.started, "owned_by": "transformers-moss-tts"}

    @app.get("/v1/models")
    async def models() -> dict[str, Any]:
        return {"object": "list", "data": [describe()]}

    @app.get("/v1/models/{model}")
    async def one_model(model: str) -> dict[str, Any]:
        if model != name:
            raise ProtocolError(
                404, f"There is no model {model!r:.80}: this server has {name!r}.", "model", "model_not_found"
            )
        return describe()

    @app.get("/health")
    async def health() -> JSONResponse:
        is_well = server.engine.is_alive
        return JSONResponse({"status": "ok" if is_well else "failed"}, 200 if is_well else 503)

    @app.get("/metrics")
    async def metrics() -> Response:
        return server.metrics.response()


__all__ = ["ServerOptions", "create_app"]
