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
"""Two evaluations side by side, utterance by utterance."""

import dataclasses
from pathlib import Path
from typing import Any

from ...utils.record_files import read_object, write_file, write_object
from ..suites import SUITES, Suite
from .metrics import NONE, Metric, Record, Table, grouped, succeeded
from .packages import check_packages
from .plots import draw_differences
from .report import render_report
from .run_folder import RECORDS, REPORT, SETTINGS, SUMMARY, read_run, read_settings
from .statistics import Estimate


PICTURE = "differences.png"


def compare(first: str | Path, second: str | Path, output: str | Path | None = None) -> tuple[str, dict[str, Any]]:
    """
    Compares two evaluations of one suite on the same utterances.

    Args:
        first, second (`str` or `Path`):
            Output folders of [`evaluate`], A and B.
        output (`str` or `Path`, *optional*):
            Folder for `report.md`, its picture and `summary.json`.

    Returns:
        The report, and by group and metric the difference B - A with its interval: pairs are resampled together, so that
        what makes an utterance hard for both does not count.

    Raises:
        ValueError: if a folder holds no evaluation, or they are of different suites, scorers or utterances.
    """
    check_packages()
    for name, folder in (("first", first), ("second", second)):
        if not isinstance(folder, str | Path):
            raise TypeError(f"`{name}` must be the output folder of an evaluation, got {folder!r:.80}.")
    folders = [Path(first), Path(second)]
    settings = [_settings_of(folder) for folder in folders]
    for name in ("suite", "scorers"):
        if settings[0][name] != settings[1][name]:
            raise ValueError(
                f"The evaluations cannot be compared: their {name} are {settings[0][name]} and {settings[1][name]}."
            )
    suite = _suite_of(settings[0])
    pairs = _pairs(*(succeeded(read_run(folder)) for folder in folders))
    groups = {name: [(pair["a"], pair["b"]) for pair in group] for name, group in grouped(pairs).items()}
    differences: dict[str, dict[str, Estimate]] = {}
    rows = []
    for metric in suite.metrics():
        for name, group in groups.items():
            both = [pair for pair in group if len(metric.of(pair)) == 2]
            if both:
                difference = metric.difference(both)
                differences.setdefault(metric.key, {})[name] = difference
                rows.append(_row(metric, name, both, difference))
    columns = ["", "", "n", "A", "B", "B - A", ""]
    notes = ["The last column says which one is better where the interval of the difference leaves zero out."]
    tables = [Table("Differences", columns, rows, notes)]
    facts = [(letter, f"{_model(item)} ({folder.name})") for letter, folder, item in zip("AB", folders, settings)]
    scorers = read_object(folders[0] / SUMMARY)
    baselines = scorers["speaker_levels"]
    facts += [(kind, what) for kind, _, what in scorers["scorers"]]
    if baselines is not None:
        facts.append(
            (
                "SIM of one voice, of two",
                f"{baselines['same']:.3f}, {baselines['different']:.3f} ({baselines['source']})",
            )
        )
    title = f"{suite.name}: {_model(settings[0])} and {_model(settings[1])}"
    report = render_report(title, facts, tables, [] if output is None else [(PICTURE, "Differences")], [], None, [])
    summary = {
        key: {name: dataclasses.asdict(item) for name, item in groups.items()} for key, groups in differences.items()
    }
    if output is not None:
        output = Path(output)
        output.mkdir(parents=True, exist_ok=True)
        draw_differences(suite.metrics(), differences, output / PICTURE)
        write_object(output / SUMMARY, summary)
        write_file(output / REPORT, report.encode())
    return report, summary


def _settings_of(folder: Path) -> dict[str, Any]:
    for name in (SETTINGS, RECORDS, SUMMARY):
        if not (folder / name).is_file():
            raise ValueError(f"{str(folder)!r} holds no finished evaluation: there is no {name} in it.")
    settings = read_settings(folder)
    is_known = isinstance(settings.get("suite"), str) and settings["suite"] in SUITES
    if not is_known or not isinstance(settings.get("options"), dict) or not {"scorers", "model"} <= settings.keys():
        raise ValueError(f"{str(folder / SETTINGS)!r} is not of an evaluation: it names no suite with its options.")
    return settings


def _suite_of(settings: dict[str, Any]) -> Suite:
    """For its metrics alone: the data is not read again."""
    return SUITES[settings["suite"]](**settings["options"] | {"data": ""})


def _model(settings: dict[str, Any]) -> str:
    return Path(settings["model"]).name if settings["model"] else "recordings"


def _pairs(first: list[Record], second: list[Record]) -> list[Record]:
    others = {record["id"]: record for record in second}
    common = [
        {"group": record["group"], "a": record, "b": others[record["id"]]}
        for record in first
        if record["id"] in others
    ]
    if not common:
        raise ValueError("The evaluations have no utterance in common.")
    if changed := [pair["a"]["id"] for pair in common if pair["a"].get("text") != pair["b"].get("text")]:
        raise ValueError(f"The evaluations are of different data: the text of {changed[0]!r} is not the same.")
    return common


def _row(metric: Metric, name: str, pairs: list[tuple[Record, Record]], difference: Estimate) -> list[str]:
    means = [metric.estimate(records) for records in zip(*pairs)]
    verdict = NONE
    if difference.excludes_zero:
        verdict = "differs"
        if metric.lower_is_better is not None:
            verdict = "B better" if (difference.value < 0) == metric.lower_is_better else "A better"
    values = [metric.format(None if item is None else item.value) for item in means]
    return [metric.label, name, str(len(pairs)), *values, metric.format(difference), verdict]


__all__ = ["compare"]
