"""
Preferences of a recognizer: a generator says sentences several times, and learns to speak as it did where it was understood.

    python -m examples.tiny_family.preferences sample RUN/recorded_codes.parquet --corpus CORPUS --model MODEL --output RUN/takes.jsonl
    python -m examples.tiny_family.preferences train RUN/takes.jsonl --model MODEL --output RUN/preferred

`sample` says sentences of the corpus's kind (none of `--held-out`), or a few of them at once, with voices of the table, half of them with
a length that is asked for and some as what follows on a recording, and scores each take by a recognizer and by the corpus's recordings of
the voice; started again it goes on. `train` takes the best and the worst takes of a prompt for direct preference optimization
(arXiv 2305.18290).
"""

import argparse
import json
import math
import random
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import jiwer
import numpy as np
import torch
from datasets import Dataset
from torch import nn
from transformers import AutoModelForTextToWaveform, AutoProcessor, Trainer, TrainingArguments, set_seed

import transformers_moss_tts  # noqa: F401  (registers the models)
from transformers_moss_tts.audio_io import load_audio
from transformers_moss_tts.evaluation.scorers import RATE, load_scorer
from transformers_moss_tts.training import MossTTSDataCollator, encode_sample

from .codec_stages import READ_SOURCES, be_modest
from .corpus import RATE as CORPUS_RATE
from .corpus import read_sentences, read_source
from .metadata import key_of


TAKES, PROMPTS = 4, 6  # takes of a prompt, prompts of a batch
PACES = (0.75, 1.25)  # lengths that are asked for, of what the table needs for as many characters
REFERENCE_FRAMES = (20, 90)
VOICE_RECORDINGS = 10  # whose mean is a voice
MOST_SHORT = 300  # frames of a take that the recognizer of short windows can hear
# What a difference of 1 in the share of wrong characters weighs, in the similarity, and in the logarithm of the length.
SIMILARITY, LENGTH = 1.0, 0.5
LEAST_GAP, MOST_ERRORS = 0.06, 0.35  # between the takes of a pair, and of a take that is preferred


class Prompts:
    """
    What is said: prompt `n` follows from the seed and `n` alone.

    Args:
        table (`Dataset`): `text`, `speaker` and `codes`.
        sentences (`list[str]`): what is said.
        n_vq (`int`): codebooks of references.
        seed (`int`): of the draws.
        plain_share (`float`): share of prompts without a reference.
        most_sentences (`int`): of a prompt, which has as few as one.
        length_share (`float`): share of prompts of new speech that ask for a length.
        continued_share (`float`): share of prompts with a voice that go on after a recording of it, `before`.
    """

    def __init__(
        self,
        table: Dataset,
        sentences: list[str],
        n_vq: int,
        seed: int,
        *,
        plain_share: float,
        most_sentences: int,
        length_share: float = 0.0,
        continued_share: float = 0.0,
    ):
        self.sentences, self.n_vq, self.seed = sentences, n_vq, seed
        self.plain_share, self.most_sentences = plain_share, most_sentences
        self.length_share, self.continued_share = length_share, continued_share
        self.recordings: dict[str, list[dict]] = defaultdict(list)
        frames = 0
        for example in table:
            frames += len(example["codes"])
            if REFERENCE_FRAMES[0] <= len(example["codes"]) <= REFERENCE_FRAMES[1]:
                self.recordings[example["speaker"]].append(example)
        self.speakers = sorted(self.recordings)
        self.pace = frames / sum(map(len, table["text"]))

    def __getitem__(self, number: int) -> dict[str, Any]:
        draw = random.Random(f"{self.seed} {number}")
        text = " ".join(draw.choice(self.sentences) for _ in range(draw.randint(1, self.most_sentences)))
        prompt = {"prompt": f"{self.seed} {number}", "text": text}
        prompt |= dict.fromkeys(("speaker", "reference", "before", "tokens"))
        if draw.random() >= self.plain_share:
            prompt["speaker"] = draw.choice(self.speakers)
            if draw.random() < self.continued_share:
                prompt["before"] = self._recording_of(prompt["speaker"], draw)
            if not prompt["before"] or draw.random() < 0.5:
                prompt["reference"] = self._recording_of(prompt["speaker"], draw)["codes"]
        if not prompt["before"] and draw.random() < self.length_share:
            prompt["tokens"] = max(1, round(self.pace * len(text) * draw.uniform(*PACES)))
        return prompt

    def _recording_of(self, speaker: str, draw: random.Random) -> dict[str, Any]:
        recording = draw.choice(self.recordings[speaker])
        return {"text": recording["text"], "codes": [frame[: self.n_vq] for frame in recording["codes"]]}


class Judge:
    """
    Share of wrong characters of a take, and its similarity to recordings of the voice.

    Args:
        corpus (`Path`): folder of the stage `corpus`.
        sampling_rate (`int`): of the takes, in Hz.
        max_new_tokens (`int`): frames of the longest take.
    """

    def __init__(self, corpus: Path, sampling_rate: int, max_new_tokens: int):
        self.recognizer = load_scorer("asr", "whisper-base-short" if max_new_tokens <= MOST_SHORT else "whisper-base")
        self.encoder = load_scorer("speaker", "resemblyzer")
        self.sampling_rate = sampling_rate
        self.recordings: dict[str, list[np.ndarray]] = defaultdict(list)
        for name in READ_SOURCES:
            if (corpus / f"{name}.jsonl").exists():
                for line, samples in zip(*read_source(corpus, name)):
                    self.recordings[line["speaker"]].append(samples)

    @cache
    def voice(self, speaker: str) -> np.ndarray:
        """Mean embedding of recordings of a speaker."""
        recordings = self.recordings[speaker][:VOICE_RECORDINGS]
        if not recordings:
            raise ValueError(f"The corpus has no recordings of {speaker}: give the one that the table was made of.")
        total = sum(
            self.encoder.embed(load_audio(samples, RATE, array_sampling_rate=CORPUS_RATE)) for samples in recordings
        )
        return total / np.linalg.norm(total)

    def score(self, take: Mapping[str, Any], waveform: torch.Tensor) -> dict[str, float]:
        waveform = load_audio(waveform, RATE, array_sampling_rate=self.sampling_rate)
        error = jiwer.cer(key_of(take["text"]), key_of(self.recognizer.transcribe(waveform, "en")))
        # A recognizer that loops is wrong once.
        scores = {"error": round(min(1.0, error), 4)}
        if take["speaker"]:
            scores["similarity"] = round(float(self.encoder.embed(waveform) @ self.voice(take["speaker"])), 4)
        return scores


def text_of(prompt: Mapping[str, Any]) -> str:
    """The text of a prompt or take, with that of the recording before it."""
    return f"{prompt['before']['text']} {prompt['text']}" if prompt["before"] else prompt["text"]


def inputs_of(processor, prompts: list[dict[str, Any]]):
    """What `generate` takes for prompts of [`Prompts`], all of which go on after a recording, or none."""
    conversations = []
    for prompt in prompts:
        reference = prompt["reference"] and [torch.tensor(prompt["reference"])]
        conversation = [
            processor.build_user_message(
                text=text_of(prompt), reference=reference, language="English", tokens=prompt["tokens"]
            )
        ]
        if prompt["before"]:
            conversation.append(processor.build_assistant_message([torch.tensor(prompt["before"]["codes"])]))
        conversations.append(conversation)
    return processor(conversations=conversations, mode="continuation" if prompts[0]["before"] else "generation")


@torch.inference_mode()
def speak(model, processor, prompts: list[dict[str, Any]], seed: int, options: dict) -> Iterator[tuple[dict, Any]]:
    """Each prompt several times, as takes with `codes` and `is_over`, and their waveforms."""
    prompts = [prompt for prompt in prompts for _ in range(TAKES)]
    inputs = inputs_of(processor, prompts)
    outputs = model.generate(**inputs, seed=seed, return_dict_in_generate=True, **options)
    is_over = (~outputs.reached_limit).tolist()
    for prompt, codes, ended, waveform in zip(prompts, outputs.audio_codes, is_over, processor.decode(outputs)):
        yield prompt | {"codes": codes.tolist(), "is_over": ended}, waveform


def begin(
    args: argparse.Namespace, dtype: torch.dtype = torch.float32, **shares: float
) -> tuple[Any, nn.Module, Prompts, dict]:
    """The processor and the model that speak, what they are asked to say (`shares` of [`Prompts`]), and how they generate."""
    be_modest()
    processor = AutoProcessor.from_pretrained(args.model, codec_path=str(args.codec.resolve()))
    model = AutoModelForTextToWaveform.from_pretrained(args.model, dtype=dtype).eval()
    table = Dataset.from_parquet([str(path) for path in args.tables])
    prompts = Prompts(
        table,
        read_sentences(args.held_out),
        model.config.n_vq,
        args.seed,
        plain_share=args.plain_share,
        most_sentences=args.most_sentences,
        **shares,
    )
    return processor, model, prompts, {"max_new_tokens": args.max_new_tokens, "audio_temperature": args.temperature}


def sample(args: argparse.Namespace) -> None:
    processor, model, prompts, options = begin(
        args, length_share=args.length_share, continued_share=args.continued_share
    )
    judge = Judge(args.corpus, processor.audio_tokenizer.config.sampling_rate, args.max_new_tokens)
    args.output.parent.mkdir(parents=True, exist_ok=True)
    lines = args.output.read_text(encoding="utf-8").splitlines() if args.output.exists() else []
    number = len(lines) // TAKES
    end = time.monotonic() + 60 * args.minutes
    with open(args.output, "a", encoding="utf-8") as takes:
        while time.monotonic() < end:
            batch = [prompts[number + place] for place in range(PROMPTS)]
            written = []
            continued = [prompt for prompt in batch if prompt["before"]]
            for alike in filter(None, (continued, [prompt for prompt in batch if not prompt["before"]])):
                for take, waveform in speak(model, processor, alike, number, options):
                    if take["is_over"] and take["codes"]:
                        take |= judge.score(take, waveform)
                    written.append(json.dumps(take) + "\n")
            takes.write("".join(written))
            takes.flush()
            number += PROMPTS
            print(f"{number} prompts", flush=True)


def worth(take: Mapping[str, Any]) -> float:
    """How good a take is: understood, in the voice of the reference, as long as was asked for."""
    if "error" not in take:
        return -math.inf
    value = SIMILARITY * take.get("similarity", 0.0) - take["error"]
    if take["tokens"]:
        value -= LENGTH * abs(math.log(len(take["codes"]) / take["tokens"]))
    return value


def choose_pairs(takes: Iterable[Mapping[str, Any]]) -> list[tuple[Mapping[str, Any], Mapping[str, Any]]]:
    """Of each prompt the best take beside the worst one, and the second best beside the second worst, where they differ enough."""
    by_prompt: dict[str, list] = defaultdict(list)
    for take in takes:
        if take["codes"]:
            by_prompt[take["prompt"]].append(take)
    pairs = []
    for group in by_prompt.values():
        group.sort(key=worth)
        for place in range(min(2, len(group) // 2)):
            chosen, rejected = group[-1 - place], group[place]
            if worth(chosen) - worth(rejected) >= LEAST_GAP and chosen["error"] <= MOST_ERRORS:
                pairs.append((chosen, rejected))
    return pairs


def log_probabilities(model: nn.Module, batch: Mapping[str, Any]) -> tuple[torch.Tensor, torch.Tensor]:
    """Of the labels of each sample of a batch, `(batch_size,)`: the sum of their logarithms over all streams, and their number."""
    outputs = model(**batch)
    samples = zip(*(part.split(1) for part in (outputs.logits, outputs.audio_logits, batch["labels"])))
    means, numbers = zip(*(model.loss_of(*sample)[1:] for sample in samples))
    numbers = torch.stack(numbers)
    return -(torch.stack(means) * numbers).sum(1), numbers.sum(1)


class PreferenceCollator(MossTTSDataCollator):
    """Batches of pairs: all that is chosen, then all that is rejected, and what the model gave them at first as `before`."""

    def __call__(self, examples: list[Mapping[str, Any]]) -> dict[str, torch.Tensor]:
        batch = super().__call__([example[name] for name in ("chosen", "rejected") for example in examples])
        if "before" in examples[0]:
            batch["before"] = torch.tensor([example["before"] for example in examples]).T
        return batch


class PreferenceTrainer(Trainer):
    """
    [`~transformers.Trainer`] with the loss of direct preference optimization (arXiv 2305.18290), beside that of what is chosen.

    Args:
        beta (`float`): how soon a difference to the model at first counts as learned.
        anchor (`float`): weight of the mean loss of what is chosen.
    """

    def __init__(self, *args, beta: float, anchor: float, **kwargs):
        super().__init__(*args, **kwargs)
        self.beta, self.anchor = beta, anchor
        # The loss is the mean over pairs, and no sum over labels.
        self.model_accepts_loss_kwargs = False

    def compute_loss(self, model, inputs, return_outputs: bool = False, num_items_in_batch=None):
        before = inputs.pop("before")
        now, number = log_probabilities(model, inputs)
        chosen, rejected = (now.view(2, -1) - before).unbind()
        loss = -nn.functional.logsigmoid(self.beta * (chosen - rejected)).mean()
        loss = loss - self.anchor * (now / number)[: len(chosen)].mean()
        return (loss, {}) if return_outputs else loss


def encode_take(processor, take: Mapping[str, Any]) -> dict[str, torch.Tensor]:
    """A take as a training sample. One that was cut ends nowhere: of its text stream only what goes on is learned."""
    codes = np.asarray((take["before"]["codes"] if take["before"] else []) + take["codes"])
    sample = encode_sample(processor, take | {"text": text_of(take), "codes": codes, "language": "English"})
    if not take["is_over"]:
        text = sample["labels"][:, 0]
        text.masked_fill_(text != processor.model_config.audio_assistant_gen_slot_token_id, -100)
    return sample


def train(args: argparse.Namespace) -> None:
    be_modest()
    set_seed(args.seed)
    processor = AutoProcessor.from_pretrained(args.model, codec_path=str(args.codec.resolve()))
    model = AutoModelForTextToWaveform.from_pretrained(args.model, dtype="float32")
    takes = (json.loads(line) for path in args.takes for line in path.read_text(encoding="utf-8").splitlines())
    pairs = [
        {"chosen": encode_take(processor, chosen), "rejected": encode_take(processor, rejected)}
        for chosen, rejected in choose_pairs(takes)
    ]
    print(f"{len(pairs)} pairs", flush=True)
    # Batches of similar lengths, in a random order.
    pairs.sort(key=lambda pair: max(len(sample["labels"]) for sample in pair.values()))
    batches = [pairs[start : start + args.batch_size] for start in range(0, len(pairs), args.batch_size)]
    collator = PreferenceCollator(processor)
    for batch in batches:
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=args.bf16):
            before, _ = log_probabilities(model.eval(), collator(batch))
        for pair, values in zip(batch, before.view(2, -1).T.tolist()):
            pair["before"] = values
    random.Random(args.seed).shuffle(batches)
    trainer = PreferenceTrainer(
        model,
        TrainingArguments(
            output_dir=str(args.output),
            per_device_train_batch_size=args.batch_size,
            train_sampling_strategy="sequential",
            remove_unused_columns=False,
            bf16=args.bf16,
            num_train_epochs=args.epochs,
            learning_rate=args.learning_rate,
            warmup_steps=10,
            lr_scheduler_type="linear",
            adam_beta2=0.98,
            logging_steps=10,
            save_strategy="no",
            report_to="none",
            use_cpu=True,
        ),
        beta=args.beta,
        anchor=args.anchor,
        data_collator=collator,
        train_dataset=[pair for batch in batches for pair in batch],
        processing_class=processor,
    )
    trainer.train()
    trainer.save_model(str(args.output))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    stages = parser.add_subparsers(dest="stage", required=True)
    sampling = stages.add_parser("sample", help="say sentences and score them")
    sampling.add_argument("tables", nargs="+", type=Path, help="parquet files of the stage codes")
    sampling.add_argument(
        "--corpus", type=Path, required=True, help="folder of the stage corpus, with recordings of the voices"
    )
    sampling.add_argument("--held-out", type=Path, help="text file of sentences that must not be said")
    sampling.add_argument("--minutes", type=float, default=60.0)
    sampling.add_argument("--plain-share", type=float, default=0.1, help="share of prompts without a reference")
    sampling.add_argument("--most-sentences", type=int, default=1, help="of a prompt; above 1 for paragraphs")
    sampling.add_argument("--length-share", type=float, default=0.5, help="share of prompts that ask for a length")
    sampling.add_argument(
        "--continued-share", type=float, default=0.0, help="share of prompts with a voice that go on after a recording"
    )
    sampling.add_argument("--temperature", type=float, default=0.3)
    sampling.add_argument("--max-new-tokens", type=int, default=200)
    training = stages.add_parser("train", help="learn from what was scored")
    training.add_argument("takes", nargs="+", type=Path)
    training.add_argument("--batch-size", type=int, default=12, help="pairs a step")
    training.add_argument("--epochs", type=float, default=1.0)
    training.add_argument("--learning-rate", type=float, default=5e-5)
    training.add_argument("--beta", type=float, default=0.1)
    training.add_argument("--anchor", type=float, default=0.1)
    training.add_argument("--bf16", action="store_true")
    for stage in (sampling, training):
        stage.add_argument("--model", type=Path, required=True)
        stage.add_argument("--codec", type=Path, default=Path("model_cards/moss-audio-tokenizer-tiny"))
        stage.add_argument("--output", type=Path, required=True)
        stage.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    {"sample": sample, "train": train}[args.stage](args)


if __name__ == "__main__":
    main()
