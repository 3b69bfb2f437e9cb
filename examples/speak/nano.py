"""
Speaks a text with MOSS-TTS-Nano, the family's model for a CPU: its weights packed, a long text in chunks.

    python examples/speak/nano.py "It was late. Then somebody knocked at the door." --reference voice.wav
    python examples/speak/nano.py "A faster, coarser voice." --codebooks 8
"""

import argparse
import time
from pathlib import Path

import torch
from transformers import AutoModelForTextToWaveform, AutoProcessor

import transformers_moss_tts  # noqa: F401
from transformers_moss_tts.audio_io import save_audio
from transformers_moss_tts.utils.speed import describe_speed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("text")
    parser.add_argument("--model", default="OpenMOSS-Team/MOSS-TTS-Nano", help="folder or Hub id")
    parser.add_argument("--reference", help="recording of the voice to clone, file or URL")
    parser.add_argument("--codebooks", type=int, help="speak with the first of the codebooks alone")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=Path("demo/nano.wav"))
    args = parser.parse_args()

    args.output.parent.mkdir(parents=True, exist_ok=True)
    processor = AutoProcessor.from_pretrained(args.model)
    model = AutoModelForTextToWaveform.from_pretrained(args.model, dtype=torch.float32)
    try:
        model.pack_weights()
    except ValueError as error:
        print(f"Weights stay as they are: {error}")

    chunks = processor.split_text(args.text)
    inputs = processor(text=chunks, reference=args.reference)
    start = time.perf_counter()
    outputs = model.generate(**inputs, seed=args.seed, n_vq_for_inference=args.codebooks, return_dict_in_generate=True)
    audio = processor.join_chunks(chunks, processor.decode(outputs))
    took = time.perf_counter() - start
    rate = processor.model_config.sampling_rate
    save_audio(audio, args.output, rate)
    seconds = audio.shape[-1] / rate
    print(f"{len(chunks)} chunks, {seconds:.2f} s of audio in {took:.2f} s: {describe_speed(seconds, took)}")
    print(f"wrote {args.output}")


if __name__ == "__main__":
    main()
