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
"""Warnings of other packages about themselves, which whoever runs a command can do nothing about."""

import logging


# torchao, where it is installed, says at its import which of its kernels this machine has no use for, and torch what torchao calls.
_LOGGERS = ("torchao", "torch.utils._pytree")


def quiet_imports() -> None:
    """Keeps warnings from the terminal that torch and torchao would give when transformers imports them."""
    for name in _LOGGERS:
        logging.getLogger(name).setLevel(logging.ERROR)


__all__ = ["quiet_imports"]
