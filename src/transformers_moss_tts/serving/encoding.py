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
"""Audio as bytes of the formats of the speech protocol, whole or piece by piece."""

import io
from collections.abc import Iterator
from typing import Any

import av
import numpy as np


# Container, codec and rates of each format, any rate where there are none; raw samples have no container.
_FORMATS: dict[str, tuple[str | None, str, tuple[int, ...]]] = {
    "mp3": ("mp3", "libmp3lame", (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)),
    "opus": ("ogg", "libopus", (48000,)),
    "aac": ("adts", "aac", (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000, 64000, 88200, 96000)),
    "flac": ("flac", "flac", ()),
    "wav": ("wav", "pcm_s16le", ()),
    "pcm": (None, "", ()),
}
RESPONSE_FORMATS = tuple(_FORMATS)
MEDIA_TYPES = {
    "mp3": "audio/mpeg",
    "opus": "audio/ogg",
    "aac": "audio/aac",
    "flac": "audio/flac",
    "wav": "audio/wav",
    "pcm": "audio/pcm",
}
_OPTIONS = {
    # The frame that says how long the file is would be written at the end, over the first one.
    "mp3": {"write_xing": "0"},
    # A page of Ogg waits for a second of audio otherwise. In microseconds.
    "opus": {"page_duration": "20000"},
}


class _Pipe(io.RawIOBase):
    """Takes bytes until they are fetched; a file that cannot be sought in, as the far end of a connection."""

    def __init__(self):
        self._bytes = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._bytes += data
        return len(data)

    def fetch(self) -> bytes:
        data = bytes(self._bytes)
        self._bytes.clear()
        return data


class AudioEncoder:
    """
    Encodes audio piece by piece. A header that says the length says that it is not known.

    Args:
        response_format (`str`): one of `RESPONSE_FORMATS`; `"pcm"` has 16-bit little-endian samples without a header.
        sampling_rate (`int`): rate of the audio, in Hz; a format that lacks it gets the next one that it has.
        num_channels (`int`): number of channels.
    """

    def __init__(self, response_format: str, sampling_rate: int, num_channels: int, file: Any = None):
        container, codec, rates = _FORMATS[response_format]
        self._file = _Pipe() if file is None else file
        self._rate, self._layout = sampling_rate, "mono" if num_channels == 1 else "stereo"
        self._container = self._stream = None
        if container is not None:
            rate = next((rate for rate in rates if rate >= sampling_rate), max(rates, default=sampling_rate))
            options = {} if file is not None and response_format == "mp3" else _OPTIONS.get(response_format, {})
            self._container = av.open(self._file, "w", format=container, options=options)
            self._stream = self._container.add_stream(codec, rate=rate, layout=self._layout)

    def encode(self, audio: np.ndarray) -> bytes:
        """Bytes that are ready after further audio `(channels, samples)`."""
        samples = np.clip(audio, -1.0, 1.0).astype(np.float32)
        if self._stream is None:
            self._file.write((samples.T * 32767).round().astype("<i2").tobytes())
        else:
            frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples), format="fltp", layout=self._layout)
            frame.sample_rate = self._rate
            self._container.mux(self._stream.encode(frame))
        return self._ready()

    def finish(self) -> bytes:
        """The last bytes."""
        if self._stream is not None:
            self._container.mux(self._stream.encode(None))
            self._container.close()
        return self._ready()

    def _ready(self) -> bytes:
        return self._file.fetch() if isinstance(self._file, _Pipe) else b""


def encode_whole(audio: np.ndarray, response_format: str, sampling_rate: int) -> bytes:
    """A file of audio `(channels, samples)`, with its length in the header."""
    file = io.BytesIO()
    encoder = AudioEncoder(response_format, sampling_rate, len(audio), file)
    for piece in _pieces(audio, sampling_rate):
        encoder.encode(piece)
    encoder.finish()
    return file.getvalue()


def _pieces(audio: np.ndarray, length: int) -> Iterator[np.ndarray]:
    for start in range(0, audio.shape[1], length):
        yield audio[:, start : start + length]


__all__ = ["MEDIA_TYPES", "RESPONSE_FORMATS", "AudioEncoder", "encode_whole"]
