"""
Makes transformers' own common tests importable as `tests.test_modeling_common` and so on.

They are in the sdist of the installed transformers, which is fetched once with pip into `.cache/`, and are never part of
this repository. The siblings they import but the sdist lacks are written as empty stand-ins.
"""

import os
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

import transformers


CACHE = Path(__file__).resolve().parents[1] / ".cache" / "transformers_common_tests"

STAND_INS = {
    "tests/__init__.py": "",
    "tests/exporters/__init__.py": "",
    "tests/exporters/test_export.py": "class ExportTesterMixin:\n    pass\n",
    "tests/generation/__init__.py": "",
    "tests/generation/test_utils.py": "class GenerationTesterMixin:\n    pass\n",
    "tests/utils/__init__.py": "",
    "tests/utils/test_configuration_utils.py": "config_common_kwargs = {}\n",
    "utils/fetch_hub_objects_for_ci.py": "def url_to_local_path(url):\n    return url\n",
}


def folder() -> Path:
    return CACHE / transformers.__version__


def fetch() -> Path:
    """Downloads and unpacks the common tests if they are not there; returns the folder to put on `sys.path`."""
    target = folder()
    if target.is_dir():
        return target
    CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE) as scratch:
        subprocess.run(
            [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", "transformers"]
            + [f"transformers=={transformers.__version__}", "--dest", scratch],
            check=True,
        )
        (sdist,) = Path(scratch).glob("transformers-*.tar.gz")
        with tarfile.open(sdist) as archive:
            members = [m for m in archive.getmembers() if m.isfile() and m.name.split("/")[1:2] == ["tests"]]
            archive.extractall(scratch, members=members, filter="data")
        (unpacked,) = (path for path in Path(scratch).iterdir() if path.is_dir())
        for name, text in STAND_INS.items():
            path = unpacked / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        os.replace(unpacked, target)
    return target


if __name__ == "__main__":
    print(fetch())
