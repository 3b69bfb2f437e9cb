"""What is pushed to a Hub that speaks the real protocol, and what others load from it. Nothing is called uploaded that is not."""

import hashlib
import json
import logging
import os
import re
import subprocess
import sys

import numpy as np
import pytest
import torch
from adapters import needs_peft_of_transformers
from local_hub import TOKEN, environment
from peft import LoraConfig, PeftModel, get_peft_model
from tiny_models import GOLDEN_TTS, golden_processor, small_codec
from transformers import AutoModel, AutoModelForTextToWaveform, AutoProcessor, pipeline

from transformers_moss_tts import MossTTSDelayModel, cli
from transformers_moss_tts.hub import upload
from transformers_moss_tts.loading.remote_code import RemoteCodeMixin


GREEDY = {"text_temperature": 0.0, "audio_temperature": 0.0, "max_new_tokens": 12}


@pytest.fixture
def model() -> MossTTSDelayModel:
    model = MossTTSDelayModel.from_pretrained(GOLDEN_TTS)
    model.generation_config.do_sample = False
    return model


@pytest.fixture
def folder(tmp_path, model):
    """A whole repository with its codec."""
    folder = tmp_path / "repository"
    model.save_pretrained(folder, max_shard_size="300KB")
    codec = small_codec()
    codec.save_pretrained(folder / "codec")
    golden_processor(codec, codec_path="codec").save_pretrained(folder)
    return folder


def everything(folder) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_model_processor_and_codec_are_pushed_and_speak(local_hub, model, tmp_path):
    codec = small_codec()
    codec.push_to_hub("me/codec", private=True)
    processor = golden_processor(codec, codec_path="me/codec")
    processor.push_to_hub("me/voice")
    model.push_to_hub("me/voice", max_shard_size="300KB")
    expected = pipeline("text-to-speech", model=model, processor=processor, tokenizer=processor.tokenizer)
    speech = pipeline("text-to-speech", model="me/voice")("hello world")
    np.testing.assert_array_equal(speech["audio"], expected("hello world")["audio"])
    assert speech["audio"].size > 0
    assert local_hub.repositories["me/codec"].private and not local_hub.repositories["me/voice"].private
    assert "model.safetensors.index.json" in local_hub.files("me/voice")


def test_a_processor_leaves_the_configuration_of_the_model_there(local_hub, model):
    model.resize_token_embeddings(400)
    model.push_to_hub("me/resized")
    golden_processor().push_to_hub("me/resized")
    assert json.loads(local_hub.files("me/resized")["config.json"])["vocab_size"] == 400
    assert AutoModel.from_pretrained("me/resized").config.vocab_size == 400
    golden_processor().push_to_hub("me/resized", revision="next")
    assert json.loads(local_hub.files("me/resized", "next")["config.json"])["vocab_size"] == 400


def test_saving_a_processor_can_push_it(local_hub, tmp_path):
    processor = golden_processor(small_codec(), codec_path="me/codec")
    processor.save_pretrained(tmp_path / "voice", push_to_hub=True, repo_id="me/voice", commit_message="Mine")
    assert {"tokenizer.json", "processor_config.json", "config.json"} <= local_hub.files("me/voice").keys()


def test_an_adapter_is_pushed_and_loaded_on_its_base(local_hub, model):
    model.push_to_hub("me/base")
    inputs = golden_processor()(text="hello")
    torch.manual_seed(0)
    base = AutoModelForTextToWaveform.from_pretrained("me/base")
    adapted = get_peft_model(base, LoraConfig(r=2, target_modules=["q_proj", "v_proj"], init_lora_weights=False))
    spoken = adapted.eval().generate(**inputs, **GREEDY)
    adapted.push_to_hub("me/adapter")
    assert "adapter_model.safetensors" in local_hub.files("me/adapter")
    assert not any(name.startswith("model") for name in local_hub.files("me/adapter"))
    base = AutoModelForTextToWaveform.from_pretrained("me/base")
    assert torch.equal(PeftModel.from_pretrained(base, "me/adapter").generate(**inputs, **GREEDY), spoken)
    assert not torch.equal(model.generate(**inputs, **GREEDY), spoken)


@needs_peft_of_transformers
def test_an_adapter_names_its_base(local_hub, model):
    model.push_to_hub("me/base")
    inputs = golden_processor()(text="hello")
    torch.manual_seed(0)
    base = AutoModelForTextToWaveform.from_pretrained("me/base")
    adapted = get_peft_model(base, LoraConfig(r=2, target_modules=["q_proj", "v_proj"], init_lora_weights=False))
    adapted.eval().push_to_hub("me/adapter")
    whole = AutoModelForTextToWaveform.from_pretrained("me/adapter")
    assert torch.equal(whole.generate(**inputs, **GREEDY), adapted.generate(**inputs, **GREEDY))


def test_a_folder_is_uploaded_and_loads_with_its_codec(local_hub, folder, capsys):
    assert cli.main(["upload", str(folder), "me/voice", "--private", "--message", "First"]) == 0
    printed = capsys.readouterr()
    uploaded = local_hub.files("me/voice")
    assert {name: uploaded[name] for name in everything(folder)} == everything(folder)
    assert local_hub.repositories["me/voice"].private
    oid = local_hub.repositories["me/voice"].branches["main"]
    assert printed.out.splitlines()[-1] == f"uploaded: {local_hub.url}/me/voice/commit/{oid}"
    processor = AutoProcessor.from_pretrained("me/voice")
    assert processor.audio_tokenizer.config.num_quantizers == 8
    assert processor.codec_path == "codec"


def test_branches_and_pull_requests(local_hub, folder):
    assert cli.main(["upload", str(folder), "me/voice"]) == 0
    (folder / "README.md").write_text("---\nlicense: mit\n---\nA voice.\n")
    assert cli.main(["upload", str(folder), "me/voice", "--revision", "next"]) == 0
    assert "README.md" in local_hub.files("me/voice", "next") and "README.md" not in local_hub.files("me/voice")
    assert AutoModel.from_pretrained("me/voice", revision="next").config.n_vq == 8
    commit = upload(folder, "me/voice", create_pr=True)
    assert commit.pr_revision == "refs/pr/1" and commit.pr_num == 1
    assert "README.md" in local_hub.files("me/voice", "refs/pr/1") and "README.md" not in local_hub.files("me/voice")
    with pytest.raises(ValueError, match="create_pr"):
        upload(folder, "me/voice", create_pr=True, revision="next")


def test_nothing_is_sent_twice(local_hub, folder):
    upload(folder, "me/voice")
    sent, commits = local_hub.count("PUT", "/objects/"), local_hub.count("POST", "/commit/")
    again = upload(folder, "me/voice")
    assert (local_hub.count("PUT", "/objects/"), local_hub.count("POST", "/commit/")) == (sent, commits)
    assert again.oid == local_hub.repositories["me/voice"].branches["main"]


def test_a_dry_run_lists_and_reaches_nobody(local_hub, folder, capsys):
    assert cli.main(["upload", str(folder), "me/voice", "--dry-run"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[-1] for line in lines[:-1]] == sorted(everything(folder))
    sizes = dict(reversed(line.split()) for line in lines[:-1])
    assert (
        sizes["codec/model.safetensors"] == f"{(folder / 'codec' / 'model.safetensors').stat().st_size / 1000:.0f}kB"
    )
    assert lines[-1].endswith(f"in {len(everything(folder))} files")
    assert local_hub.requests == []


@pytest.mark.parametrize("kind", [500, 503, "cut"])
@pytest.mark.parametrize("method,pattern", [("PUT", "/objects/"), ("POST", "/preupload/"), ("POST", "/batch")])
def test_faults_that_pass_are_overcome(local_hub, folder, method, pattern, kind):
    local_hub.fail(method, pattern, kind, times=2)
    upload(folder, "me/voice")
    assert everything(folder).items() <= local_hub.files("me/voice").items()


@pytest.mark.parametrize(
    "method,pattern,kind",
    [
        ("POST", "/api/repos/create", 500),
        ("POST", "/api/repos/create", "cut"),
        ("POST", "/preupload/", 500),
        ("PUT", "/objects/", 500),
        ("PUT", "/objects/", "cut"),
        ("POST", "/commit/", 500),
        ("POST", "/commit/", "cut"),
        ("GET", "/tree/", 500),
    ],
)
def test_a_failed_upload_is_no_success_and_goes_on_later(local_hub, folder, capsys, caplog, method, pattern, kind):
    local_hub.fail(method, pattern, kind, times=1000)
    with caplog.at_level(logging.DEBUG):
        assert cli.main(["upload", str(folder), "me/voice"]) == 1
    printed = capsys.readouterr()
    assert "uploaded:" not in printed.out
    assert f"moss-tts: The upload of {folder} to me/voice did not end well: " in printed.err
    assert printed.err.endswith("Started again, the upload goes on where it was.\n")
    assert TOKEN not in printed.out + printed.err + caplog.text
    if pattern != "/tree/" and "me/voice" in local_hub.repositories:
        assert not everything(folder).keys() & local_hub.files("me/voice").keys()

    local_hub.faults.clear()
    stored = dict(local_hub.objects)
    sent = local_hub.count("PUT", "/objects/")
    assert cli.main(["upload", str(folder), "me/voice"]) == 0
    assert everything(folder).items() <= local_hub.files("me/voice").items()
    # What was there already is not sent again.
    assert local_hub.count("PUT", "/objects/") - sent == len(local_hub.objects) - len(stored)


def test_shards_that_arrived_before_the_connection_broke_stay(local_hub, folder):
    *_, last = sorted(path.name for path in folder.glob("model-*.safetensors"))
    content = (folder / last).read_bytes()
    local_hub.fail("PUT", hashlib.sha256(content).hexdigest(), "cut", times=1000)
    with pytest.raises(OSError, match=last):
        upload(folder, "me/voice")
    arrived = len(local_hub.objects)
    assert arrived >= 2
    local_hub.faults.clear()
    sent = local_hub.count("PUT", "/objects/")
    upload(folder, "me/voice")
    assert local_hub.count("PUT", "/objects/") - sent == len(local_hub.objects) - arrived == 1


def test_a_commit_whose_answer_is_lost_is_found_by_the_next_upload(local_hub, folder):
    local_hub.fail("POST", "/commit/", "lose")
    with pytest.raises(OSError, match="did not end well"):
        upload(folder, "me/voice")
    commits = len(local_hub.repositories["me/voice"].commits)
    upload(folder, "me/voice")
    assert len(local_hub.repositories["me/voice"].commits) == commits


def test_an_expired_token_is_named_and_not_shown(local_hub, folder, capsys, caplog):
    local_hub.is_token_expired = True
    with caplog.at_level(logging.DEBUG):
        assert cli.main(["upload", str(folder), "me/voice"]) == 1
    printed = capsys.readouterr()
    assert "is expired" in printed.err and "hf auth login" in printed.err
    assert "uploaded:" not in printed.out
    assert TOKEN not in printed.out + printed.err + caplog.text
    assert local_hub.repositories == {}


def test_a_token_that_expires_on_the_way(local_hub, folder, capsys):
    local_hub.fail("POST", "/commit/", 401)
    assert cli.main(["upload", str(folder), "me/voice"]) == 1
    printed = capsys.readouterr()
    assert "hf auth login" in printed.err and "uploaded:" not in printed.out
    assert not everything(folder).keys() & local_hub.files("me/voice").keys()


def test_files_that_the_hub_leaves_out_are_no_success(local_hub, folder):
    (folder / ".gitignore").write_text("generation_config.json\n")
    with pytest.raises(OSError, match=r"not in it as they are here: generation_config\.json"):
        upload(folder, "me/voice")


def test_others_load_with_trust_remote_code_alone(local_hub, model, tmp_path, monkeypatch):
    """In a process that does not import the package, on a Hub."""
    monkeypatch.setattr(RemoteCodeMixin, "_saves_module", False)
    codec = small_codec()
    codec.push_to_hub("me/codec")
    model.push_to_hub("me/voice")
    golden_processor(codec, codec_path="me/codec").push_to_hub("me/voice")
    program = (
        "import sys\n"
        "from transformers import AutoModel, pipeline\n"
        "assert 'transformers_moss_tts' not in sys.modules\n"
        "speak = pipeline('text-to-speech', model='me/voice', trust_remote_code=True)\n"
        "print('samples', speak('hello world')['audio'].size)\n"
        "print(type(AutoModel.from_pretrained('me/codec', trust_remote_code=True)).__name__)\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        timeout=300,
        env=os.environ | environment(local_hub, tmp_path / "home"),
    )
    assert ran.returncode == 0, ran.stderr[-3000:]
    assert re.search(r"samples [1-9]", ran.stdout) and "MossAudioTokenizerModel" in ran.stdout
