"""What the examples know of a corpus: a folder with `metadata*.jsonl` of `audio` (a path in the folder), `text`, `speaker`."""

import json
import re
from collections.abc import Iterator
from pathlib import Path


def read_metadata(folder: Path) -> Iterator[dict]:
    for path in sorted(folder.glob("metadata*.jsonl")):
        for line in path.read_text(encoding="utf-8").splitlines():
            yield json.loads(line)


def read_keys(sentences: Path | None) -> set[str]:
    """Keys of the lines of a text file; none without one."""
    return {key_of(line) for line in sentences.read_text(encoding="utf-8").splitlines()} if sentences else set()


def key_of(text: str) -> str:
    """What makes two sentences the same to a listener."""
    return re.sub(r"[^a-z ]", "", text.lower()).strip()
