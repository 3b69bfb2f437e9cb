"""Sentences said one after the other: what a generator learns to read paragraphs and to go on from a recording with."""

import random
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from datasets import Dataset


_TIMES = ("reading", "phonemes")


def join_examples(examples: Sequence[Mapping[str, Any]], frame_rate: float) -> dict[str, Any]:
    """
    Examples of one speaker as one, with their codes one after the other.

    Args:
        examples (`Sequence[Mapping]`): `text`, `speaker`, `language`, `codes` and perhaps `reading` and `phonemes`, see
            [`~guided_training.add_times`], which are joined where all examples have them.
        frame_rate (`float`): rate of the codes, in Hz.
    """
    text = " ".join(example["text"] for example in examples)
    codes = [frame for example in examples for frame in example["codes"]]
    joined = {"text": text, "speaker": examples[0]["speaker"], "language": examples[0]["language"], "codes": codes}
    joined |= {"seconds": len(codes) / frame_rate} | dict.fromkeys(_TIMES)
    if any(example.get(name) is None for example in examples for name in _TIMES):
        return joined
    reading, phonemes, first_character, start = [], [], 0, 0.0
    for example in examples:
        size = len(example["text"])
        reading += [[start + time, (first_character + share * size) / len(text)] for time, share in example["reading"]]
        phonemes += [
            phoneme | {"start": start + phoneme["start"], "end": start + phoneme["end"]}
            for phoneme in example["phonemes"]
        ]
        first_character += size + 1
        start += len(example["codes"]) / frame_rate
    return joined | {"reading": reading, "phonemes": phonemes}


def paragraphs(table: Dataset, sizes: tuple[int, int], frame_rate: float, seed: int = 0) -> Dataset:
    """
    All examples of a table in paragraphs of their speakers, each of so many sentences that are said at about the same pace.

    Raises:
        ValueError: if no speaker has sentences enough.
    """
    draw = random.Random(seed)
    found = list(_paragraphs(table, sizes, frame_rate, draw))
    if not found:
        raise ValueError(f"No speaker has {sizes[0]} sentences for a paragraph: leave paragraphs out of the phases.")
    draw.shuffle(found)
    return Dataset.from_list(found)


def _paragraphs(
    table: Dataset, sizes: tuple[int, int], frame_rate: float, draw: random.Random
) -> Iterator[dict[str, Any]]:
    spoken = defaultdict(list)
    for example in table:
        spoken[example["speaker"]].append(example)
    for examples in spoken.values():
        examples.sort(key=lambda example: len(example["text"]) / max(1, len(example["codes"])))
        first = 0
        while len(examples) - first >= sizes[0]:
            size = min(draw.randint(*sizes), len(examples) - first)
            group = examples[first : first + size]
            draw.shuffle(group)
            yield join_examples(group, frame_rate)
            first += size
