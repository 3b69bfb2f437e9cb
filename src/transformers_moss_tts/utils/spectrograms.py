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

from pathlib import Path

import numpy as np
import torch


def draw_spectrograms(
    waveforms: tuple[np.ndarray, ...], titles: tuple[str, ...], sampling_rate: int, path: Path
) -> None:
    """Writes log magnitude spectrograms of waveforms `(samples,)`, one above the other, as a picture."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(
        len(waveforms), 1, figsize=(9, 2.6 * len(waveforms)), sharex=True, layout="constrained"
    )
    window = torch.hann_window(1024)
    for axis, waveform, title in zip(np.atleast_1d(axes), waveforms, titles):
        spectrum = torch.stft(torch.from_numpy(waveform).float(), 1024, 256, window=window, return_complex=True).abs()
        decibels = 20 * torch.log10(spectrum.clamp(min=1e-5))
        seconds = len(waveform) / sampling_rate
        extent = (0, seconds, 0, sampling_rate / 2000)
        axis.imshow(decibels, origin="lower", aspect="auto", extent=extent, cmap="magma", vmin=-80, vmax=30)
        axis.set(title=title, ylabel="kHz")
    axes[-1].set(xlabel="seconds", xlim=(0, max(map(len, waveforms)) / sampling_rate))
    figure.savefig(path, dpi=100)
    pyplot.close(figure)
