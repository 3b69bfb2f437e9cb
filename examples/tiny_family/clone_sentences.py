"""
Lets a generator read sentences with a speaker's recordings as references, for adapters that make it do so without.

    python -m examples.tiny_family.clone_sentences recordings sentences.txt --model model_cards/moss-tts-tiny --output runs/cloned.parquet
    python -m examples.tiny_family.adapt_speaker runs/cloned.parquet --model model_cards/moss-tts-tiny --steps 20 --output runs/anna

A small generator learns little from the codes of a few recordings, most of which are chance to it, and forgets how to speak. What it
says itself it can learn in a few steps, and with a reference that is nearer to the speaker than without (as in arXiv 2209.15189,
which distills a prompt into the weights). A recognizer picks what was said well (as in arXiv 2308.08998); `--worst` may be inf to keep
all. Recordings are what adapt_speaker.py takes; of sentences it needs some hundred. The table has `text`, `codes`, `recorded_codes`
(of the recording that was the reference), `speaker` and `language`. Needs `pip install '.[eval]'`.
"""

import argparse
import math
import random
from pathlib import Path

import torch
from datasets import Dataset
from tqdm import tqdm
from transformers import AutoModelForTextToWaveform, AutoProcessor, PreTrainedModel, ProcessorMixin

from transformers_moss_tts.audio_io import load_audio
from transformers_moss_tts.evaluation import load_scorer
from transformers_moss_tts.evaluation.measures.text_errors import count_errors, language_name
from transformers_moss_tts.evaluation.scorers import RATE, SpeechRecognizer
from transformers_moss_tts.training import encode_recordings, load_table
from transformers_moss_tts.utils.atomic_files import replacing

from .adapt_speaker import select_minutes, select_speaker


def read(
    model: PreTrainedModel, processor: ProcessorMixin, examples: list[dict], seed: int, max_new_tokens: int
) -> list[dict]:
    """The examples that were read to their end, with `codes`; what has `recorded_codes` with these as reference."""
    references = [
        None if (codes := example["recorded_codes"]) is None else [torch.tensor(codes)] for example in examples
    ]
    messages = [
        processor.build_user_message(text=example["text"], reference=reference, language=example["language"])
        for example, reference in zip(examples, references)
    ]
    inputs = processor(conversations=[[message] for message in messages], mode="generation")
    with torch.inference_mode():
        outputs = model.generate(
            **inputs.to(model.device), seed=seed, max_new_tokens=max_new_tokens, return_dict_in_generate=True
        )
    texts = outputs.sequences[:, inputs["input_ids"].shape[1] :, 0]
    ended = (texts == model.config.audio_end_token_id).any(dim=1).tolist()
    whole = [
        (example, codes)
        for example, codes, is_whole in zip(examples, outputs.audio_codes, ended)
        if is_whole and len(codes)
    ]
    return [example | {"codes": codes.tolist()} for example, codes in whole]


def error_rate(example: dict, processor: ProcessorMixin, recognizer: SpeechRecognizer, language: str) -> float:
    """WER of what the codes of an example say, in some languages CER."""
    waveform = processor.decode(torch.tensor(example["codes"]))
    heard = load_audio(waveform, RATE, array_sampling_rate=processor.model_config.sampling_rate)
    return count_errors(example["text"], recognizer.transcribe(heard, language), language).rate


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recordings", help="folder, table or dataset")
    parser.add_argument("sentences", type=Path, help="text file with a sentence a line")
    parser.add_argument("--model", required=True, help="folder or Hub id of the generator")
    parser.add_argument("--codec", help="folder or Hub id of the codec, if not the one that the model names")
    parser.add_argument("--output", type=Path, default=Path("runs/cloned.parquet"))
    parser.add_argument("--speaker", help="whose examples to take from a table with `speaker`; all by default")
    parser.add_argument("--minutes", type=float, help="take no more than that of the recordings")
    parser.add_argument("--language", default="en", help="code of the language")
    parser.add_argument("--asr", default="whisper-base-short", help="scorer of the evaluation, or a Whisper")
    parser.add_argument("--worst", type=float, default=0.34, help="highest error rate of what is kept")
    parser.add_argument("--count", type=int, default=600, help="sentences")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--max-new-tokens", type=int, default=200, help="a generation that gets so far is left out")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()

    lines = (line.strip() for line in args.sentences.read_text(encoding="utf-8").split("\n"))
    sentences = [line for line in lines if line][: args.count]
    if not sentences:
        raise SystemExit(f"There are no sentences in {args.sentences}.")
    processor = AutoProcessor.from_pretrained(args.model, codec_path=args.codec)
    model = AutoModelForTextToWaveform.from_pretrained(args.model).eval()
    recordings = select_speaker(load_table(args.recordings), args.speaker, None)
    recordings = select_minutes(encode_recordings(recordings, processor), args.minutes, processor.frame_rate)
    print(f"{len(recordings)} recordings")

    draw, language = random.Random(args.seed), language_name(args.language)
    references = [draw.choice(recordings) for _ in sentences]
    examples = [
        {"text": text, "recorded_codes": example["codes"], "speaker": example["speaker"], "language": language}
        for text, example in zip(sentences, references)
    ]
    # Together what is about as long.
    examples.sort(key=lambda example: len(example["text"]))
    cloned = []
    for first in tqdm(range(0, len(examples), args.batch_size), unit="batch"):
        batch = examples[first : first + args.batch_size]
        cloned += read(model, processor, batch, args.seed + first, args.max_new_tokens)
    if not math.isinf(args.worst):
        recognizer = load_scorer("asr", args.asr)
        cloned = [
            example
            for example in tqdm(cloned, unit="sentence")
            if error_rate(example, processor, recognizer, args.language) <= args.worst
        ]
    if not cloned:
        raise SystemExit("No sentence was read well enough: a higher --worst, or a larger --max-new-tokens?")
    args.output.parent.mkdir(parents=True, exist_ok=True)
    with replacing(args.output) as temporary:
        Dataset.from_list(cloned).shuffle(seed=args.seed).to_parquet(temporary)
    print(f"wrote {args.output}, {len(cloned)} of {len(sentences)} sentences")


if __name__ == "__main__":
    main()
