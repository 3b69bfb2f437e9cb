"""Everything of the package that writes files, each with an old and a new content that can be told apart."""

import tempfile
from abc import ABC, abstractmethod
from pathlib import Path

import numpy as np
import soundfile
import torch
from tiny_models import golden_processor, tiny_tts
from transformers import AutoModel, AutoProcessor

from transformers_moss_tts.audio_io import save_audio
from transformers_moss_tts.hub import ModelCardFacts, render_model_card
from transformers_moss_tts.training.code_cache import CodeCache


class Writer(ABC):
    """Writes content 0, 1, 2, ... to a folder, each over the last."""

    @abstractmethod
    def write(self, folder: Path, number: int) -> None: ...

    @abstractmethod
    def read(self, folder: Path) -> int:
        """Number of the content that is there; an error if it is none of them."""


class ModelWriter(Writer):
    options = {}

    def __init__(self):
        self.models = [tiny_tts(seed) for seed in range(2)]

    def write(self, folder: Path, number: int) -> None:
        self.models[number % 2].save_pretrained(folder, **self.options)

    def read(self, folder: Path) -> int:
        found = AutoModel.from_pretrained(folder).state_dict()
        expected = [model.state_dict() for model in self.models]
        (number,) = [n for n in range(2) if all(torch.equal(found[name], expected[n][name]) for name in found)]
        return number


class ShardsWriter(ModelWriter):
    """Shards of the same names over those of the last save."""

    options = {"max_shard_size": "20KB"}


class ProcessorWriter(Writer):
    def __init__(self):
        self.processors = [golden_processor(max_reference_duration=10.0 + number) for number in range(2)]

    def write(self, folder: Path, number: int) -> None:
        self.processors[number % 2].save_pretrained(folder)

    def read(self, folder: Path) -> int:
        return int(AutoProcessor.from_pretrained(folder).max_reference_duration) - 10


class AudioWriter(Writer):
    def write(self, folder: Path, number: int) -> None:
        level = 0.1 + 0.2 * (number % 2)
        save_audio(np.full(48000, level, np.float32), folder / "audio.flac", 24000)

    def read(self, folder: Path) -> int:
        samples, _ = soundfile.read(folder / "audio.flac")
        assert len(samples) == 48000 and np.ptp(samples) == 0
        return round((samples[0] - 0.1) / 0.2)


class CacheWriter(Writer):
    """Codes of one recording; a stored file is never written over with others, but it may be."""

    def write(self, folder: Path, number: int) -> None:
        CodeCache(folder).store("ab12", np.full((5000, 8), number % 2))

    def read(self, folder: Path) -> int:
        codes = CodeCache(folder).load("ab12")
        assert codes.shape == (5000, 8) and np.ptp(codes) == 0
        return int(codes[0, 0])


class CardWriter(Writer):
    def __init__(self):
        facts = {
            "license": "apache-2.0",
            "language": "en",
            "training_data": "None.",
            "training_procedure": "None.",
            "limits": "None.",
        }
        with tempfile.TemporaryDirectory() as folder:
            tiny_tts().save_pretrained(folder)
            texts = [f"Card {number}. " + "It says much. " * 2000 for number in range(2)]
            self.cards = [
                render_model_card(folder, ModelCardFacts(name="me/voice", summary=text, **facts)) for text in texts
            ]

    def write(self, folder: Path, number: int) -> None:
        self.cards[number % 2].save(folder / "README.md")

    def read(self, folder: Path) -> int:
        return [str(card) for card in self.cards].index((folder / "README.md").read_bytes().decode())


WRITERS = {
    "model": ModelWriter,
    "shards": ShardsWriter,
    "processor": ProcessorWriter,
    "card": CardWriter,
    "audio": AudioWriter,
    "codes": CacheWriter,
}
