"""The training on another machine: what goes there, what it does on a CPU, what comes back."""

import numpy as np
import pytest
import torch

from examples.tiny_family import accelerator, codec_stages, packing
from examples.tiny_family.__main__ import main
from examples.tiny_family.corpus import RATE, write_source
from examples.tiny_family.spectral_latents import SpectralLatents
from transformers_moss_tts import MossAudioTokenizerModel


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A narrow codec, a corpus of noise and the pack of both."""
    root = tmp_path_factory.mktemp("run")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(codec_stages, "ENCODER", ((32, 2, 1, 64),) * 4)
        patch.setattr(codec_stages, "DECODER", ((32, 2, 1, 64),) * 4)
        config = codec_stages.build_config()
    config.quantizer_kwargs |= {"num_quantizers": 4, "codebook_size": 32}
    torch.manual_seed(0)
    MossAudioTokenizerModel(config).save_pretrained(root / "model")
    draw = np.random.default_rng(0)
    write_source(root / "corpus", "hibari", iter([(None, "noise", 0.1 * draw.standard_normal(5 * RATE))]))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(codec_stages, "be_modest", lambda: None)
        main(["--corpus", str(root / "corpus"), "pack", str(root / "model"), str(root / "pack")])
    return root


@pytest.mark.parametrize("task", accelerator.TASKS)
def test_weights_come_back_trained(folders, tmp_path, task, capsys):
    options = ["--task", task, "--minutes", "0.0001", "--device", "cpu", "--batch-size", "2", "--crop-seconds", "0.4"]
    accelerator.main([str(folders / "pack"), str(tmp_path / "out"), *options, "--width", "0.05"])
    assert "1 steps" in capsys.readouterr().out
    packing.unpack(tmp_path / "out", folders / "model", tmp_path / "model")
    before, after = (MossAudioTokenizerModel.from_pretrained(path) for path in (folders / "model", tmp_path / "model"))
    rounded = {name: value.half().float() for name, value in before.state_dict().items()}
    changed = {name for name, value in after.state_dict().items() if not torch.equal(value, rounded[name])}
    assert changed and all(name.startswith("decoder.") for name in changed)


def test_the_encoder_learns_its_latents_beside_the_decoder(folders, tmp_path, capsys):
    recording = (np.random.default_rng(1).standard_normal(6 * RATE) * 3000).astype(np.int16)
    SpectralLatents.fit([recording]).save(tmp_path / "latents.safetensors")
    packing.pack(folders / "model", folders / "corpus", tmp_path / "pack", latents=tmp_path / "latents.safetensors")
    options = ["--task", "decoder", "--device", "cpu", "--batch-size", "2", "--crop-seconds", "0.4"]
    accelerator.main([str(tmp_path / "pack"), str(tmp_path / "out"), *options, "--minutes", "0.0001"])
    assert '"latents"' in capsys.readouterr().out
    before, after = (accelerator.load_weights(path) for path in (tmp_path / "pack", tmp_path / "out"))
    changed = {name.split(".")[0] for name, value in after.items() if not torch.equal(value, before[name])}
    assert changed == {"encoder", "decoder"}


def test_a_codec_that_is_not_the_packages_is_not_trained(folders):
    config = MossAudioTokenizerModel.from_pretrained(folders / "model").config
    codec = accelerator.Codec(config.to_dict())
    codec.load_state_dict(accelerator.load_weights(folders / "pack"))
    assert accelerator.check_against_package(codec, folders / "pack") <= 1e-5
    with torch.no_grad():
        codec.decoder[0].output_proj.weight += 1e-2
    with pytest.raises(ValueError, match="is off by"):
        accelerator.check_against_package(codec, folders / "pack")


def test_recordings_arrive_as_they_were(folders):
    (recording,) = accelerator.read_recordings(folders / "pack")
    assert abs(len(recording) - 5 * RATE) < 100 and np.isfinite(recording).all()
    assert np.sqrt(np.mean(recording**2)) == pytest.approx(0.1, rel=0.2)


def test_files_stay_below_their_limits(folders, tmp_path, monkeypatch):
    monkeypatch.setattr(accelerator, "SHARD_BYTES", 50_000)
    weights = accelerator.load_weights(folders / "pack")
    accelerator.save_weights(weights, tmp_path)
    shards = list(tmp_path.glob("weights-*.pt"))
    assert len(shards) > 2 and accelerator.load_weights(tmp_path).keys() == weights.keys()
    monkeypatch.undo()
    without = sum(path.stat().st_size for path in (folders / "pack").glob("[!h]*"))
    assert (
        packing.pack(folders / "model", folders / "corpus", tmp_path / "pack", limit=without + 1000) <= without + 1000
    )
    assert not list((tmp_path / "pack").glob("*.ogg"))
    with pytest.raises(ValueError, match="exists already"):
        packing.pack(folders / "model", folders / "corpus", tmp_path / "pack")
