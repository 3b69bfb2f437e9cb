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
"""What one thread makes and another takes."""

import asyncio
import contextlib
import threading
from collections import deque
from typing import Any


class Mailbox:
    """What one thread makes and another thread, or coroutine, takes; it ends, maybe with an error."""

    def __init__(self):
        self._items: deque[Any] = deque()
        self._is_over = False
        self._error: BaseException | None = None
        self._changed = threading.Condition()
        self._waiting: set[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = set()

    def put(self, item: Any) -> None:
        with self._changed:
            if not self._is_over:
                self._items.append(item)
                self._notify()

    def end(self, error: BaseException | None = None) -> None:
        with self._changed:
            if not self._is_over:
                self._is_over, self._error = True, error
                self._notify()

    def clear(self) -> None:
        """Ends it, and forgets what nobody took."""
        self.end()
        with self._changed:
            self._items.clear()
            self._error = None

    def _notify(self) -> None:
        self._changed.notify_all()
        for loop, event in self._waiting:
            # A loop that is closed has nobody who waits.
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(event.set)

    def _take(self) -> tuple[bool, Any]:
        """Whether there is an item, and the item; raises the error at the end."""
        with self._changed:
            if self._items:
                return True, self._items.popleft()
            if self._error is not None:
                error, self._error = self._error, None
                raise error
            return False, None

    def __iter__(self) -> "Mailbox":
        return self

    def __next__(self) -> Any:
        with self._changed:
            self._changed.wait_for(lambda: self._items or self._is_over)
            is_there, item = self._take()
        if not is_there:
            raise StopIteration
        return item

    def __aiter__(self) -> "Mailbox":
        return self

    async def __anext__(self) -> Any:
        waiting = (asyncio.get_running_loop(), asyncio.Event())
        with self._changed:
            self._waiting.add(waiting)
        try:
            while True:
                is_there, item = self._take()
                if is_there:
                    return item
                if self._is_over:
                    raise StopAsyncIteration
                await waiting[1].wait()
                waiting[1].clear()
        finally:
            with self._changed:
                self._waiting.discard(waiting)


__all__ = ["Mailbox"]
