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
"""
Key conversions between the released checkpoints and adapters of MossTTSDelay, with one tensor a codebook, and the fused tensors
of the model.
"""

import copy
import math
import re
from functools import cache
from typing import Any

import torch
from torch import nn
from transformers.conversion_mapping import register_checkpoint_conversion_mapping
from transformers.core_model_loading import ConversionOps, WeightConverter, WeightRenaming

from .configuration_moss_tts_delay import MossTTSDelayConfig


_HEAD_KEY = re.compile(r"^(?P<prefix>.*?)lm_heads\.(?P<head>\d+)\.lora_(?P<half>[AB])\.weight$")
_HUB_OPTIONS = ("cache_dir", "force_download", "local_files_only", "token", "revision", "subfolder")
_HEAD_NAME = re.compile(r"(?:^|.*\.)lm_heads\.\d+$")


class FuseCodebooks(ConversionOps):
    """Concatenates the tensors of all codebooks along their entries, in the order of the codebooks."""

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
    over what does not fit. Codebooks that a shard lacks keep their weights.

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
            weights = weight.detach().split(model.config.audio_vocab_size + 1)
            parts = [state_dict.pop(name, part) for name, part in zip(names, weights)]
            state_dict[f"{prefix}{fused}.weight"] = torch.cat([part.to(weight) for part in parts])


@cache
def register_conversions(class_name: str) -> None:
    """
    Tells transformers `emb_ext.{k}`, `lm_heads.0` (text) and `lm_heads.{k + 1}` of the release. The first model does it, and not
    the import of the package: transformers builds the conversions of all its models then, which takes a tenth of its own import.

    Args:
        class_name (`str`):
            Class of the models. Their `model_type` would not do: MossTTSLocal v1.0 has the same and needs no conversion.
    """
    mapping: list[WeightRenaming | WeightConverter] = [
        WeightRenaming("lm_heads.0.weight", "text_head.weight"),
        WeightConverter("emb_ext.*.weight", "audio_embedding.weight", operations=[FuseCodebooks()]),
        WeightConverter("lm_heads.*.weight", "audio_heads.weight", operations=[FuseCodebooks(first=1)]),
    ]
    register_checkpoint_conversion_mapping(class_name, mapping, overwrite=True)


def read_released_heads(adapter: str, options: dict[str, Any]) -> tuple[Any, dict[str, torch.Tensor]] | None:
    """Configuration and tensors of an adapter (folder or Hub id), or `None` if it has no heads of released names."""
    from peft import PeftConfig
    from peft.utils import load_peft_weights

    options = {name: options[name] for name in _HUB_OPTIONS if options.get(name)}
    config = PeftConfig.from_pretrained(adapter, **options)
    if "lm_heads" not in str(getattr(config, "target_modules", "")):
        return None
    state_dict = load_peft_weights(adapter, device="cpu", **options)
    return (config, state_dict) if any("lm_heads." in key for key in state_dict) else None


def fuse_head_adapters(
    adapter_config: Any, state_dict: dict[str, torch.Tensor], config: MossTTSDelayConfig
) -> tuple[Any, dict[str, torch.Tensor]]:
    """
    The adapter with `text_head` for `lm_heads.0`, and one adapter of `audio_heads` for those of the codebooks: its rank is the
    sum of theirs, so that it computes the same.

    Args:
        adapter_config (`LoraConfig`): of the adapter.
        state_dict (`dict[str, torch.Tensor]`): its tensors, as PEFT saves them.
        config ([`MossTTSDelayConfig`]): of the model.

    Raises:
        ValueError: if heads have more than the two matrices of a plain LoRA.
    """
    heads: dict[int, dict[str, torch.Tensor]] = {}
    fused, prefix = {}, ""
    for key, tensor in state_dict.items():
        if match := _HEAD_KEY.match(key):
            heads.setdefault(int(match["head"]), {})[match["half"]] = tensor
            prefix = match["prefix"]
        elif "lm_heads." in key:
            raise ValueError(
                f"The adapter has {key!r}, which cannot be fused: of heads only the matrices of a plain LoRA can (no DoRA, no "
                "bias, no `modules_to_save`)."
            )
        else:
            fused[key] = tensor
    scaled = {head: _scaled(adapter_config, head, halves) for head, halves in heads.items()}
    pairs = {"text_head": scaled.pop(0)} if 0 in scaled else {}
    if scaled:
        pairs["audio_heads"] = _joined(scaled, config)
    adapter_config = copy.deepcopy(adapter_config)
    for name, (down, up) in pairs.items():
        fused |= {f"{prefix}{name}.lora_A.weight": down, f"{prefix}{name}.lora_B.weight": up}
        rank = len(down)
        adapter_config.rank_pattern[name] = rank
        # The scale is in the matrices already.
        adapter_config.alpha_pattern[name] = math.sqrt(rank) if adapter_config.use_rslora else rank
    adapter_config.target_modules = _retargeted(adapter_config.target_modules, list(pairs))
    return adapter_config, fused


def _scaled(adapter_config: Any, head: int, halves: dict[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """The matrices of a head's adapter, with its scale."""
    from peft.utils.other import get_pattern_key

    name, rank = f"lm_heads.{head}", len(halves["A"])
    pattern = get_pattern_key(adapter_config.alpha_pattern.keys(), name)
    alpha = adapter_config.alpha_pattern.get(pattern, adapter_config.lora_alpha)
    return halves["A"], halves["B"] * (alpha / (math.sqrt(rank) if adapter_config.use_rslora else rank))


def _joined(
    pairs: dict[int, tuple[torch.Tensor, torch.Tensor]], config: MossTTSDelayConfig
) -> tuple[torch.Tensor, torch.Tensor]:
    num_codes = config.audio_vocab_size + 1
    downs = [down for down, _ in pairs.values()]
    joined = downs[0].new_zeros(config.n_vq * num_codes, sum(len(down) for down in downs))
    column = 0
    for head, (down, up) in pairs.items():
        joined[(head - 1) * num_codes : head * num_codes, column : column + len(down)] = up
        column += len(down)
    return torch.cat(downs), joined


def _retargeted(targets: str | set[str] | list[str], names: list[str]) -> str | set[str]:
    if isinstance(targets, str):
        return "|".join([f"(?:{targets})", *names])
    return {target for target in targets if not _HEAD_NAME.match(target)} | set(names)
