"""Tables of recordings become codes: once, checked, and with every broken recording named."""

import http.server
import io
import json
import logging
import resource
import threading
import zipfile
from base64 import b64encode
from pathlib import Path

import numpy as np
import pytest
import torch
from datasets import Audio, Dataset, Features, List, Value, concatenate_datasets
from tiny_models import golden_processor, small_codec
from transformers import Trainer, TrainingArguments

from transformers_moss_tts import MossTTSDelayModel
from transformers_moss_tts.audio_io import save_audio
from transformers_moss_tts.training import (
    MossTTSDataCollator,
    TrainingSamples,
    condition_on_duration,
    encode_recordings,
    encode_sample,
    load_table,
)
from transformers_moss_tts.training.code_cache import CodeCache


@pytest.fixture
def processor():
    return golden_processor(small_codec())


@pytest.fixture
def encoded_recordings(processor) -> list[int]:
    """How many recordings each pass of the codec has encoded."""
    counts = []
    encode = processor.audio_tokenizer.encode
    processor.audio_tokenizer.encode = lambda values, **kwargs: counts.append(len(values)) or encode(values, **kwargs)
    return counts


@pytest.fixture
def recordings(tmp_path) -> list[str]:
    draw = np.random.default_rng(0)
    paths = [str(tmp_path / f"{number}.wav") for number in range(4)]
    for number, path in enumerate(paths):
        save_audio(draw.normal(0, 0.1, 6000 + 1920 * number).astype(np.float32), path, 24000)
    return paths


def table(recordings, **columns) -> Dataset:
    return Dataset.from_dict({"audio": recordings, "text": ["One.", "Two.", "Three.", "Four."]} | columns)


def test_codes_are_those_of_the_codec(processor, recordings, tmp_path):
    encoded = encode_recordings(table(recordings, speaker=list("aabb")), processor, batch_size=2, cache_dir=tmp_path)
    assert set(encoded.column_names) == {"text", "speaker", "codes", "codec"}
    for path, example in zip(recordings, encoded):
        assert torch.equal(torch.tensor(example["codes"]), processor.encode_audio([path])[0])
    assert len(set(encoded["codec"])) == 1


def test_a_recording_is_encoded_once(processor, recordings, encoded_recordings, tmp_path):
    first = encode_recordings(table(recordings), processor, batch_size=2, cache_dir=tmp_path)
    assert encoded_recordings == [2, 2]
    # The same recordings under other names, with other texts, in another table.
    bytes_of = [{"bytes": open(path, "rb").read(), "path": None} for path in recordings]
    other = table(bytes_of, text=["a", "b", "c", "d"]).cast_column("audio", Audio())
    second = encode_recordings(other, processor, cache_dir=tmp_path)
    assert second["codes"][:] == first["codes"][:] and encoded_recordings == [2, 2]
    # Another recording under the same name.
    save_audio(np.random.default_rng(1).normal(0, 0.1, 9000).astype(np.float32), recordings[1], 24000)
    third = encode_recordings(table(recordings), processor, cache_dir=tmp_path)
    assert encoded_recordings == [2, 2, 1] and third["codes"][1] != first["codes"][1]
    # Another codec.
    codec = golden_processor(small_codec(seed=1))
    assert encode_recordings(table(recordings), codec, cache_dir=tmp_path)["codes"][0] != first["codes"][0]


def test_an_interrupted_preparation_goes_on(processor, recordings, encoded_recordings, tmp_path):
    encode_audio = processor.encode_audio

    def interrupted(audio, *args):
        if len(encoded_recordings) == 1:
            raise KeyboardInterrupt
        return encode_audio(audio, *args)

    processor.encode_audio = interrupted
    with pytest.raises(KeyboardInterrupt):
        encode_recordings(table(recordings), processor, batch_size=2, cache_dir=tmp_path)
    processor.encode_audio = encode_audio
    assert len(encode_recordings(table(recordings), processor, batch_size=2, cache_dir=tmp_path)) == 4
    assert encoded_recordings == [2, 2]


def content_of(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: b"",
        lambda content: content[: len(content) // 2],
        lambda content: bytes(len(content)),
        lambda content: content_of(np.zeros((3, 4), np.int16)),
        lambda content: content_of(np.full((3, 8), 999, np.int16)),
        lambda content: content_of(np.zeros((3, 8))),
        lambda content: content_of(np.array([{}], dtype=object)),
    ],
    ids=["empty", "cut", "zeros", "shape", "range", "dtype", "pickle"],
)
def test_a_damaged_file_of_the_cache_is_encoded_again(processor, recordings, encoded_recordings, tmp_path, damage):
    whole = encode_recordings(table(recordings), processor, cache_dir=tmp_path)["codes"][:]
    cached = sorted(tmp_path.rglob("*.npy"))[0]
    content = cached.read_bytes()
    cached.write_bytes(damage(content))
    again = encode_recordings(table(recordings, take=[1] * 4), processor, cache_dir=tmp_path)
    assert again["codes"][:] == whole and sum(encoded_recordings) == 5
    assert cached.read_bytes() == content


def test_a_full_disk_is_no_recording_that_is_broken(processor, recordings, tmp_path):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    cache = CodeCache(tmp_path / "codes")
    resource.setrlimit(resource.RLIMIT_FSIZE, (300, before[1]))
    try:
        with pytest.raises(OSError, match="too large"):
            cache.store("ab" * 32, np.zeros((240, 8), np.int16))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert cache.load("ab" * 32) is None and not [
        path for path in tmp_path.rglob("*") if "codes/" in str(path) and path.is_file()
    ]


def test_recordings_behind_urls(processor, recordings, tmp_path):
    """As `load_audio` reads them, without further packages."""
    data = Path(recordings[1]).read_bytes()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *args):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        places = [f"http://127.0.0.1:{server.server_port}/1.wav", f"data:audio/wav;base64,{b64encode(data).decode()}"]
        with zipfile.ZipFile(tmp_path / "recordings.zip", "w") as archive:
            archive.write(recordings[1], "1.wav")
        places += [f"zip://1.wav::{tmp_path}/recordings.zip", recordings[1]]
        encoded = encode_recordings(table(places), processor, cache_dir=tmp_path)
        server.shutdown()
    assert encoded["codes"][0] == encoded["codes"][1] == encoded["codes"][2] == encoded["codes"][3]


def test_shards_share_the_work(processor, recordings, encoded_recordings, tmp_path):
    examples = table(recordings)
    shards = [
        encode_recordings(examples.shard(2, index, contiguous=True), processor, cache_dir=tmp_path)
        for index in range(2)
    ]
    assert encoded_recordings == [2, 2]
    whole = encode_recordings(examples, processor, cache_dir=tmp_path)
    assert encoded_recordings == [2, 2] and whole["codes"][:] == concatenate_datasets(shards)["codes"][:]


def test_several_processes_encode(processor, recordings, tmp_path):
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        encoded = encode_recordings(table(recordings), processor, num_proc=2, cache_dir=tmp_path)
    finally:
        torch.set_num_threads(threads)
    assert len(encoded) == 4 and len(list(tmp_path.rglob("*.npy"))) == 4


def test_broken_recordings_are_listed_and_left_out(processor, recordings, tmp_path, caplog):
    (tmp_path / "1.wav").write_bytes(b"RIFF, but no more")
    with caplog.at_level(logging.WARNING):
        encoded = encode_recordings(table(recordings), processor, cache_dir=tmp_path / "codes")
    assert encoded["text"][:] == ["One.", "Three.", "Four."]
    assert "example 1: " in caplog.text and "1.wav" in caplog.text.split("example 1: ")[1]
    for path in tmp_path.glob("*.wav"):
        path.write_bytes(b"")
    with pytest.raises(ValueError, match="None of the 4 examples"):
        encode_recordings(table(recordings), processor, cache_dir=tmp_path / "codes")


@pytest.mark.parametrize(
    "changes,message",
    [
        ({"text": ["One.", "  ", "Three.", "Four."]}, "example 1: `text` is empty"),
        ({"text": ["One.", "Two.", None, "Four."]}, "example 2: there is no `text`"),
        ({"audio": ["0.wav", "1.wav", "2.wav", "missing.wav"]}, "example 3: there is no file '.*missing.wav'"),
        ({"audio": ["0.wav", "silent.wav", "2.wav", "3.wav"]}, "example 1: '.*silent.wav' is silent"),
        ({"audio": [None, "1.wav", "2.wav", "3.wav"]}, "example 0: there is nothing in 'audio'"),
        ({"audio": ["0.wav", "1.wav", "2.wav", "nosuch://3.wav"]}, "example 3: 'nosuch://3.wav' cannot be opened"),
        ({"reference": [1, 1, 1, 1]}, "example 0: "),
        ({"duration": ["1 s"] * 4}, "example 0: `duration` must be a number of seconds, got '1 s'"),
        ({"duration": [0.25, 0.33, 2.0, 0.5]}, "example 2: the recording lasts 0.4. s and its `duration` is 2 s"),
        (
            {"reference": [[None], ["long.wav"], None, None]},
            r"example 1: .*long.wav.* lasts at least 31.0 s; at most 30 s",
        ),
        ({"ref_audio": ["0.wav", "1.wav", "gone.wav", None]}, "example 2: there is no file"),
        ({"codes": [None, None, None, [[1] * 4]]}, r"example 3: Codes must have shape \(frames, 8\), got \(1, 4\)"),
        ({"audio_codes": [[[40] * 8], None, None, None]}, "example 0: Codes must be between 0 and 31, got 40 to 40"),
        ({"codes": [[[1] * 8]] * 4, "codec": ["another"] * 4}, "example 0: its codes are of the codec another"),
        ({"codes": [[[1] * 8], [], [[1] * 8], [[1] * 8]]}, "example 1: `codes` has no frames"),
        ({"ref_audio_codes": [None, None, None, [[1] * 4]]}, r"example 3: Codes must have shape \(frames, 8\)"),
        ({"tokens": [3, 4, -1, 6]}, "example 2: `tokens` must be a whole number"),
    ],
)
def test_bad_examples_are_named_before_training(processor, recordings, tmp_path, monkeypatch, changes, message):
    monkeypatch.chdir(tmp_path)
    save_audio(np.zeros(9000, np.float32), "silent.wav", 24000)
    save_audio(np.full(31 * 24000, 0.1, np.float32), "long.wav", 24000)
    with pytest.raises(ValueError, match=message):
        encode_recordings(table(recordings, **changes), processor, cache_dir=tmp_path)


def test_all_bad_examples_are_named_at_once(processor, recordings, encoded_recordings, tmp_path):
    examples = table([*recordings[:3], "missing.wav"], text=["", "Two.", None, "Four."])
    with pytest.raises(ValueError, match=r"\(3\)") as error:
        encode_recordings(examples, processor, cache_dir=tmp_path)
    assert all(f"example {number}" in str(error.value) for number in (0, 2, 3)) and not encoded_recordings


@pytest.mark.parametrize("rate", [0, -8000, None])
def test_wrong_sampling_rates(processor, rate, tmp_path):
    examples = Dataset.from_list([{"audio": {"array": [0.1, -0.1] * 2000, "sampling_rate": rate}, "text": "One."}])
    with pytest.raises(ValueError, match="example 0: the sampling rate of its recording is"):
        encode_recordings(examples, processor, cache_dir=tmp_path)


def test_tables_without_recordings(processor, tmp_path):
    with pytest.raises(ValueError, match="no column 'audio'; the columns are text"):
        encode_recordings(Dataset.from_dict({"text": ["One."]}), processor, cache_dir=tmp_path)


@pytest.mark.parametrize(
    "name,value",
    [("batch_size", 10**400), ("num_proc", 0), ("audio_column", 3), ("cache_dir", 3), ("cache_dir", "\0")],
)
def test_odd_arguments_are_named(processor, recordings, name, value):
    with pytest.raises((TypeError, ValueError), match=f"`{name}` must be"):
        encode_recordings(table(recordings), processor, **{name: value})


def test_recordings_need_a_codec(recordings, tmp_path):
    with pytest.raises(ValueError, match="example 0: its recordings need a codec"):
        encode_recordings(table(recordings), golden_processor(), cache_dir=tmp_path)


def test_references_become_codes(processor, recordings, encoded_recordings, tmp_path):
    references = [[recordings[0], None], None, [recordings[0]], [None, recordings[1]]]
    encoded = encode_recordings(table(recordings, reference=references), processor, cache_dir=tmp_path)
    assert sum(encoded_recordings) == 4
    codes = encoded["codes"]
    assert encoded["reference"][:] == [[codes[0], None], None, [codes[0]], [None, codes[1]]]
    for number, example in enumerate(encoded):
        expected = None if references[number] is None else references[number]
        plain = {"text": example["text"], "codes": example["codes"], "reference": expected}
        assert torch.equal(
            encode_sample(processor, example)["input_ids"], encode_sample(processor, plain)["input_ids"]
        )
    # As it is, without a codec: nothing is left to encode.
    again = encode_recordings(encoded, golden_processor(), cache_dir=tmp_path)
    assert again["reference"][:] == encoded["reference"][:] and again["codes"][:] == encoded["codes"][:]


@pytest.mark.parametrize("column", ["ref_audio", "reference_audio", "reference"])
def test_a_reference_stands_where_the_reference_implementation_has_it(processor, recordings, column, tmp_path):
    encoded = encode_recordings(table(recordings, **{column: [recordings[0]] * 4}), processor, cache_dir=tmp_path)
    assert encoded["reference"][:] == [[encoded["codes"][0]]] * 4


def test_recordings_inside_the_table(processor, recordings, tmp_path):
    features = Features({"audio": Audio(), "text": Value("string"), "reference": List(Audio())})
    stored = tmp_path / "table.parquet"
    files = [{"bytes": open(path, "rb").read(), "path": None} for path in recordings]
    examples = [{"audio": file, "text": "One.", "reference": [files[0]]} for file in files]
    Dataset.from_list(examples).cast(features).to_parquet(stored)
    encoded = encode_recordings(load_table(stored), processor, cache_dir=tmp_path)
    assert encoded["codes"][:] == encode_recordings(table(recordings), processor, cache_dir=tmp_path)["codes"][:]
    assert encoded["reference"][3] == [encoded["codes"][0]]


def write_jsonl(path, examples) -> None:
    path.write_text("".join(json.dumps(example) + "\n" for example in examples))


def test_corpora_stream(processor, recordings, tmp_path, caplog, encoded_recordings):
    (tmp_path / "2.wav").write_bytes(b"nothing")
    examples = [{"audio": f"{number}.wav", "text": "One.", "language": "English"} for number in range(4)]
    write_jsonl(tmp_path / "examples.jsonl", examples)
    stream = condition_on_duration(
        encode_recordings(load_table(tmp_path / "examples.jsonl", streaming=True), processor, cache_dir=tmp_path)
    )
    with caplog.at_level(logging.WARNING):
        read = list(stream)
    assert "example 2" in caplog.text and len(read) == 6 and sum(encoded_recordings) == 3
    samples = TrainingSamples(
        encode_recordings(table(recordings).select([0, 1, 3]), processor, cache_dir=tmp_path), processor
    )
    for index, example in enumerate(read):
        plain = example | {"text": samples.table["text"][index // 2], "language": None}
        assert torch.equal(encode_sample(processor, plain)["input_ids"], samples[index]["input_ids"])
    trainer = Trainer(
        MossTTSDelayModel(processor.model_config),
        TrainingArguments(
            str(tmp_path / "run"), max_steps=2, remove_unused_columns=False, report_to="none", use_cpu=True
        ),
        data_collator=MossTTSDataCollator(processor),
        train_dataset=stream,
    )
    trainer.train()
    assert trainer.state.global_step == 2 and sum(encoded_recordings) == 3


def test_a_stream_stops_at_a_bad_example(processor, recordings, tmp_path):
    write_jsonl(tmp_path / "examples.jsonl", [{"audio": recordings[0], "text": text} for text in ("One.", "", "Two.")])
    stream = encode_recordings(load_table(tmp_path / "examples.jsonl", streaming=True), processor, cache_dir=tmp_path)
    with pytest.raises(ValueError, match="example 1: `text` is empty"):
        list(stream)
