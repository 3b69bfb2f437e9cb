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
"""For mkdocstrings: docstrings as transformers writes them, with `auto_docstring` and its links, as Markdown."""

import importlib
import re
from inspect import cleandoc
from typing import Any

import griffe


PUBLIC_MODULES = ("", ".audio_io", ".evaluation", ".hub", ".serving", ".speech", ".training")

# Names that are documented by another path: a base class, and a function of its module's name.
_ELSEWHERE = {
    "MossTTSProcessor": "transformers_moss_tts.moss_tts.processing_moss_tts.MossTTSProcessor",
    "upload": "transformers_moss_tts.hub.upload.upload",
}

# What `auto_docstring` adds for the site of transformers, with what stands in its place.
_BOILERPLATE = (
    (re.compile(r"<Tip>.*?</Tip>\n*", re.DOTALL), ""),
    (re.compile(r"\n *\[What are [^\]]*\]\(\.\./glossary[^)]*\)\n"), ""),
    (re.compile(r"This model inherits from .*?general usage\s+and behavior\.\n*", re.DOTALL), ""),
    (re.compile(r"Configuration objects inherit from .*?for more information\.\n*", re.DOTALL), ""),
    (re.compile(r"This is the configuration class .*?defining the model architecture\. ", re.DOTALL), ""),
    (re.compile(r"^Returns:\n +\[`[\w.]+`\] or `tuple.*?inputs\.$", re.DOTALL | re.MULTILINE), "**Returns:**"),
    # A paragraph of a list item: Markdown wants four spaces.
    (re.compile(r"^  (?=\S)", re.MULTILINE), "    "),
    (re.compile(r"^(    .*)\n(?=- \*\*)", re.MULTILINE), r"\1\n\n"),
    (re.compile(r"^Example:$", re.MULTILINE), "**Example:**"),
)
_SECTION = re.compile(r"^(Args|Parameters|Attributes):\n((?:(?:[ ]+.*)?(?:\n|\Z))+)", re.MULTILINE)
_ITEM = re.compile(r"^    (\w[\w, *`]*?)(?: \((.+)\))?:(?: +|\n|$)", re.MULTILINE)
_MODULE = re.compile(r"^transformers_moss_tts\.([a-z_]+\.)*")
_LINK = re.compile(r"\[`(~?)([\w.]+)`\](?!\()")


class TransformersDocstrings(griffe.Extension):
    """Replaces the docstrings of the package by what they say at run time, with links within the site."""

    def __init__(self) -> None:
        self.places = _places_of_names()

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        text = None if obj.docstring is None else obj.docstring.value
        if any("auto_docstring" in str(decorator.value) for decorator in getattr(obj, "decorators", ())):
            text = cleandoc(_find(obj.path).__doc__)
        if text is None:
            return
        for pattern, replacement in _BOILERPLATE:
            text = pattern.sub(replacement, text)
        text = _SECTION.sub(_as_list, text)
        text = _LINK.sub(self._as_link, text)
        if obj.docstring is None:
            obj.docstring = griffe.Docstring(text, parent=obj)
        obj.docstring.value = text

    def _as_link(self, link: re.Match) -> str:
        name, _, member = _MODULE.sub("", link[2]).partition(".")
        if name not in self.places:
            return f"`{link[2]}`"
        place = ".".join(filter(None, (self.places[name], member)))
        shown = (member or name) if link[1] else link[2]
        return f'<autoref identifier="{place}" optional><code>{shown}</code></autoref>'


def _as_list(section: re.Match) -> str:
    """A section of arguments, with their types and shapes, as a list: mkdocstrings takes a type for plain text."""
    title = "Attributes" if section[1] == "Attributes" else "Arguments"
    items = _ITEM.sub(lambda item: f"\n- **{item[1]}**" + (f" ({item[2]})" if item[2] else "") + ": ", section[2])
    items = re.sub(r"^(- .*: ) *", r"\1", items, flags=re.MULTILINE)
    items = re.sub(r"^ {8}", "    ", items, flags=re.MULTILINE)
    return f"**{title}:**\n{items}\n"


def _places_of_names() -> dict[str, str]:
    """The path under which each public name is documented."""
    places: dict[str, str] = {}
    for suffix in PUBLIC_MODULES:
        try:
            module = importlib.import_module(f"transformers_moss_tts{suffix}")
        except ImportError:
            continue
        for name in module.__all__:
            places.setdefault(name, f"{module.__name__}.{name}")
    return places | _ELSEWHERE


def _find(path: str) -> Any:
    """The class or function at a path of the package."""
    parts = path.split(".")
    for count in range(len(parts) - 1, 0, -1):
        try:
            found: Any = importlib.import_module(".".join(parts[:count]))
        except ModuleNotFoundError:
            continue
        for part in parts[count:]:
            found = getattr(found, part)
        return found
    raise ImportError(f"There is nothing at {path}.")
