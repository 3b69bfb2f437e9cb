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
"""
The command `moss-tts`. It stands beside the package, so that arguments are read before torch and transformers are imported, which
takes seconds; the package's `cli` has a module for each subcommand.
"""

import contextlib
import importlib
import os
import signal
import sys

from .arguments import COMMANDS, build_parser, complete, one_line
from .checks import check
from .quiet import quiet_imports


EXIT_FAILED, EXIT_USAGE = 1, 2
EXIT_INTERRUPTED, EXIT_CLOSED_PIPE = 128 + signal.SIGINT, 128 + 13
# What the package raises for input that cannot be used, and the system for paths that a user named.
_USAGE_ERRORS = (
    ValueError,
    TypeError,
    FileNotFoundError,
    FileExistsError,
    IsADirectoryError,
    NotADirectoryError,
    PermissionError,
)


def main(argv: list[str] | None = None) -> int:
    """
    Runs the command.

    Args:
        argv (`list[str]`, *optional*):
            Arguments; those of the process by default.

    Returns:
        `int`: 0 for success, 1 for what failed, 2 for what the user did wrong, 130 for an interruption and 141 for a standard
        output that was closed. Both errors are one line on standard error.

    Raises:
        SystemExit: with 2 for arguments that the parser refuses, with 0 after `--help` and `--version`.
    """
    _make_printable()
    try:
        _run(sys.argv[1:] if argv is None else argv)
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        _forget_standard_output()
        return EXIT_CLOSED_PIPE
    except _USAGE_ERRORS as error:
        return _say(error, EXIT_USAGE)
    except Exception as error:
        return _say(error, EXIT_FAILED)
    return 0


def _run(argv: list[str]) -> None:
    try:
        args = build_parser().parse_args(complete(argv))
        check(args)
        quiet_imports()
        importlib.import_module(f"transformers_moss_tts.cli.{args.command}").run(args)
    finally:
        # A pipe that was closed is noticed here, not after the end of `main`.
        sys.stdout.flush()


def _say(error: Exception, code: int) -> int:
    reason = one_line(str(error)) or "no reason is known"
    # Only errors of the package and of the system are written for users.
    is_foreign = not isinstance(error, (*_USAGE_ERRORS, OSError, RuntimeError))
    kind = f"unexpected {type(error).__name__}: " if is_foreign else ""
    with contextlib.suppress(BrokenPipeError):
        print(f"moss-tts: {kind}{reason}", file=sys.stderr)
    _log_traceback()
    return code


def _log_traceback() -> None:
    """Leaves the traceback to those who set `TRANSFORMERS_VERBOSITY=debug`."""
    if "transformers" in sys.modules:
        from transformers.utils import logging

        logging.get_logger(__name__).debug("The command failed.", exc_info=True)


def _make_printable() -> None:
    """Names of files that the terminal's encoding lacks are printed with escapes."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def _forget_standard_output() -> None:
    """Keeps Python from writing to the closed pipe once more at its end."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


__all__ = ["COMMANDS", "main"]
