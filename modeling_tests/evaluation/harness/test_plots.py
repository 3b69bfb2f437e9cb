# Copyright 2026 The transformers-moss-tts team. All rights reserved.
#
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#
#     http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.
"""What pictures of evaluations say, and whether their axes show it."""

import pytest

from transformers_moss_tts.evaluation.harness import plots
from transformers_moss_tts.evaluation.harness.metrics import Metric


WER = Metric("wer", "WER %", scale=100, digits=2, lower_is_better=True)


@pytest.fixture
def drawn(monkeypatch):
    figures = []
    monkeypatch.setattr(plots, "_save", lambda figure, path: figures.append(figure))
    return figures


def test_samples_of_one_text_fill_the_axis(drawn, tmp_path):
    lengths = [2.7, 2.7, 2.7, 2.8, 2.9]
    records = [{"seconds": seconds, "wer": 0.1 * (seconds > 2.7), "is_cut": seconds > 2.8} for seconds in lengths]
    plots.draw_stability({"text": records}, WER, tmp_path / "a.png")
    (figure,) = drawn
    low, high = figure.axes[0].get_xlim()
    assert low < 2.7 < 2.9 < high and high - low < 0.5
    assert figure.get_suptitle() == "3 of 5 samples without an error, 0 of 5 did not end, 1 cut"
    sizes = sorted(figure.axes[0].collections[0].get_sizes())
    assert sizes[-1] == 3 * sizes[0]


def test_without_a_recognizer_texts_lie_apart_and_nothing_is_called_cut(drawn, tmp_path):
    groups = {name: [{"seconds": 2.0, "text": name, "reached_limit": name == "b"}] for name in ("a", "b")}
    plots.draw_stability(groups, WER, tmp_path / "a.png")
    axis = drawn[0].axes[0]
    heights = [collection.get_offsets()[0][1] for collection in axis.collections]
    assert heights[0] > heights[1] > 0 and not len(axis.get_yticks())
    assert drawn[0].get_suptitle() == "1 of 2 did not end"
    assert "cut" not in [text.get_text() for text in axis.get_legend().get_texts()]


@pytest.mark.parametrize(
    ("windows", "says"), [(2, "At most 2 windows in 10 s: too short"), (20, "Drift a minute: clone")]
)
def test_a_drift_is_said_where_there_is_room_for_one(drawn, tmp_path, windows, says):
    records = [{"start": 5 * k, "end": 5 * k + 5, "wer": 0.01 * k, "sim": 0.7} for k in range(windows)]
    plots.draw_drift({"clone": records}, "WER", None, tmp_path / "a.png")
    assert drawn[0].get_suptitle().startswith(says)
    assert drawn[0].axes[1].get_xlabel() == "seconds"


def test_a_rate_above_a_hundred_hides_no_other(drawn, tmp_path):
    records = [
        {"bit_rate": rate, "wer": wer, "group": str(rate)} for rate, wer in ((125, 4.43), (500, 0.4), (2000, 0.2))
    ]
    plots.draw_codec(records, [], [], [WER], [], None, tmp_path / "a.png")
    axis = drawn[0].axes[0]
    assert axis.get_ylim()[1] == 105 and "443 %" in [text.get_text() for text in axis.texts]
    assert drawn[0].get_suptitle() == "At 2000 bit/s: WER % 20.00"
