"""
Memory that the released checkpoints need, computed from their shapes: weights by precision, and the keys and values of a minute of
speech. `--measure` makes random weights of one of the shapes on this machine (Linux), speaks and decodes, and prints the peak beside
what was computed.

    python examples/benchmarks/memory.py
    python examples/benchmarks/memory.py --measure MOSS-TTS-Local-Transformer --dtype bfloat16

Small weights are those of the linear layers of the backbone alone: int8 with a scale for each output, int4 with a scale and an offset
for each 128 inputs. Codecs keep their quantizer in float32.
"""

import argparse

import torch
from own_process import status_bytes
from released_shapes import CODEC_OF, RELEASED
from torch import nn
from transformers import AutoModel, PreTrainedConfig

from transformers_moss_tts import MossAudioTokenizerModel


FRAME_RATE = 12.5
GIGA = 1e9
# Bytes of a weight of the backbone's layers, what belongs to it included.
SMALL_WEIGHTS = {"int8": 1.0, "int4": 0.5 + 2 * 2 / 128}
PROMPT_STEPS, NEW_STEPS, DECODED_FRAMES = 16, 12, 25


def build_on_meta(name: str) -> nn.Module:
    with torch.device("meta"):
        return AutoModel.from_config(RELEASED[name][0]())


def bytes_of_weights(model: nn.Module, precision: str) -> float:
    """Bytes of the weights of a generator or codec; other weights than those that are small are in 16 bits."""
    if isinstance(model, MossAudioTokenizerModel):
        quantizer = sum(weight.numel() for weight in model.quantizer.parameters())
        return 4 * quantizer + (4 if precision == "float32" else 2) * (model.num_parameters() - quantizer)
    if precision not in SMALL_WEIGHTS:
        return (4 if precision == "float32" else 2) * model.num_parameters()
    layers = [layer for layer in model.backbone.modules() if type(layer).__name__ in ("Linear", "Conv1D")]
    numbers = sum(layer.weight.numel() for layer in layers)
    scales = sum(layer.weight.shape[0] for layer in layers) if precision == "int8" else 0
    return SMALL_WEIGHTS[precision] * numbers + 2 * scales + 2 * (model.num_parameters() - numbers)


def bytes_of_cache(config: PreTrainedConfig, steps: float) -> float:
    """Bytes of the keys and values of the backbone in 16 bits."""
    backbone = config.language_config
    heads = getattr(backbone, "num_key_value_heads", backbone.num_attention_heads)
    width = getattr(backbone, "head_dim", None) or backbone.hidden_size // backbone.num_attention_heads
    return 2 * 2 * backbone.num_hidden_layers * heads * width * steps


def print_table() -> None:
    print("| GB | float32 | 16 bits | int8 | int4 | a minute of speech | its codec, 16 bits | together | in turns |")
    print("|---|---|---|---|---|---|---|---|---|")
    for name, codec_name in CODEC_OF.items():
        model = build_on_meta(name)
        weights = [bytes_of_weights(model, precision) for precision in ("float32", "float16", *SMALL_WEIGHTS)]
        cache = bytes_of_cache(model.config, 60 * FRAME_RATE)
        codec = bytes_of_weights(build_on_meta(codec_name), "float16")
        generator = weights[1] + cache
        cells = [*weights, cache, codec, generator + codec, max(generator, codec)]
        print(f"| {name} | {' | '.join(f'{cell / GIGA:.2f}' for cell in cells)} |")


def measure(name: str, dtype: torch.dtype) -> None:
    """Prints the peak of a generator and its codec that speak with random weights, and what was computed for them."""
    precision = str(dtype).removeprefix("torch.")
    before = status_bytes("VmRSS")
    model = fill(build_on_meta(name), dtype)
    codec = fill(build_on_meta(CODEC_OF[name]), torch.float16 if dtype != torch.float32 else dtype)
    weights = bytes_of_weights(model, precision) + bytes_of_weights(codec, precision)
    with torch.inference_mode():
        prompt = torch.full((1, PROMPT_STEPS, 1 + model.config.n_vq), model.config.audio_pad_code)
        prompt[..., 0] = 1
        steps = model.generate(prompt, max_new_tokens=NEW_STEPS, min_new_tokens=NEW_STEPS, seed=0)
        spoken = status_bytes("VmHWM") - before
        codec.decode(torch.zeros(codec.config.num_quantizers, 1, DECODED_FRAMES, dtype=torch.long))
    decoded = status_bytes("VmHWM") - before
    print(
        f"{name} in {precision}, {steps.shape[1] - PROMPT_STEPS} steps: weights of generator and codec {weights / GIGA:.2f} GB"
    )
    print(f"peak after generation {spoken / GIGA:.2f} GB, after decoding {decoded / GIGA:.2f} GB")


def fill(model: nn.Module, dtype: torch.dtype) -> nn.Module:
    """The model with random weights in memory."""
    model = model.to(dtype).to_empty(device="cpu").eval()
    for weight in [*model.parameters(), *model.buffers()]:
        weight.data.uniform_(-0.02, 0.02)
    return model


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--measure", choices=CODEC_OF, metavar="NAME", help=f"one of {', '.join(CODEC_OF)}")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="bfloat16", help="of what is measured")
    args = parser.parse_args()
    if args.measure:
        measure(args.measure, getattr(torch, args.dtype))
    else:
        print_table()


if __name__ == "__main__":
    main()
