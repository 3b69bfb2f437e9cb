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

"""`moss-tts convert MODEL FOLDER`: writes a release that has its weights as a pickle as safetensors."""

from argparse import Namespace
from pathlib import Path

from transformers import MODEL_MAPPING, AutoModel, AutoProcessor
from transformers.utils import WEIGHTS_NAME, cached_file

from ..bundled_models import find_model
from ..loading.checkpoints import load_config
from ..loading.weight_files import HOW_TO_CONVERT, has_only_pickle, read_pickle


def run(args: Namespace) -> None:
    """
    Writes a folder that every class loads: the weights in the type that the pickle has, configuration, tokenizer and processor.

    Raises:
        ValueError: if there is no such model, its weights are no pickle, or its class reads none.
    """
    name = find_model(args.model)
    config = load_config(name)
    if not has_only_pickle(name, {}):
        raise ValueError(
            f"{args.model!r} has no {WEIGHTS_NAME}, or safetensors beside it: there is nothing to convert."
        )
    model_class = MODEL_MAPPING.get(type(config), None)
    if not getattr(model_class, "reads_released_pickle", False):
        name = getattr(model_class, "__name__", type(config).__name__)
        raise ValueError(f"{name} reads no pickle: its releases are safetensors. {HOW_TO_CONVERT}")
    weights = read_pickle(str(cached_file(name, WEIGHTS_NAME)))
    dtype = next(weight.dtype for weight in weights.values())
    processor = AutoProcessor.from_pretrained(name)
    model = AutoModel.from_pretrained(name, dtype=dtype)
    model.save_pretrained(args.folder)
    # What the weights are loaded as stays what the release says.
    model.config.dtype = config.dtype
    model.config.save_pretrained(args.folder)
    processor.save_pretrained(args.folder)
    size = sum(file.stat().st_size for file in Path(args.folder).glob("*.safetensors"))
    print(f"{args.folder}: {len(model.state_dict())} weights, {size / 1e6:.1f} MB of safetensors")
