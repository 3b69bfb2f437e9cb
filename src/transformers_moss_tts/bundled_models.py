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
The small models that come with the package. A wheel has the generator that speaks by default and its codec, a checkout all of them.
"""

from pathlib import Path


DEFAULT_MODEL = "moss-tts-local-tiny"
# Configuration of a model or codec, and of an adapter.
_CONFIGS = ("config.json", "adapter_config.json")
# In a wheel the models lie beside the modules, in a checkout at its root.
_PACKAGE = Path(__file__).parent
_FOLDERS = (_PACKAGE / "model_cards", _PACKAGE.parents[1] / "model_cards")
_OF_A_CHECKOUT = ("moss-tts-local-tiny-bm-george", "moss-tts-tiny")


def bundled_model(name: str = DEFAULT_MODEL) -> str:
    """
    Folder of a bundled model, codec or adapter, for `from_pretrained` and `pipeline`.

    Raises:
        ValueError: if no model of this name is bundled, or it is one that only a checkout has.
    """
    known = bundled_models()
    if name in known:
        return known[name]
    reason = f"There is no bundled model {name!r}; there are {', '.join(sorted(known)) or 'none'}."
    if name in _OF_A_CHECKOUT:
        reason = (
            f"The model {name!r} is not in the wheel, but in a checkout of transformers-moss-tts: give its folder "
            f"model_cards/{name}, or install the checkout with `pip install -e .`."
        )
    raise ValueError(reason)


def bundled_models() -> dict[str, str]:
    """Folders of all bundled models, codecs and adapters, by their names."""
    files = [path for folder in _FOLDERS for config in _CONFIGS for path in folder.glob(f"*/{config}")]
    return {path.parent.name: str(path.parent) for path in reversed(files)}


def find_model(name: str) -> str:
    """
    Folder of a bundled model of the name, if there is one and no folder of the name; else the name itself.

    Raises:
        ValueError: if it is the name of one that only a checkout has.
    """
    if Path(name).exists():
        return name
    return bundled_model(name) if name in _OF_A_CHECKOUT else bundled_models().get(name, name)


__all__ = ["bundled_model", "bundled_models", "find_model"]
