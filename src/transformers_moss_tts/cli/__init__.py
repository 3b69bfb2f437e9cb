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

"""The command `moss-tts`: one module a subcommand, with `build_parser()` and `run(args)`."""

import sys

from transformers.utils import logging

from . import evaluate, speak, upload


# `moss-tts TEXT` is short for `moss-tts speak TEXT`.
DEFAULT_COMMAND = "speak"
COMMANDS = {"speak": speak, "evaluate": evaluate, "upload": upload}
EXIT_FAILED, EXIT_INTERRUPTED = 1, 130


def main(argv: list[str] | None = None) -> int:
    """Runs the command and returns its exit code."""
    argv = sys.argv[1:] if argv is None else argv
    name, rest = (argv[0], argv[1:]) if argv and argv[0] in COMMANDS else (DEFAULT_COMMAND, argv)
    command = COMMANDS[name]
    args = command.build_parser().parse_args(rest)
    logging.disable_progress_bar()
    try:
        command.run(args)
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except (OSError, ValueError, TypeError, RuntimeError) as error:
        print(f"moss-tts: {error}", file=sys.stderr)
        return EXIT_FAILED
    return 0
