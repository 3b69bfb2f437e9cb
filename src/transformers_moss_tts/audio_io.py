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
"""Audio input and output: the only module that opens, resamples, levels or writes audio."""

import hashlib
import io
import os
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import soundfile
import soxr
import torch

from .utils.atomic_files import replacing


# Container and encoding by file suffix; libsndfile writes no m4a.
_FORMATS = {
    ".wav": ("WAV", "PCM_16"),
    ".flac": ("FLAC", "PCM_16"),
    ".mp3": ("MP3", None),
    ".ogg": ("OGG", "VORBIS"),
    ".opus": ("OGG", "OPUS"),
}
_URL_TIMEOUT = 60.0  # seconds without an answer

AudioInput = str | os.PathLike | bytes | BinaryIO | np.ndarray | torch.Tensor | dict[str, Any]


def load_audio(
    audio: AudioInput, sampling_rate: int, *, array_sampling_rate: int | None = None, num_channels: int = 1
) -> np.ndarray:
    """
    Reads audio from wherever it is, resampled and mixed as asked.

    Args:
        audio:
            A path, an http(s) URL, the bytes of a file, an open binary file, an array or tensor of shape `(samples,)` or
            `(channels, samples)` (floats in -1 to 1, or 16 or 32 bit integers), or a dict as `datasets` and pipelines
            give: `array` or `audio` with `sampling_rate`, or `bytes` or `path`. Formats: wav, flac, mp3, ogg and what
            else libsndfile reads; m4a and other containers with PyAV installed.
        sampling_rate (`int`):
            Rate wanted, in Hz.
        array_sampling_rate (`int`, *optional*):
            Rate of an array, in Hz. Files and dicts know theirs.
        num_channels (`int`, *optional*, defaults to 1):
            1 mixes all channels to mono; 2 gives stereo, mono doubled.

    Returns:
        `np.ndarray` in float32 of shape `(samples,)` for one channel, `(2, samples)` for two.

    Raises:
        ValueError: missing or unreadable file, no samples, NaN or infinite samples, no or a wrong sampling rate.
        TypeError: a kind of input that is not listed above.
    """
    if num_channels not in (1, 2):
        raise ValueError(f"`num_channels` must be 1 or 2, got {num_channels}.")
    waveform, rate = _read(audio, array_sampling_rate)
    for name, value in (("sampling_rate", sampling_rate), ("sampling rate of the audio", rate)):
        if value is None or value <= 0:
            raise ValueError(
                f"`{name}` must be a positive number of Hz, got {value}. Pass `array_sampling_rate=` with an array."
            )
    if waveform.size == 0:
        raise ValueError(f"{_describe(audio)} has no samples.")
    if not np.isfinite(waveform).all():
        raise ValueError(f"{_describe(audio)} has NaN or infinite samples.")
    if num_channels == 1:
        waveform = waveform.mean(axis=0)
    elif waveform.shape[0] != 2:
        waveform = np.repeat(waveform.mean(axis=0, keepdims=True), 2, axis=0)
    if rate != sampling_rate:
        waveform = soxr.resample(waveform.T, rate, sampling_rate).T
    return np.ascontiguousarray(waveform, dtype=np.float32)


def read_audio_file(audio: AudioInput) -> AudioInput:
    """
    The bytes of the file that a path, URL, open file or `datasets` row points to; arrays as they are. [`load_audio`] takes both.

    Raises:
        ValueError: missing file, or a URL that cannot be read.
    """
    if isinstance(audio, dict):
        names = [name for name in ("array", "audio", "bytes", "path") if audio.get(name) is not None]
        return read_audio_file(audio[names[0]]) if names and names[0] in ("bytes", "path") else audio
    if isinstance(audio, str) and audio.startswith(("http://", "https://")):
        return _download(audio)
    if isinstance(audio, str | os.PathLike):
        return _existing(audio).read_bytes()
    return audio.read() if hasattr(audio, "read") else audio


def audio_digest(audio: AudioInput) -> str:
    """SHA-256 of what [`read_audio_file`] returned: of the bytes of a file, or of samples and rate."""
    if isinstance(audio, bytes | bytearray):
        return hashlib.sha256(audio).hexdigest()
    waveform, rate = _read(audio, None)
    return hashlib.sha256(f"{rate} {waveform.shape} ".encode() + waveform.tobytes()).hexdigest()


def normalize_loudness(waveform: np.ndarray, target_dbfs: float = -20.0, max_gain_db: float = 3.0) -> np.ndarray:
    """
    Moves the mean power of a waveform towards `target_dbfs` (dB of full scale) by at most `max_gain_db` either way: what
    the family does to every reference recording before it is encoded. The defaults and the 1e-9 that keeps silence finite
    are those of the OpenMOSS processors.
    """
    power = float(np.mean(np.square(waveform, dtype=np.float64)))
    gain = np.clip(target_dbfs - 10 * np.log10(power + 1e-9), -max_gain_db, max_gain_db)
    return (waveform * 10 ** (gain / 20)).astype(np.float32)


def save_audio(audio: np.ndarray | torch.Tensor, path: str | os.PathLike, sampling_rate: int) -> None:
    """
    Writes audio of shape `(samples,)` or `(channels, samples)`, floats in -1 to 1 (clipped outside), to a wav, flac, mp3,
    ogg or opus file, as its suffix says. The file appears complete or not at all.

    Raises:
        ValueError: another suffix, a missing folder, no samples, NaN or infinite samples, a wrong sampling rate or shape.
    """
    path = Path(path)
    if path.suffix.lower() not in _FORMATS:
        raise ValueError(f"Cannot write {path.name!r}: use one of the suffixes {', '.join(_FORMATS)}.")
    if not path.parent.is_dir():
        raise ValueError(f"The folder {str(path.parent)!r} does not exist: make it first.")
    if sampling_rate <= 0:
        raise ValueError(f"`sampling_rate` must be a positive number of Hz, got {sampling_rate}.")
    waveform = _from_array(audio)
    if waveform.size == 0:
        raise ValueError("There are no samples to write.")
    if not np.isfinite(waveform).all():
        raise ValueError("The audio has NaN or infinite samples: it cannot be written.")
    container, encoding = _FORMATS[path.suffix.lower()]
    with replacing(path) as temporary:
        soundfile.write(temporary, waveform.T, sampling_rate, format=container, subtype=encoding)


def _read(audio: AudioInput, array_sampling_rate: int | None) -> tuple[np.ndarray, int | None]:
    if isinstance(audio, dict):
        return _read_dict(audio)
    if isinstance(audio, np.ndarray | torch.Tensor):
        return _from_array(audio), array_sampling_rate
    if isinstance(audio, bytes | bytearray):
        return _decode(io.BytesIO(audio), _describe(audio))
    if isinstance(audio, str) and audio.startswith(("http://", "https://")):
        return _decode(io.BytesIO(_download(audio)), _describe(audio))
    if isinstance(audio, str | os.PathLike):
        with _existing(audio).open("rb") as file:
            return _decode(file, _describe(audio))
    if hasattr(audio, "read"):
        return _decode(io.BytesIO(audio.read()), _describe(audio))
    raise TypeError(
        f"Audio must be a path, URL, bytes, binary file, array, tensor or dict, got {type(audio).__name__}."
    )


def _existing(path: str | os.PathLike) -> Path:
    if not Path(path).is_file():
        raise ValueError(f"There is no audio file {str(path)!r}.")
    return Path(path)


def _read_dict(audio: dict[str, Any]) -> tuple[np.ndarray, int | None]:
    for key in ("array", "audio"):
        if audio.get(key) is not None:
            if audio.get("sampling_rate") is None:
                raise ValueError(f"An audio dict with {key!r} needs 'sampling_rate', got the keys {sorted(audio)}.")
            return _from_array(audio[key]), audio["sampling_rate"]
    for key in ("bytes", "path"):
        if audio.get(key) is not None:
            return _read(audio[key], None)
    raise ValueError(
        "An audio dict needs 'array' (or 'audio') with 'sampling_rate', 'bytes' or 'path', got the keys "
        f"{sorted(audio)}."
    )


def _from_array(audio: Any) -> np.ndarray:
    """float32 of shape `(channels, samples)`."""
    array = audio.detach().cpu().float().numpy() if _is_float_tensor(audio) else np.asarray(audio)
    if array.dtype in (np.int16, np.int32):
        array = array / -float(np.iinfo(array.dtype).min)
    if not np.issubdtype(array.dtype, np.floating):
        raise TypeError(f"Samples must be floats in -1 to 1 or 16 or 32 bit integers, got {array.dtype}.")
    if array.ndim == 1:
        array = array[None]
    if array.ndim != 2 or array.shape[0] > max(array.shape[1], 2):
        raise ValueError(
            f"An audio array must have shape (samples,) or (channels, samples), got {array.shape}. Transpose "
            "(samples, channels) first; pass the rows of a batch one by one."
        )
    return array.astype(np.float32)


def _is_float_tensor(audio: Any) -> bool:
    return isinstance(audio, torch.Tensor) and audio.is_floating_point()


def _download(url: str) -> bytes:
    try:
        with urllib.request.urlopen(url, timeout=_URL_TIMEOUT) as response:
            return response.read()
    except (urllib.error.URLError, TimeoutError) as error:
        raise ValueError(f"Could not download audio from {url}: {error}.") from error


def _decode(file: BinaryIO, name: str) -> tuple[np.ndarray, int]:
    try:
        waveform, rate = soundfile.read(file, dtype="float32", always_2d=True)
    except soundfile.LibsndfileError as error:
        file.seek(0)
        return _decode_with_av(file, name, error)
    return waveform.T, rate


def _decode_with_av(file: BinaryIO, name: str, reason: Exception) -> tuple[np.ndarray, int]:
    try:
        import av
    except ImportError as error:
        raise ValueError(
            f"{name} is not audio that libsndfile reads ({reason}). If it is m4a or aac: pip install "
            "'transformers-moss-tts[m4a]'."
        ) from error
    try:
        with av.open(file) as container:
            if not container.streams.audio:
                raise ValueError(f"{name} has no audio stream.")
            rate = container.streams.audio[0].codec_context.sample_rate
            resampler = av.AudioResampler(format="fltp", rate=rate)
            frames = [out for frame in container.decode(audio=0) for out in resampler.resample(frame)]
    except av.error.FFmpegError as error:
        raise ValueError(f"{name} is not readable audio: {error}.") from error
    if not frames:
        raise ValueError(f"{name} has no samples.")
    return np.concatenate([frame.to_ndarray() for frame in frames], axis=1), rate


def _describe(audio: AudioInput) -> str:
    if isinstance(audio, str | os.PathLike):
        return f"The audio {str(audio)!r}"
    return f"The audio ({type(audio).__name__})"
