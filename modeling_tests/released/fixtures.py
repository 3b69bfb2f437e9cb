"""Fixtures of the stand-ins, made once a session."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import transformers
from released.stand_ins import ORGANIZATION, REPOSITORIES, build_folder, build_hub_cache, change_folder


@pytest.fixture(scope="session")
def _stand_ins(tmp_path_factory) -> tuple[Path, Path]:
    base = tmp_path_factory.mktemp("released")
    for name in REPOSITORIES:
        build_hub_cache(base / "hub", build_folder(name, base / "folders"))
    return base / "folders", base / "hub"


@pytest.fixture
def released_hub(_stand_ins, monkeypatch, tmp_path) -> Path:
    """A hub cache with all stand-ins, offline, which this process takes for its own. Load them by `OpenMOSS-Team/NAME`."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(_stand_ins[1]))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    # Where remote code would be copied to, if it were run.
    modules = str(tmp_path / "modules")
    for module in (transformers.utils.hub, transformers.dynamic_module_utils):
        monkeypatch.setattr(module, "HF_MODULES_CACHE", modules)
    return _stand_ins[1]


@pytest.fixture
def released_folders(_stand_ins, released_hub) -> Path:
    """
    A folder with all stand-ins as plain folders of their names, not to be changed. Codecs that they name are found in the
    hub cache of [`released_hub`].
    """
    return _stand_ins[0]


@pytest.fixture
def released(released_folders, tmp_path) -> Callable[..., str]:
    """
    `released(name)` is the id of a stand-in in the hub cache; `released(name, config={...}, generation_config=None)` is a
    folder with changed JSON files (fields to replace, `None` for no such file).
    """

    def released(name: str, **fields: dict[str, Any] | None) -> str:
        if not fields:
            return f"{ORGANIZATION}/{name}"
        count = len(list(tmp_path.glob("changed_*")))
        folder = tmp_path / f"changed_{count}" / name
        shutil.copytree(released_folders / name, folder)
        return str(change_folder(folder, **fields))

    return released
