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
"""Bounds on connections: who may speak, how much, and how slowly they may read."""

import asyncio
import hmac
from collections.abc import AsyncIterator, Callable

from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse, StreamingResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from transformers.utils import logging

from .protocol import error_body


logger = logging.get_logger(__name__)

# What the key is asked for; the page asks for it by itself.
_PROTECTED = ("/v1/", "/metrics", "/docs", "/openapi.json")


class LimitedConnections:
    """
    Middleware that asks for the key, refuses bodies that are too large, and leaves clients that do not read.

    Args:
        app (`ASGIApp`): what it stands before.
        max_request_bytes (`int`): largest body.
        idle_timeout (`float`): longest time that sending a piece, or receiving one, may take, in seconds.
        api_key (`str`, *optional*): key that clients must send.
    """

    def __init__(self, app: ASGIApp, max_request_bytes: int, idle_timeout: float, api_key: str | None):
        self.app = app
        self.max_request_bytes, self.idle_timeout = max_request_bytes, idle_timeout
        self.api_key = api_key

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        if not _is_own_page(headers):
            await self._refuse(scope, receive, send, 403, "Pages of other servers may not speak here.")
        elif not self._has_key(scope, headers):
            await self._refuse(
                scope, receive, send, 401, "The key is missing or wrong: send `Authorization: Bearer KEY`."
            )
        elif scope["type"] == "websocket":
            await self.app(scope, receive, self._timed(send))
        elif int(headers.get(b"content-length", b"0") or 0) > self.max_request_bytes:
            await self._refuse(scope, receive, send, 413, self._too_large)
        else:
            await self._limited(scope, receive, send)

    @property
    def _too_large(self) -> str:
        return f"The request is larger than {self.max_request_bytes} bytes."

    def _has_key(self, scope: Scope, headers: dict[bytes, bytes]) -> bool:
        if self.api_key is None or not scope["path"].startswith(_PROTECTED):
            return True
        given = headers.get(b"authorization", b"").removeprefix(b"Bearer ")
        return hmac.compare_digest(given, self.api_key.encode())

    async def _limited(self, scope: Scope, receive: Receive, send: Send) -> None:
        num_bytes, is_whole, has_begun = 0, False, False
        # Status and message of a body that cannot be taken; what the app makes of a body that breaks off is not sent.
        fault: tuple[int, str] | None = None

        async def receive_some() -> Message:
            nonlocal num_bytes, is_whole, fault
            if is_whole:
                # Waits for the client to leave, which may take as long as the speech.
                return await receive()
            try:
                message = await asyncio.wait_for(receive(), self.idle_timeout)
            except TimeoutError:
                fault = (408, "The request was not sent in time.")
                return {"type": "http.disconnect"}
            num_bytes += len(message.get("body", b""))
            is_whole = not message.get("more_body", False)
            if num_bytes > self.max_request_bytes:
                fault = (413, self._too_large)
                return {"type": "http.disconnect"}
            return message

        async def send_some(message: Message) -> None:
            nonlocal has_begun
            if fault is None:
                has_begun = True
                await self._timed(send)(message)

        try:
            await self.app(scope, receive_some, send_some)
        except (ClientDisconnect, TimeoutError):
            # The client has left, or does not read, and would not read an error either.
            pass
        except Exception as error:
            # Without its message and its traceback, which quote texts.
            logger.error(f"A request of {scope['path']} failed with {type(error).__name__}.")
            if has_begun:
                raise ConnectionAbortedError("The response broke off.") from None
            fault = fault or (500, f"The server failed ({type(error).__name__}).")
        if fault is not None and not has_begun:
            await self._refuse(scope, receive, send, *fault)

    def _timed(self, send: Send) -> Send:
        async def send_in_time(message: Message) -> None:
            await asyncio.wait_for(send(message), self.idle_timeout)

        return send_in_time

    async def _refuse(self, scope: Scope, receive: Receive, send: Send, status: int, message: str) -> None:
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008, "reason": message})
        else:
            await JSONResponse(error_body(status, message), status)(scope, receive, send)


def _is_own_page(headers: dict[bytes, bytes]) -> bool:
    """Whether a request comes from no page, or from one of this server: browsers ask nobody before they open a WebSocket."""
    origin = headers.get(b"origin")
    return origin is None or origin.split(b"://")[-1] == headers.get(b"host")


class TimedStream(StreamingResponse):
    """
    A response in pieces that tells when it is over.

    Args:
        content (`AsyncIterator[bytes]`): the pieces.
        on_end (`Callable`): called when all is sent, when the client leaves, and when it does not read.
    """

    def __init__(self, content: AsyncIterator[bytes], on_end: Callable[[], None], **kwargs):
        super().__init__(content, **kwargs)
        self.on_end = on_end

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self.on_end()


__all__ = ["LimitedConnections", "TimedStream"]
