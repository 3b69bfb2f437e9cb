"""Dtypes of weights and computation, and the calls of the code that came with the release."""

import copy
import json

import pytest
import torch
from tiny_models import tiny_codec, tiny_stereo_codec
from transformers import AutoModel

from transformers_moss_tts import MossAudioTokenizerModel


@pytest.fixture
def saved(tmp_path):
    """Saves the tiny stereo codec with fields of config.json; returns the folder."""

    def saved(**fields):
        tiny_stereo_codec().save_pretrained(tmp_path / "codec")
        config = json.loads((tmp_path / "codec" / "config.json").read_text())
        (tmp_path / "codec" / "config.json").write_text(json.dumps(config | fields))
        return tmp_path / "codec"

    return saved


def dtypes_of(codec) -> tuple[set[torch.dtype], set[torch.dtype]]:
    halves = (codec.encoder, codec.decoder)
    return {p.dtype for half in halves for p in half.parameters()}, {p.dtype for p in codec.quantizer.parameters()}


@pytest.mark.parametrize("door", [AutoModel, MossAudioTokenizerModel])
def test_weights_are_loaded_in_the_dtype_that_is_asked_for(saved, door):
    float32 = {torch.float32}
    folder = saved(dtype="float32", codec_weight_dtype="fp32")
    assert dtypes_of(door.from_pretrained(folder)) == (float32, float32)
    assert dtypes_of(door.from_pretrained(folder, codec_weight_dtype="bf16")) == ({torch.bfloat16}, float32)
    assert dtypes_of(door.from_pretrained(folder, dtype=torch.float16)) == ({torch.float16}, float32)
    folder = saved(dtype="float32", codec_weight_dtype="bf16")
    codec = door.from_pretrained(folder)
    assert dtypes_of(codec) == ({torch.bfloat16}, float32)
    assert dtypes_of(door.from_pretrained(folder, dtype="float32")) == (float32, float32)
    with pytest.raises(ValueError, match="'int8'"):
        door.from_pretrained(folder, codec_weight_dtype="int8")


def test_the_dtype_of_the_weights_is_saved(saved, tmp_path):
    codec = AutoModel.from_pretrained(saved(codec_weight_dtype="fp32"), dtype=torch.bfloat16)
    codec.save_pretrained(tmp_path / "again")
    assert json.loads((tmp_path / "again" / "config.json").read_text())["codec_weight_dtype"] == "bf16"
    assert AutoModel.from_pretrained(tmp_path / "again").dtype == torch.bfloat16


@torch.no_grad()
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_computing_in_half_precision(dtype):
    codec, values = tiny_stereo_codec(), torch.randn(2, 2, 64)
    expected = codec.encode(values)
    codes = expected.audio_codes
    audio = codec.decode(codes).audio
    codec.compute_dtype = dtype
    seen = []
    codec.decoder[0].transformer.layers[0].self_attn.register_forward_hook(lambda *args: seen.append(args[2].dtype))
    encoded, decoded = codec.encode(values), codec.decode(codes)
    assert seen == [dtype] and decoded.audio.dtype == encoded.encoder_hidden_states.dtype == torch.float32
    difference = (decoded.audio - audio).abs().max()
    assert 0 < difference < 0.05 * audio.abs().max()
    cache = codec.init_cache("decoder", batch_size=2)
    assert cache.dtype == dtype
    streamed = torch.cat([codec.decode(part, cache=cache).audio for part in codes.split(3, dim=-1)], dim=-1)
    torch.testing.assert_close(streamed, decoded.audio, atol=2e-2, rtol=0)
    codec.compute_dtype = None
    assert torch.equal(codec.decode(codes).audio, audio)


def test_the_compute_dtype_of_the_release_waits_for_a_gpu(saved):
    codec = AutoModel.from_pretrained(saved(compute_dtype="bf16"))
    assert codec.compute_dtype == torch.float32
    assert copy.deepcopy(codec).compute_dtype == torch.float32
    assert codec.config.preferred_compute_dtype == torch.bfloat16


def test_half_weights_do_not_compute_in_float32():
    codec = tiny_codec().to(torch.bfloat16)
    with pytest.raises(ValueError, match=r"`model.float\(\)`"):
        codec.compute_dtype = torch.float32


@torch.no_grad()
def test_no_frames_are_audio_without_samples():
    for codec, channels in ((tiny_codec(), 1), (tiny_stereo_codec(), 2)):
        codes = torch.zeros(4, 3, 0, dtype=torch.long)
        cache = codec.init_cache("decoder", batch_size=3)
        for outputs in (codec.decode(codes), codec.decode(codes, cache=cache), codec(audio_codes=codes)):
            assert outputs.audio.shape == (3, channels, 0) and outputs.audio_lengths.tolist() == [0, 0, 0]
        assert cache.num_frames.tolist() == [0, 0, 0]


@torch.no_grad()
def test_batches_by_the_names_of_the_release():
    codec = tiny_stereo_codec()
    waves = [torch.randn(2, 32), torch.randn(24)]
    encoded = codec.batch_encode(waves, num_quantizers=3)
    assert encoded.audio_codes.shape == (3, 2, 8) and encoded.audio_codes_lengths.tolist() == [8, 6]
    alone = codec.encode(waves[1].expand(1, 2, -1), num_quantizers=3).audio_codes
    assert torch.equal(encoded.audio_codes[:, 1:, :6], alone)
    decoded = codec.batch_decode([encoded.audio_codes[:, 0], alone[:, 0]], num_quantizers=2)
    assert decoded.audio_lengths.tolist() == [32, 24]
    expected = codec.decode(alone, num_quantizers=2).audio
    torch.testing.assert_close(decoded.audio[1:, :, :24], expected, atol=1e-5, rtol=1e-5)
    for call in (codec.batch_encode, codec.batch_decode):
        with pytest.raises(ValueError, match="got no"):
            call([])
    with pytest.raises(ValueError, match=r"\[3, 2\]"):
        codec.batch_decode([alone[:, 0], alone[:2, 0]])


def test_settings_by_the_names_of_the_release():
    codec = tiny_codec()
    assert codec.sampling_rate == 32
    codec.set_attention_implementation("eager")
    assert codec.config._attn_implementation == "eager"
    codec.set_attention_implementation("flash_attention_2")
    assert codec.config._attn_implementation == "eager"
    codec.set_compute_dtype("bf16")
    assert codec.compute_dtype == torch.bfloat16
    codec.set_compute_dtype("fp32")
    assert codec.compute_dtype == torch.float32
    codec.set_codec_weight_dtype("fp16")
    assert dtypes_of(codec) == ({torch.float16}, {torch.float32})
    with pytest.raises(ValueError, match="fp32, float32, bf16"):
        codec.set_compute_dtype("fp8")
