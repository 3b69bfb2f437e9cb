# Copyright 2026 The transformers-moss-tts team. All rights reserved.
#
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#
#     http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.
"""Codecs that begin as linear codecs of recordings."""

import numpy as np
import pytest
import torch
from tiny_models import tiny_codec, tiny_stereo_codec

from transformers_moss_tts import MossAudioTokenizerConfig, MossAudioTokenizerModel
from transformers_moss_tts.bundled_models import bundled_model
from transformers_moss_tts.training import initialize_codebooks, initialize_linear, load_recordings
from transformers_moss_tts.utils.pitch import pitch_agreement


def stage(inputs: int, outputs: int, width: int) -> dict:
    sizes = {"input_dimension": inputs, "output_dimension": outputs, "d_model": width, "num_heads": 2}
    return (
        {"module_type": "Transformer", "num_layers": 1, "dim_feedforward": 24, "layer_scale": 1e-4}
        | sizes
        | {"max_period": 10000}
    )


def patch(size: int) -> dict:
    return {"module_type": "PatchedPretransform", "patch_size": size}


def quantizer(width: int, rvq_dim: int, codebook_dim: int) -> dict:
    sizes = {"input_dim": width, "output_dim": width, "rvq_dim": rvq_dim, "codebook_dim": codebook_dim}
    return sizes | {"num_quantizers": 4, "codebook_size": 16, "quantizer_type": "rlfq"}


def mirrored(ends: tuple, widths: tuple, decoder_widths: tuple, quantizer_kwargs: dict) -> dict:
    """A config of two stages between patches of 4 and 2, whose decoder mirrors the encoder with widths of its own."""
    (first, middle), (inner, last) = ends
    return {
        "encoder_kwargs": [patch(4), stage(first, middle, widths[0]), patch(2), stage(inner, last, widths[1])],
        "decoder_kwargs": [
            stage(last, inner, decoder_widths[1]),
            patch(2),
            stage(middle, first, decoder_widths[0]),
            patch(4),
        ],
        "quantizer_kwargs": quantizer_kwargs,
    }


# Projections of all kinds: to more and to fewer features, and left out because the widths agree.
CONFIGS = {
    "wide": mirrored(((4, 8), (16, 12)), (16, 16), (16, 16), quantizer(12, 10, 4)),
    "narrow": mirrored(((4, 3), (6, 5)), (8, 12), (20, 8), quantizer(5, 4, 3)),
    "without projections": mirrored(((4, 4), (8, 8)), (4, 8), (4, 16), quantizer(8, 8, 8)),
    "half without": mirrored(((4, 8), (16, 8)), (8, 16), (4, 8), quantizer(8, 5, 6)),
}


def slow_tones(rate: int, channels: int | None = None, count: int = 30) -> list[np.ndarray]:
    """Tones far below the rate of the patches, which few principal components hold, and a little noise."""
    draw = np.random.default_rng(0)
    time = np.arange(7 * rate) / rate
    recordings = []
    for _ in range(count):
        tone = 9000 * np.sin(2 * np.pi * draw.uniform(0.2, 2.0) * time + draw.uniform(0, 6))
        stereo = tone if channels is None else np.stack([tone, 0.5 * tone])
        recordings.append((stereo + draw.normal(0, 30, stereo.shape)).astype(np.int16))
    return recordings


def waveform_of(recording: np.ndarray, model: MossAudioTokenizerModel) -> torch.Tensor:
    samples = np.atleast_2d(recording)
    whole = samples.shape[1] // model.config.downsample_rate * model.config.downsample_rate
    return torch.from_numpy(samples[:, :whole].astype(np.float32) / 32767)[None]


def error(decoded: torch.Tensor, waveform: torch.Tensor) -> float:
    return float((decoded - waveform).pow(2).sum() / waveform.pow(2).sum())


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("is_stereo", [False, True])
def test_an_untrained_codec_gives_back_what_is_slow(name, is_stereo):
    build = tiny_stereo_codec if is_stereo else tiny_codec
    model = build(**CONFIGS[name])
    recordings = slow_tones(model.config.sampling_rate, 2 if is_stereo else None)
    waveform = waveform_of(recordings[0], model)
    kept = initialize_linear(model, recordings)
    assert len(kept) == 3 and 0.97 < kept[-1] < 1.0001
    left = initialize_codebooks(model, recordings)
    assert left == sorted(left, reverse=True) and left[-1] < 0.05
    with torch.no_grad():
        assert error(model(waveform).audio, waveform) < 0.06
        assert error(model(waveform, num_quantizers=1).audio, waveform) > error(model(waveform).audio, waveform)


def test_with_a_dimension_to_spare_the_nearest_code_is_the_nearest_by_distance():
    model = tiny_codec(**CONFIGS["wide"])
    recordings = slow_tones(32)
    initialize_linear(model, recordings)
    initialize_codebooks(model, recordings)
    codebook = model.quantizer.quantizers[0]
    with torch.no_grad():
        states = model.encode(waveform_of(recordings[1], model)).encoder_hidden_states
        latents = codebook.in_proj(model.quantizer.input_proj(states))
        distances = torch.cdist(latents[0].t(), codebook.codebook.weight)
        agree = (codebook.nearest(latents)[0] == distances.argmin(1)).float().mean()
        without_constant = codebook.out_proj(torch.eye(4)[None, :, 3:]) - codebook.out_proj.bias[:, None]
    assert agree > 0.95 and without_constant.abs().max() == 0


def test_codebooks_code_the_dimensions_that_they_are_given():
    config = CONFIGS["wide"]
    recordings = slow_tones(32)
    model = tiny_codec(**config)
    initialize_linear(model, recordings)
    first, rest = slice(4), slice(4, 10)
    initialize_codebooks(model, recordings, dimensions=[first, rest, first, rest])
    with torch.no_grad():
        states = model.encode(waveform_of(recordings[1], model)).encoder_hidden_states
        residual = model.quantizer.input_proj(states)
        for index, codebook in enumerate(model.quantizer.quantizers):
            decoded = codebook.decode(codebook.nearest(codebook.in_proj(residual)))
            coded, other = (
                decoded[:, part].abs().max() for part in ((first, rest) if index % 2 == 0 else (rest, first))
            )
            assert coded > 1e-3 and other == 0
            residual = residual - decoded


def test_a_trained_step_keeps_everything_finite():
    model = tiny_codec(**CONFIGS["narrow"]).train()
    recordings = slow_tones(32)
    initialize_linear(model, recordings)
    initialize_codebooks(model, recordings)
    assert model.training
    outputs = model(waveform_of(recordings[0], model))
    (outputs.audio.pow(2).mean() + outputs.commitment_loss + outputs.codebook_loss).backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)


def test_what_cannot_be_initialized_is_said():
    config = CONFIGS["wide"]
    model = tiny_codec(**{**config, "decoder_kwargs": [stage(12, 8, 16), patch(8), stage(1, 1, 16)]})
    with pytest.raises(ValueError, match="mirrors the encoder"):
        initialize_linear(model, slow_tones(32))
    with pytest.raises(ValueError, match="as long as one frame, 8 samples"):
        initialize_linear(tiny_codec(), [np.ones(7, np.int16)])
    with pytest.raises(ValueError, match="2 frames, but a codebook has 16 codes"):
        initialize_codebooks(tiny_codec(), [np.ones(17, np.int16)])
    with pytest.raises(ValueError, match="`dimensions` of 1 codebooks, but the codec has 4"):
        initialize_codebooks(tiny_codec(**config), slow_tones(32), dimensions=[slice(4)])
    with pytest.raises(ValueError, match="`codebook_dim` must differ from `rvq_dim`"):
        initialize_codebooks(tiny_codec(**CONFIGS["without projections"]), slow_tones(32), dimensions=[slice(4)] * 4)


def speech_codec() -> MossAudioTokenizerModel:
    """A codec at the released rates, 24 kHz and 12.5 frames a second, with 32 codebooks of 32."""
    ends = ((240, 96), (192, 128), (256, 192), (384, 64))
    stages = [stage(first, last, 64 * (index + 2)) | {"layer_scale": 0.05} for index, (first, last) in enumerate(ends)]
    encoder = [module for size, part in zip((240, 2, 2, 2), stages) for module in (patch(size), part)]
    decoder = [
        module
        if "patch_size" in module
        else stage(module["output_dimension"], module["input_dimension"], module["d_model"])
        for module in reversed(encoder)
    ]
    sizes = {"num_quantizers": 32, "codebook_size": 32}
    torch.manual_seed(0)
    config = MossAudioTokenizerConfig(
        encoder_kwargs=encoder, decoder_kwargs=decoder, quantizer_kwargs=quantizer(64, 64, 49) | sizes
    )
    return MossAudioTokenizerModel(config).eval()


def test_the_decoded_pitch_is_the_recordings():
    """Of a codec that has heard three seconds of speech and was not trained."""
    model = speech_codec()
    recordings = load_recordings([f"{bundled_model('moss-tts-local-tiny-bm-george')}/voice.ogg"], 24000)
    waveform = waveform_of(recordings[0], model)
    initialize_linear(model, recordings)
    initialize_codebooks(model, recordings)
    with torch.no_grad():
        decoded = model.decode(model.encode(waveform).audio_codes).audio
    agreement = pitch_agreement(waveform[0, 0].numpy(), decoded[0, 0].numpy(), 24000)
    assert agreement["f0_accuracy"] > 0.9 and agreement["gross_pitch_error"] < 0.05
