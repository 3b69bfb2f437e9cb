"""
Recordings for the codec: hibari's voice, hibari's voice warped into hundreds of others, and folders of recordings.

Every source is one file of 16 bit samples at 24 kHz, `NAME.i16`, and `NAME.jsonl` with a line an utterance (`text`, `speaker`,
`start` and `samples`), so that several jobs share one copy in memory.
"""

import json
import math
import random
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from .metadata import key_of, read_keys


RATE = 24000  # Hz
WORDNET = Path("/usr/share/wordnet")
NUM_WARPED_VOICES = 400
_PLAIN = re.compile(r"[A-Za-z][A-Za-z ,.'!?-]*")
_UNWANTED = re.compile(
    r"\b(rap(e|ist)|murder|kill|suicid|tortur|whore|slut|nazi|negro|jew|lynch|fuck|shit|bitch)", re.I
)


def read_sentences(held_out: Path | None) -> list[str]:
    """WordNet's examples and glosses as sentences of 4 to 16 words in a fixed random order, without the held-out ones."""
    found = set()
    for path in sorted(WORDNET.glob("data.*")):
        for line in path.read_text(encoding="latin1").splitlines():
            gloss = line.partition("|")[2]
            found.update(part.strip() for part in re.findall(r'"([^"]+)"', gloss))
            without_asides = re.sub(r'"[^"]*"|\([^)]*\)', "", gloss)
            found.update(" ".join(part.split()) for part in without_asides.split(";"))
    kept = sorted(
        text[0].upper() + text[1:] + ("" if text[-1] in ".!?" else ".")
        for text in found
        if _PLAIN.fullmatch(text) and 4 <= len(text.split()) <= 16 and not _UNWANTED.search(text)
    )
    measured = read_keys(held_out)
    kept = [text for text in kept if key_of(text) not in measured]
    random.Random(0).shuffle(kept)
    return kept


@dataclass(frozen=True)
class WarpedVoice:
    """
    What makes another voice of hibari's: a factor on its F0, one on its spectral envelopes' frequency axis, the tilt of the
    source and the level of the noise, both in nepers.
    """

    pitch: float = 1.0
    formants: float = 1.0
    tilt: float = 0.0
    noise: float = 0.0

    @classmethod
    def number(cls, number: int) -> "WarpedVoice":
        """One of the voices, the same for the same number; longer vocal tracts come with lower F0, as in people."""
        draw = random.Random(f"voice {number}")
        pitch = float(np.exp(draw.uniform(np.log(0.5), np.log(1.35))))
        formants = 0.99 * pitch**0.25 * float(np.exp(draw.gauss(0, 0.05)))
        return cls(pitch, min(1.18, max(0.8, formants)), draw.uniform(-1.5, 1.5), draw.uniform(-0.3, 0.6))


class Reader:
    """hibari, whose model gives F0, spectral envelopes and phase of what it says before it is sound."""

    def __init__(self):
        from hibari import Hibari

        self.hibari = Hibari()

    def phonemes(self, text: str) -> str | None:
        """Phonemes of one sentence, None where the text is several."""
        found = self.hibari.phonemize(text)
        return found[0] if len(found) == 1 else None

    def parts(self, phonemes: str, speed: float) -> list[np.ndarray]:
        """Log magnitudes and phases of the harmonic, noise and free parts `(bins, frames)`, and F0 `(frames,)` in Hz, at 80 Hz."""
        return [part[0] for part in self.hibari.sess.run(None, self._inputs(phonemes, speed))]

    def durations(self, phonemes: str, speed: float) -> np.ndarray:
        """Of the symbols of a sentence and the silences around it, in frames of hibari."""
        return self._predicted_durations(self._inputs(phonemes, speed))

    @cached_property
    def _predicted_durations(self) -> Callable[[dict[str, np.ndarray]], np.ndarray]:
        from .speech_timing import predicted_durations

        return predicted_durations(self.hibari.model_path)

    def _inputs(self, phonemes: str, speed: float) -> dict[str, np.ndarray]:
        return {"ids": np.array([self.hibari.ids(phonemes)]), "speed": np.array([speed], np.float32)}

    def times(self, text: str, is_warped: bool, seconds: float) -> dict[str, list]:
        """When what is said in a sentence of [`hibari_utterances`] of so many seconds, see `speech_timing.time_speech`."""
        from .speech_timing import time_speech

        phonemes = self.phonemes(text)
        _, speed, _ = _drawn(text, is_warped)
        symbols = [symbol for symbol in phonemes if symbol in self.hibari.vocab]
        return time_speech(text, symbols, self.durations(phonemes, speed), seconds)

    def speak(self, phonemes: str, voice: WarpedVoice, speed: float, seed: int) -> np.ndarray:
        """A waveform `(samples,)`."""
        from hibari import dsp

        harmonic, theta, noise, free, phi, f0 = self.parts(phonemes, speed)
        bins = harmonic.shape[0]
        axis = np.clip(np.arange(bins) / voice.formants, 0, bins - 1)
        low = np.floor(axis).astype(int)
        share = (axis - low)[:, None].astype(np.float32)
        high = np.minimum(low + 1, bins - 1)

        def warp(part: np.ndarray) -> np.ndarray:
            return (1 - share) * part[low] + share * part[high]

        tilt = (voice.tilt * np.arange(bins) / bins)[:, None].astype(np.float32)
        f0 = np.where(f0 > 40, f0 * voice.pitch, f0).astype(np.float32)
        levels = [warp(part) + tilt for part in (harmonic, noise + voice.noise, free + voice.noise)]
        return dsp.synth(levels[0], warp(theta), levels[1], levels[2], phi[low], f0, np.random.default_rng(seed))


def _drawn(text: str, is_warped: bool) -> tuple[int, float, random.Random]:
    """The number of the voice and the speed that a sentence is read in, and what draws the rest."""
    draw = random.Random(f"{text} {is_warped}")
    return draw.randrange(NUM_WARPED_VOICES), draw.uniform(0.85, 1.2), draw


def hibari_utterances(sentences: list[str], is_warped: bool) -> Iterator[tuple[str, str, np.ndarray]]:
    """Text, speaker and waveform of each sentence, as hibari speaks or each in one of the warped voices."""
    reader = Reader()
    for text in sentences:
        phonemes = reader.phonemes(text)
        if phonemes is None:
            continue
        number, speed, draw = _drawn(text, is_warped)
        voice = WarpedVoice.number(number) if is_warped else WarpedVoice()
        waveform = reader.speak(phonemes, voice, speed, draw.randrange(2**31))
        level = np.sqrt(np.mean(waveform**2))
        if not np.isfinite(waveform).all() or level < 1e-4:
            continue
        waveform = waveform * min(draw.uniform(0.04, 0.1) / level, 0.95 / np.abs(waveform).max())
        yield text, f"warped_{number:03d}" if is_warped else "hibari", waveform


def unread(sentences: list[str], folder: Path, name: str) -> list[str]:
    """
    The sentences after the last one of a source, all where there is no such source.

    Raises:
        ValueError: if the last one is not among the sentences.
    """
    if not (folder / f"{name}.jsonl").exists():
        return sentences
    last = read_source(folder, name)[0][-1]["text"]
    if last not in sentences:
        raise ValueError(
            f"{folder / name}.jsonl ends with {last!r}, which is not among the sentences now: give the list of held-out sentences "
            "that it was made with, or another folder."
        )
    return sentences[sentences.index(last) + 1 :]


def recorded_utterances(folder: Path, split: str) -> Iterator[tuple[str | None, str, np.ndarray]]:
    """Text, speaker and waveform of the recordings of one split of a folder with `metadata.jsonl`."""
    from transformers_moss_tts.audio_io import load_audio

    for line in (folder / "metadata.jsonl").read_text(encoding="utf-8").splitlines():
        item = json.loads(line)
        if item["split"] == split:
            yield item.get("text"), item["speaker"], load_audio(folder / item["audio"], RATE)


def write_source(
    folder: Path, name: str, utterances: Iterable[tuple[str | None, str, np.ndarray]], hours: float = math.inf
) -> None:
    """
    Writes a source of at most so many hours. Where it is there already, utterances are added until it has so many; without a
    limit it is complete.
    """
    table = folder / f"{name}.jsonl"
    lines = table.read_text(encoding="utf-8").splitlines() if table.exists() else []
    last = json.loads(lines[-1]) if lines else {"start": 0, "samples": 0}
    start, limit = last["start"] + last["samples"], hours * 3600 * RATE
    if lines and (math.isinf(limit) or start >= limit):
        return
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / f"{name}.i16", "ab") as samples:
        # What a call that was cut off left behind is nowhere listed.
        samples.truncate(2 * start)
        for text, speaker, waveform in utterances:
            samples.write((waveform.clip(-1, 1) * 32767).astype("<i2").tobytes())
            lines.append(json.dumps({"text": text, "speaker": speaker, "start": start, "samples": len(waveform)}))
            start += len(waveform)
            if start >= limit:
                break
    scratch = folder / f"tmp-{name}.jsonl"
    scratch.write_text("\n".join(lines) + "\n", encoding="utf-8")
    scratch.rename(table)


def read_source(folder: Path, name: str) -> tuple[list[dict], list[np.ndarray]]:
    """The lines and the 16 bit samples of a source, which stay on disk until they are used."""
    lines = [json.loads(line) for line in (folder / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()]
    samples = np.memmap(folder / f"{name}.i16", dtype="<i2", mode="r")
    return lines, [samples[line["start"] : line["start"] + line["samples"]] for line in lines]
