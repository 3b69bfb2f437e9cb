"""docs/internals/upgrade_notes.md lists the private names of other libraries that the package overrides or calls, and no others."""

import ast
import importlib
import inspect
import pkgutil
import re
import sys
from pathlib import Path

import transformers_moss_tts


PACKAGE = Path(transformers_moss_tts.__file__).parent
NO_LIBRARIES = {*sys.stdlib_module_names, transformers_moss_tts.__name__}
NOTES = Path(__file__).parents[1] / "docs" / "internals" / "upgrade_notes.md"


def is_private(name: str) -> bool:
    # Every abstract class has an `_abc_impl` of its own.
    return name.startswith("_") and not name.startswith("__") and name not in ("_", "_abc_impl")


def overridden_names() -> set[tuple[str, str]]:
    """Private attributes of classes of the package that a class of another library has too, and their files."""
    names = set()
    for info in pkgutil.walk_packages([str(PACKAGE)], f"{transformers_moss_tts.__name__}."):
        if info.name.endswith(".moss_tts_plugin"):
            continue
        module = importlib.import_module(info.name)
        for _, kind in inspect.getmembers(module, inspect.isclass):
            if kind.__module__ != info.name:
                continue
            others = [base for base in kind.__mro__ if base.__module__.split(".")[0] not in NO_LIBRARIES]
            file = Path(inspect.getfile(kind)).relative_to(PACKAGE).as_posix()
            names |= {
                (name, file) for name in vars(kind) if is_private(name) and any(name in vars(base) for base in others)
            }
    return names


def used_names() -> set[tuple[str, str]]:
    """Private attributes that the package reads or calls and nowhere defines, and their files."""
    used, defined = set(), set()
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            match node:
                case ast.Attribute(attr=name, ctx=ast.Load()) if is_private(name):
                    used.add((name, path.relative_to(PACKAGE).as_posix()))
                case ast.Attribute(attr=name):
                    defined.add(name)
                case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.Name(id=name, ctx=ast.Store()):
                    defined.add(name)
    defined -= {"_attn_implementation"}
    return {(name, file) for name, file in used if name not in defined}


def listed_names() -> set[tuple[str, str]]:
    names, files = set(), []
    for line in NOTES.read_text(encoding="utf-8").splitlines():
        cells = line.split("|")
        if len(cells) != 5:
            continue
        listed = re.findall(r"`[\w.]+\.(_\w+)`", cells[1])
        files = files if cells[2].strip() == "the same" else re.findall(r"`([\w/]+\.py)`", cells[2])
        names |= {(name, file) for name in listed for file in files}
    return names


def test_private_names_are_listed():
    missing = (overridden_names() | used_names()) - listed_names()
    assert not missing, f"list them in docs/internals/upgrade_notes.md: {sorted(missing)}"


def test_listed_names_are_in_their_files():
    stale = [(name, file) for name, file in listed_names() if name not in (PACKAGE / file).read_text()]
    assert not stale
