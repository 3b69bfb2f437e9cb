"""Recordings: files of every format with damaged bytes, what else stands for audio, rates, limits, what is written."""

import base64
import io
import os
import warnings
from functools import cache
from pathlib import Path

import numpy as np
import soundfile
import torch
from hypothesis import strategies as st

from transformers_moss_tts.audio_io import (
    AudioLimits,
    audio_digest,
    load_audio,
    normalize_loudness,
    read_audio_file,
    save_audio,
)

from .outcomes import Case
from .values import NAN, anything, is_number, numbers, show


_RATE = 16000
_SUBTYPES = [
    *(
        ("WAV", "PCM_16"),
        ("WAV", "FLOAT"),
        ("WAV", "DOUBLE"),
        ("WAV", "ULAW"),
        ("WAV", "IMA_ADPCM"),
        ("WAV", "PCM_24"),
    ),
    *(
        ("WAVEX", "PCM_16"),
        ("RF64", "PCM_16"),
        ("W64", "PCM_16"),
        ("AIFF", "PCM_16"),
        ("AU", "PCM_16"),
        ("CAF", "ALAC_16"),
    ),
    *(("FLAC", "PCM_16"), ("OGG", "VORBIS"), ("OGG", "OPUS"), ("MP3", "MPEG_LAYER_III"), ("NIST", "PCM_16")),
    *(
        ("VOC", "PCM_16"),
        ("MAT5", "FLOAT"),
        ("PAF", "PCM_16"),
        ("SVX", "PCM_16"),
        ("IRCAM", "FLOAT"),
        ("PVF", "PCM_16"),
    ),
]
_CONTAINERS = [("mp4", "aac"), ("matroska", "aac"), ("adts", "aac")]
_NAMES = ("audio", "samples", "sampling rate", "recording")
_URLS = [
    *(
        "http://",
        "https://",
        "http://[::1",
        "http://127.0.0.1:1/a.wav",
        "ftp://a/b.wav",
        "file:///etc/passwd",
        "HTTP://x:y/",
    ),
    *(
        "http://a b/c.wav",
        "http://user:secret@127.0.0.1:1/",
        "http://127.0.0.1:99999/",
        "http://.../",
        "//x",
        "hf://a/b",
    ),
    *(
        "data:,",
        "data:audio/wav;base64,####",
        "data:audio/wav;base64,",
        "data:;base64,AAAA",
        "data:%zz",
        "DATA:text/plain,x",
    ),
    *("http://\ud800/", "http://127.0.0.1:1/\x00", "http://é.invalid/", "http:///x", "gs://x", "http://0x7f000001:1/"),
]
# Bounds of the fields of `AudioLimits`, and whether they are whole numbers.
_LIMITS = {
    "max_duration": False,
    "max_bytes": True,
    "max_channels": True,
    "max_sampling_rate": True,
    "download_timeout": False,
    "allow_private_addresses": None,
}


def wave(seconds: float = 0.25, rate: int = _RATE) -> np.ndarray:
    return (0.3 * np.sin(np.arange(int(seconds * rate)) / 8)).astype(np.float32)


@cache
def files() -> list[tuple[str, bytes]]:
    """A small file of every format that can be written here."""
    made = []
    for container, subtype in _SUBTYPES:
        buffer = io.BytesIO()
        try:
            soundfile.write(buffer, wave(), _RATE, format=container, subtype=subtype)
        except (soundfile.LibsndfileError, ValueError, TypeError):
            continue
        made.append((f"{container} {subtype}", buffer.getvalue()))
    return made + [(name, _encoded_with_av(name, codec)) for name, codec in _CONTAINERS]


def _encoded_with_av(container: str, codec: str) -> bytes:
    import av

    buffer = io.BytesIO()
    with av.open(buffer, "w", format=container) as file:
        stream = file.add_stream(codec, rate=_RATE)
        frame = av.AudioFrame.from_ndarray(wave()[None], format="fltp", layout="mono")
        frame.sample_rate = _RATE
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            file.mux(packet)
    return buffer.getvalue()


_bytes = st.integers(0, 255)
_words = st.sampled_from([0, 1, 2, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0xFFFF, 0x01000000, 44100, 10**9])


@st.composite
def damaged(draw) -> tuple[str, bytes]:
    """A file of any format, whole or with bytes changed, cut out, put in or of another file."""
    name, content = draw(st.sampled_from(files()))
    content = bytearray(content)
    for _ in range(draw(st.integers(0, 6))):
        where = draw(st.integers(0, max(0, min(len(content), draw(st.sampled_from([64, 256, 10**6]))) - 1)))
        kind = draw(st.sampled_from(["byte", "byte", "word", "cut", "drop", "insert", "double", "other"]))
        if kind == "byte" and content:
            content[where] = draw(_bytes)
        elif kind == "word":
            content[where : where + 4] = draw(_words).to_bytes(4, draw(st.sampled_from(["little", "big"])))
        elif kind == "cut":
            del content[where:]
        elif kind == "drop":
            del content[where : where + draw(st.integers(1, 64))]
        elif kind == "insert":
            content[where:where] = draw(st.binary(min_size=1, max_size=32))
        elif kind == "double":
            content[where:where] = content[where : where + 512]
        else:
            content[where:] = draw(st.sampled_from(files()))[1][where:]
    return name, bytes(content)


@st.composite
def _reading(draw) -> Case:
    name, content = draw(damaged())
    door = draw(st.sampled_from(["bytes", "file", "path", "data", "dict"]))
    rate, channels = draw(st.sampled_from([8000, _RATE, 24000, 48000])), draw(st.sampled_from([1, 2]))
    limits = draw(
        st.sampled_from([AudioLimits(), AudioLimits(max_duration=5, max_channels=2, max_sampling_rate=96000)])
    )

    def call():
        Path("a.wav").write_bytes(content)
        audio = {
            "bytes": content,
            "file": io.BytesIO(content),
            "path": "a.wav",
            "data": f"data:audio/wav;base64,{base64.b64encode(content).decode()}",
            "dict": {"bytes": content, "path": None},
        }[door]
        return load_audio(audio, rate, num_channels=channels, limits=limits)

    label = f"load_audio({name} {content[:80].hex()}... of {len(content)} bytes as {door}, {rate}, {channels})"
    longest = limits.max_duration * rate + rate
    return Case(label, call, (*_NAMES, "a.wav"), lambda result: _fault_of_waveform(result, channels, longest))


def _fault_of_waveform(waveform: np.ndarray, num_channels: int, longest: float) -> str | None:
    if waveform.dtype != np.float32 or waveform.ndim != num_channels or waveform.size == 0:
        return f"{waveform.dtype} of shape {waveform.shape}"
    if not np.isfinite(waveform).all() or np.abs(waveform).max() > 200:
        return "samples that are no audio"
    return f"{waveform.shape[-1]} samples" if waveform.shape[-1] > longest else None


def _is_rate(value) -> bool:
    if isinstance(value, torch.Tensor | np.ndarray) and value.shape == () and value.dtype not in (torch.bool, bool):
        value = value.item()
    return is_number(value, 1, 768000, is_whole=True)


@st.composite
def _odd_arguments(draw) -> Case:
    argument = draw(
        st.sampled_from(["audio", "array", "rate", "array rate", "channels", "limits", "of dict", "pair", "url"])
    )
    value = draw(st.sampled_from(_URLS) if argument == "url" else anything)
    samples, nonsense, names = wave(), False, _NAMES
    positional, options = ({"array": samples, "sampling_rate": _RATE}, _RATE), {}
    if argument in ("audio", "url"):
        positional, nonsense, names = (value, _RATE), True, (*_NAMES, "audio", "url", "downloaded", "text file")
    elif argument == "array":
        positional, nonsense = ({"array": value, "sampling_rate": _RATE}, _RATE), _is_no_audio(value)
    elif argument == "rate":
        positional, nonsense, names = ((samples, _RATE), value), not _is_rate(value), ("sampling_rate",)
    elif argument == "array rate":
        positional, options, nonsense = (samples, _RATE), {"array_sampling_rate": value}, not _is_rate(value)
    elif argument == "channels":
        options, nonsense, names = (
            {"num_channels": value},
            not is_number(value, 1, 2, is_whole=True),
            ("num_channels",),
        )
    elif argument == "limits":
        options, nonsense, names = {"limits": value}, True, ("limits",)
    elif argument == "of dict":
        positional, nonsense = ({"array": samples, "sampling_rate": value}, _RATE), not _is_rate(value)
    else:
        positional, nonsense = ((samples, value), _RATE), not _is_rate(value)
    function = draw(st.sampled_from([load_audio, load_audio, "digest"]))
    label = f"load_audio with {argument} {show(value)}"
    if function == "digest" and argument in ("audio", "url", "array"):
        call, label = lambda: audio_digest(read_audio_file(positional[0])), f"audio_digest {show(value)}"
        return Case(label, call, (*names, "text file"))
    return Case(label, lambda: load_audio(*positional, **options), names, is_nonsense=nonsense)


def _is_no_audio(value) -> bool:
    if isinstance(value, torch.Tensor):
        return (
            value.device.type == "meta"
            or value.numel() == 0
            or value.ndim == 0
            or value.is_complex()
            or value.is_sparse
        )
    if isinstance(value, np.ndarray):
        return value.size == 0 or value.ndim == 0 or value.dtype.kind not in "fi"
    return not isinstance(value, list)


@st.composite
def _writing(draw) -> Case:
    argument = draw(st.sampled_from(["audio", "rate", "path", "samples"]))
    value = draw(anything)
    suffix = draw(st.sampled_from([".wav", ".flac", ".mp3", ".ogg", ".opus"]))
    audio, rate, path, nonsense = wave(), 24000, f"out{suffix}", False
    if argument == "audio":
        audio, nonsense = value, _is_no_audio(value) or isinstance(value, list)
    elif argument == "rate":
        rate, nonsense = value, not _is_rate(value)
    elif argument == "path":
        path, nonsense = value, not isinstance(value, str | os.PathLike)
    else:
        audio = draw(
            st.sampled_from([wave() * 1e6, wave() * NAN, wave()[None].repeat(7, 0), wave()[:1], wave()[None, None]])
        )
        nonsense = not np.isfinite(audio).all() or audio.max(initial=0) > 100

    def call():
        try:
            save_audio(audio, path, rate)
        except BaseException:
            if left := os.listdir():
                raise AssertionError(f"left behind: {left}")
            raise
        return soundfile.info(path).frames

    return Case(
        f"save_audio({show(audio)}, {show(path)}, {show(rate)})",
        call,
        (*_NAMES, "sampling_rate", "write", "folder", "suffix", "channels", "path", suffix, str(path)),
        lambda frames: None if frames > 0 else "an empty file",
        is_nonsense=nonsense,
    )


@st.composite
def _levels(draw) -> Case:
    name, value = draw(st.sampled_from(["target_dbfs", "max_gain_db", "waveform"])), draw(anything)
    options = {"waveform": wave(), name: value}

    def fault(result):
        return (
            None if isinstance(result, np.ndarray) and np.isfinite(result).all() else f"a waveform of {result!r:.80}"
        )

    nonsense = name != "waveform" and not is_number(value)
    nonsense = nonsense or (name == "waveform" and not isinstance(value, np.ndarray | torch.Tensor | list))
    return Case(
        f"normalize_loudness({name}={show(value)})", lambda: normalize_loudness(**options), (name,), fault, nonsense
    )


@st.composite
def _limits(draw) -> Case:
    name, value = draw(st.sampled_from(list(_LIMITS))), draw(st.one_of(numbers, anything))
    is_whole = _LIMITS[name]
    nonsense = (
        not isinstance(value, bool)
        if is_whole is None
        else not is_number(value, 1 if is_whole else 5e-324, is_whole=is_whole)
    )

    def call():
        limits = AudioLimits(**{name: value})
        try:
            load_audio((wave(), _RATE), _RATE, limits=limits)
        except ValueError:
            pass  # The recording is beyond them.
        return limits

    return Case(f"AudioLimits({name}={show(value)})", call, (name,), is_nonsense=nonsense)


cases = st.one_of(_reading(), _reading(), _reading(), _odd_arguments(), _writing(), _levels(), _limits())
warnings.filterwarnings("ignore", category=RuntimeWarning)
