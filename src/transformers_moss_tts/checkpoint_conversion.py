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
"""Key conversions between the released checkpoints, one tensor a codebook, and the fused tensors of the models."""

import torch
from torch import nn
from transformers.core_model_loading import ConversionOps, WeightConverter, WeightRenaming


class FuseCodebooks(ConversionOps):
    """Concatenates the tensors of all codebooks along their rows, in the order of the codebooks."""

    def __init__(self, first: int = 0):
        self.first = first

    @torch.no_grad()
    def convert(self, input_dict, source_patterns, target_patterns, **kwargs):
        (tensors,) = input_dict.values()
        return {target_patterns[0]: torch.cat(tensors)}

    @property
    def reverse_op(self) -> ConversionOps:
        return SplitCodebooks(self.first)


class SplitCodebooks(ConversionOps):
    """
    The inverse. `first` is the number of the first codebook in the names: transformers' own reverse counts from 0, which
    would give the first audio head the name of the text head.
    """

    def __init__(self, first: int = 0):
        self.first = first

    @torch.no_grad()
    def convert(self, input_dict, source_patterns, target_patterns, config, **kwargs):
        (tensor,) = input_dict.values()
        tensor = tensor[0] if isinstance(tensor, list) else tensor
        parts = tensor.split(config.audio_vocab_size + 1)
        (name,) = target_patterns
        return {name.replace("*", str(self.first + i)): part.contiguous() for i, part in enumerate(parts)}

    @property
    def reverse_op(self) -> ConversionOps:
        return FuseCodebooks(self.first)


@torch.no_grad()
def take_released_names(model: nn.Module, state_dict: dict[str, torch.Tensor], prefix: str, *args) -> None:
    """
    A pre-hook of `load_state_dict` that takes released names too: so `Trainer` reads a checkpoint when it resumes, and passes
    over what does not fit. Codebooks that a shard lacks keep their rows.

    Raises:
        ValueError: if these are adapters of heads, for which `PeftModel` has made no room.
    """
    if any(key.startswith(f"{prefix}lm_heads.") and ".lora_" in key for key in state_dict):
        raise ValueError(
            "The adapter has heads under the released names (`lm_heads.{k}`), which are fused here: load it with "
            "`model.load_adapter(...)`, which takes them. `model.save_pretrained(folder)` then writes it for `PeftModel`."
        )
    if f"{prefix}lm_heads.0.weight" in state_dict:
        state_dict[f"{prefix}text_head.weight"] = state_dict.pop(f"{prefix}lm_heads.0.weight")
    for name, first, fused in (("emb_ext", 0, "audio_embedding"), ("lm_heads", 1, "audio_heads")):
        weight = model.get_submodule(fused).weight
        names = [f"{prefix}{name}.{first + k}.weight" for k in range(model.config.n_vq)]
        if any(name in state_dict for name in names):
            rows = weight.detach().split(model.config.audio_vocab_size + 1)
            parts = [state_dict.pop(name, part) for name, part in zip(names, rows)]
            state_dict[f"{prefix}{fused}.weight"] = torch.cat([part.to(weight) for part in parts])


def moss_tts_delay_mapping() -> list[WeightRenaming | WeightConverter]:
    """`emb_ext.{k}`, `lm_heads.0` (text) and `lm_heads.{k + 1}` of the release for MossTTSDelayModel."""
    return [
        WeightRenaming("lm_heads.0.weight", "text_head.weight"),
        WeightConverter("emb_ext.*.weight", "audio_embedding.weight", operations=[FuseCodebooks()]),
        WeightConverter("lm_heads.*.weight", "audio_heads.weight", operations=[FuseCodebooks(first=1)]),
    ]
