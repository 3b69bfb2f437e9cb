"""The released shapes: as many parameters and tensors as the released files have. Nothing is allocated."""

import runpy
from pathlib import Path

import pytest
import torch
from transformers import AutoModel
from transformers.core_model_loading import revert_weight_conversion


SHAPES = Path(__file__).parents[2] / "examples" / "benchmarks" / "released_shapes.py"
RELEASED = runpy.run_path(str(SHAPES))["RELEASED"]


@pytest.mark.parametrize("name", RELEASED)
def test_released_shapes(name):
    build_config, num_parameters, num_tensors = RELEASED[name]
    with torch.device("meta"):
        model = AutoModel.from_config(build_config())
        weights = revert_weight_conversion(model, model.state_dict())
    assert len(weights) == num_tensors
    # Tied weights are in the files twice.
    assert sum(weight.numel() for weight in weights.values()) == num_parameters
