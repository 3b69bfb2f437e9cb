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
"""Audio files: their limits, decoding block by block, and encoding."""

import io
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import soundfile

from .checks import check_number
from .extras import install_line


# Container and encoding by file suffix; libsndfile writes no m4a.
_FORMATS = {
    ".wav": ("WAV", "PCM_16"),
    ".flac": ("FLAC", "PCM_16"),
    ".mp3": ("MP3", None),
    ".ogg": ("OGG", "VORBIS"),
    ".opus": ("OGG", "OPUS"),
}
FILE_SUFFIXES = tuple(_FORMATS)
# Rates in Hz that formats are limited to.
_RATES = {
    ".mp3": (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000),
    ".opus": (8000, 12000, 16000, 24000, 48000),
}
# Containers that PyAV may open: none that names other files, as playlists do.
_AV_FORMATS = "aac,amr,asf,caf,flac,matroska,webm,mov,mp4,m4a,3gp,3g2,mj2,mp3,mpegts,ogg,wav"
# Samples of all channels that are decoded, and frames that are encoded, at once.
_DECODED_BLOCK, _ENCODED_BLOCK = 1 << 22, 1 << 16
# Number of frames that libsndfile gives for a file whose header does not tell it.
_UNKNOWN_LENGTH = 2**63 - 1
# Longest duration that can be asked for, in seconds: a century.
_LONGEST = 3.2e9


class TooLongError(ValueError):
    """A recording is longer than the limits allow."""


@dataclass(frozen=True, kw_only=True)
class AudioLimits:
    """
    Bounds on a recording that comes from elsewhere. What exceeds them is refused with a `ValueError`: by its size or its header
    before it is decoded, else as soon as more has been decoded.

    Args:
        max_duration (`float`, *optional*, defaults to 3600.0):
            Longest recording in seconds.
        max_bytes (`int`, *optional*, defaults to 536870912):
            Largest file or download in bytes.
        max_channels (`int`, *optional*, defaults to 16):
            Most channels.
        max_sampling_rate (`int`, *optional*, defaults to 768000):
            Highest sampling rate in Hz.
        download_timeout (`float`, *optional*, defaults to 120.0):
            Longest duration of a whole download in seconds.
        allow_private_addresses (`bool`, *optional*, defaults to `True`):
            Whether URLs may name addresses that are not public. A server that takes URLs from others passes `False`.

    Raises:
        ValueError: for limits that are not above 0, NaN or infinite.
        TypeError: for limits of a wrong kind.
    """

    max_duration: float = 3600.0
    max_bytes: int = 512 * 2**20
    max_channels: int = 16
    max_sampling_rate: int = 768_000
    download_timeout: float = 120.0
    allow_private_addresses: bool = True

    def __post_init__(self):
        for name in ("max_bytes", "max_channels", "max_sampling_rate"):
            check_number(name, getattr(self, name), 1, is_whole=True)
        for name in ("max_duration", "download_timeout"):
            check_number(name, getattr(self, name), math.ulp(0), _LONGEST, unit="seconds")
        if not isinstance(self.allow_private_addresses, bool):
            raise TypeError(
                f"`allow_private_addresses` must be True or False, got {self.allow_private_addresses!r:.80}."
            )

    def check_size(self, num_bytes: int, name: str) -> None:
        """Raises a `ValueError` if a file, called `name` in the error, has too many bytes."""
        if num_bytes > self.max_bytes:
            raise ValueError(
                f"{name} has {num_bytes} bytes; at most {self.max_bytes} are read. Cut it, or pass other `limits`."
            )

    def check_duration(self, num_frames: int, rate: int, name: str) -> None:
        """Raises a [`TooLongError`] if `num_frames` samples of each channel at `rate` Hz last too long."""
        if num_frames > self.max_duration * rate:
            raise TooLongError(
                f"{name} lasts at least {num_frames / rate:.1f} s; at most {self.max_duration:g} s are allowed. Cut it, or raise "
                "`max_duration` of `AudioLimits`, of a reference `max_reference_duration` of the processor."
            )

    def check_format(self, rate: Any, num_channels: int, name: str) -> int:
        """The sampling rate as `int`; raises a `ValueError` if it or the number of channels, of what `name` calls, is too high."""
        if not 0 < num_channels <= self.max_channels:
            raise ValueError(f"{name} must have 1 to {self.max_channels} channels, got {num_channels}.")
        name = f"The sampling rate of {name[0].lower()}{name[1:]}"
        return check_rate(rate, name, self.max_sampling_rate)


DEFAULT_LIMITS = AudioLimits()


def check_rate(rate: Any, name: str, highest: int) -> int:
    """
    A sampling rate as `int`.

    Raises:
        ValueError: if it is no whole number of Hz, not above 0 or too high.
    """
    number = rate.item() if getattr(rate, "shape", None) == () else rate
    is_whole = isinstance(number, int | float) and not isinstance(number, bool) and number == number // 1
    if not is_whole or not 1 <= number <= highest:
        raise ValueError(f"{name} must be a whole number of Hz from 1 to {highest}, got {rate!r}.")
    return int(number)


class _Reader(io.BufferedReader):
    """A file in which a damaged header can ask for a place before the beginning: libsndfile's callbacks cannot raise."""

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        try:
            return super().seek(offset, whence)
        except (OSError, ValueError):
            return self.tell()


def decode_file(file: io.BufferedIOBase, name: str, limits: AudioLimits) -> Iterator[tuple[np.ndarray, int]]:
    """Decodes a file block by block `(frames, channels)`, after a look at its header."""
    try:
        sound = soundfile.SoundFile(_Reader(file))
    except (soundfile.LibsndfileError, TypeError) as error:
        file.seek(0)
        yield from _decode_with_av(file, name, error, limits)
        return
    with sound:
        rate = limits.check_format(sound.samplerate, sound.channels, name)
        if sound.frames != _UNKNOWN_LENGTH:
            limits.check_duration(sound.frames, rate, name)
        try:
            while len(block := sound.read(_DECODED_BLOCK // sound.channels, dtype="float32", always_2d=True)):
                yield block, rate
        except soundfile.LibsndfileError as error:
            raise ValueError(f"{name} is damaged: {error}.") from error


def _decode_with_av(
    file: io.BufferedIOBase, name: str, reason: Exception, limits: AudioLimits
) -> Iterator[tuple[np.ndarray, int]]:
    try:
        import av
    except ImportError as error:
        raise ValueError(
            f"{name} is not audio that libsndfile reads ({reason}). If it is m4a or aac: {install_line('m4a')}"
        ) from error
    try:
        with av.open(_Reader(file), options={"format_whitelist": _AV_FORMATS}, metadata_errors="replace") as container:
            if not container.streams.audio:
                raise ValueError(f"{name} has no audio stream.")
            stream = container.streams.audio[0]
            codec = stream.codec_context
            if codec is None:
                raise ValueError(f"{name} is encoded in a way that is not known.")
            rate = limits.check_format(codec.sample_rate, codec.channels, name)
            if stream.duration is not None and stream.time_base is not None:
                limits.check_duration(int(stream.duration * stream.time_base * rate), rate, name)
            resamplers = {}
            for frame in container.decode(stream):
                # A stream may change its layout or its rate.
                kind = (frame.format.name, frame.layout.name, frame.sample_rate)
                if kind not in resamplers:
                    resamplers[kind] = av.AudioResampler(format="fltp", rate=rate)
                for resampled in resamplers[kind].resample(frame):
                    yield resampled.to_ndarray().T, rate
    except (av.error.FFmpegError, OSError) as error:
        raise ValueError(f"{name} is not readable audio: {error}.") from error


def file_format(suffix: str) -> tuple[str, str | None]:
    """Container and encoding of a suffix, as libsndfile names them."""
    return _FORMATS[suffix]


def check_file_rate(rate: int, suffix: str) -> None:
    """Raises a `ValueError` for a rate in Hz that files of the suffix do not have."""
    if rate not in _RATES.get(suffix, (rate,)):
        rates = ", ".join(map(str, _RATES[suffix]))
        raise ValueError(
            f"A {suffix} file has a sampling rate of {rates} Hz, got {rate}: resample, or write a wav file."
        )


def encode_file(samples: np.ndarray, rate: int, suffix: str) -> bytes:
    """The content of a file with samples `(frames, channels)`."""
    check_file_rate(rate, suffix)
    container, encoding = file_format(suffix)
    buffer = io.BytesIO()
    try:
        with soundfile.SoundFile(buffer, "w", rate, samples.shape[1], encoding, format=container) as file:
            # libsndfile crashes when it is given minutes of Vorbis at once.
            for start in range(0, len(samples), _ENCODED_BLOCK):
                file.write(np.clip(samples[start : start + _ENCODED_BLOCK], -1, 1).astype(np.float32))
    except soundfile.LibsndfileError as error:
        raise ValueError(
            f"A {suffix} file cannot hold {samples.shape[1]} channels at {rate} Hz ({error}): write a wav file."
        ) from error
    return buffer.getvalue()


__all__ = [
    "DEFAULT_LIMITS",
    "FILE_SUFFIXES",
    "AudioLimits",
    "TooLongError",
    "check_file_rate",
    "check_rate",
    "decode_file",
    "encode_file",
    "file_format",
]
