"""The second release: two channels in one stream, parameter names of its own; everything else is the first release's."""

import json

import pytest
import torch
from safetensors.torch import load_file
from tiny_models import tiny_codec, tiny_codec_config, tiny_stereo_codec
from transformers import AutoConfig, AutoModel

from transformers_moss_tts import MossAudioTokenizerConfig, MossAudioTokenizerModel
from transformers_moss_tts.moss_audio_tokenizer.inputs_moss_audio_tokenizer import (
    interleave_channels,
    split_channels,
)
from transformers_moss_tts.moss_audio_tokenizer.stages_moss_audio_tokenizer import transformer_stages


NUM_FRAMES = 37
V2_NAMES = {
    ".self_attn.in_projs.0.": ".self_attn.in_proj.",
    ".self_attn.out_projs.0.": ".self_attn.out_proj.",
    ".linear1.": ".ffn.0.",
    ".linear2.": ".ffn.2.",
}


def released_config() -> dict:
    """config.json as the release has it: 48 kHz stereo, six stages each way. The widths between stages are made up."""

    def stage(inputs, outputs, layers=12, width=768):
        return {
            "module_type": "Transformer",
            "input_dimension": inputs,
            "output_dimension": outputs,
            "d_model": width,
            "num_heads": width // 64,
            "num_layers": layers,
            "dim_feedforward": 4 * width,
            "causal": True,
            "conv_layout": True,
            "gating": "none",
            "layer_scale": 0.01,
            "max_period": 10000,
            "norm": "layer_norm",
            "positional_embedding": "rope",
        }

    def patch(size):
        return {"module_type": "PatchedPretransform", "patch_size": size}

    encoder, decoder = [patch(240), stage(240, 384)], [stage(384, 240), patch(240)]
    for _ in range(4):
        encoder += [patch(2), stage(768, 384)]
        decoder = [stage(384, 768), patch(2), *decoder]
    encoder += [patch(2), stage(768, 768, 32, 1280)]
    decoder = [stage(768, 768, 32, 1280), patch(2), *decoder]
    return {
        "model_type": "moss-audio-tokenizer",
        "sample_rate": 48000,
        "downsample_rate": 3840,
        "number_channels": 2,
        "enable_channel_interleave": True,
        "attention_implementation": "sdpa",
        "compute_dtype": "fp32",
        "codec_weight_dtype": "fp32",
        "causal_transformer_context_duration": 10,
        "encoder_kwargs": encoder,
        "decoder_kwargs": decoder,
        "quantizer_type": "rlfq",
        "quantizer_kwargs": {
            "input_dim": 768,
            "rvq_dim": 512,
            "output_dim": 768,
            "num_quantizers": 32,
            "codebook_size": 1024,
            "codebook_dim": 8,
            "quantizer_type": "rlfq",
        },
    }


def with_weights_of(source: MossAudioTokenizerModel, target: MossAudioTokenizerModel) -> MossAudioTokenizerModel:
    # Where the widths agree the first release has no projection: the identity.
    renamed = {
        name: torch.eye(len(weight)) for name, weight in target.state_dict().items() if "put_proj.weight" in name
    }
    for name, weight in source.state_dict().items():
        for v1, v2 in V2_NAMES.items():
            name = name.replace(v1, v2)
        renamed[name] = weight
    target.load_state_dict(renamed)
    return target


@pytest.fixture(scope="module")
def stereo():
    return tiny_stereo_codec()


@pytest.fixture(scope="module")
def waves():
    torch.manual_seed(2)
    return torch.randn(2, 2, NUM_FRAMES * 4)


def test_splitting_undoes_interleaving():
    waves = torch.randn(3, 2, 5)
    stream = interleave_channels(waves)
    assert torch.equal(stream[:, ::2], waves[:, 0]) and torch.equal(stream[:, 1::2], waves[:, 1])
    assert torch.equal(split_channels(stream, 2), waves)
    assert torch.equal(interleave_channels(split_channels(stream, 2)), stream)
    mono = torch.randn(3, 1, 5)
    assert torch.equal(split_channels(interleave_channels(mono), 1), mono)


@torch.no_grad()
def test_one_channel_equals_the_first_release(waves):
    first = tiny_codec()
    second = with_weights_of(first, tiny_codec(1, number_channels=1))
    expected, got = first(waves[:, 0]), second(waves[:, 0])
    assert torch.equal(got.audio_codes, expected.audio_codes)
    assert torch.equal(got.audio, expected.audio)


@torch.no_grad()
def test_two_channels_are_one_stream_at_twice_the_rate(stereo, waves):
    stream_codec = with_weights_of(stereo, tiny_codec(1, number_channels=1))  # 8 samples a frame at 32 Hz
    assert stereo.config.frame_rate == stream_codec.config.frame_rate
    encoded, expected = stereo.encode(waves), stream_codec.encode(interleave_channels(waves))
    assert torch.equal(encoded.audio_codes, expected.audio_codes)
    assert torch.equal(encoded.audio_codes_lengths, expected.audio_codes_lengths)
    decoded, stream = stereo.decode(encoded.audio_codes), stream_codec.decode(encoded.audio_codes)
    assert decoded.audio.shape == (2, 2, NUM_FRAMES * 4)
    assert torch.equal(decoded.audio, split_channels(stream.audio[:, 0], 2))
    assert decoded.audio_lengths.tolist() == [NUM_FRAMES * 4] * 2
    torch.testing.assert_close(stereo(waves).audio, decoded.audio, atol=1e-5, rtol=0)


@torch.no_grad()
@pytest.mark.parametrize("chunk", [1, 2, 5, 8, 9, 17])
def test_streamed_chunks_equal_the_whole(stereo, waves, chunk):
    cache = stereo.init_cache("encoder", batch_size=2)
    parts = [stereo.encode(part, cache=cache).audio_codes for part in waves.split(chunk * 4, dim=-1)]
    with torch.enable_grad():
        codes = stereo.encode(waves).audio_codes
        audio = stereo.decode(codes).audio
    assert torch.equal(torch.cat(parts, dim=-1), codes)
    cache = stereo.init_cache("decoder", batch_size=2)
    parts = [stereo.decode(part, cache=cache).audio for part in codes.split(chunk, dim=-1)]
    torch.testing.assert_close(torch.cat(parts, dim=-1), audio, atol=1e-5, rtol=0)
    chunked = stereo.decode(codes, chunk_duration=chunk / stereo.config.frame_rate).audio
    torch.testing.assert_close(chunked, audio, atol=1e-5, rtol=0)


@torch.no_grad()
def test_waveforms_of_a_padded_batch_equal_single_runs(stereo, waves):
    mask = torch.arange(waves.shape[-1]) < torch.tensor([[waves.shape[-1]], [41]])
    batch = stereo.encode(waves, padding_mask=mask)
    assert batch.audio_codes_lengths.tolist() == [NUM_FRAMES, 10]
    alone = stereo.encode(waves[1:, :, :41])
    assert torch.equal(batch.audio_codes[:, 1, :10], alone.audio_codes[:, 0, :10])


@torch.no_grad()
def test_mono_is_heard_on_both_sides(stereo, waves):
    both = stereo.encode(waves[:, :1].expand(-1, 2, -1)).audio_codes
    assert torch.equal(stereo.encode(waves[:, 0]).audio_codes, both)
    assert torch.equal(stereo.encode(waves[:, :1]).audio_codes, both)


def test_the_released_shape_loads_and_is_kept(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(released_config()))
    config = AutoConfig.from_pretrained(tmp_path)
    assert type(config) is MossAudioTokenizerConfig
    assert (config.sampling_rate, config.frame_rate, config.num_channels) == (48000, 12.5, 2)
    windows = [stage["window"] for stage in transformer_stages(config, "encoder")]
    assert windows == [4000, 2000, 1000, 500, 250, 125]
    with torch.device("meta"):
        model = AutoModel.from_config(config)
    names = set(model.state_dict())
    layer = "decoder.2.transformer.layers.11."
    for name in ("self_attn.in_proj.weight", "self_attn.out_proj.weight", "ffn.0.weight", "ffn.2.weight"):
        assert layer + name in names
    # Both projections stand at every stage of the second release, also where the widths agree.
    assert all(
        f"decoder.{2 * index}.{side}_proj.weight" in names for index in range(6) for side in ("input", "output")
    )
    config.save_pretrained(tmp_path / "again")
    again = json.loads((tmp_path / "again" / "config.json").read_text())
    kept = released_config() | {"sampling_rate": 48000}
    assert {name: again[name] for name in kept if name != "sample_rate"} == {
        name: value for name, value in kept.items() if name != "sample_rate"
    }


def test_saving_keeps_names_and_sound(stereo, waves, tmp_path):
    stereo.save_pretrained(tmp_path)
    assert set(load_file(tmp_path / "model.safetensors")) == set(stereo.state_dict())
    again = AutoModel.from_pretrained(tmp_path).eval()
    with torch.no_grad():
        assert torch.equal(again(waves).audio, stereo(waves).audio)


def test_the_first_release_says_nothing_of_channels(tmp_path):
    tiny_codec_config().save_pretrained(tmp_path)
    saved = json.loads((tmp_path / "config.json").read_text())
    assert not {"number_channels", "enable_channel_interleave"} & set(saved)


def test_stages_may_have_windows_of_their_own():
    config = tiny_codec_config(number_channels=1)
    encoder = [dict(module) for module in config.encoder_kwargs]
    encoder[1]["context_duration"] = 1.3  # seconds at 8 Hz
    config = tiny_codec_config(number_channels=1, encoder_kwargs=encoder)
    assert [stage["window"] for stage in transformer_stages(config, "encoder")] == [10, 5]
    # Where the others say nothing, the encoder's shortest holds: 1.3 s at 4 Hz and at 8 Hz.
    assert [stage["window"] for stage in transformer_stages(config, "decoder")] == [5, 10]


def test_bad_channels(stereo):
    with pytest.raises(ValueError, match="number_channels=2, enable_channel_interleave=False"):
        tiny_codec_config(number_channels=2, downsample_rate=4, enable_channel_interleave=False)
    with pytest.raises(ValueError, match="number_channels=3"):
        tiny_codec_config(number_channels=3)
    with pytest.raises(ValueError, match="with 2 channel"):
        tiny_codec_config(number_channels=2)
    with pytest.raises(ValueError, match=r"be mono, got \(1, 2, 80\)"):
        tiny_codec().encode(torch.randn(1, 2, 80))
    with pytest.raises(ValueError, match=r"mono or stereo, got \(1, 3, 80\)"):
        stereo.encode(torch.randn(1, 3, 80))
