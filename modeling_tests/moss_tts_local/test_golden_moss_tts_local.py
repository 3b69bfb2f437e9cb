"""What the reference computed with small checkpoints of both versions, and what is saved of them."""

import json

import pytest
import torch
from checkpoints import assert_same_tensors, released_and_saved_config
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModel, AutoModelForTextToWaveform, AutoProcessor, AutoTokenizer

from transformers_moss_tts import (
    MossTTSDelayConfig,
    MossTTSDelayModel,
    MossTTSLocalConfig,
    MossTTSLocalModel,
    MossTTSLocalProcessor,
    MossTTSLocalV1Config,
    MossTTSLocalV1Model,
    MossTTSLocalV1Processor,
)


CLASSES = {
    "moss_tts_local": (MossTTSLocalV1Config, MossTTSLocalV1Model, MossTTSLocalV1Processor),
    "moss_tts_local_v1_5": (MossTTSLocalConfig, MossTTSLocalModel, MossTTSLocalProcessor),
}
VERSIONS = list(CLASSES)
CASES = {
    "processor": {
        "moss_tts_local": (
            "plain language_tokens reference dialogue instruction sound batch continuation continuation_clone "
            "teacher_forcing teacher_forcing_ref"
        ).split(),
        "moss_tts_local_v1_5": "plain language_tokens reference instruction batch continuation".split(),
    },
    "generate": {
        "moss_tts_local": "plain reference batch continuation continuation_clone plain_nvq".split(),
        "moss_tts_local_v1_5": "plain plain_rp reference batch continuation".split(),
    },
}


def cases(kind: str) -> list[tuple[str, str]]:
    return [(version, name) for version in VERSIONS for name in CASES[kind][version]]


class Golden:
    def __init__(self, folder):
        self.folder = folder
        self.tensors = load_file(folder / "golden.safetensors")
        self.cases = json.loads((folder / "golden.json").read_text(encoding="utf-8"))

    def fill(self, value):
        """Codes in place of their names."""
        if isinstance(value, str) and value in self.cases["codes"]:
            return self.tensors[self.cases["codes"][value]]
        if isinstance(value, list):
            return [self.fill(item) for item in value]
        if isinstance(value, dict):
            return {key: self.fill(item) for key, item in value.items()}
        return value


@pytest.fixture(scope="module")
def golden(golden_folder):
    return {version: Golden(golden_folder / version) for version in VERSIONS}


@pytest.fixture(scope="module")
def models(golden_folder):
    return {version: AutoModel.from_pretrained(golden_folder / version).eval() for version in VERSIONS}


@pytest.fixture(scope="module")
def processors(golden_folder):
    return {
        version: CLASSES[version][2](
            AutoTokenizer.from_pretrained(golden_folder / version),
            model_config=AutoConfig.from_pretrained(golden_folder / version),
        )
        for version in VERSIONS
    }


def test_the_golden_cases_are_all_here(golden):
    for kind, names in CASES.items():
        for version in VERSIONS:
            assert set(names[version]) == set(golden[version].cases[kind])


@pytest.mark.parametrize("version", VERSIONS)
def test_auto_classes_know_the_version(golden_folder, version):
    config_class, model_class, processor_class = CLASSES[version]
    folder = golden_folder / version
    assert type(AutoConfig.from_pretrained(folder)) is config_class
    assert type(AutoModel.from_pretrained(folder)) is model_class
    assert type(AutoModelForTextToWaveform.from_pretrained(folder)) is model_class
    assert type(AutoProcessor.from_pretrained(folder)) is processor_class
    assert type(AutoModel.from_pretrained(folder, trust_remote_code=True)) is model_class


def test_the_delay_checkpoint_is_still_one(golden_folder):
    folder = golden_folder / "moss_tts_delay"
    assert type(AutoConfig.from_pretrained(folder)) is MossTTSDelayConfig
    assert type(AutoModel.from_pretrained(folder)) is MossTTSDelayModel


@pytest.mark.parametrize("version,name", cases("processor"))
def test_processor(golden, processors, version, name):
    case = golden[version].cases["processor"][name]
    inputs = processors[version](conversations=golden[version].fill(case["conversations"]), mode=case["mode"])
    for key in ("input_ids", "attention_mask"):
        assert torch.equal(inputs[key].long(), golden[version].tensors[f"processor.{name}.{key}"].long())


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_forward_v1(golden, golden_folder, attention):
    tensors = golden["moss_tts_local"].tensors
    model = AutoModel.from_pretrained(golden_folder / "moss_tts_local", attn_implementation=attention)
    mask = tensors["forward.attention_mask"].bool()
    inputs = {"input_ids": tensors["forward.input_ids"], "attention_mask": mask, "labels": tensors["forward.labels"]}
    outputs = model(**inputs)
    close = {"atol": 1e-4, "rtol": 1e-4}
    torch.testing.assert_close(outputs.last_hidden_state[mask], tensors["forward.global_hidden"][mask], **close)
    torch.testing.assert_close(outputs.logits[mask], tensors["forward.logits.0"][mask], **close)
    for k in range(8):
        torch.testing.assert_close(
            outputs.audio_logits[:, :, k][mask], tensors[f"forward.logits.{k + 1}"][mask], **close
        )
    torch.testing.assert_close(outputs.channel_losses, tensors["forward.channel_losses"], **close)


@pytest.mark.parametrize("name,weights", [("none", None), ("text1_audio32", [1.0] + [4.0] * 8)])
def test_training_step_v1(golden, golden_folder, name, weights):
    tensors = golden["moss_tts_local"].tensors
    model = AutoModel.from_pretrained(golden_folder / "moss_tts_local")
    loss = model(
        input_ids=tensors["forward.input_ids"],
        attention_mask=tensors["forward.attention_mask"].bool(),
        labels=tensors["forward.labels"],
        channelwise_loss_weight=weights,
    ).loss
    loss.backward()
    gradients = [p.grad.norm() for p in model.parameters() if p.grad is not None]
    close = {"atol": 0, "rtol": 1e-4}
    torch.testing.assert_close(loss[None], tensors[f"forward.loss.{name}"], **close)
    torch.testing.assert_close(torch.stack(gradients).norm()[None], tensors[f"forward.grad_norm.{name}"], **close)
    assert model.model.language_model.embed_tokens.weight.grad is None


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_forward_v1_5(golden, golden_folder, attention):
    tensors = golden["moss_tts_local_v1_5"].tensors
    model = AutoModel.from_pretrained(golden_folder / "moss_tts_local_v1_5", attn_implementation=attention)
    mask = tensors["forward.attention_mask"].bool()
    states = model(input_ids=tensors["forward.input_ids"], attention_mask=mask).last_hidden_state
    close = {"atol": 1e-4, "rtol": 1e-4}
    torch.testing.assert_close(states[mask], tensors["forward.global_hidden"][mask], **close)
    labels = torch.full((2, 1, 7), model.config.audio_assistant_gen_slot_token_id)
    labels[:, 0, 1:] = tensors["codes.ref1"][0]
    text, audio = model.score_labels(states[:, -1:], labels)
    torch.testing.assert_close(text[:, 0], tensors["forward.text_logits"], **close)
    for k in range(6):
        torch.testing.assert_close(audio[:, 0, k], tensors[f"forward.audio_logits.{k}"], **close)


@pytest.mark.parametrize("version,name", cases("generate"))
@pytest.mark.parametrize("use_cache", [True, False])
def test_greedy_generation(golden, models, version, name, use_cache):
    model, tensors = models[version], golden[version].tensors
    options = dict(golden[version].cases["generate"][name])
    prompt, _ = options.pop("processor"), options.pop("start_lengths")
    inputs = {key: tensors[f"processor.{prompt}.{key}"] for key in ("input_ids", "attention_mask")}
    sequences = model.generate(**inputs, **options, use_cache=use_cache)
    stored = [key for key in tensors if key.startswith(f"generate.{name}.")]
    assert len(stored) == len(sequences)
    for index, sequence in enumerate(sequences):
        expected = tensors[f"generate.{name}.{index}"]
        # The reference cuts at the last audio_start of the whole sequence, wherever that is.
        start = (sequence[:, 0] == model.config.audio_start_token_id).nonzero()[-1]
        generated = sequence[start:]
        is_over = (expected[:, 0] == model.config.audio_end_token_id) | (expected[:, 0] == model.config.pad_token_id)
        length = int(is_over.nonzero()[0]) + 1 if is_over.any() else len(expected)
        if version == "moss_tts_local_v1_5" and is_over.any():
            length -= 1  # ours has the audio_end that the reference leaves out before it pads
        assert torch.equal(generated[:length], expected[:length])
        ended = generated[length:]
        assert (ended[1:, 0] == model.config.pad_token_id).all()


@pytest.mark.parametrize("version", VERSIONS)
def test_what_is_saved_is_what_was_loaded(golden_folder, tmp_path, version):
    model = AutoModel.from_pretrained(golden_folder / version)
    model.save_pretrained(tmp_path)
    assert_same_tensors(golden_folder / version, tmp_path)
    released, saved = released_and_saved_config(golden_folder / version, tmp_path)
    assert saved["model_type"] == released["model_type"] and saved["architectures"] == released["architectures"]
    for key in ("hidden_size", "vocab_size", "n_vq", "audio_vocab_size", "audio_pad_code", "sampling_rate"):
        assert saved[key] == released[key]
    assert type(AutoModel.from_pretrained(tmp_path)) is type(model)
