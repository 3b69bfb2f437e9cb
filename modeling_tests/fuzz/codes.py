"""Codes and the codec: what is encoded and decoded, masks, streams."""

from functools import cache

import torch
from hypothesis import strategies as st
from tiny_models import tiny_codec, tiny_stereo_codec

from .outcomes import Case
from .prompts import processor
from .values import anything, is_number, show


_NAMES = ("codes", "audio_codes", "sequences", "outputs", "decode")
_shape = st.sampled_from(
    [
        (),
        (0,),
        (5,),
        (8, 5),
        (0, 8),
        (5, 8),
        (1, 5, 8),
        (2, 5, 9),
        (5, 7),
        (5, 9),
        (3, 0, 9),
        (1, 1, 1, 1),
        (4, 1, 3),
        (4, 3),
    ]
)
_dtype = st.sampled_from([torch.long, torch.int16, torch.uint8, torch.bool, torch.float32, torch.complex64])
_fill = st.sampled_from([0, -1, 15, 16, 31, 32, 33, 400, 10**6, 2**31, -(2**63)])


@cache
def codec(is_stereo: bool = False):
    return tiny_stereo_codec() if is_stereo else tiny_codec()


def _filled(shape: tuple[int, ...], dtype: torch.dtype, fill) -> torch.Tensor:
    return torch.full(shape, fill).to(dtype)


def _fault_of_waveforms(result) -> str | None:
    waveforms = result if isinstance(result, list) else [result]
    good = all(wave.dtype == torch.float32 and wave.ndim == 1 and torch.isfinite(wave).all() for wave in waveforms)
    return None if good else f"waveforms of shapes {[tuple(wave.shape) for wave in waveforms]}"


@st.composite
def _decoding(draw) -> Case:
    shape, dtype, fill = draw(_shape), draw(_dtype), draw(_fill)
    value = draw(st.one_of(st.just(_filled(shape, dtype, fill)), st.just([_filled(shape, dtype, fill)]), anything))
    prompt_length = draw(st.one_of(st.none(), st.none(), anything))
    label = f"processor.decode({show(value)} of {fill}, {show(prompt_length)})"
    bad = isinstance(value, torch.Tensor) and (value.is_floating_point() or value.is_complex())
    return Case(
        label,
        lambda: processor().decode(value, prompt_length),
        (*_NAMES, "prompt_length"),
        _fault_of_waveforms,
        bad or not isinstance(value, torch.Tensor | list),
    )


@st.composite
def _codec_decoding(draw) -> Case:
    shape, dtype, fill = draw(_shape), draw(_dtype), draw(_fill)
    codes = draw(
        st.one_of(st.just(_filled(shape, dtype, fill)), st.just(torch.zeros(4, 2, 3, dtype=torch.long)), anything)
    )
    name = draw(st.sampled_from(["padding_mask", "num_quantizers", "cache", "chunk_duration", "past_key_values"]))
    value = draw(
        st.one_of(st.none(), anything, st.just(torch.ones(2, 3)), st.just(torch.tensor([[0, 1, 1], [1, 1, 1]])))
    )
    nonsense = name in ("num_quantizers", "chunk_duration") and value is not None
    nonsense = nonsense and not is_number(value, 1e-9, is_whole=name == "num_quantizers")
    return Case(
        f"codec.decode({show(codes)} of {fill}, {name}={show(value)})",
        lambda: codec().decode(codes, **{name: value}),
        (*_NAMES, name, "cache"),
        lambda output: None if torch.isfinite(output.audio).all() else "NaN",
        nonsense,
    )


@st.composite
def _codec_encoding(draw) -> Case:
    shape = draw(
        st.sampled_from(
            [(), (16,), (1, 16), (2, 16), (1, 1, 16), (1, 2, 16), (1, 3, 16), (1, 0), (0, 16), (1, 7), (1, 9)]
        )
    )
    fill = draw(st.sampled_from([0.0, 0.5, 1e38, -1e38, float("nan"), float("inf")]))
    dtype = draw(
        st.sampled_from([torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.long, torch.complex64])
    )
    is_stereo = draw(st.booleans())
    values = draw(st.one_of(st.just(_filled(shape, dtype, fill if dtype.is_floating_point else 0)), anything))
    name = draw(st.sampled_from(["padding_mask", "num_quantizers", "cache", "chunk_duration"]))
    value = draw(
        st.one_of(st.none(), anything, st.just(torch.ones(1, 16)), st.just(codec(is_stereo).init_cache("decoder")))
    )
    nonsense = name in ("num_quantizers", "chunk_duration") and value is not None
    nonsense = nonsense and not is_number(value, 1e-9, is_whole=name == "num_quantizers")
    size = codec(is_stereo).config.codebook_size

    def fault(output) -> str | None:
        codes = output.audio_codes
        return None if codes.numel() == 0 or 0 <= codes.min() <= codes.max() < size else "codes out of range"

    return Case(
        f"codec.encode({show(values)} of {fill}, {name}={show(value)})",
        lambda: codec(is_stereo).encode(values, **{name: value}),
        ("input_values", "samples", name),
        fault,
        nonsense,
    )


@st.composite
def _caches(draw) -> Case:
    part, batch_size = draw(st.one_of(st.sampled_from(["encoder", "decoder"]), anything)), draw(anything)
    nonsense = not isinstance(part, str) or part not in ("encoder", "decoder")
    nonsense = nonsense or not is_number(batch_size, 1, 2**40, is_whole=True)
    return Case(
        f"codec.init_cache({show(part)}, {show(batch_size)})",
        lambda: codec().init_cache(part, batch_size).num_frames,
        ("part", "batch_size"),
        None,
        nonsense,
    )


@st.composite
def _resets(draw) -> Case:
    streams = draw(st.one_of(anything, st.lists(st.integers(-3, 5), max_size=3)))
    return Case(
        f"cache.reset({show(streams)})", lambda: codec().init_cache("decoder", 2).reset(streams), ("streams",), None
    )


cases = st.one_of(_decoding(), _decoding(), _codec_decoding(), _codec_encoding(), _caches(), _resets())
