"""Command lines: what the arguments, the files and the standard input of `moss-tts` may be."""

import contextlib
import io
import os
import sys
from pathlib import Path

from hypothesis import strategies as st

from moss_tts_command import main
from transformers_moss_tts.audio_io import save_audio

from .audio import damaged, wave
from .folders import _write, originals
from .outcomes import Case


_EXIT_CODES = {0, 1, 2, 130, 141}
_numbers = st.sampled_from(
    ["0", "-1", "1", "2.5", "nan", "inf", "1e999", "9" * 5000, "x", "", "0x10", "1_0", "٣", " 1", "3"]
)
_files = st.sampled_from(
    ["a.wav", "bad.wav", "missing.wav", ".", "", "/dev/null", "text.txt", "latin.txt", "http://127.0.0.1:1/", "é.wav"]
)
_outputs = st.sampled_from(
    [
        "out.wav",
        "out.mp3",
        "out.xyz",
        ".",
        "",
        "missing/out.wav",
        "a.wav",
        "/dev/full",
        "/proc/out.wav",
        "a.wav/out.wav",
        "out.WAV",
    ]
)
_texts = st.one_of(
    st.sampled_from(["Hello.", "", " ", "speek", "upload", "-", "--", "\udcff", "\x00", "[S1] Hi.", "<|im_end|>"]),
    st.text(max_size=12),
)
_models = st.sampled_from(["model", "model", "missing", ".", "a.wav", "", "x/y", "../..", "model/codec", "adapter"])


def _pairs(options: dict) -> st.SearchStrategy:
    """Options in any order, some with an odd value."""
    one = st.one_of([value.map(lambda item, name=name: [name, item]) for name, value in options.items()])
    return st.lists(one, max_size=3).map(lambda pairs: [item for pair in pairs for item in pair])


_DEVICES = st.sampled_from(["cpu", "cuda", "cuda:99", "tpu", "", "cpu:x", "meta"])
_SUITES = st.sampled_from(["sentences", "codec", "duration", "speed", "x", "stability", "long-form", "seed-tts-eval"])
_SPEAK = _pairs(
    dict.fromkeys(("--duration", "--seed", "--max-new-tokens"), _numbers)
    | dict.fromkeys(("--reference", "--text-file"), _files)
    | dict.fromkeys(("--output", "-o"), _outputs)
    | dict.fromkeys(("--language", "--x"), _texts)
    | {"--device": _DEVICES, "--model": _models}
)
_COUNTS = ("--count", "--seed", "--rates", "--window", "--codebooks", "--takes", "--batch-size", "--max-new-tokens")
_EVALUATE = _pairs(
    dict.fromkeys(_COUNTS, _numbers)
    | dict.fromkeys(("--data", "--reference", "--voices", "--floor-recordings"), _files)
    | dict.fromkeys(("--asr", "--speaker", "--mos"), st.sampled_from(["none", "none", "x", "", "missing/model"]))
    | dict.fromkeys(("--text", "--modes", "--dtype", "--language", "--reference-text"), _texts)
    | {"-o": st.sampled_from(["run", "a.wav", ".", ""]), "--device": _DEVICES, "--suite": _SUITES}
)
_UPLOAD = _pairs({"--revision": _texts, "--message": _texts})


@st.composite
def _command_lines(draw) -> list[str]:
    command = draw(st.sampled_from(["speak", "speak", "evaluate", "upload", "none", "text"]))
    if command == "speak":
        start = ["speak", draw(_texts)] if draw(st.booleans()) else ["speak"]
        return [*start, "--max-new-tokens", "4", "-o", "out.wav", "--model", "model", "--allow-cut", *draw(_SPEAK)]
    if command == "evaluate":
        start = draw(
            st.sampled_from([["model"], ["--recordings"], ["--compare", "a", "b"], ["--compare", ".", "a.wav"], []])
        )
        few = ["--asr", "none", "--speaker", "none", "--max-new-tokens", "4"] if start == ["model"] else []
        return ["evaluate", *start, *few, *draw(_EVALUATE)]
    if command == "upload":
        folder = draw(st.sampled_from(["model", "missing", "a.wav", "", "adapter", "model/codec"]))
        name = draw(st.one_of(st.sampled_from(["me/voice", "me", "", "../x", "a/b/c", "me/" + "x" * 200]), _texts))
        return ["upload", folder, name, "--dry-run", *draw(_UPLOAD)]
    return draw(
        st.lists(st.one_of(_texts, _outputs, st.sampled_from(["-o", "--help", "--version", "-h"])), max_size=4)
    )


@st.composite
def _commands(draw) -> Case:
    argv = draw(_command_lines())
    content = draw(
        st.one_of(
            st.sampled_from([b"", b"Hello.", b"\xff\xfe", "Hello.".encode("utf-16"), b"\x00", b"\n"]),
            st.binary(max_size=20),
        )
    )
    bad_audio = draw(damaged())[1]

    def call():
        _write(originals()["model"], "model")
        _write(originals()["adapter"], "adapter")
        save_audio(wave(), "a.wav", 16000)
        Path("bad.wav").write_bytes(bad_audio)
        Path("text.txt").write_text("Hello.")
        Path("latin.txt").write_bytes(b"caf\xe9")
        out, errors = io.StringIO(), io.StringIO()
        sys.stdin = io.TextIOWrapper(io.BytesIO(content))
        os.environ["HF_HUB_OFFLINE"] = "1"
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(errors):
            try:
                code = main(argv)
            except SystemExit as end:
                code = end.code
        return code, errors.getvalue()

    def fault(result) -> str | None:
        code, errors = result
        lines = [line for line in errors.splitlines() if line.strip()]
        if code not in _EXIT_CODES or "Traceback" in errors or "unexpected" in errors:
            return f"{code}: {errors[-300:]}"
        if code in (1, 2) and not (lines and lines[-1].startswith("moss-tts")):
            return f"{code} without a word: {errors[-200:]}"
        return f"{len(lines)} lines: {errors[-300:]}" if code == 2 and len(lines) > 1 else None

    return Case(f"moss-tts {argv} < {content[:20]!r}", call, (), fault)


cases = _commands()
