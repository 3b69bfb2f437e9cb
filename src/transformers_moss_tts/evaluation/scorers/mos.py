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
"""Predicted opinion scores of listeners on the quality of speech."""

import contextlib
import importlib
import io
import sys
import types

import numpy as np
import torch


_PEAK = 0.9  # the loudest sample of what it judges


class DistillMOS:
    """DistillMOS, whose weights come in its package: predicts a mean opinion score of 1 to 5 without a reference."""

    description = "DistillMOS"

    def __init__(self):
        with _TorchaudioOrNone():
            from distillmos import ConvTransformerSQAModel
        # It prints where its weights are.
        with contextlib.redirect_stdout(io.StringIO()):
            self.model = ConvTransformerSQAModel().eval()

    @torch.inference_mode()
    def predict(self, waveform: np.ndarray) -> float:
        """Score of a waveform `(samples,)` at 16 kHz."""
        loudest = float(np.abs(waveform).max())
        return float(self.model(torch.from_numpy(waveform / loudest * _PEAK).float()[None]))


class _TorchaudioOrNone:
    """DistillMOS imports torchaudio for its own command line alone: an empty module will do where there is none."""

    def __enter__(self):
        self.is_missing = False
        try:
            importlib.import_module("torchaudio")
        except (ImportError, OSError):
            self.is_missing = True
            sys.modules["torchaudio"] = types.ModuleType("torchaudio")

    def __exit__(self, *exception):
        if self.is_missing:
            del sys.modules["torchaudio"]


__all__ = ["DistillMOS"]
