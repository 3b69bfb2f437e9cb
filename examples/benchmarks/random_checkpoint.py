"""
Builds a complete checkpoint of random weights: generator, tokenizer, processor and codec, in the released layout.

    python examples/benchmarks/random_checkpoint.py demo/checkpoint

It speaks noise. It is for trying interfaces, speed and deployment where the released weights are not at hand.
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from transformers_moss_tts import (
    MossAudioTokenizerConfig,
    MossAudioTokenizerModel,
    MossTTSDelayConfig,
    MossTTSDelayModel,
    MossTTSDelayProcessor,
)


SPECIAL_TOKENS = {
    "pad_token_id": "<|endoftext|>",
    "im_start_token_id": "<|im_start|>",
    "im_end_token_id": "<|im_end|>",
    "audio_start_token_id": "<|audio_start|>",
    "audio_end_token_id": "<|audio_end|>",
    "audio_user_slot_token_id": "<|audio_user_slot|>",
    "audio_assistant_gen_slot_token_id": "<|audio_gen_slot|>",
    "audio_assistant_delay_slot_token_id": "<|audio_delay_slot|>",
}
NUM_CODEBOOKS = 16


def build_tokenizer() -> PreTrainedTokenizerFast:
    """One token a byte, and the special tokens."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={char: i for i, char in enumerate(alphabet)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(list(SPECIAL_TOKENS.values()))
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=SPECIAL_TOKENS["pad_token_id"],
        eos_token=SPECIAL_TOKENS["im_end_token_id"],
        padding_side="left",
    )


def build_codec() -> MossAudioTokenizerModel:
    """A codec of the released frame rates with narrow, shallow stages."""
    config = MossAudioTokenizerConfig()
    for module in config.encoder_kwargs + config.decoder_kwargs:
        if module["module_type"] == "Transformer":
            module.update(d_model=128, num_heads=2, num_layers=2, dim_feedforward=256)
    config.quantizer_kwargs["num_quantizers"] = NUM_CODEBOOKS
    return MossAudioTokenizerModel(config).eval()


def build_generator(tokenizer: PreTrainedTokenizerFast) -> MossTTSDelayModel:
    """A small generator that turns to audio at once and to the end of the turn after some seconds."""
    config = MossTTSDelayConfig(
        language_config={
            "vocab_size": len(tokenizer),
            "hidden_size": 256,
            "intermediate_size": 768,
            "num_hidden_layers": 4,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "head_dim": 64,
        },
        n_vq=NUM_CODEBOOKS,
        **{name: tokenizer.convert_tokens_to_ids(token) for name, token in SPECIAL_TOKENS.items()},
    )
    model = MossTTSDelayModel(config).eval()
    # Every state shares one large feature, by which the text head is told what to do; nobody could wait for chance.
    with torch.no_grad():
        model.get_input_embeddings().weight[:, 0] = 5.0
        wishes = {
            "audio_start": 2.0,
            "im_end": 2.0,
            "audio_assistant_gen_slot": 0.5,
            "audio_assistant_delay_slot": 0.1,
        }
        for name, wish in wishes.items():
            model.text_head.weight[getattr(config, f"{name}_token_id"), 0] = wish
    model.generation_config.max_new_tokens = 250
    return model


def build_random_checkpoint(
    folder: Path, build_generator: Callable = build_generator, processor_class: type = MossTTSDelayProcessor
) -> None:
    """Writes everything that `pipeline("text-to-speech", model=folder)` needs."""
    torch.manual_seed(0)
    tokenizer, codec = build_tokenizer(), build_codec()
    model = build_generator(tokenizer)
    codec.save_pretrained(folder / "codec")
    model.save_pretrained(folder)
    processor_class(tokenizer, audio_tokenizer=codec, model_config=model.config, codec_path="codec").save_pretrained(
        folder
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    args = parser.parse_args()
    build_random_checkpoint(args.folder)
    print(f"wrote {args.folder}")


if __name__ == "__main__":
    main()
