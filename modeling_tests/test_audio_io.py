"""Audio input and output through real files, bytes and a real HTTP server."""

import base64
import errno
import io
import os
import random
import resource
import subprocess
import sys
import threading
import types

import numpy as np
import pytest
import soundfile
import torch

from transformers_moss_tts.audio_io import (
    AudioLimits,
    audio_digest,
    load_audio,
    normalize_loudness,
    read_audio_file,
    save_audio,
)


RATE = 16000


@pytest.fixture(scope="module")
def tone():
    """One second at 440 Hz, half of full scale."""
    return (0.5 * np.sin(2 * np.pi * 440 * np.arange(RATE) / RATE)).astype(np.float32)


@pytest.fixture(scope="module")
def folder(tmp_path_factory, tone):
    folder = tmp_path_factory.mktemp("audio")
    for suffix in ("wav", "flac", "mp3", "ogg"):
        save_audio(tone, folder / f"tone.{suffix}", RATE)
    save_audio(np.stack([tone, -tone]), folder / "stereo.wav", RATE)
    return folder


def frequency_of(waveform, rate):
    return np.argmax(np.abs(np.fft.rfft(waveform))) * rate / len(waveform)


@pytest.mark.parametrize("suffix", ["wav", "flac", "mp3", "ogg"])
@pytest.mark.parametrize("rate", [RATE, 24000, 11025])
def test_formats_and_rates(folder, suffix, rate):
    waveform = load_audio(folder / f"tone.{suffix}", rate)
    assert waveform.dtype == np.float32 and waveform.ndim == 1
    assert abs(len(waveform) - rate) <= 0.08 * rate  # mp3 pads to whole blocks
    assert abs(frequency_of(waveform, rate) - 440) <= 2
    assert abs(np.abs(waveform).max() - 0.5) < 0.03


def test_every_kind_of_input_gives_the_same_samples(folder, tone):
    path = folder / "tone.wav"
    expected = load_audio(path, RATE)
    np.testing.assert_allclose(expected, tone, atol=1e-4)
    content = path.read_bytes()
    sixteen_bit = soundfile.read(path, dtype="int16")[0]
    for audio in (str(path), content, io.BytesIO(content), {"bytes": content, "path": None}, {"path": str(path)}):
        np.testing.assert_array_equal(load_audio(audio, RATE), expected)
    for array in (expected, torch.from_numpy(expected), expected[None], sixteen_bit, expected.astype(np.float64)):
        np.testing.assert_array_equal(load_audio(array, RATE, array_sampling_rate=RATE), expected)
        for rate in (RATE, np.int64(RATE), float(RATE), torch.tensor(RATE)):
            held = (
                {"array": array, "sampling_rate": rate},
                {"audio": array, "sampling_rate": rate},
                (array, rate),
                (rate, array),
            )
            for audio in held:
                np.testing.assert_array_equal(load_audio(audio, RATE), expected)
    in_a_table = {"array": expected.tolist(), "sampling_rate": RATE, "path": None}
    big_endian = (sixteen_bit.astype(">i2"), RATE)
    for audio in (in_a_table, big_endian, {"audio": str(path)}, memoryview(content)):
        np.testing.assert_array_equal(load_audio(audio, RATE), expected)


class AudioDecoder:
    """The parts of torchcodec's decoder that are used; examples of `datasets` hold one."""

    def __init__(self, path):
        samples, self.rate = soundfile.read(path, dtype="float32", always_2d=True)
        self.samples = torch.from_numpy(samples.T.copy())

    def get_all_samples(self):
        return types.SimpleNamespace(data=self.samples, sample_rate=self.rate)


class RangeDecoder(AudioDecoder):
    def get_samples_played_in_range(self, start_seconds=0.0, stop_seconds=None):
        return types.SimpleNamespace(data=self.samples[:, : int(stop_seconds * self.rate)], sample_rate=self.rate)

    def get_all_samples(self):
        raise AssertionError("this decodes everything")


@pytest.mark.parametrize("decoder", [AudioDecoder, RangeDecoder])
def test_decoders_of_datasets(folder, decoder):
    audio = decoder(folder / "stereo.wav")
    expected = load_audio(folder / "stereo.wav", 24000, num_channels=2)
    np.testing.assert_array_equal(load_audio(audio, 24000, num_channels=2), expected)
    assert audio_digest(audio) == audio_digest(decoder(folder / "stereo.wav"))
    with pytest.raises(ValueError, match=r"AudioDecoder|RangeDecoder.* at most 0.5 s are allowed"):
        load_audio(audio, 24000, limits=AudioLimits(max_duration=0.5))


def test_open_files_are_read_from_their_beginning(folder, tone):
    file = io.BytesIO()
    soundfile.write(file, tone, RATE, format="WAV")  # Leaves it at its end.
    with (folder / "tone.wav").open("rb") as opened:
        for audio in (file, file, opened, opened):
            np.testing.assert_allclose(load_audio(audio, RATE), tone, atol=1e-4)
        assert read_audio_file(file) == read_audio_file(file) == file.getvalue()


def test_a_pipe_is_read_once(folder, tone):
    reader, writer = os.pipe()
    threading.Thread(target=lambda: os.fdopen(writer, "wb").write((folder / "tone.wav").read_bytes())).start()
    with os.fdopen(reader, "rb") as pipe:
        np.testing.assert_allclose(load_audio(pipe, RATE), tone, atol=1e-4)


@pytest.mark.parametrize("header", ["data:audio/wav;base64,", "DATA:;base64,", "data:audio/wav;codecs=1;base64,"])
def test_data_uris(folder, header):
    text = base64.b64encode((folder / "tone.wav").read_bytes()).decode()
    expected = load_audio(folder / "tone.wav", RATE)
    np.testing.assert_array_equal(load_audio(header + text, RATE), expected)
    wrapped = "\n".join(text[i : i + 76] for i in range(0, len(text), 76)).replace("+", "%2B")
    np.testing.assert_array_equal(load_audio(header + wrapped, RATE), expected)
    with pytest.raises(ValueError, match=r"There is no audio file .*data:audio/wav;base64,") as caught:
        load_audio(text, RATE)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("scale", [2**15 - 1, 2**31 - 1])
def test_integers_as_floats_are_refused(tmp_path, tone, scale):
    with pytest.raises(ValueError, match="divide by 32768"):
        load_audio((tone.astype(np.float64) * scale, RATE), RATE)
    soundfile.write(tmp_path / "float.wav", tone * scale, RATE, subtype="FLOAT")
    with pytest.raises(ValueError, match=r"float.wav.* divide by 32768"):
        load_audio(tmp_path / "float.wav", RATE)
    # Louder than full scale, as some decoders give, is no integer.
    np.testing.assert_array_equal(load_audio((tone * 10, RATE), RATE), tone * 10)


def flac_of_silence(seconds, rate=8000, channels=1):
    buffer = io.BytesIO()
    with soundfile.SoundFile(buffer, "w", rate, channels, "PCM_16", format="FLAC") as file:
        for _ in range(seconds // 60):
            file.write(np.zeros((rate * 60, channels), np.int16))
    return bytearray(buffer.getvalue())


def test_a_long_recording_is_refused_before_it_is_decoded(monkeypatch):
    content = flac_of_silence(600)
    monkeypatch.setattr(soundfile.SoundFile, "read", lambda *args, **kwargs: pytest.fail("it was decoded"))
    with pytest.raises(ValueError, match="at most 30 s are allowed"):
        load_audio(bytes(content), RATE, limits=AudioLimits(max_duration=30))


def test_a_header_without_a_length_bounds_what_is_decoded(monkeypatch):
    content = flac_of_silence(1800)
    # The 36 bits of the number of samples, in the STREAMINFO block of RFC 9639.
    content[21] &= 0xF0
    content[22:26] = bytes(4)
    read, decoded = soundfile.SoundFile.read, []

    def counted(self, *args, **kwargs):
        block = read(self, *args, **kwargs)
        decoded.append(len(block))
        return block

    monkeypatch.setattr(soundfile.SoundFile, "read", counted)
    with pytest.raises(ValueError, match="at most 30 s are allowed"):
        load_audio(bytes(content), RATE, limits=AudioLimits(max_duration=30))
    assert len(decoded) == 1 and sum(decoded) < 8000 * 1800


def test_what_a_wav_header_promises_is_refused(folder):
    content = bytearray((folder / "tone.wav").read_bytes())
    content[24:28] = (10**9).to_bytes(4, "little")
    with pytest.raises(ValueError, match=r"sampling rate .*from 1 to 768000"):
        load_audio(bytes(content), RATE)


LIMITS = {
    "bytes": (lambda path: path.read_bytes(), {"max_bytes": 1000}, "has 32044 bytes; at most 1000"),
    "path": (lambda path: path, {"max_bytes": 1000}, "has 32044 bytes; at most 1000"),
    "open file": (lambda path: path.open("rb"), {"max_bytes": 1000}, "has 1001 bytes; at most 1000"),
    "data URI": (
        lambda path: "data:;base64," + base64.b64encode(path.read_bytes()).decode(),
        {"max_bytes": 1000},
        "at most 1000",
    ),
    "array": (lambda path: (np.zeros(RATE), RATE), {"max_duration": 0.9}, "at most 0.9 s are allowed"),
    "channels": (lambda path: (np.zeros((4, RATE)), RATE), {"max_channels": 3}, "1 to 3 channels, got 4"),
    "rate": (
        lambda path: path,
        {"max_sampling_rate": 12000},
        "from 1 to 12000, got 16000",
    ),
}


@pytest.mark.parametrize("name", LIMITS)
def test_limits(folder, name):
    make, limits, message = LIMITS[name]
    with pytest.raises(ValueError, match=message):
        load_audio(make(folder / "tone.wav"), 8000, limits=AudioLimits(**limits))


@pytest.mark.parametrize("value", [0, -1, float("nan"), float("inf"), "30", None])
def test_limits_are_numbers(value):
    with pytest.raises((ValueError, TypeError), match="`max_duration` must be a number of seconds"):
        AudioLimits(max_duration=value)
    with pytest.raises((ValueError, TypeError), match="`max_bytes` must be a whole number"):
        AudioLimits(max_bytes=value)


@pytest.mark.parametrize(
    "rate", [None, 0, -24000, float("nan"), float("inf"), 10**12, 22050.5, "24000", True, [24000]]
)
def test_wrong_rates(tmp_path, rate):
    with pytest.raises(ValueError, match="sampling rate"):
        load_audio({"array": np.zeros(9), "sampling_rate": rate}, RATE)
    with pytest.raises(ValueError, match="`sampling_rate`"):
        load_audio((np.zeros(9), RATE), rate)
    with pytest.raises(ValueError, match="`sampling_rate`"):
        save_audio(np.zeros(9), tmp_path / "a.wav", rate)


def test_channels(folder, tone):
    assert load_audio(folder / "stereo.wav", 24000, num_channels=2).shape == (2, 24000)
    np.testing.assert_allclose(load_audio(folder / "stereo.wav", RATE), np.zeros(RATE), atol=1e-4)
    doubled = load_audio(folder / "tone.wav", RATE, num_channels=2)
    np.testing.assert_array_equal(doubled[0], doubled[1])


@pytest.fixture
def m4a(tmp_path, tone):
    av = pytest.importorskip("av")
    path = tmp_path / "tone.m4a"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=RATE, layout="mono")
        for start in range(0, RATE, 1024):
            samples = np.ascontiguousarray(tone[None, start : start + 1024])
            frame = av.AudioFrame.from_ndarray(samples, format="fltp", layout="mono")
            frame.sample_rate, frame.pts = RATE, start
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def test_m4a(m4a):
    waveform = load_audio(m4a, RATE)
    assert abs(len(waveform) - RATE) <= 4096
    assert abs(frequency_of(waveform, RATE) - 440) <= 2


def test_m4a_is_bounded(m4a):
    with pytest.raises(ValueError, match=r"tone\.m4a.* at most 0.5 s are allowed"):
        load_audio(m4a, RATE, limits=AudioLimits(max_duration=0.5))
    content = m4a.read_bytes()
    # Without the durations of the headers, what is decoded counts.
    for box, offset in ((b"mvhd", 16), (b"tkhd", 20), (b"mdhd", 16)):
        start = content.index(box) + 4 + offset
        content = content[:start] + bytes(4) + content[start + 4 :]
    with pytest.raises(ValueError, match=r"at most 0.5 s are allowed"):
        load_audio(content, RATE, limits=AudioLimits(max_duration=0.5))


@pytest.mark.parametrize("playlist", ["#EXTM3U\n#EXTINF:1,\n{}\n#EXT-X-ENDLIST\n", "ffconcat version 1.0\nfile {}\n"])
def test_a_file_cannot_name_another(folder, tmp_path, playlist):
    pytest.importorskip("av")
    path = tmp_path / "list.wav"
    path.write_text(playlist.format(folder / "tone.wav"))
    with pytest.raises(ValueError, match=r"list.wav"):
        load_audio(path, RATE)


@pytest.mark.parametrize("level,expected", [(-20.0, -20.0), (-21.5, -20.0), (-40.0, -37.0), (-6.0, -9.0)])
def test_loudness_moves_by_at_most_three_decibels(level, expected):
    waveform = np.random.default_rng(0).standard_normal(24000).astype(np.float32)
    waveform *= 10 ** (level / 20) / np.sqrt(np.mean(waveform**2))
    result = normalize_loudness(waveform)
    assert result.dtype == np.float32
    assert abs(10 * np.log10(np.mean(result.astype(np.float64) ** 2)) - expected) < 1e-3


def test_loudness_of_silence():
    np.testing.assert_array_equal(normalize_loudness(np.zeros(100, np.float32)), np.zeros(100))


@pytest.mark.parametrize("suffix", ["wav", "flac", "mp3", "ogg", "opus"])
@pytest.mark.parametrize("num_channels", [1, 2])
def test_save(tmp_path, tone, suffix, num_channels):
    audio = np.stack([tone] * num_channels) if num_channels == 2 else tone
    save_audio(torch.from_numpy(audio), tmp_path / f"out.{suffix}", RATE)
    waveform, rate = soundfile.read(tmp_path / f"out.{suffix}", always_2d=True)
    assert waveform.shape[1] == num_channels
    assert abs(frequency_of(waveform[:, 0], rate) - 440) <= 2
    assert [path.name for path in tmp_path.iterdir()] == [f"out.{suffix}"]


def test_save_clips(tmp_path):
    save_audio(np.array([2.0, -2.0], np.float32), tmp_path / "out.wav", RATE)
    np.testing.assert_allclose(soundfile.read(tmp_path / "out.wav")[0], [1.0, -1.0], atol=1e-4)


def test_minutes_of_vorbis(tmp_path):
    save_audio(np.zeros(24000 * 240, np.float32), tmp_path / "out.ogg", 24000)
    assert soundfile.info(tmp_path / "out.ogg").frames == 24000 * 240


@pytest.fixture
def full_disk():
    """Files are at most as long as a small disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("suffix", ["wav", "flac", "mp3", "ogg", "opus"])
def test_a_full_disk_leaves_the_old_file(tmp_path, tone, suffix, full_disk):
    path = tmp_path / f"out.{suffix}"
    path.write_bytes(b"old")
    noise = np.random.default_rng(0).normal(0, 0.1, 48000)
    with pytest.raises(OSError, match=path.name) as caught:
        save_audio(noise, path, 24000)
    assert caught.value.errno == errno.EFBIG and caught.value.filename == str(path)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_named_pipe_stays_one(tmp_path, tone):
    path = tmp_path / "out.wav"
    os.mkfifo(path)
    reader = subprocess.Popen(
        [sys.executable, "-c", f"print(len(open({str(path)!r}, 'rb').read()))"], stdout=subprocess.PIPE
    )
    save_audio(tone, path, RATE)
    assert int(reader.communicate()[0]) == 44 + 2 * RATE
    assert path.is_fifo()


def write(folder, name, content):
    (folder / name).write_bytes(content)
    return folder / name


@pytest.mark.parametrize("container", ["WAV", "FLAC", "OGG", "AIFF", "CAF"])
def test_damaged_headers(container, monkeypatch):
    lost = []
    monkeypatch.setattr(sys, "unraisablehook", lost.append)
    buffer = io.BytesIO()
    soundfile.write(buffer, np.zeros(1200, np.float32), RATE, format=container)
    draw = random.Random(1)
    for _ in range(150):
        content = bytearray(buffer.getvalue())
        for _ in range(draw.choice([1, 3, 8])):
            content[draw.randrange(64)] = draw.randrange(256)
        try:
            assert load_audio(bytes(content), RATE).ndim == 1
        except ValueError as error:
            assert str(error).startswith("The ")
    # Of libsndfile's callbacks, which cannot raise.
    assert not lost


def closed():
    file = io.BytesIO(b"RIFF")
    file.close()
    return file


BAD_INPUT = {
    "missing file": (lambda p: load_audio(p / "no.wav", RATE), ValueError, "no audio file"),
    "folder": (lambda p: load_audio(p, RATE), ValueError, "no audio file"),
    "text file": (lambda p: load_audio(write(p, "a.wav", b"hello" * 99), RATE), ValueError, "a.wav"),
    "empty file": (lambda p: load_audio(write(p, "e.wav", b""), RATE), ValueError, "e.wav"),
    "cut m4a": (lambda p: load_audio(b"\0\0\0\x20ftypM4A " + b"\0" * 64, RATE), ValueError, "bytes"),
    "URL of a file": (lambda p: load_audio("file:///etc/passwd", RATE), ValueError, "http or https, got 'file'"),
    "base64": (lambda p: load_audio("data:audio/wav;base64,UklGR", RATE), ValueError, "not valid base64"),
    "text in a data URI": (lambda p: load_audio("data:,hello%20there", RATE), ValueError, "data URI"),
    "open text": (lambda p: load_audio(write(p, "a.wav", b"RIFF").open("r"), RATE), TypeError, "'rb'"),
    "not a file": (lambda p: load_audio(types.SimpleNamespace(read=lambda: b""), RATE), ValueError, "cannot be read"),
    "closed file": (lambda p: load_audio(closed(), RATE), ValueError, "cannot be read: .*closed"),
    "damaged flac": (lambda p: load_audio(bytes(flac_of_silence(60)[:-500]), RATE), ValueError, "damaged"),
    "no samples": (
        lambda p: load_audio(np.zeros(0, np.float32), RATE, array_sampling_rate=RATE),
        ValueError,
        "no samples",
    ),
    "NaN": (lambda p: load_audio(np.full(9, np.nan), RATE, array_sampling_rate=RATE), ValueError, "NaN"),
    "array without rate": (lambda p: load_audio(np.zeros(9), RATE), ValueError, r"pass \(array, rate\)"),
    "infinite": (lambda p: load_audio((np.full(9, np.inf), RATE), RATE), ValueError, "infinite"),
    "ragged": (lambda p: load_audio({"array": [[0.1], [0.1, 0.2]], "sampling_rate": RATE}, RATE), TypeError, "array"),
    "tensor without values": (lambda p: load_audio((torch.zeros(9, device="meta"), RATE), RATE), TypeError, "dense"),
    "list": (lambda p: load_audio([0.1, 0.2], RATE, array_sampling_rate=RATE), TypeError, "got list"),
    "dict without rate": (lambda p: load_audio({"array": np.zeros(9)}, RATE), ValueError, "'sampling_rate'"),
    "dict of nothing": (lambda p: load_audio({"text": "a"}, RATE), ValueError, "'text'"),
    "three channels": (lambda p: load_audio(np.zeros(9), RATE, num_channels=3), ValueError, "`num_channels`"),
    "samples first": (
        lambda p: load_audio(np.zeros((999, 2)), RATE, array_sampling_rate=RATE),
        ValueError,
        "Transpose",
    ),
    "number": (lambda p: load_audio(3, RATE), TypeError, "got int"),
    "complex samples": (lambda p: load_audio(np.zeros(9, complex), RATE, array_sampling_rate=1), TypeError, "complex"),
    "save as text": (lambda p: save_audio(np.zeros(9), p / "a.txt", RATE), ValueError, ".wav"),
    "save in no folder": (lambda p: save_audio(np.zeros(9), p / "b" / "a.wav", RATE), ValueError, "does not exist"),
    "save nothing": (lambda p: save_audio(np.zeros(0), p / "a.wav", RATE), ValueError, "no samples"),
    "save NaN": (lambda p: save_audio(np.full(9, np.nan), p / "a.wav", RATE), ValueError, "NaN"),
    "save to a folder": (lambda p: save_audio(np.zeros(9), p.with_suffix(".wav"), RATE), ValueError, "is a folder"),
    "save opus at 44.1 kHz": (
        lambda p: save_audio(np.zeros(9), p / "a.opus", 44100),
        ValueError,
        "48000 Hz, got 44100",
    ),
    "save mp3 at 96 kHz": (lambda p: save_audio(np.zeros(9), p / "a.mp3", 96000), ValueError, "48000 Hz, got 96000"),
    "save nine channels": (lambda p: save_audio(np.zeros((9, 99)), p / "a.flac", RATE), ValueError, "9 channels"),
    "loudness of NaN": (lambda p: normalize_loudness(np.full(9, np.nan)), ValueError, "NaN"),
    "loudness of nothing": (lambda p: normalize_loudness(np.zeros(0)), ValueError, "samples"),
    "gain of NaN": (lambda p: normalize_loudness(np.ones(9), max_gain_db=np.nan), ValueError, "`max_gain_db`"),
}


@pytest.mark.parametrize("name", BAD_INPUT)
def test_bad_input(tmp_path, name):
    tmp_path = tmp_path / "a"
    (tmp_path.with_suffix(".wav")).mkdir(parents=True)
    tmp_path.mkdir()
    call, error, message = BAD_INPUT[name]
    with pytest.raises(error, match=message):
        call(tmp_path)


def test_m4a_without_pyav_says_what_to_install(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "av", None)
    with pytest.raises(ValueError, match=r"pip install .*\[m4a\]"):
        load_audio(b"\0\0\0\x20ftypM4A " + b"\0" * 64, RATE)
