"""Small models for the tests."""

from pathlib import Path

import torch
from transformers import AutoTokenizer

from transformers_moss_tts import (
    MossAudioTokenizerConfig,
    MossAudioTokenizerModel,
    MossTTSDelayConfig,
    MossTTSDelayModel,
    MossTTSDelayProcessor,
    MossTTSLocalConfig,
    MossTTSLocalModel,
    MossTTSLocalV1Config,
    MossTTSLocalV1Model,
    MossTTSNanoConfig,
    MossTTSNanoModel,
)


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


def tiny_stereo_codec(seed: int = 0, **overrides) -> MossAudioTokenizerModel:
    """The tiny codec in the format of the second release, at 16 Hz with two channels: the same stream of 32 samples a second."""
    return tiny_codec(seed, **({"number_channels": 2, "downsample_rate": 4, "sampling_rate": 16} | overrides))


def tiny_tts_config(**overrides) -> MossTTSDelayConfig:
    """A generator of four codebooks of 16 over two Qwen3 layers; special tokens are the last of 100."""
    kwargs = {
        "language_config": {
            "vocab_size": 100,
            "hidden_size": 32,
            "intermediate_size": 48,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "head_dim": 8,
            "max_position_embeddings": 512,
        },
        "n_vq": 4,
        "audio_vocab_size": 16,
        "audio_pad_code": 16,
        "pad_token_id": 92,
        "im_start_token_id": 93,
        "im_end_token_id": 94,
        "audio_start_token_id": 95,
        "audio_end_token_id": 96,
        "audio_user_slot_token_id": 97,
        "audio_assistant_gen_slot_token_id": 98,
        "audio_assistant_delay_slot_token_id": 99,
        "sampling_rate": 32,
    }
    return MossTTSDelayConfig(**(kwargs | overrides))


def tiny_tts(seed: int = 0, **overrides) -> MossTTSDelayModel:
    torch.manual_seed(seed)
    return MossTTSDelayModel(tiny_tts_config(**overrides)).eval()


def tiny_local_v1_config(**overrides) -> MossTTSLocalV1Config:
    """The same backbone and tokens as [`tiny_tts_config`] with a local transformer of two layers."""
    kwargs = tiny_tts_config().to_dict()
    for name in ("model_type", "architectures", "transformers_version"):
        kwargs.pop(name, None)
    local = {"local_num_layers": 2, "local_hidden_size": 24, "local_ffn_hidden_size": 40}
    return MossTTSLocalV1Config(**(kwargs | local | {"additional_mlp_ffn_hidden_size": 20} | overrides))


def tiny_local_v1(seed: int = 0, **overrides) -> MossTTSLocalV1Model:
    torch.manual_seed(seed)
    return MossTTSLocalV1Model(tiny_local_v1_config(**overrides)).eval()


def tiny_local_config(**overrides) -> MossTTSLocalConfig:
    """The same backbone and tokens with a GPT-2 block."""
    delay = tiny_tts_config()
    kwargs = {
        name: getattr(delay, name)
        for name in ("n_vq", "audio_vocab_size", "audio_pad_code", "sampling_rate")
        + tuple(name for name in delay.to_dict() if name.endswith("_token_id") and "delay" not in name)
        if name not in ("bos_token_id", "eos_token_id")
    }
    kwargs["language_config"] = delay.language_config.to_dict()
    kwargs["gpt2_config"] = {"n_layer": 2, "n_head": 4, "n_inner": 40}
    return MossTTSLocalConfig(**(kwargs | overrides))


def tiny_local(seed: int = 0, **overrides) -> MossTTSLocalModel:
    torch.manual_seed(seed)
    return MossTTSLocalModel(tiny_local_config(**overrides)).eval()


def tiny_nano_config(**overrides) -> MossTTSNanoConfig:
    """The same tokens and codebooks over two GPT-2 layers."""
    delay = tiny_tts_config()
    kwargs = {name: getattr(delay, name) for name in tiny_local_config().special_tokens}
    kwargs |= {"n_vq": 4, "audio_vocab_size": 16, "audio_pad_code": 16, "sampling_rate": 32}
    backbone = {"vocab_size": 100, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_inner": 48, "pad_token_id": 92}
    return MossTTSNanoConfig(**(kwargs | {"gpt2_config": backbone} | overrides))


def tiny_nano(seed: int = 0, **overrides) -> MossTTSNanoModel:
    torch.manual_seed(seed)
    return MossTTSNanoModel(tiny_nano_config(**overrides)).eval()


def tiny_prompts(config: MossTTSDelayConfig, *lengths: int, seed: int = 0) -> dict[str, torch.Tensor]:
    """Prompts of random text that end where the assistant's turn opens, padded on the left."""
    generator = torch.Generator().manual_seed(seed)
    longest = max(lengths)
    input_ids = torch.full((len(lengths), longest, 1 + config.n_vq), config.audio_pad_code)
    input_ids[..., 0] = torch.randint(0, 90, input_ids.shape[:2], generator=generator)
    input_ids[:, -3, 0] = config.im_start_token_id
    attention_mask = torch.arange(longest) >= longest - torch.tensor(lengths)[:, None]
    input_ids[..., 0] = torch.where(attention_mask, input_ids[..., 0], config.pad_token_id)
    return {"input_ids": input_ids, "attention_mask": attention_mask}


GOLDEN_TTS = Path(__file__).parent / "golden" / "moss_tts_delay"
GOLDEN_CODEC = Path(__file__).parent / "golden" / "moss_audio_tokenizer"


def small_codec(seed: int = 0, **overrides) -> MossAudioTokenizerModel:
    """A codec of random weights at 24 kHz and 12.5 Hz that fits the golden generator: 8 codebooks of 32."""
    config = MossAudioTokenizerConfig.from_pretrained(GOLDEN_CODEC)
    config.quantizer_kwargs = config.quantizer_kwargs | {"codebook_size": 32} | overrides
    torch.manual_seed(seed)
    return MossAudioTokenizerModel(config).eval()


def small_stereo_codec(seed: int = 0, **overrides) -> MossAudioTokenizerModel:
    """The same at 48 kHz in two channels, for the golden generator of MossTTSLocal v1.5."""
    config = MossAudioTokenizerConfig.from_pretrained(GOLDEN_CODEC).to_dict()
    config |= {"number_channels": 2, "sampling_rate": 48000, "downsample_rate": 3840}
    config["encoder_kwargs"] = [{"module_type": "PatchedPretransform", "patch_size": 4}, *config["encoder_kwargs"]]
    config["encoder_kwargs"][2] |= {"input_dimension": 4 * config["encoder_kwargs"][2]["input_dimension"]}
    config["decoder_kwargs"] = [*config["decoder_kwargs"], {"module_type": "PatchedPretransform", "patch_size": 4}]
    config["decoder_kwargs"][-3] |= {"output_dimension": 4 * config["decoder_kwargs"][-3]["output_dimension"]}
    config["quantizer_kwargs"] |= {"codebook_size": 32} | overrides
    torch.manual_seed(seed)
    return MossAudioTokenizerModel(MossAudioTokenizerConfig(**config)).eval()


def golden_processor(codec: MossAudioTokenizerModel | None = None, **kwargs) -> MossTTSDelayProcessor:
    """The golden checkpoint's tokenizer and configuration with a codec that fits, or none."""
    return MossTTSDelayProcessor(
        AutoTokenizer.from_pretrained(GOLDEN_TTS),
        audio_tokenizer=codec,
        model_config=MossTTSDelayConfig.from_pretrained(GOLDEN_TTS),
        **kwargs,
    )
