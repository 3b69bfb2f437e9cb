"""Pictures of waveforms of different numbers and lengths."""

import matplotlib
import numpy as np
import pytest
from matplotlib import image

from transformers_moss_tts.utils.spectrograms import draw_spectrograms


RATE = 8000


def draw(path, seconds: tuple[float, ...]) -> np.ndarray:
    waveforms = tuple(np.random.default_rng(0).normal(0, 0.1, int(RATE * length)) for length in seconds)
    draw_spectrograms(waveforms, tuple("abc")[: len(seconds)], RATE, path)
    return image.imread(path)[..., :3]


def test_the_longest_waveform_is_whole(tmp_path):
    """The others end before the right edge, whichever comes first."""
    for seconds in ((2.0, 1.0), (1.0, 2.0)):
        picture = draw(tmp_path / "picture.png", seconds)
        top, bottom = np.array_split(picture, 2)
        right = [part[part.shape[0] // 3 : part.shape[0] // 2, -30].mean() for part in (top, bottom)]
        longest = int(np.argmax(seconds))
        assert right[longest] < 0.9 and right[1 - longest] > 0.99, (seconds, right)


@pytest.mark.parametrize("seconds", [1.0, 0.01])
def test_one_waveform_is_drawn(tmp_path, seconds):
    picture = draw(tmp_path / "picture.png", (seconds,))
    assert picture[picture.shape[0] // 3 : picture.shape[0] // 2, -30].mean() < 0.9


def test_the_backend_of_matplotlib_stays(tmp_path, monkeypatch):
    monkeypatch.setitem(matplotlib.rcParams, "backend", "svg")
    draw(tmp_path / "picture.png", (0.2, 0.1))
    assert matplotlib.rcParams["backend"].lower() == "svg"


@pytest.mark.parametrize(
    "waveforms,titles,message",
    [
        ([], [], r"the shapes \[\] and 0 titles"),
        ([np.zeros(9)], ["a", "b"], "2 titles"),
        ([np.zeros((2, 9))], ["a"], r"\(2, 9\)"),
        ([np.zeros(0)], ["a"], r"\(0,\)"),
    ],
)
def test_what_cannot_be_drawn(tmp_path, waveforms, titles, message):
    with pytest.raises(ValueError, match=message):
        draw_spectrograms(waveforms, titles, RATE, tmp_path / "picture.png")
    assert not list(tmp_path.iterdir())
