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
"""Time that a generator needs to read its weights, the lower bound of a step in any implementation."""

import subprocess
import sys
from pathlib import Path

import torch
from torch import nn

from ... import MossTTSDelayModel, MossTTSLocalModel, MossTTSLocalV1Model, MossTTSNanoModel
from .read_rate import read_rate


# Embeddings, of which a step reads a few entries.
_TABLES = ("embed_tokens", "wte")
_PROGRAM = str(Path(__file__).with_name("read_rate.py"))


def weights_read_a_step(model: MossTTSDelayModel | MossTTSLocalV1Model | MossTTSLocalModel | MossTTSNanoModel) -> int:
    """
    Bytes of the weights that a step inside audio reads: the backbone without its embedding table and the audio heads; of a
    local generator also the text head, each stream's adapter, and the local transformer, once for every position.
    """
    if isinstance(model, MossTTSDelayModel):
        return _bytes(model.language_model) + _bytes(model.audio_heads)
    num_positions = model.first_audio_position + model.config.n_vq
    read = _bytes(model.backbone) + num_positions * _bytes(model.local_transformer)
    if isinstance(model, MossTTSLocalV1Model):
        return read + _bytes(model.lm_heads) + _bytes(model.local_to_speech_embedding_mlps)
    if isinstance(model, MossTTSNanoModel):
        # Of the text head two entries.
        return read + _bytes(model.audio_lm_heads)
    is_binary = model.config.local_text_head_mode == "binary"
    return read + _bytes(model.audio_lm_heads) + _bytes(model.local_text_lm_head if is_binary else model.text_lm_head)


def read_rate_in_own_process(device: str | torch.device, dtype: torch.dtype) -> float:
    """
    [`read_rate`], measured where its matrix does not count into this process's peak memory.

    Raises:
        RuntimeError: if it could not be measured.
    """
    options = [str(device), str(dtype).removeprefix("torch."), str(torch.get_num_threads())]
    ran = subprocess.run([sys.executable, _PROGRAM, *options], capture_output=True, text=True)
    if ran.returncode != 0:
        raise RuntimeError(f"The rate at which weights are read could not be measured: {ran.stderr[-500:]}")
    return float(ran.stdout.split()[-1])


def _bytes(module: nn.Module) -> int:
    weights = [weight for name, weight in module.named_parameters() if not {*_TABLES} & {*name.split(".")}]
    # Packed layers have no parameters, and say what they read.
    packed = sum(getattr(layer, "num_bytes", 0) for layer in module.modules())
    return packed + sum(weight.nbytes for weight in weights)


__all__ = ["read_rate", "read_rate_in_own_process", "weights_read_a_step"]
