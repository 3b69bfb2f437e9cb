"""What is evaluated: data sets of every kind, suites with odd options."""

import json
from dataclasses import fields
from pathlib import Path

from hypothesis import strategies as st

from transformers_moss_tts.audio_io import save_audio
from transformers_moss_tts.evaluation import SUITES, Utterance, compare, read_utterances

from .audio import wave
from .outcomes import Case
from .values import JSON_VALUES, anything, json_values, show, texts


_KEYS = st.sampled_from(["id", "text", "audio", "reference", "reference_text", "speaker", "x"])
_NAMES = (
    "line",
    "data",
    "recording",
    "utf-8",
    "id",
    "file",
    "empty",
    "text",
    "utterance",
    "speaker",
    "audio",
    "reference",
)


@st.composite
def _files(draw) -> Case:
    suffix = draw(st.sampled_from([".lst", ".txt", ".jsonl", ".jsonl", ".wav", ".csv"]))
    value = st.one_of(
        st.sampled_from(["a.wav", "Hello.", "../a.wav", "/etc/passwd"]), st.sampled_from(JSON_VALUES), json_values
    )
    rows = draw(st.lists(st.dictionaries(_KEYS, value, max_size=4), max_size=3))
    fields_of_lst = st.lists(st.one_of(st.sampled_from(["a", "a.wav", "Hello."]), texts), max_size=6).map("|".join)
    content = {
        ".jsonl": "\n".join(map(json.dumps, rows)).encode(),
        ".lst": "\n".join(draw(st.lists(fields_of_lst, max_size=3))).encode("utf-8", "surrogatepass"),
    }.get(suffix, draw(st.binary(max_size=40)))
    if draw(st.integers(0, 5)) == 0:
        content = draw(st.binary(max_size=40))

    def call():
        save_audio(wave(), "a.wav", 16000)
        Path(f"data{suffix}").write_bytes(content)
        return read_utterances(f"data{suffix}")

    def fault(found) -> str | None:
        return None if found and all(isinstance(item.text, str | None) for item in found) else f"{found!r}"

    return Case(f"read_utterances {suffix} of {show(content)}", call, _NAMES, fault)


@st.composite
def _suites(draw) -> Case:
    suite = SUITES[draw(st.sampled_from(sorted(SUITES)))]
    name, value = draw(st.sampled_from([field.name for field in fields(suite)])), draw(anything)

    def call():
        save_audio(wave(), "a.wav", 16000)
        data = [Utterance("a", "Hello.", recording=Path("a.wav"))]
        return len(suite(**{"data": data, name: value}).tasks())

    label = f"{suite.__name__}({name}={show(value)})"
    names = (
        name,
        name.removesuffix("s"),
        "suite",
        "utterance",
        "language",
        "mode",
        *(_NAMES if name == "data" else ()),
    )
    return Case(label, call, names, lambda count: None if count > 0 else "no tasks")


@st.composite
def _comparisons(draw) -> Case:
    files = draw(
        st.dictionaries(
            st.sampled_from(["settings.json", "summary.json", "utterances.jsonl"]),
            st.one_of(st.binary(max_size=30), st.sampled_from([b"{}", b"[]", b"null"])),
            max_size=3,
        )
    )
    first = draw(st.one_of(st.just("run"), anything))

    def call():
        Path("run").mkdir()
        for name, content in files.items():
            Path("run", name).write_bytes(content)
        return compare(first, "run")

    names = ("run", "evaluation", "folder", "settings", "summary", "utterances", "first", "second", "path")
    return Case(f"compare({show(first)}, run of {show(files)})", call, names, None, True)


cases = st.one_of(_files(), _files(), _suites(), _comparisons())
