"""
Lets a generator read what a speaker has recorded, and times the recordings as it did, so that a codec can learn to say the one as
the other.

    python -m examples.tiny_family.align_readings recordings --model model_cards/moss-tts-tiny --output runs/aligned
    python -m examples.tiny_family.adapt_codec recordings --aligned runs/aligned --codec model_cards/moss-audio-tokenizer-tiny --codebooks 4

A small generator chooses other codes than those of the recordings. A decoder that has only heard these loses words where it gives
the generator's the speaker's sound; with pairs of codes and of how the speaker says the same in the same time it loses fewer. Each
recording is read several times, half of them with one of the recordings as reference. Dynamic time warping of what an encoder of
speech makes of both (of Whisper, which hears words more than voices) finds which moments belong together; readings that are too
unlike are left out. Frames of the recording's spectrum are put where the reading has them, and Griffin and Lim's algorithm makes
them a waveform: for losses that look at magnitudes, and not to be listened to. Recordings are what adapt_speaker.py takes. OUTPUT
is a folder that `load_table` opens: `audio`, `text`, `codes`, `cost` of the alignment. Needs `pip install '.[eval,train]'`.
"""

import argparse
import json
import random
from pathlib import Path

import librosa
import numpy as np
import torch
from datasets import Dataset
from tqdm import tqdm
from transformers import AutoModelForTextToWaveform, AutoProcessor

from transformers_moss_tts.audio_io import load_audio, save_audio
from transformers_moss_tts.evaluation import load_scorer
from transformers_moss_tts.evaluation.measures.text_errors import language_name
from transformers_moss_tts.evaluation.scorers import RATE, ShortWindowWhisper
from transformers_moss_tts.training import encode_recordings, load_table
from transformers_moss_tts.utils.atomic_files import replacing

from .adapt_speaker import select_minutes, select_speaker
from .clone_sentences import read


FFT = 1024  # samples of a frame of the spectrum
HOP = 240
ENCODER_RATE = 50  # frames of Whisper's encoder a second
# Neither may be more than twice as fast as the other.
STEPS, STEP_WEIGHTS = np.array([[1, 1], [1, 2], [2, 1]]), np.array([1, 1.5, 1.5])


def align(recorded: np.ndarray, said: np.ndarray) -> tuple[float, np.ndarray]:
    """Mean cosine distance along the best path, and for each frame of `said` the frame of `recorded`; features are `(frames, size)`."""
    recorded, said = (features - features.mean(axis=0) for features in (recorded, said))
    cost, path = librosa.sequence.dtw(
        recorded.T, said.T, metric="cosine", step_sizes_sigma=STEPS, weights_mul=STEP_WEIGHTS
    )
    path = path[::-1]
    frames, first = np.unique(path[:, 1], return_index=True)
    moments = np.interp(np.arange(len(said)), frames, path[first, 0])
    smooth = np.convolve(np.pad(moments, 2, mode="edge"), np.full(5, 0.2), "valid")
    return cost[-1, -1] / len(path), smooth


def retime(waveform: np.ndarray, moments: np.ndarray, rate: int, samples: int) -> np.ndarray:
    """A waveform `(samples,)` of the spectrum that `waveform` has at `moments`, frames of the encoder of its own."""
    spectrum = np.abs(librosa.stft(waveform, n_fft=FFT, hop_length=HOP))
    seconds = np.arange(1 + samples // HOP) * HOP / rate
    at = np.interp(seconds * ENCODER_RATE, np.arange(len(moments)), moments) / ENCODER_RATE * rate / HOP
    before = np.minimum(at.astype(int), spectrum.shape[1] - 1)
    after, share = np.minimum(before + 1, spectrum.shape[1] - 1), at - before
    frames = (1 - share) * spectrum[:, before] + share * spectrum[:, after]
    return librosa.griffinlim(frames, hop_length=HOP, n_fft=FFT, length=samples, random_state=0)


def features_of(waveform: np.ndarray, rate: int, encoder: ShortWindowWhisper) -> np.ndarray:
    """`(frames, size)`."""
    return encoder.features(load_audio(waveform, RATE, array_sampling_rate=rate))


def plan(examples: Dataset, readings: int, language: str, seed: int) -> list[dict]:
    """What to read, together what is about as long; every second time with a recording as reference."""
    draw = random.Random(seed)
    numbered = sorted(enumerate(examples), key=lambda item: len(item[1]["text"]))
    return [
        {
            "text": example["text"],
            "number": number,
            "language": language,
            "recorded_codes": examples[draw.randrange(len(examples))]["codes"] if reading % 2 else None,
        }
        for reading in range(readings)
        for number, example in numbered
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recordings", help="folder, table or dataset")
    parser.add_argument("--model", required=True, help="folder or Hub id of the generator")
    parser.add_argument("--codec", help="folder or Hub id of the codec, if not the one that the model names")
    parser.add_argument("--output", type=Path, default=Path("runs/aligned"))
    parser.add_argument("--speaker", help="whose examples to take from a table with `speaker`; all by default")
    parser.add_argument("--minutes", type=float, help="take no more than that of the recordings")
    parser.add_argument("--language", default="en", help="code of the language")
    parser.add_argument("--readings", type=int, default=8, help="of each recording")
    parser.add_argument("--worst", type=float, default=0.45, help="highest cost of what is kept")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--max-new-tokens", type=int, default=200, help="a generation that gets so far is left out")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()

    processor = AutoProcessor.from_pretrained(args.model, codec_path=args.codec)
    model = AutoModelForTextToWaveform.from_pretrained(args.model).eval()
    encoder = load_scorer("asr", "whisper-base-short")
    rate = processor.model_config.sampling_rate
    examples = select_speaker(load_table(args.recordings), args.speaker, None)
    examples = examples.add_column("recording", examples["audio"])
    examples = select_minutes(encode_recordings(examples, processor), args.minutes, processor.frame_rate)
    waveforms = [load_audio(audio, rate) for audio in examples["recording"]]
    recorded = [features_of(waveform, rate, encoder) for waveform in tqdm(waveforms, desc="recordings")]

    wanted = plan(examples, args.readings, language_name(args.language), args.seed)
    args.output.mkdir(parents=True, exist_ok=True)
    kept = []
    for first in tqdm(range(0, len(wanted), args.batch_size), unit="batch"):
        batch = wanted[first : first + args.batch_size]
        for example in read(model, processor, batch, args.seed + first, args.max_new_tokens):
            speech = processor.decode(torch.tensor(example["codes"]))
            said, other = features_of(speech, rate, encoder), recorded[example["number"]]
            if not len(other) / 2 < len(said) < 2 * len(other):
                continue
            cost, moments = align(other, said)
            if cost > args.worst:
                continue
            name = f"{len(kept):04d}.flac"
            timed = retime(waveforms[example["number"]], moments, rate, len(speech))
            save_audio(timed, args.output / name, rate)
            kept.append(
                {"audio": name, "text": example["text"], "codes": example["codes"], "cost": round(float(cost), 4)}
            )
    if not kept:
        raise SystemExit("No reading is like its recording: a higher --worst, or a larger --max-new-tokens?")
    with replacing(args.output / "metadata.jsonl") as temporary:
        Path(temporary).write_text("".join(json.dumps(example) + "\n" for example in kept), encoding="utf-8")
    print(f"wrote {args.output}, {len(kept)} of {len(wanted)} readings")


if __name__ == "__main__":
    main()
