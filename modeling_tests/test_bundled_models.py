"""The models that come with the package, in a checkout and in a wheel."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from peft import PeftModel
from transformers import AutoModel, AutoProcessor, pipeline

from transformers_moss_tts import bundled_model, bundled_models
from transformers_moss_tts.audio_io import load_audio
from transformers_moss_tts.evaluation import load_scorer
from transformers_moss_tts.evaluation.measures.signals import mel_rmse
from transformers_moss_tts.evaluation.scorers.rate import RATE
from transformers_moss_tts.utils.pitch import pitch_agreement


ROOT = Path(__file__).resolve().parents[1]
CODEC = "moss-audio-tokenizer-tiny"
RECORDING = ROOT / "examples" / "assets" / "reference.ogg"


def test_a_bundled_model_loads_in_float32():
    model = AutoModel.from_pretrained(bundled_model(CODEC))
    assert {parameter.dtype for parameter in model.parameters()} == {model.dtype}
    assert str(model.dtype) == "torch.float32"
    assert sum(parameter.numel() for parameter in model.parameters()) <= 12e6
    assert model.config.sampling_rate == 24000 and model.config.frame_rate == 12.5
    assert 8 <= model.config.num_quantizers <= 16 and model.config.codebook_size == 1024


@pytest.mark.parametrize(
    ("name", "model_type"), [("moss-tts-tiny", "moss_tts_delay"), ("moss-tts-local-tiny", "moss_tts_local")]
)
def test_a_bundled_generator_has_the_promised_shape(name, model_type):
    model = AutoModel.from_pretrained(bundled_model(name))
    assert model.config.model_type == model_type and model.dtype == torch.float32
    assert sum(parameter.numel() for parameter in model.parameters()) <= 20e6
    processor = AutoProcessor.from_pretrained(bundled_model(name))
    assert processor.audio_tokenizer.config.num_quantizers >= model.config.n_vq
    assert processor.model_config.sampling_rate == processor.audio_tokenizer.config.sampling_rate
    # It was trained with the codebooks that its codec has.
    codec = AutoModel.from_pretrained(bundled_model(CODEC))
    for name, tensor in codec.quantizer.state_dict().items():
        assert torch.equal(processor.audio_tokenizer.quantizer.state_dict()[name], tensor), name


def test_the_bundled_codec_keeps_a_long_recording_as_well_as_a_short_one():
    """With attention over 10 seconds, of which the codec had learned 1.92, the last four had a mel error of 5.6 dB, not 3.6."""
    codec = AutoModel.from_pretrained(bundled_model(CODEC)).eval()
    recording = load_audio(RECORDING, 24000)[: 4 * 24000]
    with torch.inference_mode():
        short, long = (
            codec.decode(codec.encode(torch.from_numpy(waveform)[None]).audio_codes)
            .audio[0, 0]
            .numpy()[-len(recording) :]
            for waveform in (recording, np.tile(recording, 4))
        )
    errors = [mel_rmse(recording, decoded, 24000) for decoded in (short, long)]
    assert errors[1] < 1.05 * errors[0]
    for decoded in (short, long):
        assert pitch_agreement(recording, decoded, 24000)["f0_accuracy"] > 0.9


def test_a_bundled_adapter_speaks_with_another_voice():
    encoder = load_scorer("speaker", "resemblyzer")
    adapter = bundled_model("moss-tts-local-tiny-bm-george")
    voice = encoder.embed(load_audio(Path(adapter, "voice.ogg"), RATE))
    speak = pipeline("text-to-speech", model=bundled_model())
    sentences = [
        "She read the letter to her friend in the garden before the others came home.",
        "Counter conditioning lies behind many of the procedures used in behavior therapy.",
        "The dollar coin has never been popular in the United States.",
        "We were expecting a visit from our relatives.",
        "You should have read the small print on your policy.",
        "He found his niche in the academic world.",
    ]

    def similarity() -> float:
        said = [speak(text, generate_kwargs={"seed": 0, "max_new_tokens": 120}) for text in sentences]
        return float(np.mean([voice @ encoder.embed(load_audio(speech, RATE)) for speech in said]))

    plain = similarity()
    speak.model = PeftModel.from_pretrained(speak.model, adapter)
    # Of 40 sentences it is 0.2.
    assert similarity() > plain + 0.1


def test_unknown_models_are_named():
    with pytest.raises(ValueError, match=f"no bundled model 'other'; there are .*{CODEC}"):
        bundled_model("other")


def test_models_that_only_a_checkout_has_are_said_to_be_there(monkeypatch):
    # As where a wheel was installed.
    only = bundled_models.bundled_model()
    monkeypatch.setattr(bundled_models, "bundled_models", lambda: {"moss-tts-local-tiny": only})
    for find in (bundled_models.bundled_model, bundled_models.find_model):
        with pytest.raises(ValueError, match=r"in a checkout .*model_cards/moss-tts-tiny"):
            find("moss-tts-tiny")
    assert find("moss-tts-local-tiny") == only and find("you/your-model") == "you/your-model"


def test_the_wheel_speaks_and_is_small(tmp_path):
    options = ["--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", tmp_path]
    subprocess.run([sys.executable, "-m", "pip", "wheel", *options, ROOT], check=True)
    (wheel,) = tmp_path.glob("*.whl")
    assert wheel.stat().st_size <= 45e6
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        archive.extractall(tmp_path / "site")
    assert {"moss_tts_command/arguments.py", "transformers_moss_tts/py.typed"} <= set(names)
    assert "transformers_moss_tts/hub/model_card.md.jinja" in names
    assert not [name for name in names if name.endswith((".png", ".ogg", ".jsonl"))]
    folders = {name.split("/")[2] for name in names if name.startswith("transformers_moss_tts/model_cards/")}
    assert folders == {"moss-tts-local-tiny", CODEC}
    # The processor finds its codec beside it, and nothing of the checkout is needed.
    program = (
        "import transformers_moss_tts as package\n"
        "from transformers import AutoProcessor\n"
        "codec = AutoProcessor.from_pretrained(package.bundled_model()).audio_tokenizer\n"
        "print(codec.name_or_path)"
    )
    environment = os.environ | {"PYTHONPATH": str(tmp_path / "site")}
    command = [sys.executable, "-P", "-c", program]
    ran = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == str(tmp_path / "site" / "transformers_moss_tts" / "model_cards" / CODEC)


def test_the_source_distribution_can_be_tested(tmp_path):
    command = [sys.executable, "setup.py", "--quiet", "egg_info", "--egg-base", tmp_path]
    subprocess.run(command, cwd=ROOT, capture_output=True, check=True)
    listed = set((tmp_path / "transformers_moss_tts.egg-info" / "SOURCES.txt").read_text().splitlines())
    for name in ("modeling_tests", "examples", "model_cards", "docs", "Makefile", "constraints.txt", "CHANGELOG.md"):
        paths = [ROOT / name] if (ROOT / name).is_file() else (ROOT / name).rglob("*")
        files = {str(path.relative_to(ROOT)) for path in paths if path.is_file() and "__pycache__" not in path.parts}
        assert files and files <= listed, sorted(files - listed)[:5]
