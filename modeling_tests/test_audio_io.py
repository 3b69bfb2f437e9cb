"""Audio input and output through real files, bytes and a real HTTP server."""

import functools
import http.server
import io
import threading

import numpy as np
import pytest
import soundfile
import torch

from transformers_moss_tts.audio_io import load_audio, normalize_loudness, save_audio


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
        for key in ("array", "audio"):
            np.testing.assert_array_equal(load_audio({key: array, "sampling_rate": RATE}, RATE), expected)


def test_url(folder, tone):
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(folder))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        base = f"http://127.0.0.1:{server.server_port}"
        np.testing.assert_allclose(load_audio(f"{base}/tone.wav", RATE), tone, atol=1e-4)
        with pytest.raises(ValueError, match="404"):
            load_audio(f"{base}/nothing.wav", RATE)
    finally:
        server.shutdown()
        server.server_close()


def test_channels(folder, tone):
    assert load_audio(folder / "stereo.wav", 24000, num_channels=2).shape == (2, 24000)
    np.testing.assert_allclose(load_audio(folder / "stereo.wav", RATE), np.zeros(RATE), atol=1e-4)
    doubled = load_audio(folder / "tone.wav", RATE, num_channels=2)
    np.testing.assert_array_equal(doubled[0], doubled[1])


def test_m4a(tmp_path, tone):
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
    waveform = load_audio(path, RATE)
    assert abs(len(waveform) - RATE) <= 4096
    assert abs(frequency_of(waveform, RATE) - 440) <= 2


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


def test_a_failed_save_leaves_the_old_file(tmp_path, tone, monkeypatch):
    path = tmp_path / "out.wav"
    save_audio(tone, path, RATE)
    before = path.read_bytes()

    def fail(file, *args, **kwargs):
        with open(file, "wb") as half:
            half.write(b"RIFF")
        raise OSError("disk full")

    monkeypatch.setattr(soundfile, "write", fail)
    with pytest.raises(OSError, match="disk full"):
        save_audio(tone, path, RATE)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def write(folder, name, content):
    (folder / name).write_bytes(content)
    return folder / name


BAD_INPUT = {
    "missing file": (lambda p: load_audio(p / "no.wav", RATE), ValueError, "no audio file"),
    "folder": (lambda p: load_audio(p, RATE), ValueError, "no audio file"),
    "text file": (lambda p: load_audio(write(p, "a.wav", b"hello" * 99), RATE), ValueError, "a.wav"),
    "empty file": (lambda p: load_audio(write(p, "e.wav", b""), RATE), ValueError, "e.wav"),
    "cut m4a": (lambda p: load_audio(b"\0\0\0\x20ftypM4A " + b"\0" * 64, RATE), ValueError, "bytes"),
    "no connection": (lambda p: load_audio("http://127.0.0.1:9/a.wav", RATE), ValueError, "Could not download"),
    "no samples": (
        lambda p: load_audio(np.zeros(0, np.float32), RATE, array_sampling_rate=1),
        ValueError,
        "no samples",
    ),
    "NaN": (lambda p: load_audio(np.full(9, np.nan), RATE, array_sampling_rate=RATE), ValueError, "NaN"),
    "array without rate": (lambda p: load_audio(np.zeros(9), RATE), ValueError, "array_sampling_rate"),
    "rate of 0": (lambda p: load_audio(np.zeros(9), RATE, array_sampling_rate=0), ValueError, "positive"),
    "wanted rate of 0": (lambda p: load_audio(np.zeros(9), 0, array_sampling_rate=RATE), ValueError, "positive"),
    "dict without rate": (lambda p: load_audio({"array": np.zeros(9)}, RATE), ValueError, "'sampling_rate'"),
    "dict of nothing": (lambda p: load_audio({"text": "a"}, RATE), ValueError, "'text'"),
    "three channels": (lambda p: load_audio(np.zeros(9), RATE, num_channels=3), ValueError, "1 or 2"),
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
    "save at no rate": (lambda p: save_audio(np.zeros(9), p / "a.wav", 0), ValueError, "positive"),
}


@pytest.mark.parametrize("name", BAD_INPUT)
def test_bad_input(tmp_path, name):
    call, error, message = BAD_INPUT[name]
    with pytest.raises(error, match=message):
        call(tmp_path)


def test_m4a_without_pyav_says_what_to_install(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "av", None)
    with pytest.raises(ValueError, match=r"transformers-moss-tts\[m4a\]"):
        load_audio(b"\0\0\0\x20ftypM4A " + b"\0" * 64, RATE)
