"""The delay-pattern generator against what the reference implementation computed (modeling_tests/golden/README.md)."""

import json

import pytest
import torch
from checkpoints import assert_same_tensors, released_and_saved_config
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModel, AutoModelForTextToWaveform, AutoProcessor

from transformers_moss_tts import MossTTSDelayConfig, MossTTSDelayModel, MossTTSDelayProcessor


FOLDER_NAME = "moss_tts_delay"
PROCESSOR_CASES = [
    "plain",
    "language_tokens",
    "reference",
    "dialogue",
    "instruction",
    "sound",
    "batch",
    "continuation",
    "continuation_clone",
    "teacher_forcing",
    "teacher_forcing_ref",
]
GENERATE_CASES = ["plain", "reference", "dialogue", "batch", "continuation", "continuation_clone", "plain_rp"]


@pytest.fixture(scope="module")
def folder(golden_folder):
    return golden_folder / FOLDER_NAME


@pytest.fixture(scope="module")
def golden(folder):
    return load_file(folder / "golden.safetensors")


@pytest.fixture(scope="module")
def cases(folder):
    return json.loads((folder / "golden.json").read_text())


@pytest.fixture(scope="module")
def model(folder):
    return AutoModelForTextToWaveform.from_pretrained(folder).eval()


@pytest.fixture(scope="module")
def processor(folder):
    return AutoProcessor.from_pretrained(folder)


def with_codes(value, cases, golden):
    if isinstance(value, list):
        return [with_codes(item, cases, golden) for item in value]
    if isinstance(value, dict):
        return {key: with_codes(item, cases, golden) for key, item in value.items()}
    return golden[cases["codes"][value]] if isinstance(value, str) and value in cases["codes"] else value


def test_every_case_is_tested(cases):
    assert set(cases["processor"]) == set(PROCESSOR_CASES)
    assert set(cases["generate"]) == set(GENERATE_CASES)


@pytest.mark.parametrize("name", PROCESSOR_CASES)
def test_prompts(processor, cases, golden, name):
    case = cases["processor"][name]
    conversations = with_codes(case["conversations"], cases, golden)
    inputs = processor(conversations=conversations, mode=case["mode"])
    torch.testing.assert_close(inputs["input_ids"], golden[f"processor.{name}.input_ids"])
    torch.testing.assert_close(inputs["attention_mask"], golden[f"processor.{name}.attention_mask"].bool())


def forward_inputs(golden):
    return {name: golden[f"forward.{name}"] for name in ("input_ids", "attention_mask", "labels")}


@pytest.mark.parametrize("attn_implementation", ["sdpa", "eager"])
def test_forward(folder, golden, attn_implementation):
    model = MossTTSDelayModel.from_pretrained(folder, attn_implementation=attn_implementation)
    with torch.no_grad():
        outputs = model(**forward_inputs(golden))
    is_real = golden["forward.attention_mask"].bool()
    streams = [outputs.logits, *outputs.audio_logits.unbind(2)]
    for stream, logits in enumerate(streams):
        expected = golden[f"forward.logits.{stream}"]
        torch.testing.assert_close(logits[is_real], expected[is_real], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(outputs.channel_losses, golden["forward.channel_losses"], atol=0, rtol=1e-4)


@pytest.mark.parametrize("name,weights", [("none", None), ("text1_audio32", [1.0] + 8 * [4.0])])
def test_losses_and_gradient_norms(folder, golden, name, weights):
    model = MossTTSDelayModel.from_pretrained(folder).train()
    loss = model(**forward_inputs(golden), channelwise_loss_weight=weights).loss
    torch.testing.assert_close(loss[None], golden[f"forward.loss.{name}"], atol=0, rtol=1e-4)
    loss.backward()
    norm = torch.nn.utils.get_total_norm([parameter.grad for parameter in model.parameters()])
    torch.testing.assert_close(norm[None], golden[f"forward.grad_norm.{name}"], atol=0, rtol=1e-4)


@pytest.mark.parametrize("options", [{}, {"cache_implementation": "static"}, {"use_cache": False}])
@pytest.mark.parametrize("name", GENERATE_CASES)
def test_greedy_generation(model, cases, golden, name, options):
    case = dict(cases["generate"][name])
    prompt = case.pop("processor")
    lengths = case.pop("start_lengths")
    inputs = {key: golden[f"processor.{prompt}.{key}"] for key in ("input_ids", "attention_mask")}
    sequences = model.generate(**inputs, **case, **options)
    assert len(lengths) == len(sequences)
    for index, length in enumerate(lengths):
        expected = golden[f"generate.{name}.{index}"]
        # The reference's sequences start with `length` steps of the prompt and pad the end.
        actual = sequences[index, inputs["input_ids"].shape[1] - length :]
        is_end = (expected[:, 0] == model.config.im_end_token_id).nonzero()
        assert len(is_end), "the golden sequence has no end"
        stop = int(is_end[0]) + 1
        torch.testing.assert_close(actual[:stop], expected[:stop])
        assert (actual[stop:, 0] == model.config.pad_token_id).all()
        assert (actual[stop:, 1:] == model.config.audio_pad_code).all()


def test_auto_classes(folder, model, processor):
    assert type(AutoConfig.from_pretrained(folder)) is MossTTSDelayConfig
    assert type(AutoModel.from_pretrained(folder)) is MossTTSDelayModel
    assert type(model) is MossTTSDelayModel
    assert type(processor) is MossTTSDelayProcessor


def test_round_trip_keeps_every_tensor_and_field(folder, model, tmp_path):
    model.save_pretrained(tmp_path)
    assert_same_tensors(folder, tmp_path)
    released, saved = released_and_saved_config(folder, tmp_path)
    # The backbone's configuration is saved with its defaults, which the release leaves out.
    backbone, saved_backbone = released.pop("language_config"), saved.pop("language_config")
    assert saved == released
    assert {key: saved_backbone.get(key) for key in backbone} == backbone


def test_other_spelling_of_the_config_keys(folder, tmp_path):
    config = json.loads((folder / "config.json").read_text())
    for released, other in (
        ("n_vq", "n_codebooks"),
        ("audio_vocab_size", "codebook_size"),
        ("audio_pad_code", "codebook_pad_token_id"),
    ):
        config[other] = config.pop(released)
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes())
    loaded = AutoModel.from_pretrained(tmp_path).config
    assert (loaded.n_vq, loaded.audio_vocab_size, loaded.audio_pad_code) == (8, 32, 32)
    assert loaded.n_codebooks == 8


def test_text_normalization(golden_folder):
    from transformers_moss_tts.moss_tts.text_normalization import normalize_text

    lines = (golden_folder / "text" / "normalize.jsonl").read_text(encoding="utf-8").splitlines()
    assert len(lines) == 50
    for line in lines:
        case = json.loads(line)
        assert normalize_text(case["input"]) == case["output"]
        assert normalize_text(case["output"]) == case["output"]
