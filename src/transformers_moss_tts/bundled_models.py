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

"""The small models that come with the package."""

from pathlib import Path


DEFAULT_MODEL = "moss-tts-tiny"
# Of a model or codec, or of an adapter.
_CONFIGS = ("config.json", "adapter_config.json")


def bundled_model(name: str = DEFAULT_MODEL) -> Path:
    """
    Folder of a bundled model, codec or adapter, for `from_pretrained` and `pipeline`.

    Raises:
        ValueError: if no model of this name is bundled.
    """
    package = Path(__file__).parent
    # In a wheel beside the modules, in a checkout at its root.
    folders = [package / "model_cards", package.parents[1] / "model_cards"]
    for folder in folders:
        if any((folder / name / config).is_file() for config in _CONFIGS):
            return folder / name
    known = sorted(
        {path.parent.name for folder in folders for config in _CONFIGS for path in folder.glob(f"*/{config}")}
    )
    raise ValueError(f"There is no bundled model {name!r}; there are {', '.join(known) or 'none'}.")


__all__ = ["bundled_model"]
