"""What of a folder is uploaded, and what is refused before anything is sent."""

import json

import pytest
from tiny_models import golden_processor, small_codec, tiny_tts

from transformers_moss_tts.hub import list_files, upload


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


@pytest.mark.parametrize("name", ["training_args.bin", "optimizer.pt", "deep/down/model.PTH", "scaler.pkl"])
def test_pickles_are_refused(folder, name):
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).touch()
    with pytest.raises(ValueError, match=f"{name}: only safetensors"):
        list_files(folder)


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
