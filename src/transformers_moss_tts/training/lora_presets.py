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
"""Target modules of LoRA adapters by what they are."""

import re

from torch import nn
from transformers import PreTrainedModel


# Last parts of the names of linear layers, in all generators.
_ATTENTION = r"[qkvo]_proj|c_attn|c_proj"
_MLP = r"gate_proj|up_proj|down_proj|fc_in|fc_out"
_PRESETS = {
    "attention": _ATTENTION,
    "mlp": _MLP,
    "all": f"{_ATTENTION}|{_MLP}",
    "heads": r"text_head|audio_heads|lm_heads\.\d+|local_text_lm_head",
}


def lora_target_modules(model: PreTrainedModel, *presets: str) -> list[str]:
    """
    `target_modules` for PEFT's `LoraConfig`.

    Args:
        model ([`PreTrainedModel`]): a generator.
        presets (`str`): `"attention"`, `"mlp"`, `"all"` (both, in backbone and local transformer) and `"heads"` (of
            MossTTSLocal v1.5 the decision to stop alone: its other heads are embeddings, as all of MossTTSNano are).

    Raises:
        ValueError: for other presets or none, or presets of which the model has no layer.
    """
    if not presets or any(not isinstance(preset, str) or preset not in _PRESETS for preset in presets):
        raise ValueError(
            f"`presets` must be some of {', '.join(_PRESETS)}, got {', '.join(map(repr, presets)) or 'none'}."
        )
    pattern = re.compile(rf"(?:^|.*\.)({'|'.join(_PRESETS[preset] for preset in presets)})$")
    names = [name for name, module in model.named_modules() if isinstance(module, nn.Linear)]
    found = sorted({match[1] for name in names if (match := pattern.match(name))})
    if not found:
        raise ValueError(
            f"{type(model).__name__} has no layers for {', '.join(presets)}: its heads are embeddings. Use 'attention', 'mlp' or "
            "'all'."
        )
    return found
