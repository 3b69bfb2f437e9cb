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
Repositories that load with `trust_remote_code=True` where this package is merely installed. transformers would save copies of
the model's sources; here a module goes with the weights that imports the package (`moss_tts_plugin.py`).
"""

import os
import shutil
from pathlib import Path
from typing import Any, ClassVar

from ..utils.atomic_files import replacing


MODULE = Path(__file__).with_name("moss_tts_plugin.py")


class RemoteCodeMixin:
    """Of everything that transformers can register for an Auto class. Put it before transformers' class in the bases."""

    _saves_module: ClassVar[bool] = False

    @classmethod
    def register_for_auto_class(cls, auto_class: str | type | None = None) -> None:
        """
        From now on, what models, configurations and processors of this package save (and push) loads with
        `trust_remote_code=True` through the Auto classes and `pipeline`, without an import of the package.

        Args:
            auto_class (`str` or `type`, *optional*):
                As transformers passes it. The classes are registered for every Auto class that they have.
        """
        RemoteCodeMixin._saves_module = True


class RemoteCodeConfigMixin(RemoteCodeMixin):
    """For configurations: their config.json names the classes of the package that belong together."""

    # Auto class of the model beside `AutoModel`, and whether there is a processor.
    auto_model_class: ClassVar[str] = "AutoModelForTextToWaveform"
    has_processor: ClassVar[bool] = True

    def save_pretrained(self, save_directory: str | os.PathLike, **kwargs) -> None:
        """
        As [`~transformers.PreTrainedConfig.save_pretrained`]. An `auto_map` to code that is not in `save_directory`, as
        released configurations have it, becomes one to this package, for else `trust_remote_code=True` would fail.
        """
        if RemoteCodeMixin._saves_module or _names_missing_code(getattr(self, "auto_map", None), Path(save_directory)):
            self.auto_map = self._auto_map()
            add_module(save_directory)
        parent: Any = super()
        parent.save_pretrained(save_directory, **kwargs)

    @classmethod
    def _auto_map(cls) -> dict[str, str]:
        name = cls.__name__.removesuffix("Config")
        classes = {"AutoConfig": "Config", "AutoModel": "Model", cls.auto_model_class: "Model"}
        if cls.has_processor:
            classes["AutoProcessor"] = "Processor"
        return {auto_class: class_reference(name + kind) for auto_class, kind in classes.items()}


def class_reference(class_name: str) -> str:
    """What an `auto_map` says to mean a class of this package."""
    return f"{MODULE.stem}.{class_name}"


def add_module(folder: str | os.PathLike) -> None:
    """Puts the module into a folder, which is made if it is missing."""
    Path(folder).mkdir(parents=True, exist_ok=True)
    with replacing(Path(folder, MODULE.name)) as temporary:
        shutil.copyfile(MODULE, temporary)


def needs_module(folder: str | os.PathLike) -> bool:
    """Whether what is saved into a folder has to name the module: it was asked for, or a model did so."""
    return RemoteCodeMixin._saves_module or Path(folder, MODULE.name).exists()


def _names_missing_code(auto_map: dict | None, folder: Path) -> bool:
    # "repository--module.Class" is code of another repository.
    references = [name for name in (auto_map or {}).values() if isinstance(name, str) and "--" not in name]
    return any(not Path(folder, f"{name.split('.')[0]}.py").exists() for name in references)
