"""The stereo codec of MOSS-TTS-Nano against what the reference implementation computed (see modeling_tests/golden/README.md)."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModel

from transformers_moss_tts import MossAudioTokenizerModel
from transformers_moss_tts.moss_audio_tokenizer.stages_moss_audio_tokenizer import transformer_stages


@pytest.fixture(scope="module")
def folder(golden_folder):
    return golden_folder / "moss_audio_tokenizer_nano"


@pytest.fixture(scope="module")
def golden(folder):
    return load_file(folder / "golden.safetensors")


@pytest.fixture(scope="module")
def facts(folder):
    return json.loads((folder / "golden.json").read_text())


@pytest.fixture(scope="module")
def model(folder):
    return MossAudioTokenizerModel.from_pretrained(folder)


def mask_of(lengths, steps):
    return torch.arange(steps) < lengths[:, None]


def assert_same_until(actual, expected, lengths):
    for index, length in enumerate(lengths.tolist()):
        torch.testing.assert_close(actual[index, ..., :length], expected[index, ..., :length], atol=1e-4, rtol=1e-4)


def test_shape(model, facts):
    for part, windows in facts["facts"]["windows"].items():
        assert [stage["window"] for stage in transformer_stages(model.config, part)] == windows
    assert model.num_parameters() == facts["facts"]["parameters"]
    assert len(model.state_dict()) == facts["facts"]["tensors"]


@torch.no_grad()
def test_encode(model, golden, facts):
    waves = [golden["wav.a"], golden["wav.b"]]
    values = torch.nn.utils.rnn.pad_sequence([wave.T for wave in waves], batch_first=True).transpose(1, 2)
    mask = mask_of(torch.tensor([wave.shape[1] for wave in waves]), values.shape[2])
    outputs = model.encode(values, padding_mask=mask)
    lengths = golden["encode.audio_codes_lengths"]
    torch.testing.assert_close(outputs.audio_codes_lengths, lengths)
    few = model.encode(values, padding_mask=mask, num_quantizers=facts["few"]).audio_codes
    for index, length in enumerate(lengths.tolist()):
        for codes, name in ((outputs.audio_codes, "encode.audio_codes"), (few, "encode_few.audio_codes")):
            assert torch.equal(codes[:, index, :length], golden[name][:, index, :length])
    mono = model.encode(golden["wav.mono"][None]).audio_codes
    frames = golden["wav.mono"].shape[1] // model.config.downsample_rate
    assert torch.equal(mono[..., :frames], golden["encode_mono.audio_codes"].view_as(mono)[..., :frames])


@torch.no_grad()
def test_decode(model, golden, facts):
    codes, lengths = golden["encode.audio_codes"], golden["encode.audio_codes_lengths"]
    outputs = model.decode(codes, padding_mask=mask_of(lengths, codes.shape[2]))
    torch.testing.assert_close(outputs.audio_lengths, golden["decode.audio_lengths"])
    assert_same_until(outputs.audio, golden["decode.audio"], outputs.audio_lengths)
    few = model.decode(codes[:, :1], num_quantizers=facts["few"]).audio
    torch.testing.assert_close(few, golden["decode_few.audio"], atol=1e-4, rtol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize("attn_implementation", ["sdpa", "eager"])
def test_past_the_attention_windows(folder, golden, attn_implementation):
    model = MossAudioTokenizerModel.from_pretrained(folder, attn_implementation=attn_implementation)
    assert model.config._attn_implementation == attn_implementation
    codes = golden["long.codes"]
    torch.testing.assert_close(model.decode(codes).audio, golden["long.audio"], atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_one_of_two_streams(model, golden):
    codes, cache = golden["long.codes"], model.init_cache("decoder", batch_size=2)
    expected, parts, start = golden["stream.audio_row1"], [], 0
    for frames in (2, 0, 3, 0, 5):
        # The other stream has two frames each time.
        chunk = torch.zeros(codes.shape[0], 2, max(frames, 2), dtype=torch.long)
        chunk[:, 1, :frames] = codes[:, 0, start : start + frames]
        mask = mask_of(torch.tensor([2, frames]), chunk.shape[2])
        audio = model.decode(chunk, padding_mask=mask, cache=cache).audio
        parts.append(audio[1, :, : frames * model.config.downsample_rate])
        start += frames
    torch.testing.assert_close(torch.cat(parts, -1).view_as(expected), expected, atol=1e-4, rtol=1e-4)


def test_other_spellings_load(folder, model, tmp_path):
    fields = json.loads((folder / "config.json").read_text())
    spelled = {
        "number_channels": "channels_numbers",
        "attention_implementation": "attention_backend",
        "compute_dtype": "codec_compute_dtype",
    }
    renamed = {spelled.get(name, name): value for name, value in fields.items()}
    # Without `decoder_kwargs` the reversed ones are read; the golden windows of the two differ.
    del renamed["decoder_kwargs"]
    shutil.copytree(folder, tmp_path / "model")
    (tmp_path / "model" / "config.json").write_text(json.dumps(renamed))
    loaded = AutoModel.from_pretrained(tmp_path / "model")
    for name in spelled:
        assert getattr(loaded.config, name) == fields[name]
    modules = [dict(module) for module in fields["decoder_kwargs"]]
    seconds = [module["context_duration"] for module in fields["encoder_kwargs"] if "context_duration" in module]
    for module in modules:
        if "context_duration" in module:
            module["context_duration"] = seconds.pop()
    assert loaded.config.decoder_kwargs == modules
    for name, tensor in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor)


def test_the_config_is_saved_as_it_came(folder, model, tmp_path):
    model.save_pretrained(tmp_path)
    fields, saved = (json.loads((path / "config.json").read_text()) for path in (folder, tmp_path))
    for name in ("transformers_version", "auto_map", "sample_rate"):
        del fields[name]
    assert {name: saved.get(name) for name in fields} == fields
