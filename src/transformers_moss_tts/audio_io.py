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
"""Audio input and output: everything that opens, resamples, levels or writes audio does it here."""

import base64
import binascii
import contextlib
import hashlib
import io
import os
import re
import sys
import urllib.parse
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import soxr
import torch

from .utils.atomic_files import replacing
from .utils.audio_files import (
    DEFAULT_LIMITS,
    FILE_SUFFIXES,
    AudioLimits,
    TooLongError,
    check_rate,
    decode_file,
    encode_file,
)
from .utils.checks import check_number
from .utils.download import download, is_url


# Floats above this are integers that were converted without being scaled: it is 40 dB above full scale.
_LOUDEST = 100.0
_DATA_URI = re.compile(r"data:([^,]*),", re.IGNORECASE)
_ARRAY_KEYS = ("array", "audio")
_FILE_KEYS = ("bytes", "path")

AudioInput = str | os.PathLike | bytes | BinaryIO | np.ndarray | torch.Tensor | tuple | dict[str, Any]


def load_audio(
    audio: AudioInput,
    sampling_rate: int,
    *,
    array_sampling_rate: int | None = None,
    num_channels: int = 1,
    limits: AudioLimits = DEFAULT_LIMITS,
) -> np.ndarray:
    """
    Reads audio from wherever it is, resampled and mixed as asked.

    Args:
        audio:
            A path, an http(s) URL, a data URI in base64, the bytes of a file, an open binary file (read from its beginning),
            an array or tensor of shape `(samples,)` or `(channels, samples)` (floats in -1 to 1, or 16 or 32 bit integers), a
            pair of an array and its rate in either order, a dict as `datasets` and pipelines give (`array` or `audio` with
            `sampling_rate`, or `bytes` or `path`), or a decoder of torchcodec, as `datasets` gives. Formats: wav, flac, mp3,
            ogg and what else libsndfile reads; m4a and other containers with PyAV installed.
        sampling_rate (`int`):
            Rate wanted, in Hz.
        array_sampling_rate (`int`, *optional*):
            Rate of an array without one, in Hz. Files, pairs, dicts and decoders know theirs.
        num_channels (`int`, *optional*, defaults to 1):
            Number of channels wanted: 1 mixes all to mono, 2 gives stereo, mono doubled.
        limits ([`AudioLimits`], *optional*):
            Bounds on what is read.

    Returns:
        `np.ndarray` in float32 of shape `(samples,)` for one channel, `(2, samples)` for two.

    Raises:
        ValueError: missing or unreadable file or URL, no samples, NaN or infinite samples, floats above 100 (integers that
            were not scaled), no sampling rate or a wrong one, something beyond the limits.
        TypeError: a kind of input that is not listed above, arguments of a wrong kind.
    """
    check_number("num_channels", num_channels, 1, 2, is_whole=True)
    _check_limits(limits)
    sampling_rate = check_rate(sampling_rate, "`sampling_rate`", limits.max_sampling_rate)
    held, rate = _unwrap(audio, array_sampling_rate, limits)
    name = _describe(audio)
    if isinstance(held, np.ndarray):
        return _convert([(held.T, rate)], name, sampling_rate, num_channels, limits)
    with _opened(held, name, limits) as file:
        return _convert(decode_file(file, name, limits), name, sampling_rate, num_channels, limits)


def read_audio_file(audio: AudioInput, limits: AudioLimits = DEFAULT_LIMITS) -> AudioInput:
    """
    The bytes of the file that a path, URL, data URI, open file or example of `datasets` points to; arrays as they are.
    [`load_audio`] takes both.

    Raises:
        ValueError: missing or too large file, or a URL that cannot be read.
    """
    _check_limits(limits)
    if isinstance(audio, dict):
        key = next((key for key in (*_ARRAY_KEYS, *_FILE_KEYS) if audio.get(key) is not None), None)
        return read_audio_file(audio[key], limits) if key in _FILE_KEYS else audio
    if not _is_file(audio):
        return audio
    with _opened(audio, _describe(audio), limits) as file:
        return file.read()


def audio_digest(audio: AudioInput, limits: AudioLimits = DEFAULT_LIMITS) -> str:
    """
    SHA-256 of what [`read_audio_file`] returned: of the bytes of a file, or of samples and rate.

    Raises:
        TypeError: for what is no audio.
    """
    if isinstance(audio, bytes | bytearray):
        return hashlib.sha256(audio).hexdigest()
    samples, rate = _unwrap(audio, None, limits)
    if not isinstance(samples, np.ndarray):
        raise TypeError(f"{_describe(audio)} is no audio that can be read.")
    content = samples.astype(np.float32).tobytes()
    return hashlib.sha256(f"{rate} {samples.shape} ".encode() + content).hexdigest()


def is_remote(audio: Any) -> bool:
    """Whether a text is a URL or a data URI, and no path."""
    return isinstance(audio, str) and (is_url(audio) or _DATA_URI.match(audio) is not None)


def is_array_with_rate(audio: Any) -> bool:
    """Whether something is a pair of samples and their rate, as `librosa.load`, `torchaudio.load` or scipy give in either order."""
    if not isinstance(audio, tuple) or len(audio) != 2 or any(item is None for item in audio):
        return False
    return sum(isinstance(item, np.ndarray | torch.Tensor) and item.ndim > 0 for item in audio) == 1


def normalize_loudness(waveform: np.ndarray, target_dbfs: float = -20.0, max_gain_db: float = 3.0) -> np.ndarray:
    """
    Moves the mean power of a waveform towards `target_dbfs` (dB of full scale) by at most `max_gain_db` either way: what
    the family does to every reference recording before it is encoded. The defaults and the 1e-9 that keeps silence finite
    are those of the OpenMOSS processors.

    Raises:
        ValueError: no samples, NaN or infinite samples or levels, a gain below 0.
        TypeError: a waveform that is no array of floats, levels that are no numbers.
    """
    check_number("target_dbfs", target_dbfs, -sys.float_info.max, sys.float_info.max, unit="dB")
    check_number("max_gain_db", max_gain_db, 0, sys.float_info.max, unit="dB")
    if not isinstance(waveform, np.ndarray) or not np.issubdtype(waveform.dtype, np.floating):
        given = getattr(waveform, "dtype", type(waveform).__name__)
        raise TypeError(f"`waveform` must be an array of floats in -1 to 1, got {given}.")
    if waveform.size == 0 or not np.isfinite(waveform).all():
        raise ValueError("`waveform` must have samples, none of them NaN or infinite, to have a loudness.")
    power = float(np.mean(np.square(waveform, dtype=np.float64)))
    gain = np.clip(target_dbfs - 10 * np.log10(power + 1e-9), -max_gain_db, max_gain_db)
    return (waveform * 10 ** (gain / 20)).astype(np.float32)


def save_audio(audio: np.ndarray | torch.Tensor, path: str | os.PathLike, sampling_rate: int) -> None:
    """
    Writes audio of shape `(samples,)` or `(channels, samples)`, floats in -1 to 1 (clipped outside), to a wav, flac, mp3,
    ogg or opus file at `path`, as its suffix says, at `sampling_rate` Hz. The file appears complete or not at all.

    Raises:
        ValueError: another suffix, a missing folder, no samples, NaN or infinite samples, a wrong shape, a sampling rate or
            number of channels that the format does not have.
        TypeError: samples that are neither floats nor 16 or 32 bit integers, a path that is none.
        OSError: the file cannot be written, for example because the disk is full.
    """
    if not isinstance(path, str | os.PathLike):
        raise TypeError(f"`path` must be a string or a path, got {type(path).__name__}.")
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in FILE_SUFFIXES:
        raise ValueError(f"Cannot write {path.name!r}: use one of the suffixes {', '.join(FILE_SUFFIXES)}.")
    if not path.parent.is_dir():
        raise ValueError(f"The folder {str(path.parent)!r} does not exist: make it first.")
    if path.is_dir():
        raise ValueError(f"{str(path)!r} is a folder: name a file.")
    rate = check_rate(sampling_rate, "`sampling_rate`", DEFAULT_LIMITS.max_sampling_rate)
    samples = _samples(audio)
    if samples.size == 0:
        raise ValueError("There are no samples to write.")
    _check_samples(samples, "The audio")
    content = encode_file(samples.T, rate, suffix)
    try:
        if path.exists() and not path.is_file():
            path.write_bytes(content)  # A named pipe stays one.
            return
        with replacing(path) as temporary:
            Path(temporary).write_bytes(content)
    except OSError as error:
        # The error of the temporary file would name a file that nobody knows.
        raise OSError(error.errno, error.strerror or str(error), str(path)) from error


def _unwrap(audio: Any, rate: Any, limits: AudioLimits) -> tuple[Any, int | None]:
    """The samples `(channels, samples)` of an input and their rate, or the file that it is, without one."""
    if _is_file(audio):
        return audio, None
    name = _describe(audio)
    if hasattr(audio, "get_all_samples"):
        audio, rate = _decoded(audio, name, limits)
    elif is_array_with_rate(audio):
        audio, rate = audio if getattr(audio[0], "ndim", 0) > 0 else reversed(audio)
    elif isinstance(audio, dict):
        key = next((key for key in (*_ARRAY_KEYS, *_FILE_KEYS) if audio.get(key) is not None), None)
        if key is None:
            raise ValueError(
                "An audio dict needs 'array' (or 'audio') with 'sampling_rate', 'bytes' or 'path', got the keys "
                f"{sorted(map(str, audio))}."
            )
        audio, rate = audio[key], audio.get("sampling_rate")
        if key in _FILE_KEYS or _is_file(audio):
            return audio, None
        if isinstance(audio, list):
            audio = _samples(audio)
    if not isinstance(audio, np.ndarray | torch.Tensor):
        raise TypeError(
            "Audio must be a path, URL, bytes, binary file, array, tensor, pair of an array and its rate, or dict, got "
            f"{type(audio).__name__}."
        )
    if rate is None:
        raise ValueError(
            f"{name} has no sampling rate: pass (array, rate) or {{'array': array, 'sampling_rate': rate}}."
        )
    return _samples(audio), rate


def _check_limits(limits: Any) -> None:
    if not isinstance(limits, AudioLimits):
        raise TypeError(f"`limits` must be an AudioLimits, got {limits!r:.80}.")


def _is_file(audio: Any) -> bool:
    return isinstance(audio, str | os.PathLike | bytes | bytearray | memoryview) or hasattr(audio, "read")


def _decoded(decoder: Any, name: str, limits: AudioLimits) -> tuple[torch.Tensor, int]:
    """Samples and rate of a decoder of torchcodec, no more than are allowed and a second."""
    try:
        if hasattr(decoder, "get_samples_played_in_range"):
            samples = decoder.get_samples_played_in_range(stop_seconds=limits.max_duration + 1)
        else:
            samples = decoder.get_all_samples()
    except (RuntimeError, ValueError) as error:
        raise ValueError(f"{name} is not readable audio: {error}.") from error
    return samples.data, samples.sample_rate


@contextlib.contextmanager
def _opened(audio: Any, name: str, limits: AudioLimits) -> Iterator[io.BufferedIOBase]:
    """
    The file that a path, URL, data URI, open file or bytes are, at its beginning.

    Raises:
        ValueError: if it cannot be read or is too large.
        TypeError: if an open file does not give bytes.
    """
    if isinstance(audio, str | os.PathLike) and not is_remote(audio):
        with _existing(audio).open("rb") as file:
            limits.check_size(os.fstat(file.fileno()).st_size, name)
            yield file
            return
    content = _content(audio, name, limits)
    limits.check_size(len(content), name)
    yield io.BytesIO(content)


def _content(audio: Any, name: str, limits: AudioLimits) -> bytes | bytearray | memoryview:
    if isinstance(audio, bytes | bytearray | memoryview):
        return audio
    if isinstance(audio, str) and (data := _DATA_URI.match(audio)):
        limits.check_size((len(audio) - data.end()) * 3 // 4, name)
        return _of_data_uri(data[1], audio[data.end() :])
    if isinstance(audio, str):
        return download(
            audio,
            max_bytes=limits.max_bytes,
            timeout=limits.download_timeout,
            allow_private_addresses=limits.allow_private_addresses,
        )
    try:
        if not hasattr(audio, "seekable") or audio.seekable():
            audio.seek(0)
        content = audio.read(limits.max_bytes + 1)
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise ValueError(f"{name} cannot be read: {error}.") from error
    if not isinstance(content, bytes):
        raise TypeError(f"{name} must give bytes, got {type(content).__name__}: open the file in binary mode ('rb').")
    return content


def _of_data_uri(header: str, data: str) -> bytes:
    content = urllib.parse.unquote_to_bytes(data)
    if not header.lower().endswith(";base64"):
        return content
    try:
        return base64.b64decode(b"".join(content.split()), validate=True)
    except binascii.Error as error:
        raise ValueError(f"The audio is a data URI that is not valid base64: {error}.") from error


def _existing(path: str | os.PathLike) -> Path:
    if os.path.isfile(path):
        return Path(path)
    advice = " Base64 needs 'data:audio/wav;base64,' before it." if len(str(path)) > 200 else ""
    raise ValueError(f"There is no audio file {_shortened(path)!r}.{advice}")


def _check_samples(samples: np.ndarray, name: str) -> None:
    peak = np.abs(samples).max(initial=0)
    if not np.isfinite(peak):
        raise ValueError(f"{name} has NaN or infinite samples.")
    if peak > _LOUDEST:
        raise ValueError(
            f"{name} has samples up to {peak:g}: floats are in -1 to 1. Pass the integers as they are, or divide by 32768 (16 "
            "bit) or 2147483648 (32 bit)."
        )


def _samples(audio: Any) -> np.ndarray:
    """Samples of shape `(channels, samples)`, in a float type."""
    try:
        array = audio.detach().cpu() if isinstance(audio, torch.Tensor) else np.asarray(audio)
        if isinstance(array, torch.Tensor):
            array = (array.float() if array.is_floating_point() else array).numpy()
    except (RuntimeError, NotImplementedError, ValueError, TypeError) as error:
        raise TypeError(f"Samples must be an array or a dense tensor of numbers: {error}.") from error
    if np.issubdtype(array.dtype, np.signedinteger) and array.dtype.itemsize in (2, 4):
        array = array / -float(np.iinfo(array.dtype).min)
    if not np.issubdtype(array.dtype, np.floating):
        raise TypeError(f"Samples must be floats in -1 to 1 or 16 or 32 bit integers, got {array.dtype}.")
    if array.ndim == 1:
        array = array[None]
    if array.ndim != 2 or array.shape[0] > max(array.shape[1], 2):
        raise ValueError(
            f"An audio array must have shape (samples,) or (channels, samples), got {array.shape}. Transpose "
            "(samples, channels) first; pass the waveforms of a batch one by one."
        )
    return array


def _convert(
    blocks: Iterable[tuple[np.ndarray, Any]], name: str, sampling_rate: int, num_channels: int, limits: AudioLimits
) -> np.ndarray:
    """Blocks `(frames, channels)`, each with its rate, as one waveform at the rate and with the channels wanted."""
    pieces, num_frames, resampler = [], 0, None
    for block, rate in blocks:
        rate = limits.check_format(rate, block.shape[1], name)
        num_frames += len(block)
        limits.check_duration(num_frames, rate, name)
        _check_samples(block, name)
        block = block.astype(np.float32)
        if num_channels == 1 or block.shape[1] != 2:
            block = np.repeat(block.mean(axis=1, keepdims=True), num_channels, axis=1)
        if rate != sampling_rate:
            resampler = resampler or soxr.ResampleStream(rate, sampling_rate, num_channels, dtype="float32")
            block = resampler.resample_chunk(block)
        pieces.append(block)
    if num_frames == 0:
        raise ValueError(f"{name} has no samples.")
    if resampler is not None:
        pieces.append(resampler.resample_chunk(np.zeros((0, num_channels), np.float32), last=True))
    waveform = np.concatenate(pieces)
    return np.ascontiguousarray(waveform[:, 0] if num_channels == 1 else waveform.T)


def _describe(audio: AudioInput) -> str:
    if isinstance(audio, str) and _DATA_URI.match(audio):
        return "The audio of the data URI"
    if isinstance(audio, str | os.PathLike):
        return f"The audio {_shortened(audio)!r}"
    if isinstance(audio, dict) and isinstance(path := audio.get("path"), str) and audio.get("array") is None:
        return f"The audio {_shortened(path)!r}"
    return f"The audio ({type(audio).__name__})"


def _shortened(text: str | os.PathLike) -> str:
    text = str(text)
    return text if len(text) <= 200 else f"{text[:60]}..."


__all__ = [
    "DEFAULT_LIMITS",
    "AudioInput",
    "AudioLimits",
    "TooLongError",
    "audio_digest",
    "is_array_with_rate",
    "is_remote",
    "load_audio",
    "normalize_loudness",
    "read_audio_file",
    "save_audio",
]
