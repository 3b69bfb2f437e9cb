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
"""Text files: UTF-8, with or without a mark at the beginning."""

import os
from pathlib import Path


def read_text(path: str | os.PathLike) -> str:
    """
    Text of a UTF-8 file, without the mark that some editors put at its beginning.

    Raises:
        ValueError: if the file is in another encoding.
        OSError: if the file cannot be read.
    """
    return decode_text(Path(path).read_bytes(), f"The file {str(path)!r}")


def decode_text(data: bytes, name: str) -> str:
    """
    Text of UTF-8 bytes, without the mark that some editors put at its beginning.

    Args:
        data (`bytes`): the bytes of a file.
        name (`str`): the subject of the error.

    Raises:
        ValueError: if the bytes are in another encoding.
    """
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        guess = "UTF-16" if data.startswith((b"\xff\xfe", b"\xfe\xff")) else "another encoding"
        raise ValueError(
            f"{name} is not UTF-8 but {guess} (byte {error.start} is {data[error.start]:#04x}): save it as UTF-8."
        ) from error


__all__ = ["decode_text", "read_text"]
