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
"""Metrics of utterances, and the tables that report them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from .statistics import Estimate, estimate_difference, estimate_mean, estimate_ratio


Record = dict  # what was measured of an utterance: `id`, `task`, `group` and, by their names, numbers and texts
NONE = "–"


@dataclass(frozen=True)
class Metric:
    """
    A number of a record.

    Args:
        key (`str`): name of the number in the record.
        label (`str`): name of the number in reports.
        per (`str`, *optional*): name of the number that it is divided by; the mean is then sum over sum.
        scale (`float`, *optional*, defaults to 1.0): factor in reports; 100 for percent.
        digits (`int`, *optional*, defaults to 2): decimals in reports.
        lower_is_better (`bool`, *optional*): direction of improvement; `None` for neither.
    """

    key: str
    label: str
    per: str | None = None
    scale: float = 1.0
    digits: int = 2
    lower_is_better: bool | None = None

    def of(self, records: Iterable[Record]) -> list[Record]:
        """The records that have the number."""
        return [record for record in records if record.get(self.key) is not None]

    def estimate(self, records: Iterable[Record]) -> Estimate | None:
        """Mean of the number over the records that have it; `None` if none has."""
        measured = self.of(records)
        if not measured:
            return None
        values = [record[self.key] for record in measured]
        if self.per is None:
            return estimate_mean(values)
        return estimate_ratio(values, [record[self.per] for record in measured])

    def difference(self, pairs: Sequence[tuple[Record, Record]]) -> Estimate:
        """Mean of the second records minus mean of the first, in pairs."""
        first, second = zip(*pairs)

        def values(records: Iterable[Record], key: str) -> list[float]:
            return [record[key] for record in records]

        denominators = None if self.per is None else (values(first, self.per), values(second, self.per))
        return estimate_difference(values(first, self.key), values(second, self.key), denominators)

    def format(self, estimate: Estimate | float | None) -> str:
        """`value [low, high]` in the units of the report."""
        if estimate is None:
            return NONE
        if not isinstance(estimate, Estimate):
            return self._number(estimate)
        if estimate.low is None or estimate.high is None:
            return self._number(estimate.value)
        return f"{self._number(estimate.value)} [{self._number(estimate.low)}, {self._number(estimate.high)}]"

    def format_published(self, value: float) -> str:
        """A published number, which has the units of the report already."""
        return f"{value:.{self.digits}f}"

    def _number(self, value: float) -> str:
        return f"{value * self.scale:.{self.digits}f}"


@dataclass
class Table:
    """A table of a report; `notes` stand below it."""

    title: str
    columns: list[str]
    rows: list[list[str]]
    notes: list[str] = field(default_factory=list)


def succeeded(records: Iterable[Record]) -> list[Record]:
    """Records of utterances that did not fail."""
    return [record for record in records if "error" not in record]


def grouped(records: Iterable[Record]) -> dict[str, list[Record]]:
    """Records by group, in the order in which the groups come."""
    groups: dict[str, list[Record]] = {}
    for record in records:
        groups.setdefault(record["group"], []).append(record)
    return groups


def metric_table(
    title: str,
    metrics: Sequence[Metric],
    groups: dict[str, list[Record]],
    published: Sequence[tuple[str, dict[str, str]]] = (),
    notes: Sequence[str] = (),
) -> Table:
    """
    A row for each group with the means and intervals of the metrics, then published rows (label, and values by key).
    Metrics that nobody has are left out.
    """
    everything = [record for group in groups.values() for record in group]
    shown = [
        metric for metric in metrics if metric.of(everything) or any(values.get(metric.key) for _, values in published)
    ]
    rows = [
        [name, str(len(group)), *(metric.format(metric.estimate(group)) for metric in shown)]
        for name, group in groups.items()
    ]
    rows += [[f"*{label}*", NONE, *(values.get(metric.key, NONE) for metric in shown)] for label, values in published]
    return Table(title, ["", "n", *(metric.label for metric in shown)], rows, list(notes))


__all__ = ["Metric", "Table", "metric_table"]
