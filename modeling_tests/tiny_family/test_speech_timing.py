"""When a synthesizer says what, from the durations that its model predicts."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from examples.tiny_family import speech_timing


def synthesizer() -> bytes:
    """A model that sums up twice its ids as durations, and whose output is something else."""
    ids = helper.make_tensor_value_info("ids", TensorProto.FLOAT, [1, None])
    audio = helper.make_tensor_value_info("audio", TensorProto.FLOAT, [1, None])
    nodes = [
        helper.make_node("Add", ["ids", "ids"], ["durations"]),
        helper.make_node("CumSum", ["durations", "axis"], ["ends"]),
        helper.make_node("Neg", ["ends"], ["audio"]),
    ]
    axis = helper.make_tensor("axis", TensorProto.INT64, [], [1])
    durations = helper.make_tensor_value_info("durations", TensorProto.FLOAT, [1, None])  # exporters write them all
    graph = helper.make_graph(nodes, "synthesizer", [ids], [audio], initializer=[axis], value_info=[durations])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return model.SerializeToString()


def test_durations_are_what_the_model_sums_up(tmp_path):
    inputs = {"ids": np.array([[1, 2, 3]], np.float32)}
    (tmp_path / "model.onnx").write_bytes(synthesizer())
    durations_of = speech_timing.predicted_durations(str(tmp_path / "model.onnx"))
    np.testing.assert_array_equal(durations_of(inputs), [2, 4, 6])
    assert onnx.load_model_from_string(synthesizer()).graph.output[0].name == "audio"


def test_stresses_belong_to_vowels_and_words_to_their_letters():
    symbols = ["ˈ", "a", "n", " ", "t", "i", "."]
    timing = speech_timing.time_speech("An tee.", symbols, np.array([2, 1, 1, 2, 1, 2, 2, 1, 2]), 1.4)
    said = [(phoneme["symbol"], phoneme["start"], phoneme["end"]) for phoneme in timing["phonemes"]]
    assert said == [("a", 0.2, 0.4), ("n", 0.4, 0.6), ("t", 0.7, 0.9), ("i", 0.9, 1.1)]
    seconds, shares = zip(*timing["reading"])
    assert seconds == (0, 0.2, 0.4, 0.6, 0.7, 0.9, 1.1, 1.4)
    characters = [7 * share for share in shares]
    assert characters == pytest.approx([0, 0, 1, 2, 3, 4.5, 6, 7], abs=0.01)


def test_what_is_written_shorter_than_said_is_read_evenly():
    timing = speech_timing.time_speech("No 7.", ["n", "O", " ", "s", "ɛ"], np.array([1, 1, 1, 1, 1, 1, 1]), 0.7)
    assert [share for _, share in timing["reading"]] == [0, 0, 0.25, 0.5, 0.75, 1, 1]
