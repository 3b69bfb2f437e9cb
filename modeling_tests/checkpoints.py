"""Comparison of checkpoints on disk."""

import json
from pathlib import Path

import torch
from safetensors.torch import load_file


def assert_same_tensors(first: Path, second: Path) -> None:
    """Both folders hold the same tensors, name by name and byte by byte."""
    one, other = (load_file(folder / "model.safetensors") for folder in (first, second))
    assert one.keys() == other.keys()
    for name, tensor in one.items():
        assert tensor.dtype == other[name].dtype
        assert torch.equal(*(item.contiguous().view(torch.uint8) for item in (tensor, other[name]))), name


def released_and_saved_config(released: Path, saved: Path) -> tuple[dict, dict]:
    """
    The fields of the released config.json, without the version that wrote it and the code that came with it, and the same
    fields of the saved one.
    """
    one, other = (json.loads((folder / "config.json").read_text()) for folder in (released, saved))
    del one["transformers_version"], one["auto_map"]
    return one, {key: other.get(key) for key in one}
