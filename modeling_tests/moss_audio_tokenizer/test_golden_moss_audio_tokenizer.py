"""The codec against what the reference implementation computed (see modeling_tests/golden/README.md)."""

import json

import pytest
import torch
from checkpoints import assert_same_tensors, released_and_saved_config
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModel, AutoModelForAudioTokenization

from transformers_moss_tts import MossAudioTokenizerConfig, MossAudioTokenizerModel


@pytest.fixture(scope="module")
def folder(golden_folder):
    return golden_folder / "moss_audio_tokenizer"


@pytest.fixture(scope="module")
def golden(folder):
    return load_file(folder / "golden.safetensors")


@pytest.fixture(scope="module")
def model(folder):
    return MossAudioTokenizerModel.from_pretrained(folder)


def batch_of(golden):
    waves = [golden["wav.a"], golden["wav.b"]]
    values = torch.nn.utils.rnn.pad_sequence(waves, batch_first=True)
    mask = torch.arange(values.shape[1]) < torch.tensor([[len(wave)] for wave in waves])
    return values, mask


def assert_same_until(actual, expected, lengths, **tolerance):
    for index, length in enumerate(lengths.tolist()):
        torch.testing.assert_close(actual[index, ..., :length], expected[index, ..., :length], **tolerance)


@torch.no_grad()
def test_encode(model, golden):
    outputs = model.encode(*batch_of(golden))
    torch.testing.assert_close(outputs.audio_codes_lengths, golden["encode.audio_codes_lengths"])
    torch.testing.assert_close(outputs.audio_codes, golden["encode.audio_codes"])
    torch.testing.assert_close(outputs.encoder_hidden_states, golden["encode.hidden"], atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_encode_fewer_codebooks(model, golden):
    outputs = model.encode(*batch_of(golden), num_quantizers=4)
    torch.testing.assert_close(outputs.audio_codes, golden["encode_nq4.audio_codes"])


@torch.no_grad()
def test_decode(model, golden):
    codes, lengths = golden["encode.audio_codes"], golden["encode.audio_codes_lengths"]
    outputs = model.decode(codes, padding_mask=torch.arange(codes.shape[-1]) < lengths[:, None])
    torch.testing.assert_close(outputs.audio_lengths, golden["decode.audio_lengths"])
    assert_same_until(outputs.audio, golden["decode.audio"], outputs.audio_lengths, atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_decode_fewer_codebooks(model, golden):
    codes = golden["encode_nq4.audio_codes"][:, :1]
    expected = golden["decode_nq4.audio"]
    torch.testing.assert_close(model.decode(codes).audio, expected, atol=1e-4, rtol=1e-4)
    all_codes = golden["encode.audio_codes"][:, :1]
    first_four = model.decode(all_codes, num_quantizers=4)
    torch.testing.assert_close(first_four.audio, expected, atol=1e-4, rtol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize("attn_implementation", ["sdpa", "eager"])
def test_past_the_attention_window(folder, golden, attn_implementation):
    model = MossAudioTokenizerModel.from_pretrained(folder, attn_implementation=attn_implementation)
    torch.testing.assert_close(model.encode(golden["long.wav"][None]).audio_codes, golden["long.encoded"])
    torch.testing.assert_close(model.decode(golden["long.codes"]).audio, golden["long.audio"], atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_streamed_decode(model, golden):
    cache = model.init_cache("decoder")
    chunks = golden["long.codes"][..., :40].split(1, dim=-1)
    audio = torch.cat([model.decode(chunk, cache=cache).audio for chunk in chunks], dim=-1)
    torch.testing.assert_close(audio, golden["stream.audio_40"], atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_forward_encodes_and_decodes(model, golden):
    values, mask = batch_of(golden)
    outputs = model(values, padding_mask=mask)
    torch.testing.assert_close(outputs.audio_codes, golden["encode.audio_codes"])
    assert_same_until(outputs.audio, golden["decode.audio"], outputs.audio_lengths, atol=1e-4, rtol=1e-4)
    assert outputs.commitment_loss is None and outputs.codebook_loss is None


@pytest.mark.parametrize("model_type", ["speech_tokenizer", "moss-audio-tokenizer"])
def test_auto_classes_load_both_spellings(folder, tmp_path, model_type):
    config = json.loads((folder / "config.json").read_text()) | {"model_type": model_type}
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes())
    assert type(AutoConfig.from_pretrained(tmp_path)) is MossAudioTokenizerConfig
    assert type(MossAudioTokenizerConfig.from_pretrained(tmp_path)) is MossAudioTokenizerConfig
    for auto_class in (AutoModel, AutoModelForAudioTokenization):
        model = auto_class.from_pretrained(tmp_path)
        assert type(model) is MossAudioTokenizerModel
        assert model.config.model_type == model_type


def test_round_trip_keeps_every_tensor_and_field(folder, model, tmp_path):
    model.save_pretrained(tmp_path)
    assert_same_tensors(folder, tmp_path)
    released, saved = released_and_saved_config(folder, tmp_path)
    assert saved == released


def test_weight_norm_loads_under_both_spellings(folder, model, tmp_path):
    old_names = {
        "parametrizations.weight.original0": "weight_g",
        "parametrizations.weight.original1": "weight_v",
    }
    weights = load_file(folder / "model.safetensors")
    for new, old in old_names.items():
        weights = {name.replace(new, old): tensor for name, tensor in weights.items()}
    assert "quantizer.input_proj.weight_g" in weights
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    (tmp_path / "config.json").write_text((folder / "config.json").read_text())
    loaded = MossAudioTokenizerModel.from_pretrained(tmp_path).state_dict()
    for name, tensor in model.state_dict().items():
        torch.testing.assert_close(loaded[name], tensor, atol=0, rtol=0)


@pytest.mark.parametrize("change", ["missing", "unexpected"])
def test_incomplete_checkpoint_is_refused(folder, tmp_path, change):
    weights = load_file(folder / "model.safetensors")
    if change == "missing":
        name = "decoder.0.output_proj.weight"
        del weights[name]
    else:
        name = "decoder.0.bias"
        weights[name] = torch.zeros(1)
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    (tmp_path / "config.json").write_text((folder / "config.json").read_text())
    for load in (MossAudioTokenizerModel.from_pretrained, AutoModel.from_pretrained):
        with pytest.raises(ValueError, match=f"1 {change} weights .*{name}"):
            load(tmp_path)


@torch.no_grad()
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_quantizer_stays_float32(folder, model, golden, dtype):
    loaded = MossAudioTokenizerModel.from_pretrained(folder, dtype=dtype)
    moved = MossAudioTokenizerModel.from_pretrained(folder).to(dtype)
    built = MossAudioTokenizerModel._from_config(model.config, dtype=dtype)
    reference = model.quantizer.state_dict()
    for other in (loaded, moved, built):
        assert other.dtype == dtype
        assert {tensor.dtype for tensor in other.quantizer.state_dict().values()} == {torch.float32}
    for other in (loaded, moved):
        for name, tensor in other.quantizer.state_dict().items():
            torch.testing.assert_close(tensor, reference[name], atol=0, rtol=0)
    codes = golden["long.codes"][..., :20]
    expected = model.decode(codes).audio
    for other in (loaded, moved):
        audio = other.decode(codes).audio
        assert audio.dtype == dtype
        assert (audio.float() - expected).abs().max() < 0.05 * expected.abs().max()
