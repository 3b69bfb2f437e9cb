"""When a synthesizer says what: the durations that its ONNX model predicts, as times of phonemes and of the text's characters."""

import re
from collections.abc import Callable, Sequence

import numpy as np
import onnx
import onnxruntime


PAUSES = frozenset('.,!?;:—…()“” "')
STRESSES = frozenset("ˈˌ")
WORD = re.compile(r"[A-Za-z'-]*[A-Za-z][A-Za-z'-]*")


def predicted_durations(path: str) -> Callable[[dict[str, np.ndarray]], np.ndarray]:
    """
    The part of a model that predicts how long each of its input symbols is: what it sums up first. Takes the model's inputs,
    returns durations in a unit of the model's.
    """
    graph = onnx.load(path)
    summed = next(node.input[0] for node in graph.graph.node if node.op_type == "CumSum")
    names = [value.name for value in graph.graph.input]
    part = onnx.utils.Extractor(graph).extract_model(names, [summed])
    session = onnxruntime.InferenceSession(part.SerializeToString(), providers=["CPUExecutionProvider"])
    return lambda inputs: session.run(None, inputs)[0].ravel().astype(float)


def time_speech(text: str, symbols: Sequence[str], durations: np.ndarray, seconds: float) -> dict[str, list]:
    """
    Args:
        text: what is said.
        symbols: phonemes, stresses, spaces and punctuation.
        durations: of the silence before, the symbols and the silence after, in any unit.
        seconds: length of the recording.

    Returns:
        `phonemes`: `symbol`, `start` and `end` in seconds; a stress belongs to its vowel, pauses are not listed. `reading`: pairs
        of seconds and of the share of the text's characters that is said by then.
    """
    ends = np.cumsum(durations)[:-1] * seconds / durations.sum()
    phonemes, words, start = [], [], None
    for symbol, begin, end in zip(symbols, ends, ends[1:]):
        if symbol in PAUSES:
            words.append([])
            continue
        start = begin if start is None else start
        if symbol in STRESSES:
            continue
        phonemes.append({"symbol": symbol, "start": round(start, 3), "end": round(end, 3)})
        words = words or [[]]
        words[-1].append(phonemes[-1])
        start = None
    return {"phonemes": phonemes, "reading": _reading(text, [word for word in words if word], seconds)}


def _reading(text: str, words: list[list], seconds: float) -> list[list[float]]:
    spans = [match.span() for match in WORD.finditer(text)]
    if len(spans) != len(words):
        # Numbers and abbreviations are said in more words than they are written in: an even pace over all.
        spans, words = [(0, len(text))], [[phoneme for word in words for phoneme in word]]
    pairs = [[0.0, 0.0]]
    for (first, last), word in zip(spans, words):
        times = [word[0]["start"], *(phoneme["end"] for phoneme in word)] if word else []
        for index, time in enumerate(times):
            pairs.append([time, round((first + (last - first) * index / len(word)) / len(text), 4)])
    return [*pairs, [round(seconds, 3), 1.0]]
