"""
Trains a small MossAudioTokenizer from a folder of recordings.

    python -m examples.tiny_family.train_codec recordings --held-out other_recordings --output runs/codec --steps 20000

A run that is started again goes on where it stopped. `accelerate launch -m examples.tiny_family.train_codec ...` runs it on several devices.
Losses go to TensorBoard (`tensorboard --logdir runs/codec/logs`), samples and spectrograms to OUTPUT/samples, the model to
OUTPUT/model. With `--phonemes` the first codebook becomes phonetic, from which generators learn to read sooner; folders that
`build_corpus.py` built know when which phoneme is said, of others it is unknown. Instead of folders it takes the `codes.parquet` of
`distill_codes.py`: with `--decoder-only` half of the crops are then decoded from the codes that generators learn.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from datasets import Dataset

from transformers_moss_tts import MossAudioTokenizerConfig, MossAudioTokenizerModel
from transformers_moss_tts.training import CodecTrainingArguments, load_recordings

from .codec_training import TimedCodecTrainer
from .metadata import read_metadata


SUFFIXES = {".wav", ".flac", ".ogg", ".mp3", ".opus"}
# Encoder order, 100 Hz to 12.5 Hz: layers of the encoder and of the decoder, width, heads. Most of the work is at 100 Hz, so
# those stages are the smallest; the decoder, which makes the waveform, has more of them.
STAGES = ((2, 4, 192, 3), (2, 3, 192, 3), (2, 2, 256, 4), (4, 4, 256, 4))
NUM_CODEBOOKS = 16


def build_config(quantizer_dropout: float) -> MossAudioTokenizerConfig:
    """The released codec's frame rates and layout with 10 million parameters."""
    config = MossAudioTokenizerConfig(quantizer_dropout=quantizer_dropout)
    features = (128, 128, 256, 256)
    encoder = [module for module in config.encoder_kwargs if module["module_type"] == "Transformer"]
    decoder = [module for module in config.decoder_kwargs if module["module_type"] == "Transformer"][::-1]
    for index, (encoder_layers, decoder_layers, width, heads) in enumerate(STAGES):
        inputs = 240 if index == 0 else 2 * features[index - 1]
        shape = {"d_model": width, "num_heads": heads, "dim_feedforward": 2 * width}
        ends = (inputs, features[index])
        encoder[index].update(shape, num_layers=encoder_layers, input_dimension=ends[0], output_dimension=ends[1])
        decoder[index].update(shape, num_layers=decoder_layers, input_dimension=ends[1], output_dimension=ends[0])
    config.quantizer_kwargs.update(
        input_dim=features[-1], rvq_dim=256, output_dim=features[-1], num_quantizers=NUM_CODEBOOKS
    )
    return config


def find_recordings(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)


def phonemes_of(folders: list[Path]) -> dict[Path, list]:
    """Phonemes of the recordings of which the folders' metadata has them."""
    return {
        folder / example["audio"]: example["phonemes"]
        for folder in folders
        for example in read_metadata(folder)
        if example.get("phonemes")
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recordings", type=Path, nargs="+", help="folders of recordings, or codes.parquet")
    parser.add_argument("--held-out", type=Path, help="folder of recordings that are only evaluated")
    parser.add_argument("--output", type=Path, default=Path("runs/codec"))
    parser.add_argument("--model", type=Path, help="a codec to begin with, instead of a fresh one")
    parser.add_argument("--steps", type=int, default=20000)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--crop-seconds", type=float, default=1.6)
    parser.add_argument("--learning-rate", type=float, default=8e-4)
    parser.add_argument("--quantizer-dropout", type=float, default=0.5, help="share of crops with fewer codebooks")
    parser.add_argument("--codebook-decay", type=float, default=0.98, help="of the moving averages that codebooks are")
    parser.add_argument("--decoder-only", action="store_true", help="keep encoder and codebooks: codes stay valid")
    parser.add_argument("--phonemes", action="store_true", help="make the first codebook phonetic")
    parser.add_argument("--adversarial-start", type=int, help="step from which discriminators train")
    parser.add_argument("--discriminator-width", type=float, default=0.25)
    parser.add_argument("--mixed-precision", choices=("no", "bf16", "fp16"), default="no")
    parser.add_argument("--torch-compile", action="store_true")
    parser.add_argument("--save-steps", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()

    torch.manual_seed(args.seed)
    if args.model:
        model = MossAudioTokenizerModel.from_pretrained(args.model, quantizer_dropout=args.quantizer_dropout)
    else:
        model = MossAudioTokenizerModel(build_config(args.quantizer_dropout))
    print(f"{sum(p.numel() for p in model.parameters()) / 1e6:.1f} M parameters")
    rate = model.config.sampling_rate
    tables = [Dataset.from_parquet(str(path)) for path in args.recordings if path.suffix == ".parquet"]
    if tables:
        paths = [Path(path) for table in tables for path in table["audio"]]
    else:
        paths = [path for folder in args.recordings for path in find_recordings(folder)]
    codes = [np.asarray(item) for table in tables for item in table["codes"]] or None
    known = phonemes_of(args.recordings) if args.phonemes else {}
    phonemes = [known.get(path) for path in paths] if args.phonemes else None
    recordings = load_recordings(paths, rate)
    held_out = load_recordings(find_recordings(args.held_out)[:16], rate) if args.held_out else None
    print(f"{len(recordings)} recordings, {sum(map(len, recordings)) / rate / 60:.0f} minutes")
    training = CodecTrainingArguments(
        output_dir=str(args.output),
        max_steps=args.steps,
        batch_size=args.batch_size,
        crop_seconds=args.crop_seconds,
        learning_rate=args.learning_rate,
        decay_steps=args.steps // 5,
        codebook_decay=args.codebook_decay,
        # Enough for the first codebook to become phonetic, at the weight of the mel loss.
        loss_weights={"semantic": 8.0},
        frozen_parts=("encoder", "quantizer") if args.decoder_only else (),
        adversarial_start=args.adversarial_start,
        discriminator_width=args.discriminator_width,
        mixed_precision=args.mixed_precision,
        torch_compile=args.torch_compile,
        save_steps=args.save_steps,
        eval_steps=args.save_steps,
        seed=args.seed,
    )
    TimedCodecTrainer(model, training, recordings, held_out, phonemes=phonemes, codes=codes).train()


if __name__ == "__main__":
    main()
