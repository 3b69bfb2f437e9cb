"""The delay-pattern model: losses, padding, embeddings, checkpoints, training options."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_models import tiny_prompts, tiny_tts, tiny_tts_config
from transformers import MODEL_MAPPING, AutoModel, AutoModelForTextToWaveform, AutoProcessor
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

import transformers_moss_tts
from transformers_moss_tts import MossTTSDelayModel


@pytest.fixture(scope="module")
def model():
    return tiny_tts()


def training_batch(config, seed=0):
    """Three sequences with audio in their ends, labels shifted by one, pad codes and prompts as a collator may leave them."""
    inputs = tiny_prompts(config, 12, 9, 12, seed=seed)
    generator = torch.Generator().manual_seed(seed + 1)
    inputs["input_ids"][:, -6:, 1:] = torch.randint(0, 16, (3, 6, config.n_vq), generator=generator)
    inputs["input_ids"][0, -6:, 2] = config.audio_pad_code
    labels = inputs["input_ids"].roll(-1, 1)
    labels[:, :5] = -100
    labels[:, -1] = -100
    return inputs | {"labels": labels}


@torch.no_grad()
def test_a_left_padded_sequence_equals_the_sequence_alone(model):
    inputs = tiny_prompts(model.config, 11, 5, 8)
    batch = model(**inputs)
    for index, length in enumerate((11, 5, 8)):
        alone = model(input_ids=inputs["input_ids"][index : index + 1, -length:])
        torch.testing.assert_close(batch.logits[index, -length:], alone.logits[0], atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(batch.audio_logits[index, -length:], alone.audio_logits[0], atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_the_pad_code_is_never_predicted(model):
    audio_logits = model(**tiny_prompts(model.config, 6)).audio_logits
    assert audio_logits.shape == (1, 6, 4, 17)
    assert torch.isneginf(audio_logits[..., 16]).all()
    assert torch.isfinite(audio_logits[..., :16]).all()


@torch.no_grad()
def test_inputs_embeds(model):
    inputs = tiny_prompts(model.config, 6)
    embeds = model.embed(inputs["input_ids"])
    expected = model(**inputs)
    actual = model(inputs_embeds=embeds, attention_mask=inputs["attention_mask"])
    torch.testing.assert_close(actual.audio_logits, expected.audio_logits)
    tables = model.audio_embedding.weight.view(4, 17, -1)
    by_hand = model.get_input_embeddings()(inputs["input_ids"][..., 0])
    by_hand = by_hand + sum(tables[k][inputs["input_ids"][..., k + 1]] for k in range(4))
    torch.testing.assert_close(embeds, by_hand)


def test_pad_codes_in_labels_are_ignored(model):
    batch = training_batch(model.config)
    assert (batch["labels"][..., 1:] == model.config.audio_pad_code).any()
    outputs = model(**batch)
    assert torch.isfinite(outputs.loss) and torch.isfinite(outputs.channel_losses).all()
    batch["labels"][..., 1:][batch["labels"][..., 1:] == model.config.audio_pad_code] = -100
    torch.testing.assert_close(model(**batch).loss, outputs.loss)


def test_a_stream_without_labels_counts_nothing(model):
    batch = training_batch(model.config)
    batch["labels"][..., 1:] = -100
    outputs = model(**batch)
    assert torch.equal(outputs.channel_losses[1:], torch.zeros(4))
    torch.testing.assert_close(outputs.loss, outputs.channel_losses[0])


@pytest.mark.parametrize("weights", [None, [1.0, 3.0, 2.0, 1.0, 0.5]])
def test_gradient_accumulation_does_not_depend_on_the_cut(model, weights):
    """With `num_items_in_batch`, losses and gradients of the parts add up to those of the whole."""
    batch = training_batch(model.config)
    batch["labels"][..., 1:][batch["labels"][..., 1:] == model.config.audio_pad_code] = -100
    num_items = (batch["labels"] != -100).sum()
    options = {"num_items_in_batch": num_items, "channelwise_loss_weight": weights}

    def loss_and_gradient(*parts):
        model.zero_grad()
        total = sum(model(**part, **options).loss for part in parts)
        total.backward()
        return total.detach(), model.audio_heads.weight.grad.clone()

    whole = loss_and_gradient(batch)
    parts = loss_and_gradient(*({key: value[i : i + 1] for key, value in batch.items()} for i in range(3)))
    torch.testing.assert_close(parts, whole)
    if weights is None:
        torch.testing.assert_close(whole[0], model(**batch).loss.detach())


def test_stream_weights_of_equal_counts_agree_with_and_without_num_items(model):
    batch = training_batch(model.config)
    batch["labels"][:, :8] = -100
    batch["labels"][..., 1:][batch["labels"][..., 1:] == 16] = 3
    weights = [1.0, 3.0, 2.0, 1.0, 0.5]
    num_items = (batch["labels"] != -100).sum()
    expected = model(**batch, channelwise_loss_weight=weights).loss
    torch.testing.assert_close(
        model(**batch, channelwise_loss_weight=weights, num_items_in_batch=num_items).loss, expected
    )


@pytest.mark.parametrize("n_vq", [1, 3, 12])
def test_released_names_on_disk(tmp_path, n_vq):
    model = tiny_tts(n_vq=n_vq)
    model.save_pretrained(tmp_path)
    saved = load_file(tmp_path / "model.safetensors")
    torch.testing.assert_close(saved["lm_heads.0.weight"], model.text_head.weight.detach(), atol=0, rtol=0)
    heads = model.audio_heads.weight.detach().view(n_vq, 17, 32)
    tables = model.audio_embedding.weight.detach().view(n_vq, 17, 32)
    for k in range(n_vq):
        torch.testing.assert_close(saved[f"lm_heads.{k + 1}.weight"], heads[k], atol=0, rtol=0)
        torch.testing.assert_close(saved[f"emb_ext.{k}.weight"], tables[k], atol=0, rtol=0)
    assert not [name for name in saved if name.startswith(("audio_", "text_"))]
    assert {name.split(".")[1] for name in saved if name.startswith("lm_heads")} == {str(k) for k in range(n_vq + 1)}

    loaded = AutoModel.from_pretrained(tmp_path)
    for name, tensor in model.state_dict().items():
        torch.testing.assert_close(loaded.state_dict()[name], tensor, atol=0, rtol=0)
    loaded.save_pretrained(tmp_path / "again")
    assert (tmp_path / "again" / "model.safetensors").read_bytes() == (tmp_path / "model.safetensors").read_bytes()


def test_sharded_checkpoint(tmp_path, model):
    model.save_pretrained(tmp_path, max_shard_size="20KB")
    assert len(list(tmp_path.glob("model-*.safetensors"))) > 2
    loaded = MossTTSDelayModel.from_pretrained(tmp_path)
    for name, tensor in model.state_dict().items():
        torch.testing.assert_close(loaded.state_dict()[name], tensor, atol=0, rtol=0)


@pytest.mark.parametrize("change", ["missing", "unexpected"])
def test_incomplete_checkpoint_is_refused(tmp_path, model, change):
    model.save_pretrained(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    if change == "missing":
        del weights["language_model.layers.1.mlp.up_proj.weight"]
    else:
        weights["codec.weight"] = torch.zeros(1)
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match=f"1 {change} weights"):
        AutoModel.from_pretrained(tmp_path)


@pytest.mark.parametrize("names", [["emb_ext.2.weight"], ["lm_heads.4.weight"], ["lm_heads.0.weight"]])
def test_a_missing_codebook_is_refused(tmp_path, model, names):
    model.save_pretrained(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    for name in names:
        del weights[name]
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises((ValueError, RuntimeError)):
        AutoModel.from_pretrained(tmp_path)


def test_auto_map_does_not_bring_remote_code(golden_folder):
    """The released config.json names remote code; the registered classes come first, also when it is allowed."""
    folder = golden_folder / "moss_tts_delay"
    assert "auto_map" in json.loads((folder / "config.json").read_text())
    for auto_class in (AutoModel, AutoModelForTextToWaveform):
        assert type(auto_class.from_pretrained(folder, trust_remote_code=True)) is MossTTSDelayModel
    processor = AutoProcessor.from_pretrained(folder, trust_remote_code=True)
    assert type(processor).__name__ == "MossTTSDelayProcessor"


def test_a_second_registration_is_harmless(golden_folder):
    transformers_moss_tts.registration.register_with_transformers()
    assert type(AutoModel.from_pretrained(golden_folder / "moss_tts_delay")) is MossTTSDelayModel


@torch.no_grad()
def test_resize_token_embeddings(tmp_path):
    model = tiny_tts()
    inputs = tiny_prompts(model.config, 6)
    before = model(**inputs)
    model.resize_token_embeddings(110)
    assert model.config.vocab_size == 110
    after = model(**inputs)
    assert after.logits.shape == (1, 6, 110)
    torch.testing.assert_close(after.logits[..., :100], before.logits)
    torch.testing.assert_close(after.audio_logits, before.audio_logits)
    model.save_pretrained(tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["vocab_size"] == 110
    torch.testing.assert_close(MossTTSDelayModel.from_pretrained(tmp_path)(**inputs).logits, after.logits)


@torch.no_grad()
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision(tmp_path, model, dtype):
    model.save_pretrained(tmp_path)
    half = MossTTSDelayModel.from_pretrained(tmp_path, dtype=dtype)
    assert {parameter.dtype for parameter in half.parameters()} == {dtype}
    inputs = tiny_prompts(model.config, 9, 5)
    real = inputs["attention_mask"]
    expected, actual = model(**inputs).logits[real], half(**inputs).logits[real]
    assert actual.dtype == dtype
    assert (actual.float() - expected).abs().max() < 0.05 * expected.abs().max()


@torch.no_grad()
def test_device_map(tmp_path, model):
    model.save_pretrained(tmp_path)
    mapped = MossTTSDelayModel.from_pretrained(tmp_path, device_map="auto")
    inputs = tiny_prompts(model.config, 6)
    torch.testing.assert_close(mapped(**inputs).audio_logits, model(**inputs).audio_logits)


@pytest.mark.parametrize("attn_implementation", ["eager", "flex_attention"])
def test_attention_implementations_agree(attn_implementation):
    model = tiny_tts()
    inputs = tiny_prompts(model.config, 11, 6)
    real = inputs["attention_mask"]
    with torch.no_grad():
        expected = model(**inputs).logits[real]
        model.set_attn_implementation(attn_implementation)
        torch.testing.assert_close(model(**inputs).logits[real], expected, atol=1e-5, rtol=1e-5)


def test_gradient_checkpointing_gives_the_same_gradients():
    gradients = []
    for checkpointing in (False, True):
        model = tiny_tts().train()
        if checkpointing:
            model.gradient_checkpointing_enable()
        model(**training_batch(model.config)).loss.backward()
        gradients.append({name: parameter.grad for name, parameter in model.named_parameters()})
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient)


def test_every_parameter_gets_a_gradient():
    model = tiny_tts().train()
    model(**training_batch(model.config)).loss.backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().max() > 0, name


BAD_INPUT = {
    "ids of rank 2": (lambda m, b: m(input_ids=b["input_ids"][..., 0]), "Got \\(3, 12\\)"),
    "a stream too few": (lambda m, b: m(input_ids=b["input_ids"][..., :4]), "length, 5"),
    "no ids": (lambda m, b: m(), "either"),
    "labels of another shape": (lambda m, b: m(input_ids=b["input_ids"], labels=b["labels"][..., :4]), "labels"),
    "a weight too few": (lambda m, b: m(**b, channelwise_loss_weight=[1.0] * 4), "needs 5 weights"),
    "no codebooks": (lambda m, b: tiny_tts_config(n_vq=0), "at least 1"),
    "a pad code outside the tables": (lambda m, b: tiny_tts_config(audio_pad_code=17), "between 0"),
}


@pytest.mark.parametrize("name", BAD_INPUT)
def test_bad_input(model, name):
    call, message = BAD_INPUT[name]
    with pytest.raises(ValueError, match=message):
        call(model, training_batch(model.config))


def test_a_transformers_that_brings_the_model_does_not_break_the_import(golden_folder, monkeypatch):
    """The native port keeps the `model_type`: ours is registered over it, and stays."""
    monkeypatch.setitem(CONFIG_MAPPING._mapping, "moss_tts_delay", "LlamaConfig")
    monkeypatch.setitem(MODEL_MAPPING._model_mapping, "moss_tts_delay", "LlamaModel")
    monkeypatch.delitem(CONFIG_MAPPING._extra_content, "moss_tts_delay")
    transformers_moss_tts.registration.register_with_transformers()
    assert type(AutoModel.from_pretrained(golden_folder / "moss_tts_delay")) is MossTTSDelayModel
