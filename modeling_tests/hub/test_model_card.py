"""Model cards of generators, codecs and adapters: their metadata, what they say, and that what they show runs."""

import json
import re
import runpy
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import soundfile
import torch
import yaml
from huggingface_hub import ModelCard, ModelCardData
from peft import LoraConfig, get_peft_model
from tiny_models import GOLDEN_TTS, golden_processor, small_codec, small_stereo_codec, tiny_local
from transformers import AutoModel, TrainerState
from transformers.pipelines import PIPELINE_REGISTRY

from transformers_moss_tts import MossTTSDelayModel
from transformers_moss_tts.audio_io import load_audio, save_audio
from transformers_moss_tts.hub import Evaluation, ModelCardFacts, render_model_card, training_settings


ROOT = Path(__file__).resolve().parents[2]
CARDS = sorted((ROOT / "model_cards").glob("*/README.md"))
FACTS = ModelCardFacts(
    name="my-voice",
    repo_id="me/my-voice",
    summary="A voice.",
    license="apache-2.0",
    language="en",
    training_data="nothing.",
    training_procedure="None.",
    limits="It speaks noise.",
)


def blocks_of(card: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", card, re.DOTALL)


def run_blocks(card: str, folder: Path, monkeypatch, names: dict[str, str]) -> None:
    """In their order, in a folder with recordings and nothing else; `names` on the Hub become folders."""
    monkeypatch.chdir(folder)
    voice = load_audio(ROOT / "examples" / "assets" / "reference.ogg", 24000)[:24000]
    for name in ("voice", "recording"):
        save_audio(voice.copy(), folder / f"{name}.wav", 24000)
    program = "\n".join(blocks_of(card))
    for name, replacement in names.items():
        assert f'"{name}"' in program
        program = program.replace(f'"{name}"', f'"{replacement}"')
    (folder / "blocks.py").write_text(program)
    runpy.run_path(str(folder / "blocks.py"))


@pytest.fixture(scope="module")
def generator(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("generator")
    model = MossTTSDelayModel.from_pretrained(GOLDEN_TTS)
    model.generation_config.do_sample = False
    model.generation_config.max_new_tokens = 40
    model.save_pretrained(folder)
    codec = small_codec()
    codec.save_pretrained(folder / "codec")
    golden_processor(codec, codec_path="codec").save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def adapter(tmp_path_factory, generator) -> Path:
    folder = tmp_path_factory.mktemp("adapter")
    model = get_peft_model(MossTTSDelayModel.from_pretrained(generator), LoraConfig(r=2, target_modules=["q_proj"]))
    model.peft_config["default"].base_model_name_or_path = "me/base"
    model.save_pretrained(folder)
    return folder


def test_the_card_of_a_generator(generator, tmp_path, monkeypatch):
    evaluation = Evaluation(
        dataset="40 sentences",
        columns=["before", "after"],
        measured="after",
        metrics=[
            {"name": "WER", "type": "wer", "unit": "%", "before": "20.0", "after": "10.0"},
            {"name": "RTF", "type": "rtf", "after": 0.5},
        ],
    )
    facts = replace(
        FACTS, base_model="OpenMOSS-Team/MOSS-TTS", base_model_relation="finetune", evaluations=[evaluation]
    )
    card = render_model_card(generator, facts)
    assert card.data.pipeline_tag == "text-to-speech" and card.data.library_name == "transformers"
    assert (card.data.base_model, card.data.base_model_relation) == ("OpenMOSS-Team/MOSS-TTS", "finetune")
    assert [(result.metric_type, result.metric_value) for result in card.data.eval_results] == [
        ("wer", 10),
        ("rtf", 0.5),
    ]
    assert "| WER | 20.0 % | 10.0 % |\n| RTF | - | 0.5 |" in card.text
    size = sum(parameter.numel() for parameter in MossTTSDelayModel.from_pretrained(generator).parameters())
    assert f"MossTTSDelayModel of {size / 1000:.1f} thousand parameters: 8 codebooks of 32 codes" in card.text
    assert "by the codec `codec`" in card.text and "consent" in card.text and "2603.18090" in card.text
    run_blocks(str(card), tmp_path, monkeypatch, {"me/my-voice": str(generator)})
    assert (tmp_path / "hello.wav").stat().st_size > 1000


def test_what_was_measured_on_different_data_stays_apart_in_the_metadata(generator, tmp_path):
    evaluations = [
        Evaluation(name, columns=["here"], measured="here", metrics=[{"name": "WER", "type": "wer", "here": wer}])
        for name, wer in (("read sentences", 10), ("a dialogue: two voices", 30))
    ]
    render_model_card(generator, replace(FACTS, evaluations=evaluations)).save(tmp_path / "README.md")
    results = ModelCard.load(tmp_path / "README.md").data.eval_results
    assert {result.dataset_name: result.metric_value for result in results} == {
        "read sentences": 10,
        "a dialogue: two voices": 30,
    }


def test_bundled_models_are_named_as_such(generator, adapter):
    card = render_model_card(generator, replace(FACTS, repo_id=None))
    assert 'model=bundled_model("my-voice")' in card.text and "me/my-voice" not in card.text
    card = render_model_card(adapter, replace(FACTS, repo_id=None, base_model="moss-tts-tiny"))
    assert 'AutoProcessor.from_pretrained(bundled_model("moss-tts-tiny"))' in card.text
    assert 'PeftModel.from_pretrained(base, bundled_model("my-voice"))' in card.text
    assert card.data.base_model is None and card.data.get("base_model_relation") is None


def test_a_card_says_for_whom_it_is_and_how_it_sounds(generator, tmp_path):
    shutil.copytree(generator, tmp_path / "model")
    facts = replace(FACTS, audience="For tests.", comparison="Far behind.", recordings={"speech.ogg": "Hello there."})
    with pytest.raises(ValueError, match=r"has no speech\.ogg"):
        render_model_card(tmp_path / "model", facts)
    (tmp_path / "model" / "speech.ogg").touch()
    card = render_model_card(tmp_path / "model", facts).text
    assert "For tests." in card and "[Hello there.](speech.ogg)" in card and "Far behind." in card
    plain = render_model_card(generator, FACTS).text
    assert not any(words in plain for words in ("For whom", "Hear it", "Beside the released models"))
    # There is no release to install.
    assert "pip install ." in plain and "pypi" not in plain


def test_a_card_says_when_no_import_is_needed(generator, tmp_path):
    assert (generator / "moss_tts_plugin.py").exists()
    assert "trust_remote_code" in render_model_card(generator, FACTS).text
    tiny_local().save_pretrained(tmp_path)
    assert "trust_remote_code" not in render_model_card(tmp_path, FACTS).text


def test_the_card_of_a_local_generator(tmp_path):
    tiny_local().save_pretrained(tmp_path)
    card = render_model_card(tmp_path, FACTS)
    assert "MossTTSLocalModel of " in card.text and "4 codebooks of 16 codes" in card.text
    assert card.data.eval_results is None and "model-index" not in str(card) and "Measured" not in card.text


def test_the_card_of_a_codec_adapter(tmp_path, monkeypatch):
    small_codec().save_pretrained(tmp_path / "codec")
    codec = AutoModel.from_pretrained(tmp_path / "codec")
    linears = [name for name, part in codec.named_modules() if isinstance(part, torch.nn.Linear)]
    targets = [name for name in linears if name.startswith("decoder.0.")]
    model = get_peft_model(codec, LoraConfig(r=2, target_modules=targets))
    model.peft_config["default"].base_model_name_or_path = "me/codec"
    model.save_pretrained(tmp_path / "adapter")
    card = render_model_card(tmp_path / "adapter", FACTS)
    assert (card.data.pipeline_tag, card.data.base_model, card.data.library_name) == (
        "audio-to-audio",
        "me/codec",
        "peft",
    )
    assert "for me/codec, of rank 2, on decoder.0." in card.text and "2602.10934" in card.text
    names = {"me/my-voice": str(tmp_path / "adapter"), "me/codec": str(tmp_path / "codec")}
    run_blocks(str(card), tmp_path, monkeypatch, names)
    assert (tmp_path / "decoded.wav").stat().st_size > 1000


def test_the_card_of_an_adapter(generator, adapter, tmp_path, monkeypatch):
    card = render_model_card(adapter, FACTS)
    assert card.data.library_name == "peft" and card.data.pipeline_tag == "text-to-speech"
    assert (card.data.base_model, card.data.base_model_relation) == ("me/base", "adapter")
    assert "for me/base, of rank 2, on q_proj." in card.text
    run_blocks(str(card), tmp_path, monkeypatch, {"me/base": str(generator), "me/my-voice": str(adapter)})
    assert (tmp_path / "hello.wav").exists()


@pytest.mark.parametrize("build,says", [(small_codec, "24000 Hz mono"), (small_stereo_codec, "48000 Hz stereo")])
def test_the_card_of_a_codec(tmp_path, monkeypatch, build, says):
    build().save_pretrained(tmp_path / "codec")
    card = render_model_card(tmp_path / "codec", FACTS)
    assert card.data.pipeline_tag == "audio-to-audio"
    assert f"{says}, 12.5 frames a second, 8 codebooks of 32 codes: 0.5 kbit/s." in card.text
    run_blocks(str(card), tmp_path, monkeypatch, {"me/my-voice": str(tmp_path / "codec")})
    assert (tmp_path / "decoded.wav").stat().st_size > 1000


def test_settings_come_from_the_run(tmp_path):
    logs = [
        {"step": 1, "learning_rate": 1e-3, "loss": 5.0},
        {"step": 2, "learning_rate": 1e-5, "loss": 4.25, "eval_loss": 4.5},
        {"step": 2, "train_runtime": 7200.0},
    ]
    state = TrainerState(global_step=2, epoch=0.5, train_batch_size=8, log_history=logs)
    state.save_to_json(str(tmp_path / "trainer_state.json"))
    settings = training_settings(tmp_path)
    assert settings["steps"] == 2 and settings["examples a step and device"] == 8 and settings["hours"] == "2"
    assert (settings["highest learning rate"], settings["last learning rate"]) == ("0.001", "1e-05")
    assert (settings["last training loss"], settings["last evaluation loss"]) == ("4.25", "4.5")
    tiny_local().save_pretrained(tmp_path)
    card = render_model_card(tmp_path, replace(FACTS, training_settings=settings))
    assert "| steps | 2 |" in card.text and "| highest learning rate | 0.001 |" in card.text
    with pytest.raises(ValueError, match="save_state"):
        training_settings(tmp_path / "missing")


def test_bad_facts_are_named(tmp_path):
    (tmp_path / "facts.yaml").write_text(yaml.safe_dump({"name": "x", "colour": "red"}))
    with pytest.raises(ValueError, match=r"colour.*There are name, summary"):
        ModelCardFacts.from_yaml(tmp_path / "facts.yaml")
    with pytest.raises(ValueError, match=r"neither a config\.json"):
        render_model_card(tmp_path, FACTS)
    tiny_local().save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"has no losses\.png"):
        render_model_card(tmp_path, replace(FACTS, training_plots={"losses.png": "Losses"}))


@pytest.mark.parametrize("path", CARDS, ids=lambda path: path.parent.name)
def test_cards_that_are_shipped_are_rendered_and_valid(path):
    facts = ModelCardFacts.from_yaml(ROOT / "examples" / "tiny_family" / "cards" / f"{path.parent.name}.yaml")
    rendered, shipped = render_model_card(path.parent, facts), ModelCard.load(path)
    assert shipped.text == rendered.text
    assert shipped.data.to_dict() == rendered.data.to_dict()
    known = set(vars(ModelCardData())) | {"base_model_relation"}
    assert set(vars(shipped.data)) <= known
    assert shipped.data.library_name in ("transformers", "peft")
    tasks = {*PIPELINE_REGISTRY.get_supported_tasks(), "text-to-speech", "audio-to-audio"}
    assert shipped.data.pipeline_tag in tasks
    languages = [shipped.data.language] if isinstance(shipped.data.language, str) else shipped.data.language
    assert re.fullmatch(r"[a-z0-9.-]+", shipped.data.license)
    assert languages and all(re.fullmatch(r"[a-z]{2,3}", language) for language in languages)
    assert shipped.data.eval_results and all(isinstance(r.metric_value, float) for r in shipped.data.eval_results)
    for picture in re.findall(r"!\[[^]]*\]\(([^)]+)\)", shipped.text):
        assert (path.parent / picture).is_file()
    assert soundfile.info(path.parent / "speech.ogg").duration > 1
    assert facts.audience and facts.comparison
    json.dumps(shipped.data.to_dict())


@pytest.mark.parametrize("path", CARDS, ids=lambda path: path.parent.name)
def test_every_block_of_shipped_cards_runs(path, tmp_path, monkeypatch):
    card = path.read_text(encoding="utf-8")
    assert blocks_of(card)
    run_blocks(card, tmp_path, monkeypatch, {})
