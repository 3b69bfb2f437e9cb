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
"""The optional packages, and the line that installs them from where this package was installed."""

import importlib.util
import re
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path


_CHECKOUT = Path(__file__).parents[3]


def install_line(extra: str) -> str:
    """
    The command that installs an extra: by its name in a checkout, by its packages where a wheel was installed.

    Args:
        extra (`str`): name of the extra in pyproject.toml.
    """
    if (_CHECKOUT / "pyproject.toml").is_file():
        return f"pip install -e '{_CHECKOUT}[{extra}]'"
    try:
        declared = requires("transformers-moss-tts") or []
    except PackageNotFoundError:
        declared = []
    ending = re.compile(rf"""\s*;\s*extra == ['"]{extra}['"]$""")
    packages = [ending.sub("", line) for line in declared if ending.search(line)]
    return f"pip install {' '.join(repr(package) for package in packages)}"


def missing_packages(*modules: str) -> list[str]:
    """Those of the modules that are not installed."""
    return [name for name in modules if importlib.util.find_spec(name) is None]


def require(purpose: str, extra: str, *modules: str) -> None:
    """
    Checks that optional packages are installed.

    Args:
        purpose (`str`): what needs them, the subject of the error.
        extra (`str`): extra of pyproject.toml that has them.
        modules (`str`): names that are imported.

    Raises:
        ImportError: if one is missing; it says how to install the extra.
    """
    if missing := missing_packages(*modules):
        raise ImportError(f"{purpose} needs {', '.join(missing)}, of the extra {extra!r}: {install_line(extra)}")


__all__ = ["install_line", "missing_packages", "require"]
