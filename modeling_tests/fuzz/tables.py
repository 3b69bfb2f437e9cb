"""Tables of recordings: files of every kind with odd values and damaged bytes, opened, encoded, trained on."""

import csv
import io
import json
from pathlib import Path

import datasets
import pyarrow
import pyarrow.parquet
from hypothesis import strategies as st

from transformers_moss_tts.audio_io import save_audio
from transformers_moss_tts.training import MossTTSDataCollator, encode_recordings, load_table

from .audio import wave
from .outcomes import Case
from .prompts import processor
from .training import codes
from .values import JSON_VALUES, anything, json_values, show


_COLUMNS = (
    *(
        "audio",
        "file_name",
        "text",
        "codes",
        "audio_codes",
        "reference",
        "reference_audio",
        "ref_audio",
        "tokens",
        "duration",
    ),
    *("reference_audio_codes", "language", "instruction", "quality", "codec", "sound_event", "speaker", "x"),
)
_NAMES = (
    *(
        "table",
        "example",
        "line",
        "file",
        "column",
        "recording",
        "codes",
        "audio",
        "text",
        "folder",
        "parquet",
        "csv",
        "json",
    ),
)
_values = st.one_of(
    st.sampled_from(
        ["a.wav", "missing.wav", "../a.wav", "/etc/passwd", "", "http://127.0.0.1:1/a.wav", "data:,x", "s3://a/b"]
    ),
    st.sampled_from(
        [codes(), [[99] * 8], [[1]], [[]], ["a.wav", None], [None], {"path": "a.wav"}, {"bytes": "x"}, 0.25]
    ),
    st.sampled_from(JSON_VALUES),
    json_values,
)
_row = st.one_of(
    st.dictionaries(st.sampled_from(_COLUMNS), _values, max_size=2).map(
        lambda row: {"audio": "a.wav", "text": "Hello."} | row
    ),
    st.dictionaries(st.sampled_from(_COLUMNS), _values, max_size=3),
)


def _prepared(name: str, content: bytes) -> Path:
    save_audio(wave(), "a.wav", 16000)
    Path(name).write_bytes(content)
    return Path(name)


def _fault_of(num_examples: int):
    def fault(count: int) -> str | None:
        return None if 0 < count <= num_examples else f"{count} examples of {num_examples}"

    return fault


def _encoded(source, streaming: bool = False) -> int:
    """Number of examples that are encoded and collated."""
    table = load_table(source, streaming=streaming)
    encoded = encode_recordings(table, processor(), cache_dir="codes")
    examples = list(encoded)
    MossTTSDataCollator(processor())(examples)
    return len(examples)


def _names(rows) -> tuple[str, ...]:
    return (*_NAMES, *(str(key) for row in rows if isinstance(row, dict) for key in row))


@st.composite
def _json_files(draw) -> Case:
    rows = draw(st.lists(st.one_of(_row, _row, _row, st.sampled_from(JSON_VALUES)), min_size=1, max_size=3))
    suffix = draw(st.sampled_from([".jsonl", ".jsonl", ".json"]))
    content = json.dumps(rows) if suffix == ".json" else "\n".join(map(json.dumps, rows))
    streaming = draw(st.booleans())
    label = f"{suffix} of {show(rows)}{', streaming' * streaming}"
    call = lambda: _encoded(_prepared(f"table{suffix}", content.encode()), streaming)  # noqa: E731
    return Case(label, call, _names(rows), _fault_of(len(rows)))


@st.composite
def _csv_files(draw) -> Case:
    header = draw(st.lists(st.one_of(st.sampled_from(_COLUMNS), st.text(max_size=4)), min_size=1, max_size=4))
    cell = st.one_of(
        st.sampled_from(["a.wav", "Hello.", "", "nan", "NULL", '"', "1e999", "[[1]]"]), st.text(max_size=6)
    )
    rows = draw(st.lists(st.lists(cell, max_size=5), max_size=3))
    buffer = io.StringIO()
    csv.writer(buffer).writerows([header, *rows])
    content = buffer.getvalue().encode("utf-8", "surrogatepass")
    return Case(
        f"csv {show(content)}",
        lambda: _encoded(_prepared("table.csv", content)),
        _names([dict.fromkeys(header)]),
        _fault_of(max(1, len(rows))),
    )


@st.composite
def _parquet_files(draw) -> Case:
    columns = draw(st.dictionaries(st.sampled_from(_COLUMNS), _values, min_size=1, max_size=3))
    try:
        table = pyarrow.table({name: [value, value] for name, value in ({"text": "Hello."} | columns).items()})
    except (pyarrow.ArrowException, TypeError, OverflowError, UnicodeEncodeError, ValueError):
        table = pyarrow.table({"text": ["Hello."], "audio": pyarrow.nulls(1)})
    buffer = io.BytesIO()
    try:
        pyarrow.parquet.write_table(table, buffer)
    except (pyarrow.ArrowException, OSError):
        pyarrow.parquet.write_table(pyarrow.table({"text": pyarrow.nulls(2)}), buffer)
    content = bytearray(buffer.getvalue())
    for _ in range(draw(st.sampled_from([0, 0, 1, 5]))):
        content[draw(st.integers(0, len(content) - 1))] = draw(st.integers(0, 255))
    label = f"parquet of {show(columns)} {'damaged' * (bytes(content) != buffer.getvalue())}"
    return Case(label, lambda: _encoded(_prepared("table.parquet", bytes(content))), _names([columns]), _fault_of(2))


@st.composite
def _damaged_files(draw) -> Case:
    suffix = draw(st.sampled_from([".jsonl", ".json", ".csv", ".parquet"]))
    start = draw(
        st.sampled_from(
            [b"", b'{"audio": "a.wav", "text": "Hello."}\n', b"audio,text\na.wav,Hello.\n", b"PAR1", b"\xff\xfe", b"["]
        )
    )
    content = start + draw(
        st.one_of(st.binary(max_size=60), st.just(b"[" * 50000), st.just(b'{"a":' * 5000), st.just(b"\n" * 99))
    )
    label = f"{suffix} of {show(content)}"
    return Case(label, lambda: _encoded(_prepared(f"table{suffix}", content)), _NAMES, _fault_of(100))


@st.composite
def _folders(draw) -> Case:
    files = draw(
        st.dictionaries(
            st.sampled_from(
                [
                    "b.wav",
                    "b.txt",
                    "metadata.jsonl",
                    "metadata.csv",
                    "state.json",
                    "dataset_info.json",
                    "sub/c.flac",
                    "c.txt",
                ]
            ),
            st.one_of(st.binary(max_size=20), st.just(b'{"file_name": "a.wav", "text": "Hello."}'), st.just(b"{}")),
            max_size=3,
        )
    )

    def call():
        save_audio(wave(), "a.wav", 16000)
        Path("a.txt").write_text("Hello.")
        for name, content in files.items():
            Path(name).parent.mkdir(exist_ok=True)
            Path(name).write_bytes(content)
        return _encoded(Path.cwd())

    return Case(f"folder of {show(files)}", call, (*_NAMES, *files), _fault_of(3))


@st.composite
def _arguments(draw) -> Case:
    name, value = (
        draw(st.sampled_from(["source", "split", "streaming", "batch_size", "audio_column", "num_proc", "cache_dir"])),
        draw(anything),
    )
    line = json.dumps({"audio": "a.wav", "text": "Hello."}).encode()

    def call():
        path = _prepared("table.jsonl", line)
        if name in ("source", "split", "streaming"):
            table = load_table(**{"source": str(path), name: value})
            return len(list(table))
        return len(encode_recordings(load_table(path), processor(), **{"cache_dir": "codes", name: value}))

    names = (name, "table", "column", "list", "file", str(value)[:20] or "name", "'.'")
    return Case(f"{name}={show(value)}", call, names, lambda count: None if count == 1 else f"{count} examples")


datasets.disable_progress_bars()
cases = st.one_of(
    _json_files(), _json_files(), _csv_files(), _parquet_files(), _damaged_files(), _folders(), _arguments()
)
