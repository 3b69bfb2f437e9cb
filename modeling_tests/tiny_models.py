"""Small models for the tests."""

import torch

from transformers_moss_tts import MossAudioTokenizerConfig, MossAudioTokenizerModel


def tiny_codec_config(**overrides) -> MossAudioTokenizerConfig:
    """A codec of 8 samples a frame at 32 Hz (4 frames a second), a window of 2 seconds, four codebooks of 16."""

    def stage(input_dimension, output_dimension, num_layers=1):
        return {
            "module_type": "Transformer",
            "input_dimension": input_dimension,
            "output_dimension": output_dimension,
            "d_model": 16,
            "num_heads": 2,
            "num_layers": num_layers,
            "dim_feedforward": 24,
            "layer_scale": 0.5,
            "max_period": 10000,
        }

    def patch(size):
        return {"module_type": "PatchedPretransform", "patch_size": size}

    kwargs = {
        "sampling_rate": 32,
        "downsample_rate": 8,
        "causal_transformer_context_duration": 2.0,
        "encoder_kwargs": [patch(4), stage(4, 8), patch(2), stage(16, 12, 2)],
        "decoder_kwargs": [stage(12, 16, 2), patch(2), stage(8, 4), patch(4)],
        "quantizer_kwargs": {
            "input_dim": 12,
            "rvq_dim": 10,
            "output_dim": 12,
            "num_quantizers": 4,
            "codebook_size": 16,
            "codebook_dim": 4,
            "quantizer_type": "rlfq",
        },
    }
    return MossAudioTokenizerConfig(**(kwargs | overrides))


def tiny_codec(seed: int = 0, **overrides) -> MossAudioTokenizerModel:
    torch.manual_seed(seed)
    return MossAudioTokenizerModel(tiny_codec_config(**overrides)).eval()
