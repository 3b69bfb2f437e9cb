"""Tables of recordings, from files, folders and `datasets`, and the reference's as they are."""

import csv
import json
import logging
import shutil

import numpy as np
import pytest
from datasets import Dataset
from tiny_models import golden_processor, small_codec

from transformers_moss_tts.audio_io import save_audio
from transformers_moss_tts.training import TrainingSamples, encode_recordings, encode_sample, load_table


EXAMPLES = [
    {"audio": "clips/0.wav", "text": "One.", "language": "English"},
    {"audio": "clips/1.wav", "text": "Two.", "language": "English"},
]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder of recordings, which is not the working directory."""
    draw = np.random.default_rng(0)
    (tmp_path / "corpus" / "clips").mkdir(parents=True)
    for number in range(3):
        samples = draw.normal(0, 0.1, 6000 + 1920 * number).astype(np.float32)
        save_audio(samples, tmp_path / "corpus" / "clips" / f"{number}.wav", 24000)
    monkeypatch.chdir(tmp_path)
    return tmp_path / "corpus"


def write_jsonl(path, examples) -> None:
    path.write_text("".join(json.dumps(example) + "\n" for example in examples))


def write_csv(path, examples) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(examples[0]))
        writer.writeheader()
        writer.writerows(examples)


def write_parquet(path, examples) -> None:
    Dataset.from_list(examples).to_parquet(path)


def assert_is_corpus(examples, folder) -> None:
    assert [(example["text"], example["audio"]) for example in examples] == [
        (text, str(folder / "clips" / f"{number}.wav")) for number, text in enumerate(("One.", "Two."))
    ]


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize(
    "name,write",
    [
        ("examples.jsonl", write_jsonl),
        ("examples.json", write_jsonl),
        ("examples.csv", write_csv),
        ("examples.parquet", write_parquet),
    ],
)
def test_tables_of_files(folder, name, write, streaming):
    write(folder / name, EXAMPLES)
    assert_is_corpus(load_table(folder / name, streaming=streaming), folder)
    write(folder / f"metadata-0{(folder / name).suffix}", EXAMPLES[:1])
    write(folder / f"metadata-1{(folder / name).suffix}", EXAMPLES[1:])
    assert_is_corpus(load_table(folder, streaming=streaming), folder)
    assert_is_corpus(load_table(f"corpus/metadata-*{(folder / name).suffix}", streaming=streaming), folder)


@pytest.mark.parametrize("streaming", [False, True])
def test_folders_of_other_kinds(folder, streaming, caplog):
    write_jsonl(
        folder / "metadata.jsonl", [{"file_name": example["audio"], "text": example["text"]} for example in EXAMPLES]
    )
    assert_is_corpus(load_table(folder, streaming=streaming), folder)
    (folder / "metadata.jsonl").unlink()
    for number, text in enumerate(("One.", " Two.\n")):
        (folder / "clips" / f"{number}.txt").write_text(text)
    with caplog.at_level(logging.WARNING):
        assert_is_corpus(load_table(folder, streaming=streaming), folder)
    assert "1 of 3 recordings have no .txt" in caplog.text
    examples = load_table(folder)
    examples.save_to_disk(folder.parent / "saved")
    assert_is_corpus(load_table(folder.parent / "saved", streaming=streaming), folder)


def test_a_repository_of_the_hub(folder):
    """As `push_to_hub` lays it out, with the recordings inside."""
    files = [{"bytes": (folder / example["audio"]).read_bytes(), "path": None} for example in EXAMPLES]
    (folder / "data").mkdir()
    examples = Dataset.from_list([example | {"audio": file} for example, file in zip(EXAMPLES, files)])
    examples.to_parquet(folder / "data" / "train-00000-of-00001.parquet")
    shutil.rmtree(folder / "clips")
    processor = golden_processor(small_codec())
    encoded = encode_recordings(load_table(folder), processor, cache_dir=folder)
    assert encoded["text"][:] == ["One.", "Two."] and [len(codes) for codes in encoded["codes"]] == [3, 4]


def test_paths_of_the_working_directory(folder):
    examples = [
        example | {"audio": f"corpus/{example['audio']}", "ref_audio": "corpus/clips/2.wav"} for example in EXAMPLES
    ]
    (folder / "tables").mkdir()
    write_jsonl(folder / "tables" / "examples.jsonl", examples)
    assert load_table(folder / "tables" / "examples.jsonl").to_list() == examples


REFERENCE_EXAMPLES = {
    "plain": {"audio": "clips/0.wav", "text": "One.", "language": "English"},
    "clone": {"audio": "clips/0.wav", "text": "One.", "ref_audio": "clips/2.wav", "language": "English"},
    "dialogue": {"audio": "clips/0.wav", "text": "[S1] One. [S2] Two.", "reference": ["clips/1.wav", None]},
    "sound": {"audio": "clips/0.wav", "ambient_sound": "Thunder with rain.", "tokens": 160},
    "voice": {"audio": "clips/0.wav", "text": "Hey!", "instruction": "A hearty tavern owner."},
    "references": {"audio": "clips/0.wav", "text": "One.", "reference_audio": ["clips/1.wav", "clips/2.wav"]},
}


@pytest.mark.parametrize("kind", list(REFERENCE_EXAMPLES))
def test_the_references_tables_load_as_they_are(folder, kind):
    processor = golden_processor(small_codec())
    example = REFERENCE_EXAMPLES[kind]
    write_jsonl(folder / "train_raw.jsonl", [example])
    codes = [processor.encode_audio([folder / "clips" / f"{number}.wav"])[0] for number in range(3)]
    references = {"clone": [codes[2]], "dialogue": [codes[1], None], "references": [codes[1], codes[2]]}.get(kind)
    fields = {name: example.get(name) for name in ("text", "language", "ambient_sound", "tokens", "instruction")}
    expected = encode_sample(processor, fields | {"codes": codes[0], "reference": references})

    encoded = encode_recordings(load_table(folder / "train_raw.jsonl"), processor, cache_dir=folder)
    conditioning = (example.get("tokens") is not None,)
    sample = TrainingSamples(encoded, processor, duration_conditioning=conditioning)[0]
    assert (sample["input_ids"] == expected["input_ids"]).all() and (sample["labels"] == expected["labels"]).all()

    # And what its prepare_data.py makes of them, on a machine that has no recordings.
    prepared = example | {"audio_codes": codes[0].tolist()}
    if kind == "clone":
        prepared |= {"ref_audio_codes": codes[2].tolist()}
    elif references is not None:
        prepared |= {"reference_audio_codes": [None if item is None else item.tolist() for item in references]}
    write_jsonl(folder / "train_with_codes.rank00000-of-00001.jsonl", [prepared])
    shutil.rmtree(folder / "clips")
    encoded = encode_recordings(
        load_table(folder / "train_with_codes.rank*.jsonl"), golden_processor(), cache_dir=folder
    )
    sample = TrainingSamples(encoded, processor, duration_conditioning=conditioning)[0]
    assert (sample["input_ids"] == expected["input_ids"]).all() and (sample["labels"] == expected["labels"]).all()


@pytest.mark.parametrize(
    "source,message",
    [
        ("missing.jsonl", "no table 'missing.jsonl'"),
        ("/", "the whole file system"),
        ("\ud800", "which no file can be called"),
        (["corpus"], "A list must hold tables"),
        ([], "got none"),
        (["corpus/a.csv", "corpus/b.jsonl"], "different kinds"),
    ],
)
def test_bad_sources(folder, source, message):
    write_csv(folder / "a.csv", EXAMPLES)
    write_jsonl(folder / "b.jsonl", EXAMPLES)
    with pytest.raises(ValueError, match=message):
        load_table(source)


def test_counts_of_a_csv_with_gaps(folder):
    write_csv(folder / "examples.csv", [EXAMPLES[0] | {"tokens": 4}, EXAMPLES[1] | {"tokens": ""}])
    processor = golden_processor(small_codec())
    encoded = encode_recordings(load_table(folder / "examples.csv"), processor, cache_dir=folder)
    assert encoded[0]["tokens"] == 4.0 and encoded[1]["tokens"] is None
    expected = encode_sample(processor, encoded[0] | {"tokens": 4})
    assert (encode_sample(processor, encoded[0])["input_ids"] == expected["input_ids"]).all()


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize(
    "name,content,message",
    [
        ("examples.jsonl", b"", "no examples in .*examples.jsonl"),
        ("examples.jsonl", b"null\n", "examples.jsonl, line 1, must be an object with columns, got null"),
        (
            "examples.jsonl",
            b'{"text": "One."}\n[1]\n',
            r"examples.jsonl, line 2, must be an object with columns, got \[1\]",
        ),
        ("examples.jsonl", b'{"text": "One."}\n{"text": "Tw', "examples.jsonl, line 2, is no JSON"),
        (
            "examples.jsonl",
            b'{"text": "One.", "number": 1%s}' % (b"0" * 400),
            "line 1, is no JSON .10*... has more than 64 bits",
        ),
        (
            "examples.json",
            b'[{"text": "One.", "number": -1%s}]' % (b"0" * 20),
            "examples.json is no JSON: -10*... has more",
        ),
        (
            "examples.jsonl",
            b'{"text": ' + 100_000 * b"[" + 100_000 * b"]" + b"}",
            "examples.jsonl, line 1, is no JSON",
        ),
        ("examples.jsonl", '{"text": "One."}'.encode("utf-16"), "examples.jsonl is not UTF-8"),
        ("examples.json", b"[]", "no examples in .*examples.json"),
        ("examples.json", b'[{"text": "One."}, 3]', "examples.json, item 1, must be an object with columns, got 3"),
        ("examples.csv", b"", "no examples in .*examples.csv"),
        ("examples.csv", b"audio,text\n", "no examples in .*examples.csv"),
        ("examples.csv", "audio,text\na.wav,Für.".encode("latin-1"), "examples.csv is not UTF-8"),
        ("examples.csv", b"audio,text\na.wav,One, two.\n", "examples.csv, line 2, has 3 fields under a header of 2"),
        ("examples.parquet", b"", "examples.parquet is no parquet file"),
        ("examples.parquet", b"PAR1PAR1", "examples.parquet is no parquet file"),
    ],
)
def test_files_that_are_no_tables(tmp_path, name, content, message, streaming):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=message):
        load_table(tmp_path / name, streaming=streaming)


def test_files_of_a_table_that_have_no_examples_are_passed_over(tmp_path):
    write_jsonl(tmp_path / "metadata-0.jsonl", [])
    write_jsonl(tmp_path / "metadata-1.jsonl", [{"text": "One."}])
    assert load_table(tmp_path)["text"][:] == ["One."]


def test_texts_beside_recordings_are_utf8(folder):
    (folder / "clips" / "0.txt").write_bytes("Für.".encode("utf-8-sig"))
    assert load_table(folder)["text"][:] == ["Für."]
    (folder / "clips" / "1.txt").write_bytes("Für.".encode("latin-1"))
    with pytest.raises(ValueError, match=r"1\.txt' is not UTF-8"):
        load_table(folder)
