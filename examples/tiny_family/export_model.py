"""
Writes a trained model as it is shipped: weights in half the bytes (float16), which load as float32.

    python -m examples.tiny_family.export_model runs/codec/model model_cards/moss-audio-tokenizer-tiny
    python -m examples.tiny_family.export_model runs/tts/model model_cards/moss-tts-tiny --codec ../moss-audio-tokenizer-tiny

Other files of the target folder, such as a model card, stay.
"""

import argparse
import json
import os
from pathlib import Path

import torch
from transformers import AutoConfig, AutoModel, AutoProcessor

import transformers_moss_tts  # noqa: F401  (registers the models)


# How a small generator is best understood: it speaks what is most likely, nearly.
SAMPLING = {
    "do_sample": True,
    "audio_temperature": 0.2,
    "audio_top_k": 10,
    "audio_top_p": 0.8,
    "text_temperature": 0.0,
    "max_new_tokens": 1024,
}


def export(source: Path, target: Path, codec: str | None) -> None:
    model = AutoModel.from_pretrained(source, dtype=torch.float32)
    if codec is not None:
        processor = AutoProcessor.from_pretrained(source, languages=["English"], max_speakers=1)
        processor.codec_path = codec
        processor.save_pretrained(target)
        model.generation_config.update(**SAMPLING)
    # The quantizer too, which a codec in half precision keeps in float32; tied weights are one tensor still.
    weights = model.state_dict()
    halves = {tensor.data_ptr(): tensor.half() for tensor in weights.values()}
    model.save_pretrained(target, state_dict={name: halves[tensor.data_ptr()] for name, tensor in weights.items()})
    # Half precision is for the disk: CPUs compute in float32.
    config = json.loads((target / "config.json").read_text(encoding="utf-8")) | {"dtype": "float32"}
    scratch = target / "tmp-config.json"
    scratch.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    os.replace(scratch, target / "config.json")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path)
    parser.add_argument("--codec", help="of a generator: its codec's folder, relative to the target")
    args = parser.parse_args()
    export(args.source, args.target, args.codec)
    config = AutoConfig.from_pretrained(args.target)
    size = sum(path.stat().st_size for path in args.target.rglob("*") if path.is_file())
    print(f"wrote {args.target}: {config.model_type}, {size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
