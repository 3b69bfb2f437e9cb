"""What a generator says for another to learn from: codes alone, of known prompts, and gone on with."""

import json
import sys
from pathlib import Path

import torch
from datasets import Dataset

from examples.tiny_family import imitation, preferences


ROOT = Path(__file__).parents[2]
SENTENCES = ["Yes.", "The cat sleeps."]


def test_takes_are_codes_of_prompts(tmp_path, monkeypatch):
    monkeypatch.setattr(preferences, "read_sentences", lambda held_out: SENTENCES)
    monkeypatch.setattr(preferences, "be_modest", lambda: None)
    monkeypatch.setattr(imitation, "POOL", 2)
    codes = torch.randint(0, 1024, (25, 16), generator=torch.Generator().manual_seed(0)).tolist()
    Dataset.from_list([{"text": "Yes.", "speaker": "a", "codes": codes}]).to_parquet(tmp_path / "codes.parquet")
    arguments = [tmp_path / "codes.parquet", "--model", ROOT / "model_cards" / "moss-tts-local-tiny"]
    arguments += ["--output", tmp_path / "takes.jsonl", "--minutes", 1e-4, "--batch-size", 2, "--most-sentences", 2]
    monkeypatch.setattr(sys, "argv", ["imitation", *map(str, arguments), "--plain-share", "0.5", "--float32"])
    for _ in range(2):
        imitation.main()
    takes = [json.loads(line) for line in (tmp_path / "takes.jsonl").read_text().splitlines()]
    assert {take["pool"] for take in takes} == {0, 1} and len(takes) > 4
    assert all(len(frame) == 8 for take in takes for frame in take["codes"])
    references = {take["speaker"]: take["reference"] for take in takes}
    assert references == {None: None, "a": [frame[:8] for frame in codes]}
    joined = [f"{first} {second}" for first in SENTENCES for second in SENTENCES]
    texts = {take["text"] for take in takes}
    assert texts <= {*SENTENCES, *joined} and texts & set(joined)
