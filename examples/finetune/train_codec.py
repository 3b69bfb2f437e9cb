"""
Trains a codec on recordings: the bundled one further, or another.

    python examples/finetune/train_codec.py recordings --model OpenMOSS-Team/MOSS-Audio-Tokenizer --decoder-only --output runs/codec

Losses go to TensorBoard (`tensorboard --logdir runs/codec/logs`), samples and their spectrograms to OUTPUT/samples, the codec to
OUTPUT/model. A second start goes on where the first one stopped.
"""

import argparse
from pathlib import Path

from transformers import AutoModel

from transformers_moss_tts import bundled_model
from transformers_moss_tts.training import CodecTrainer, CodecTrainingArguments, load_recordings


SUFFIXES = {".wav", ".flac", ".ogg", ".opus", ".mp3"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recordings", type=Path, help="folder of audio files; a tenth of them is left out to evaluate")
    parser.add_argument("--model", help="folder or Hub id of a codec; the bundled one by default")
    parser.add_argument("--decoder-only", action="store_true", help="keep the codes, which generators know")
    parser.add_argument("--adversarial-start", type=int, help="step from which discriminators train along")
    parser.add_argument("--steps", type=int, default=20000)
    parser.add_argument("--batch-size", type=int, default=8, help="crops a step and device")
    parser.add_argument("--output", type=Path, default=Path("runs/codec"))
    args = parser.parse_args()

    paths = sorted(path for path in args.recordings.rglob("*") if path.suffix.lower() in SUFFIXES)
    if len(paths) < 2:
        raise SystemExit(f"There must be two recordings at least in {args.recordings}, one of them to evaluate with.")
    codec = AutoModel.from_pretrained(args.model or bundled_model("moss-audio-tokenizer-tiny"))
    held_out = load_recordings(paths[::10][:16], codec.config.sampling_rate)
    recordings = load_recordings(sorted(set(paths) - set(paths[::10])), codec.config.sampling_rate)
    settings = CodecTrainingArguments(
        output_dir=str(args.output),
        max_steps=args.steps,
        batch_size=args.batch_size,
        decay_steps=args.steps // 5,
        frozen_parts=("encoder", "quantizer") if args.decoder_only else (),
        adversarial_start=args.adversarial_start,
    )
    CodecTrainer(codec, settings, recordings, held_out).train()


if __name__ == "__main__":
    main()
