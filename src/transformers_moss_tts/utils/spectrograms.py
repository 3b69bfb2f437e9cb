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
"""Pictures of waveforms, for people who watch a training."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from .atomic_files import replacing
from .extras import require


_WINDOW, _HOP = 1024, 256  # samples


def draw_spectrograms(
    waveforms: Sequence[np.ndarray], titles: Sequence[str], sampling_rate: int, path: str | os.PathLike
) -> None:
    """
    Writes a picture of log magnitude spectrograms, one above the other. Needs matplotlib, whose backend stays as it is.

    Args:
        waveforms (`Sequence[np.ndarray]`): waveforms of shape `(samples,)`.
        titles (`Sequence[str]`): title of each.
        sampling_rate (`int`): sampling rate, in Hz.
        path (`str` or `os.PathLike`): picture to write, in a format of matplotlib by its suffix.

    Raises:
        ValueError: if there is no waveform, one is empty or not of shape `(samples,)`, or titles are not as many.
    """
    require("A picture", "demo", "matplotlib")
    from matplotlib.figure import Figure

    waveforms = [np.asarray(waveform) for waveform in waveforms]
    shapes = [waveform.shape for waveform in waveforms]
    if not shapes or any(len(shape) != 1 or shape[0] == 0 for shape in shapes) or len(titles) != len(shapes):
        raise ValueError(
            f"`waveforms` must have shape (samples,) and a title each, got the shapes {shapes} and {len(titles)} titles."
        )
    figure = Figure(figsize=(9, 2.6 * len(waveforms)), layout="constrained")
    axes = figure.subplots(len(waveforms), 1, sharex=True, squeeze=False)[:, 0]
    for axis, waveform, title in zip(axes, waveforms, titles):
        extent = (0, len(waveform) / sampling_rate, 0, sampling_rate / 2000)
        axis.imshow(_decibels(waveform), origin="lower", aspect="auto", extent=extent, cmap="magma", vmin=-80, vmax=30)
        axis.set(title=title, ylabel="kHz")
    axes[-1].set(xlabel="seconds", xlim=(0, max(map(len, waveforms)) / sampling_rate))
    with replacing(Path(path)) as temporary:
        figure.savefig(temporary, dpi=100, format=Path(path).suffix[1:] or None)


def _decibels(waveform: np.ndarray) -> torch.Tensor:
    samples = torch.from_numpy(waveform).float()
    # The transform mirrors half a window at both ends, which shorter waveforms do not have.
    samples = torch.nn.functional.pad(samples, (0, max(0, _WINDOW // 2 + 1 - len(samples))))
    spectrum = torch.stft(samples, _WINDOW, _HOP, window=torch.hann_window(_WINDOW), return_complex=True)
    return 20 * torch.log10(spectrum.abs().clamp(min=1e-5))


__all__ = ["draw_spectrograms"]
