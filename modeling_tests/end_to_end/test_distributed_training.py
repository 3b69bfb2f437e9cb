"""The `accelerate` configs of the examples train in two processes what one process trains."""

import json
import os
import subprocess
import sys
from pathlib import Path

import distributed_training
import pytest
import torch
from safetensors.torch import load_file


ROOT = Path(__file__).parents[2]
WRAPPERS = {
    "accelerate_ddp.yaml": ("DistributedDataParallel", "DistributedDataParallel"),
    "accelerate_fsdp2.yaml": ("FSDPMossTTSDelayModel", "FSDPPeftModel"),
    "accelerate_zero3.yaml": ("DeepSpeedEngine", "DeepSpeedEngine"),
}
NAMES = {"full": "model.safetensors", "lora": "adapter_model.safetensors"}


@pytest.fixture(scope="module")
def expected(tmp_path_factory) -> dict[str, dict[str, torch.Tensor]]:
    """What one process trains."""
    folder = tmp_path_factory.mktemp("one")
    for kind in NAMES:
        distributed_training.train(kind, folder)
    return {kind: load_file(folder / kind / "model" / name) for kind, name in NAMES.items()}


@pytest.mark.parametrize("config", list(WRAPPERS))
def test_two_processes_train_what_one_does(config, expected, tmp_path):
    if "zero3" in config:
        pytest.importorskip("deepspeed")
    command = [sys.executable, "-m", "accelerate.commands.launch"]
    command += ["--config_file", ROOT / "examples" / "finetune" / config, "--num_processes", "2"]
    command += ["--mixed_precision", "no", "--main_process_port", "0"]
    ran = subprocess.run(
        [*command, distributed_training.__file__, tmp_path],
        capture_output=True,
        text=True,
        timeout=600,
        env=os.environ | {"OMP_NUM_THREADS": "1", "DS_ACCELERATOR": "cpu"},
    )
    assert ran.returncode == 0, ran.stderr[-3000:]
    wrappers = json.loads((tmp_path / "wrappers.json").read_text())
    assert wrappers == {kind: [wrapper, 2] for kind, wrapper in zip(NAMES, WRAPPERS[config])}
    for kind, name in NAMES.items():
        trained = load_file(tmp_path / kind / "model" / name)
        assert trained.keys() == expected[kind].keys()
        for key, tensor in trained.items():
            torch.testing.assert_close(tensor, expected[kind][key], atol=1e-4, rtol=0, msg=key)
