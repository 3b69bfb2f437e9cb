"""What of a folder is uploaded, and what is refused before anything is sent."""

import json

import pytest
from peft import LoraConfig, get_peft_model
from tiny_models import GOLDEN_TTS, golden_processor, small_codec, tiny_tts

from transformers_moss_tts import MossTTSDelayModel
from transformers_moss_tts.hub import left_out, list_files, upload


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "model"
    tiny_tts().save_pretrained(folder)
    return folder


def test_files_are_listed_with_their_sizes(folder):
    (folder / "plots").mkdir()
    (folder / "plots" / "losses.png").write_bytes(b"12345")
    for unseen in (".git/config", ".cache/huggingface/download/x"):
        (folder / unseen).parent.mkdir(parents=True)
        (folder / unseen).touch()
    files = list_files(folder)
    assert list(files) == ["config.json", "generation_config.json", "model.safetensors", "plots/losses.png"]
    assert files["plots/losses.png"] == 5
    assert files["model.safetensors"] == (folder / "model.safetensors").stat().st_size


@pytest.mark.parametrize("name", ["pytorch_model.bin", "deep/down/model.PTH", "scaler.pkl", "my_training_args.bin"])
def test_pickles_are_refused(folder, name):
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).touch()
    with pytest.raises(ValueError, match=f"{name}: only safetensors"):
        list_files(folder)


def test_what_trainer_and_peft_leave_is_left_out(folder, local_hub):
    base = MossTTSDelayModel.from_pretrained(GOLDEN_TTS)
    model = get_peft_model(base, LoraConfig(r=2, target_modules=["q_proj"]))
    model.peft_config["default"].base_model_name_or_path = "me/base"
    model.save_pretrained(folder / "adapter")
    pickles = [
        "training_args.bin",
        "adapter/training_args.bin",
        "checkpoint-2/optimizer.pt",
        "checkpoint-2/rng_state_0.pth",
    ]
    for name in (*pickles, "checkpoint-2/scheduler.pt"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(b"pickle")
    (folder / "README.md").write_text("# A voice")
    reasons = left_out(folder)
    assert set(reasons) == {*pickles, "checkpoint-2/scheduler.pt", "adapter/README.md"}
    assert "says nothing" in reasons["adapter/README.md"]
    listed = list_files(folder)
    assert (
        "README.md" in listed and "adapter/adapter_model.safetensors" in listed and not reasons.keys() & listed.keys()
    )
    upload(folder, "me/voice")
    assert local_hub.files("me/voice").keys() - {".gitattributes"} == listed.keys()


def test_a_folder_of_what_is_left_out_alone_is_empty(tmp_path):
    (tmp_path / "training_args.bin").write_bytes(b"pickle")
    with pytest.raises(ValueError, match="nothing to upload"):
        list_files(tmp_path)


@pytest.mark.parametrize("target", ["../secret.txt", "/etc/hostname", "../", "missing.txt", "plots"])
def test_links_that_lead_elsewhere_are_refused(folder, tmp_path, target):
    (tmp_path / "secret.txt").write_text("secret")
    (folder / "plots").mkdir()
    (folder / "a.txt").symlink_to(target)
    with pytest.raises(ValueError, match=r"a\.txt is a link"):
        list_files(folder)


def test_links_inside_the_folder_are_files(folder):
    (folder / "copy.json").symlink_to("config.json")
    assert list_files(folder)["copy.json"] == (folder / "config.json").stat().st_size


@pytest.mark.parametrize("codec", ["/tmp", "../codec", "~/codec", "codec"])
def test_a_codec_that_nobody_else_has_is_refused(folder, tmp_path, codec):
    small_codec().save_pretrained(tmp_path / "codec")
    golden_processor(codec_path=codec).save_pretrained(folder)
    with pytest.raises(ValueError, match=r"nobody else has.*codec_path"):
        list_files(folder)


def test_a_codec_of_the_hub_or_of_the_folder_is_taken(folder):
    golden_processor(codec_path="OpenMOSS-Team/MOSS-Audio-Tokenizer").save_pretrained(folder)
    assert "processor_config.json" in list_files(folder)
    golden_processor(codec_path="codec").save_pretrained(folder)
    small_codec().save_pretrained(folder / "codec")
    assert "codec/model.safetensors" in list_files(folder)


def test_an_adapter_of_a_base_that_nobody_else_has_is_refused(tmp_path):
    (tmp_path / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": str(tmp_path)}))
    with pytest.raises(ValueError, match=r"nobody else has.*base_model_name_or_path"):
        list_files(tmp_path)


def test_what_is_no_folder_or_empty_is_refused(tmp_path):
    with pytest.raises(ValueError, match="no folder"):
        list_files(tmp_path / "missing")
    with pytest.raises(ValueError, match="nothing to upload"):
        list_files(tmp_path)


@pytest.mark.parametrize("name", ["a/b/c", "../b", "me/..", "me/a b", ""])
def test_bad_repository_names_are_refused(folder, name):
    with pytest.raises(ValueError):
        upload(folder, name)
