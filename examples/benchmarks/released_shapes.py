"""The shapes of the released checkpoints."""

from typing import Any

from transformers_moss_tts import (
    MossAudioTokenizerConfig,
    MossTTSDelayConfig,
    MossTTSLocalConfig,
    MossTTSLocalV1Config,
    MossTTSNanoConfig,
)


def qwen3(
    hidden_size: int, intermediate_size: int, num_layers: int, num_heads: int, vocab_size: int
) -> dict[str, Any]:
    return {
        "hidden_size": hidden_size,
        "intermediate_size": intermediate_size,
        "num_hidden_layers": num_layers,
        "num_attention_heads": num_heads,
        "num_key_value_heads": 8,
        "head_dim": 128,
        "vocab_size": vocab_size,
    }


def local_backbone(vocab_size: int = 155648) -> dict[str, Any]:
    """Of MOSS-TTS-Local-Transformer (1.7B)."""
    return qwen3(2048, 6144, 28, 16, vocab_size)


def patch(size: int) -> dict[str, Any]:
    return {"module_type": "PatchedPretransform", "patch_size": size}


def stage(inputs: int, outputs: int, layers: int, width: int, heads: int, seconds: float = 10.0) -> dict[str, Any]:
    return {
        "module_type": "Transformer",
        "input_dimension": inputs,
        "output_dimension": outputs,
        "num_layers": layers,
        "d_model": width,
        "num_heads": heads,
        "dim_feedforward": 4 * width,
        "layer_scale": 0.01,
        "max_period": 10000,
        "context_duration": seconds,
    }


def stereo_codec(encoder: list, decoder: list, num_quantizers: int) -> MossAudioTokenizerConfig:
    kwargs = {"input_dim": 768, "output_dim": 768, "rvq_dim": 512, "codebook_size": 1024, "codebook_dim": 8}
    return MossAudioTokenizerConfig(
        sampling_rate=48000,
        downsample_rate=3840,
        number_channels=2,
        encoder_kwargs=encoder,
        decoder_kwargs=decoder,
        quantizer_kwargs=kwargs | {"num_quantizers": num_quantizers, "quantizer_type": "rlfq"},
    )


def second_codec() -> MossAudioTokenizerConfig:
    """Six stages each way, 32 layers of width 1280 at 12.5 Hz and 12 of width 768 at each rate above."""
    encoder = [patch(240), stage(240, 384, 12, 768, 12)]
    encoder += [patch(2), stage(768, 384, 12, 768, 12)] * 3
    encoder += [patch(2), stage(768, 640, 12, 768, 12), patch(2), stage(1280, 768, 32, 1280, 20)]
    decoder = [stage(768, 1280, 32, 1280, 20), patch(2), stage(640, 768, 12, 768, 12), patch(2)]
    decoder += [stage(384, 768, 12, 768, 12), patch(2)] * 3 + [stage(384, 240, 12, 768, 12), patch(240)]
    return stereo_codec(encoder, decoder, 32)


def nano_codec() -> MossAudioTokenizerConfig:
    encoder = [patch(240), stage(240, 384, 4, 256, 4, 4.0)]
    encoder += [patch(2), stage(768, 384, 2, 256, 4, 6.0), patch(2), stage(768, 384, 2, 256, 4, 8.0)]
    encoder += [patch(2), stage(768, 192, 4, 256, 4, 10.0), patch(4)]
    decoder = [patch(4), stage(192, 768, 4, 256, 4, 10.0), patch(2), stage(384, 768, 2, 256, 4, 8.0)]
    decoder += [patch(2), stage(384, 768, 2, 256, 4, 6.0), patch(2), stage(384, 240, 4, 256, 4, 4.0), patch(240)]
    return stereo_codec(encoder, decoder, 16)


def released_local() -> MossTTSLocalConfig:
    local = {"n_layer": 1, "n_head": 32, "n_inner": 9728, "rope_base": 1e6}
    return MossTTSLocalConfig(language_config=qwen3(2560, 9728, 36, 32, 151936), gpt2_config=local)


# Configuration, and the numbers of parameters and tensors in the released files.
RELEASED = {
    "MOSS-TTS-v1.5": (
        lambda: MossTTSDelayConfig(language_config=qwen3(4096, 12288, 36, 32, 155648)),
        8_489_841_664,
        463,
    ),
    "MOSS-TTS-Local-Transformer": (
        lambda: MossTTSLocalV1Config(language_config=local_backbone()),
        3_060_606_464,
        556,
    ),
    "MOSS-TTS-Local-Transformer-v1.5": (released_local, 4_550_403_584, 438),
    # As state dicts have them, the tied weights twice: 117,311,232 parameters, and 12.6 M and 12.6 M of heads.
    "MOSS-TTS-Nano": (MossTTSNanoConfig, 117_311_232 + 16384 * 768 + 16 * 1024 * 768, 194),
    "MOSS-Audio-Tokenizer": (MossAudioTokenizerConfig, 1_774_566_400, 1600),
    "MOSS-Audio-Tokenizer-v2": (second_codec, 2_123_701_248, 2094),
    "MOSS-Audio-Tokenizer-Nano": (nano_codec, 21_969_664, 374),
}
# Generators, and the codec that each speaks with.
CODEC_OF = {
    "MOSS-TTS-v1.5": "MOSS-Audio-Tokenizer",
    "MOSS-TTS-Local-Transformer": "MOSS-Audio-Tokenizer",
    "MOSS-TTS-Local-Transformer-v1.5": "MOSS-Audio-Tokenizer-v2",
    "MOSS-TTS-Nano": "MOSS-Audio-Tokenizer-Nano",
}
