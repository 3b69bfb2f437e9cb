"""Pictures of waveforms of different lengths."""

import numpy as np
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
