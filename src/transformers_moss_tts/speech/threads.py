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
"""Threads that generate, and the end of the process."""

import atexit
import threading
import weakref
from collections.abc import Callable


# Seconds that the end of the process waits for the last step of each thread.
_LONGEST_STEP = 10.0
_THREADS: "weakref.WeakKeyDictionary[threading.Thread, Callable[[], None]]" = weakref.WeakKeyDictionary()


def end_at_exit(thread: threading.Thread, close: Callable[[], None]) -> None:
    """
    Starts a daemon thread that is asked to end before the interpreter goes, and waited for: one that is inside torch then would take the
    process down with an abort.

    Args:
        thread (`threading.Thread`): thread that generates.
        close (`Callable`): makes it end at its next step.
    """
    _THREADS[thread] = close
    thread.start()


@atexit.register
def _end_all() -> None:
    threads = [(thread, close) for thread, close in _THREADS.items() if thread.is_alive()]
    for _, close in threads:
        close()
    for thread, _ in threads:
        thread.join(_LONGEST_STEP)


__all__ = ["end_at_exit"]
