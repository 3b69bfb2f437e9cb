"""
Memory of a long speech: `speak_long`, and the memory of the process (of Linux) after each stretch. By default a generator of random
weights speaks, so that the text decides nothing but its length.

    python examples/benchmarks/long_speech.py --minutes 20 --output long_speech
    python examples/benchmarks/long_speech.py --large --minutes 30 --output long_speech_large
    python examples/benchmarks/long_speech.py --model model_cards/moss-tts-tiny --text-file story.txt --output long_speech
"""

import argparse
import json
import tempfile
from pathlib import Path
from unittest.mock import patch

import matplotlib


matplotlib.use("Agg")
import torch
from matplotlib import pyplot
from own_process import status_bytes
from random_checkpoint import SPECIAL_TOKENS, build_random_checkpoint
from released_shapes import local_backbone
from transformers import AutoModelForTextToWaveform, AutoProcessor, PreTrainedTokenizerFast

from transformers_moss_tts import MossTTSLocalConfig, MossTTSLocalModel, MossTTSLocalProcessor
from transformers_moss_tts.speech import Guards, speak_long
from transformers_moss_tts.speech.journal import Journal


VOICE = Path(__file__).parents[1] / "assets" / "reference.ogg"
SENTENCES = 20  # a minute
STRETCH_SECONDS = 6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="folder or Hub id of a generator; one of random weights by default")
    parser.add_argument(
        "--large", action="store_true", help="random weights with the backbone of the 1.7B generator, in bfloat16"
    )
    parser.add_argument(
        "--dtype", choices=("float32", "bfloat16"), help="of the model's weights; float32, with --large bfloat16"
    )
    parser.add_argument("--text-file", type=Path, help="text to read; numbered sentences by default")
    parser.add_argument("--minutes", type=float, default=20.0, help="minutes of the numbered sentences, about")
    parser.add_argument(
        "--no-guards", action="store_true", help="for random weights, which say nothing that a guard lets pass"
    )
    parser.add_argument(
        "--output", type=Path, default=Path("demo/long_speech"), help="folder of numbers, picture and audio"
    )
    args = parser.parse_args()
    if args.large and args.model is not None:
        parser.error("--large is of random weights: leave --model out.")
    args.output.mkdir(parents=True, exist_ok=True)
    if not args.large:
        torch.set_num_threads(1)
    text = args.text_file or " ".join(
        f"This is the sentence of the number {n}." for n in range(max(2, round(SENTENCES * args.minutes)))
    )
    guards = None if args.no_guards or args.model is None else Guards()
    dtype = args.dtype or ("bfloat16" if args.large else "float32")
    with tempfile.TemporaryDirectory() as folder, open(args.output / "memory.jsonl", "a") as notes:
        if args.model is None:
            large = (build_large_generator, MossTTSLocalProcessor) if args.large else ()
            build_random_checkpoint(Path(folder), *large)
        processor = AutoProcessor.from_pretrained(args.model or folder)
        model = AutoModelForTextToWaveform.from_pretrained(args.model or folder, dtype=dtype)
        rate = processor.audio_tokenizer.config.sampling_rate
        append = Journal.append

        def noted(journal, record):
            append(journal, record)
            now, peak = (status_bytes(name) / 2**20 for name in ("VmRSS", "VmHWM"))
            notes.write(json.dumps([round(record.num_samples / rate / 60, 3), round(now, 1), round(peak, 1)]) + "\n")
            notes.flush()

        output, options = args.output / "speech.mp3", {"guards": guards, "stretch_seconds": STRETCH_SECONDS, "seed": 0}
        if args.large:
            # These random weights never end by themselves.
            num_frames = round(STRETCH_SECONDS * processor.audio_tokenizer.config.frame_rate)
            options["generate_kwargs"] = {"min_new_tokens": num_frames, "max_new_tokens": num_frames}
        with patch.object(Journal, "append", noted):
            speak_long(model, processor, text, output, voice=VOICE, **options)
    draw(args.output)


def build_large_generator(tokenizer: PreTrainedTokenizerFast) -> MossTTSLocalModel:
    """The backbone of MOSS-TTS-Local-Transformer (1.7B) in bfloat16, with few codebooks; it speaks as long as `generate` is told to."""
    config = MossTTSLocalConfig(
        language_config=local_backbone(len(tokenizer)),
        gpt2_config={"n_layer": 1, "n_head": 16, "n_inner": 512},
        n_vq=4,
        sampling_rate=24000,
        **{
            name: tokenizer.convert_tokens_to_ids(token)
            for name, token in SPECIAL_TOKENS.items()
            if "delay" not in name
        },
    )
    return MossTTSLocalModel(config).to(torch.bfloat16).eval()


def draw(folder: Path) -> None:
    """Draws what was noted, also of a run that still goes on."""
    points = [json.loads(line) for line in (folder / "memory.jsonl").read_text().splitlines()]
    minutes, now, peak = zip(*points)
    figure, axes = pyplot.subplots(figsize=(8, 3), layout="constrained")
    axes.plot(minutes, now)
    axes.set(xlabel="minutes of audio in the file", ylabel="memory of the process, MB", ylim=(0, 1.15 * max(now)))
    axes.set_title("The memory of speak_long does not grow with the audio", loc="left")
    figure.savefig(folder / "memory.png", dpi=110)
    print(
        f"{now[0]:.1f} MB after the first stretch, {now[-1]:.1f} MB after {minutes[-1]:.1f} minutes of audio, "
        f"at most {peak[-1]:.1f} MB"
    )


if __name__ == "__main__":
    main()
