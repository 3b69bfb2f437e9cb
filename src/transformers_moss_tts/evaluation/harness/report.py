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
"""Reports in Markdown."""

from ..scorers import SpeakerBaselines
from .metrics import NONE, Table
from .statistics import CONFIDENCE


def render_table(table: Table) -> str:
    """A table with its title and notes."""
    rules = ["---:" if all(map(_is_number, column)) else "---" for column in zip(*table.rows)]
    lines = [table.columns, rules or ["---"] * len(table.columns), *table.rows]
    parts = [f"## {table.title}", "\n".join(f"| {' | '.join(map(_cell, line))} |" for line in lines)]
    return "\n\n".join([*parts, *table.notes])


def render_report(
    title: str,
    facts: list[tuple[str, str]],
    tables: list[Table],
    pictures: list[tuple[str, str]],
    scorers: list[tuple[str, str, str]],
    baselines: SpeakerBaselines | None,
    failures: list[tuple[str, str]],
) -> str:
    """
    A report.

    Args:
        title (`str`): headline.
        facts (`list[tuple[str, str]]`): names and values that say what was evaluated and how.
        tables (`list[Table]`): results.
        pictures (`list[tuple[str, str]]`): files beside the report, and captions.
        scorers (`list[tuple[str, str, str]]`): kind, name and description of each.
        baselines (`SpeakerBaselines`, *optional*): ends of the range that SIM lies in.
        failures (`list[tuple[str, str]]`): utterances that failed, and why.
    """
    parts = [f"# {title}", "\n".join(f"- {name}: {value}" for name, value in facts)]
    parts.append(f"In brackets: bootstrap {CONFIDENCE:.0%} intervals of the means.")
    if failures:
        parts.append(f"**{len(failures)} utterances failed** and are in no number; they are listed at the end.")
    parts += [render_table(table) for table in tables]
    parts += [f"![{caption}]({file})" for file, caption in pictures]
    if scorers:
        parts.append(render_table(_scorer_table(scorers, baselines)))
    if failures:
        parts.append(render_table(Table("Failed", ["utterance", "reason"], [list(failure) for failure in failures])))
    return "\n\n".join(parts) + "\n"


def _scorer_table(scorers: list[tuple[str, str, str]], baselines: SpeakerBaselines | None) -> Table:
    table = Table("Scorers", ["", "name", "what"], [list(scorer) for scorer in scorers])
    if not any(kind.startswith("speaker") for kind, _, _ in scorers):
        return table
    if baselines is None:
        table.notes.append(
            "SIM of two recordings of one voice and of two voices under this encoder: not measured. Give recordings with "
            "`speaker` (`voices`) to measure it; without, SIM says little."
        )
        return table
    table.notes.append(
        f"SIM of two recordings of one voice: {baselines.same:.3f}; of two voices: {baselines.different:.3f} ({baselines.source})."
    )
    return table


def _is_number(value: str) -> bool:
    return value == NONE or value.lstrip("+-")[:1].isdigit()


def _cell(value: str) -> str:
    return " ".join(str(value).replace("|", "\\|").split())


__all__ = ["render_report", "render_table"]
