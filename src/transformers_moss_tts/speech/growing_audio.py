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
"""Audio files that are written while the audio is made: what is in them is whole and can be played at any time."""

import contextlib
import io
import struct
import zlib
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import soundfile

from ..utils.audio_files import FILE_SUFFIXES, check_file_rate, file_format


_SAMPLE_BYTES = 2
# RIFF, a chunk that holds the place of a large file's sizes, fmt and the head of data.
_HEADER_BYTES = 12 + 36 + 24 + 8
_MAX_RIFF = 2**32 - 1
# Samples of all channels that are encoded at once.
_BLOCK = 1 << 16
# Samples of each channel that libvorbis gets at once, 0.17 s at 24 kHz: those of an unfinished file wait for it.
_VORBIS_BLOCK = 4096
# Head of a page of Ogg (RFC 3533, 6): its mark, where the serial number of the stream and the checksum stand, and its shortest length.
_PAGE, _SERIAL, _CHECKSUM, _PAGE_HEAD_BYTES = b"OggS", slice(14, 18), slice(22, 26), 27
# Frames that the encoder of mp3 holds back, at most.
_FRAMES_HELD_BY_LAME = 3
_REVERSED = bytes(int(f"{value:08b}"[::-1], 2) for value in range(256))


class GrowingAudio:
    """
    A wav, flac, mp3, ogg or opus file of 16 bit that grows. What cannot be written, as on a full disk, is taken back: the file holds
    what it held before.

    Args:
        path (`Path`): file; its suffix says the format. A file that is there is replaced.
        sampling_rate (`int`): rate, in Hz.
        num_channels (`int`): number of channels.
        num_samples (`int`, *optional*, defaults to 0): samples that an earlier run wrote, with which to go on; the file is cut behind
            them.

    Raises:
        ValueError: another suffix, a rate that the format does not have, or fewer samples than the earlier run wrote.
        OSError: if the file cannot be written.
    """

    def __init__(self, path: Path, sampling_rate: int, num_channels: int, num_samples: int = 0):
        check_output(path, sampling_rate)
        self.path, self.num_channels, self.num_samples = path, num_channels, num_samples
        kind = _Wave if path.suffix.lower() == ".wav" else _Encoded
        self._file = kind(path, sampling_rate, num_channels, num_samples)

    def append(self, audio: np.ndarray) -> None:
        """
        Writes audio `(channels, samples)`, floats in -1 to 1 (clipped outside).

        Raises:
            OSError: if it cannot be written.
        """
        samples = np.round(np.clip(audio, -1, 1).T * 32767).astype("<i2")
        # An encoder has no header yet before its first sample.
        if not len(samples):
            return
        try:
            self._file.append(samples)
        except OSError as error:
            with contextlib.suppress(OSError):
                self._file.take_back()
            raise self._named(error) from error
        self.num_samples += len(samples)

    def append_silence(self, num_samples: int) -> None:
        """Writes silence."""
        for start in range(0, num_samples, _BLOCK):
            self.append(np.zeros((self.num_channels, min(_BLOCK, num_samples - start)), dtype=np.float32))

    def finish(self) -> None:
        """
        Closes the file, and removes what was needed to go on.

        Raises:
            OSError: if what is left cannot be written.
        """
        try:
            self._file.finish()
        except OSError as error:
            raise self._named(error) from error

    def close(self) -> None:
        """Closes the file as it is; a later run can go on."""
        with contextlib.suppress(OSError):
            self._file.close()

    def _named(self, error: OSError) -> OSError:
        return OSError(error.errno, error.strerror or str(error), str(self.path))


def check_output(path: Path, sampling_rate: int) -> None:
    """
    Raises:
        ValueError: for a file that cannot grow: another suffix, a rate that its format does not have, a folder, a missing folder or
            a pipe.
    """
    if path.suffix.lower() not in FILE_SUFFIXES:
        raise ValueError(f"Cannot write {path.name!r}: use one of the suffixes {', '.join(FILE_SUFFIXES)}.")
    check_file_rate(sampling_rate, path.suffix.lower())
    if not path.parent.is_dir():
        raise ValueError(f"The folder {str(path.parent)!r} does not exist: make it first.")
    if path.exists() and not path.is_file():
        raise ValueError(f"{str(path)!r} is no file that can be written while it grows: name a file.")


def spool_path(path: Path) -> Path:
    """The samples of an encoded file, from which a later run begins the encoder anew."""
    return path.with_name(f"{path.name}.state.pcm")


class _Wave:
    """Samples behind a header that is brought up to date after them."""

    def __init__(self, path: Path, sampling_rate: int, num_channels: int, num_samples: int):
        self.path, self.rate, self.num_channels = path, sampling_rate, num_channels
        self.size = num_samples * num_channels * _SAMPLE_BYTES
        self.file = _reopened(path, _HEADER_BYTES + self.size) if num_samples else _opened(path)
        self._write_header()

    def append(self, samples: np.ndarray) -> None:
        self.file.seek(_HEADER_BYTES + self.size)
        _write_all(self.file, samples.tobytes())
        self.size += samples.nbytes
        self._write_header()

    def take_back(self) -> None:
        self.file.truncate(_HEADER_BYTES + self.size)
        self._write_header()

    def finish(self) -> None:
        self.file.close()

    close = finish

    def _write_header(self) -> None:
        self.file.seek(0)
        _write_all(self.file, wave_header(self.rate, self.num_channels, self.size))


def wave_header(sampling_rate: int, num_channels: int, num_bytes: int) -> bytes:
    """Header of a wav file of 16 bit with so many bytes of samples; of one above 4 GiB as RF64 (EBU Tech 3306)."""
    riff_bytes = _HEADER_BYTES - 8 + num_bytes
    is_large = riff_bytes > _MAX_RIFF
    frame = num_channels * _SAMPLE_BYTES
    sizes = struct.pack("<QQQI", riff_bytes, num_bytes, num_bytes // frame, 0) if is_large else bytes(28)
    form = struct.pack("<HHIIHH", 1, num_channels, sampling_rate, sampling_rate * frame, frame, 8 * _SAMPLE_BYTES)
    return b"".join(
        [
            *(b"RF64" if is_large else b"RIFF", struct.pack("<I", _MAX_RIFF if is_large else riff_bytes), b"WAVE"),
            *(b"ds64" if is_large else b"JUNK", struct.pack("<I", 28), sizes),
            *(b"fmt ", struct.pack("<I", 16), form),
            *(b"data", struct.pack("<I", _MAX_RIFF if is_large else num_bytes)),
        ]
    )


class _Encoded:
    """Samples through an encoder, which cannot be stopped and go on: their copy without it can."""

    def __init__(self, path: Path, sampling_rate: int, num_channels: int, num_samples: int):
        self.path, self.num_channels = path, num_channels
        self.spool_bytes = num_samples * num_channels * _SAMPLE_BYTES
        self.spool = _reopened(spool_path(path), self.spool_bytes) if num_samples else _opened(spool_path(path))
        self.sink = _Sink(_opened(path))
        container, encoding = file_format(path.suffix.lower())
        self.encoder: Any = soundfile.SoundFile(
            self.sink, "w", sampling_rate, num_channels, encoding, format=container, closefd=False
        )
        frame = num_channels * _SAMPLE_BYTES
        # What libvorbis makes of the first samples depends on how many it gets at once: an encoder that goes on gets the same pieces.
        self.num_together = _VORBIS_BLOCK if path.suffix.lower() == ".ogg" else 1
        self.piece_bytes = (_VORBIS_BLOCK if self.num_together > 1 else _BLOCK) * frame
        self.encoded_bytes = 0
        self._encode_until(self.spool_bytes // (self.num_together * frame) * self.num_together * frame)

    def append(self, samples: np.ndarray) -> None:
        self.spool.seek(self.spool_bytes)
        _write_all(self.spool, samples.tobytes())
        num_bytes, together = self.spool_bytes + samples.nbytes, self.num_together * self.num_channels * _SAMPLE_BYTES
        self._encode_until(num_bytes // together * together)
        self.spool_bytes = num_bytes
        num_samples = self.spool_bytes // (self.num_channels * _SAMPLE_BYTES)
        if self.path.suffix.lower() == ".flac":
            self.sink.write_flac_length(num_samples)
        elif self.path.suffix.lower() == ".mp3":
            self.sink.write_mp3_length(num_samples)

    def take_back(self) -> None:
        self.spool.truncate(self.spool_bytes)
        self.sink.cut()

    def finish(self) -> None:
        self._encode_until(self.spool_bytes)
        self.encoder.close()
        self.sink.check()
        self.close()
        spool_path(self.path).unlink()

    def close(self) -> None:
        self.encoder.close()
        self.sink.file.close()
        self.spool.close()

    def _encode_until(self, num_bytes: int) -> None:
        self.spool.seek(self.encoded_bytes)
        while self.encoded_bytes < num_bytes:
            data = self.spool.read(min(self.piece_bytes, num_bytes - self.encoded_bytes))
            self._encode(data)
            self.encoded_bytes += len(data)

    def _encode(self, data: bytes) -> None:
        samples = np.frombuffer(data, dtype="<i2").reshape(-1, self.num_channels)
        self.encoder.write(samples)
        self.sink.check()


class _Sink(io.RawIOBase):
    """
    The file that libsndfile writes to, whose callbacks cannot raise: an error waits until it is asked for. Streams of Ogg get the serial
    number 0 in place of a random one: the same audio has the same bytes.
    """

    def __init__(self, file: BinaryIO):
        self.file = file
        self.error: OSError | None = None
        self.whole = 0
        # The head of a page, which comes first and by itself, waits for its body.
        self._head = b""

    def write(self, data: Any) -> int:
        data = bytes(data)
        if not self._head and data.startswith(_PAGE) and len(data) == _PAGE_HEAD_BYTES + data[_PAGE_HEAD_BYTES - 1]:
            self._head = data
            return len(data)
        page, self._head = _with_serial(self._head, data), b""
        if self.error is None:
            try:
                _write_all(self.file, page)
            except OSError as error:
                self.error = error
        return len(data)

    def check(self) -> None:
        """Raises what went wrong; what was written before is whole."""
        if self.error is not None:
            raise self.error
        self.whole = max(self.whole, self.file.seek(0, io.SEEK_END))

    def write_flac_length(self, num_samples: int) -> None:
        """Puts the number of samples of whole blocks into the header, where the encoder has it at its end alone (RFC 9639, 8.2)."""
        place = self.file.tell()
        self.file.seek(8)
        info = bytearray(self.file.read(18))
        block = int.from_bytes(info[:2], "big")
        # The encoder holds a block back until it has seen the next sample.
        length = max(num_samples - 1, 0) // block * block
        info[13] = info[13] & 0xF0 | length >> 32
        info[14:18] = (length & 0xFFFFFFFF).to_bytes(4, "big")
        self.file.seek(8)
        _write_all(self.file, info)
        self.file.seek(place)

    def write_mp3_length(self, num_samples: int) -> None:
        """
        Puts the number of frames into the empty first one, which the encoder fills at its end alone. Without it readers guess the length
        from the first frames (the header of Xing, behind the frame's side information of ISO 11172-3 and 13818-3).
        """
        place = self.file.tell()
        if not place:
            return
        self.file.seek(0)
        head = self.file.read(4)
        is_mono, is_first_version = head[3] >> 6 == 3, head[1] >> 3 & 3 == 3
        side_bytes, frame = ((17 if is_mono else 32), 1152) if is_first_version else ((9 if is_mono else 17), 576)
        num_frames = max(num_samples // frame - _FRAMES_HELD_BY_LAME, 0)
        self.file.seek(len(head) + side_bytes)
        _write_all(self.file, struct.pack(">4sII", b"Xing", 1, num_frames))
        self.file.seek(place)

    def cut(self) -> None:
        self.file.truncate(self.whole)

    def read(self, size: int = -1) -> bytes:
        return self.file.read(size)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return self.file.seek(offset, whence)

    def tell(self) -> int:
        return self.file.tell() + len(self._head)


def _with_serial(head: bytes, body: bytes) -> bytes:
    """A page of Ogg with the serial number 0; bytes without the head of one as they are."""
    if not head:
        return body
    page = bytearray(head + body)
    page[_SERIAL] = page[_CHECKSUM] = bytes(4)
    # The checksum is that of zlib with the bits of all bytes, and its own, the other way round, and nothing inverted.
    checksum = zlib.crc32(page.translate(_REVERSED), 0xFFFFFFFF) ^ 0xFFFFFFFF
    page[_CHECKSUM] = int(f"{checksum:032b}"[::-1], 2).to_bytes(4, "little")
    return bytes(page)


def _reopened(path: Path, size: int) -> BinaryIO:
    """A file that an earlier run wrote, cut behind so many bytes."""
    if not path.is_file() or path.stat().st_size < size:
        raise ValueError(
            f"{str(path)!r} is missing or was cut since the run that is to go on: begin anew with `restart=True`."
        )
    file = path.open("r+b", buffering=0)
    file.truncate(size)
    return file


def _opened(path: Path) -> BinaryIO:
    """A new file without a buffer: what a full disk did not take is not tried again when the file is closed."""
    return path.open("w+b", buffering=0)


def _write_all(file: BinaryIO, data: bytes | bytearray) -> None:
    """Writes bytes to a file without a buffer, which may take a part of them at a time."""
    left = memoryview(data)
    while left:
        left = left[file.write(left) :]


__all__ = ["GrowingAudio", "check_output", "spool_path", "wave_header"]
