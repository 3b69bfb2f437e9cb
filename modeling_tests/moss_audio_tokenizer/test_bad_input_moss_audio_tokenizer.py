"""Bad input raises ValueError or TypeError that says what was given and how to fix it."""

import pytest
import torch
from tiny_models import tiny_codec, tiny_codec_config

from transformers_moss_tts import MossAudioTokenizerCache


MODEL = tiny_codec()
OTHER = tiny_codec(causal_transformer_context_duration=3.0)
WAVE = torch.randn(2, 64)
CODES = torch.zeros(4, 2, 8, dtype=torch.long)
NAN = torch.full((2, 64), float("nan"))


def mask(*lengths, steps=64):
    return torch.arange(steps) < torch.tensor(lengths)[:, None]


CASES = {
    "audio that is a list": (lambda: MODEL.encode([0.0] * 64), TypeError, "tensor"),
    "integer audio": (lambda: MODEL.encode(WAVE.long()), TypeError, "floating point"),
    "audio of rank 1": (lambda: MODEL.encode(WAVE[0]), ValueError, r"\[None\]"),
    "audio of rank 4": (lambda: MODEL.encode(WAVE[None, None]), ValueError, "shape"),
    "stereo audio": (lambda: MODEL.encode(WAVE[None]), ValueError, "mono"),
    "empty audio": (lambda: MODEL.encode(WAVE[:, :0]), ValueError, "empty"),
    "an empty batch": (lambda: MODEL.encode(WAVE[:0]), ValueError, "empty"),
    "NaN audio": (lambda: MODEL.encode(NAN), ValueError, "NaN"),
    "infinite audio": (lambda: MODEL(NAN.nan_to_num(nan=float("inf"))), ValueError, "infinite"),
    "audio shorter than a frame": (lambda: MODEL.encode(WAVE[:, :7]), ValueError, "8 samples"),
    "a sequence without audio": (lambda: MODEL.encode(WAVE, mask(64, 0)), ValueError, r"\[64, 0\]"),
    "mask of another length": (lambda: MODEL.encode(WAVE, mask(9, 9, steps=60)), ValueError, r"\(2, 60\)"),
    "left padding": (lambda: MODEL.encode(WAVE, mask(64, 60).flip(1)), ValueError, "right padding"),
    "no codebook": (lambda: MODEL.encode(WAVE, num_quantizers=0), ValueError, "at least 1 and at most 4"),
    "five codebooks": (lambda: MODEL.encode(WAVE, num_quantizers=5), ValueError, "at least 1 and at most 4"),
    "float codes": (lambda: MODEL.decode(CODES.float()), TypeError, "integer"),
    "codes that are flags": (lambda: MODEL.decode(CODES.bool()), TypeError, "integer"),
    "codes of rank 1": (lambda: MODEL.decode(CODES[:, 0, 0]), ValueError, "frames"),
    "codes of rank 4": (lambda: MODEL.decode(CODES[None]), ValueError, "frames"),
    "codes of no codebook": (lambda: MODEL.decode(CODES[:0]), ValueError, "no codebook"),
    "codes of no sequence": (lambda: MODEL.decode(CODES[:, :0]), ValueError, "no sequence"),
    "codes of too many codebooks": (lambda: MODEL.decode(CODES.permute(2, 1, 0)), ValueError, "8 codebooks"),
    "more codebooks than given": (lambda: MODEL.decode(CODES[:2], num_quantizers=3), ValueError, "the 2 codebooks"),
    "codes too high": (lambda: MODEL.decode(CODES + 16), ValueError, "between 0 and 15, got values from 16"),
    "negative codes": (lambda: MODEL.decode(CODES - 1), ValueError, "-1"),
    "mask of other codes": (lambda: MODEL.decode(CODES, mask(9, 9, steps=9)), ValueError, r"\(2, 9\)"),
    "nothing": (lambda: MODEL(), ValueError, "either"),
    "audio and codes": (lambda: MODEL(WAVE, audio_codes=CODES), ValueError, "either"),
    "chunk of a part of a frame": (
        lambda: MODEL.encode(WAVE[:, :60], cache=MODEL.init_cache("encoder", 2)),
        ValueError,
        "whole number of frames of 8 samples, got 60",
    ),
    "sequence of a part of a frame": (
        lambda: MODEL.encode(WAVE, mask(64, 60), cache=MODEL.init_cache("encoder", 2)),
        ValueError,
        r"\[64, 60\]",
    ),
    "chunk_duration of a part of a frame": (
        lambda: MODEL.decode(CODES, chunk_duration=0.3),
        ValueError,
        "whole number of frames of 0.25 s",
    ),
    "chunk_duration of 0": (
        lambda: MODEL.encode(WAVE, chunk_duration=0),
        ValueError,
        "`chunk_duration`.* above 0, got 0",
    ),
    "chunk_duration that is infinite": (
        lambda: MODEL.encode(WAVE, chunk_duration=float("inf")),
        ValueError,
        "above 0, got inf",
    ),
    "chunk_duration that is no number": (
        lambda: MODEL.encode(WAVE, chunk_duration=float("nan")),
        ValueError,
        "above 0, got nan",
    ),
    "cache of another kind": (lambda: MODEL.decode(CODES, cache=()), TypeError, "init_cache"),
    "cache of the other half": (
        lambda: MODEL.decode(CODES, cache=MODEL.init_cache("encoder", 2)),
        ValueError,
        "other half",
    ),
    "cache of another model": (
        lambda: MODEL.decode(CODES, cache=OTHER.init_cache("decoder", 2)),
        ValueError,
        "another model",
    ),
    "cache of another batch size": (
        lambda: MODEL.decode(CODES, cache=MODEL.init_cache("decoder", 3)),
        ValueError,
        "3 streams but the batch has 2",
    ),
    "cache of another dtype": (
        lambda: MODEL.decode(CODES, cache=MossAudioTokenizerCache(MODEL.config, "decoder", 2, dtype=torch.bfloat16)),
        ValueError,
        "bfloat16",
    ),
    "cache of no half": (lambda: MODEL.init_cache("middle"), ValueError, "'encoder' or 'decoder'"),
    "cache of no streams": (lambda: MODEL.init_cache("decoder", 0), ValueError, "at least 1"),
    "config with another quantizer": (
        lambda: tiny_codec_config(quantizer_kwargs={"quantizer_type": "rvq"}),
        ValueError,
        "rlfq",
    ),
    "config with another norm": (
        lambda: tiny_codec_config(
            decoder_kwargs=[MODEL.config.decoder_kwargs[0] | {"norm": "rms_norm"}, *MODEL.config.decoder_kwargs[1:]]
        ),
        ValueError,
        "norm='rms_norm'",
    ),
    **{
        f"config with {key}={value!r} in a module": (
            lambda key=key, value=value: tiny_codec_config(
                decoder_kwargs=[MODEL.config.decoder_kwargs[0] | {key: value}, *MODEL.config.decoder_kwargs[1:]]
            ),
            ValueError,
            key,
        )
        for key, value in {
            "num_layers": 10**9,
            "d_model": 0,
            "num_heads": None,
            "dim_feedforward": 1.5,
            "layer_scale": float("nan"),
            "max_period": -1,
            "context_duration": 10**9,
        }.items()
    },
    "config whose widths do not fit": (
        lambda: tiny_codec_config(
            decoder_kwargs=[MODEL.config.decoder_kwargs[0] | {"input_dimension": 13}, *MODEL.config.decoder_kwargs[1:]]
        ),
        ValueError,
        "12 features go into a module that takes 13",
    ),
    "config whose window is empty": (
        lambda: tiny_codec_config(causal_transformer_context_duration=0.01),
        ValueError,
        "less than one position",
    ),
    "config of no modules": (lambda: tiny_codec_config(encoder_kwargs=[]), ValueError, "1 to 256 modules"),
    "config of too many modules": (
        lambda: tiny_codec_config(encoder_kwargs=MODEL.config.encoder_kwargs * 100),
        ValueError,
        "1 to 256 modules",
    ),
    **{
        f"config with {name}={value!r}": (
            lambda name=name, value=value: tiny_codec_config(**{name: value}),
            ValueError,
            name,
        )
        for name, value in {
            "sampling_rate": 0,
            "downsample_rate": -8,
            "causal_transformer_context_duration": float("inf"),
        }.items()
    },
    **{
        f"config with {name}={value!r} in the quantizer": (
            lambda name=name, value=value: tiny_codec_config(
                quantizer_kwargs=MODEL.config.quantizer_kwargs | {name: value}
            ),
            ValueError,
            name,
        )
        for name, value in {"num_quantizers": 2**31, "codebook_size": 2**40, "codebook_dim": 0, "rvq_dim": "x"}.items()
    },
    "config with an unknown dtype": (lambda: tiny_codec_config(compute_dtype="int8"), ValueError, "int8"),
    "config with an unknown module": (
        lambda: tiny_codec_config(encoder_kwargs=[{"module_type": "Conv"}]),
        ValueError,
        "'Conv'",
    ),
    "config whose patches do not fit": (lambda: tiny_codec_config(downsample_rate=9), ValueError, "multiply to 8"),
    "config with odd heads": (
        lambda: tiny_codec_config(
            decoder_kwargs=[MODEL.config.decoder_kwargs[0] | {"num_heads": 3}, *MODEL.config.decoder_kwargs[1:]]
        ),
        ValueError,
        "num_heads=3",
    ),
    "config with a dropout over 1": (lambda: tiny_codec_config(quantizer_dropout=1.5), ValueError, "1.5"),
}


@pytest.mark.parametrize("name", CASES)
def test_bad_input(name):
    call, error, message = CASES[name]
    with pytest.raises(error, match=message):
        call()


@torch.no_grad()
def test_a_refused_chunk_leaves_the_stream_as_it_was():
    cache = MODEL.init_cache("decoder", 2)
    torch.manual_seed(0)
    codes = torch.randint(0, 16, (4, 2, 12))
    first = MODEL.decode(codes[..., :6], cache=cache).audio
    with pytest.raises(ValueError, match="between 0 and 15"):
        MODEL.decode(codes[..., 6:] + 16, cache=cache)
    second = MODEL.decode(codes[..., 6:], cache=cache).audio
    whole = MODEL.decode(codes).audio
    torch.testing.assert_close(torch.cat([first, second], dim=-1), whole, atol=1e-5, rtol=0)
