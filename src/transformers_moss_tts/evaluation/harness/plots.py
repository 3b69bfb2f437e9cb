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
"""Pictures of an evaluation, as PNG."""

import textwrap
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ...utils.speed import describe_speed
from ..scorers import SpeakerBaselines
from .metrics import Metric, Record
from .published import Published
from .statistics import Estimate, estimate_mean, estimate_slope


_DPI = 120
_MOST_NAMES = 8  # more do not fit a title
_NUM_COLORS = 10
_LONGEST_LABEL = 30  # characters of a text in a legend
_PUBLISHED = {"color": "0.45", "linestyle": "--"}


def draw_distributions(
    metric: Metric, groups: dict[str, list[Record]], path: Path, baselines: SpeakerBaselines | None = None
) -> None:
    """A box and the points of a metric for each group; the baselines of one voice and of two as lines."""
    groups = {name: metric.of(group) for name, group in groups.items() if metric.of(group)}
    figure, axis = _figure(figsize=(7, 1.6 + 0.9 * len(groups)))
    values = [[record[metric.key] * metric.scale for record in group] for group in groups.values()]
    axis.boxplot(values, orientation="horizontal", showfliers=False, widths=0.5, medianprops={"color": "C1"})
    scatter = np.random.default_rng(0)
    for number, points in enumerate(values, 1):
        offsets = scatter.uniform(-0.18, 0.18, len(points))
        axis.plot(points, number + offsets, "o", color="C0", markersize=4, alpha=0.45, markeredgewidth=0)
    labels = [f"{name}\nmean {metric.format(metric.estimate(group))}" for name, group in groups.items()]
    axis.set_yticks(range(1, len(groups) + 1), labels)
    axis.invert_yaxis()
    axis.set_xlabel(metric.label)
    means = [f"{name} {metric.format(metric.estimate(group)).split(' [')[0]}" for name, group in groups.items()]
    _title(figure, f"{metric.label} on average: {', '.join(means[:_MOST_NAMES])}")
    if metric.scale == 100:
        # Where nothing is wrong anywhere, an axis of its own would magnify nothing.
        most = max(1.0, *(max(points) for points in values))
        axis.set_xlim(-0.03 * most, 1.05 * most)
    _mark_baselines(axis, baselines, vertical=True)
    _save(figure, path)


def draw_durations(records: list[Record], frame_rate: float, others: dict[str, float], path: Path) -> None:
    """Requested against produced seconds, and the mean absolute error by range with what was published."""
    figure, (left, right) = _figure(1, 2, figsize=(11, 4.2))
    asked = np.array([record["requested"] for record in records]) / frame_rate
    made = np.array([record["frames"] for record in records]) / frame_rate
    ends = [min(asked.min(), made.min(), 0), 1.05 * max(asked.max(), made.max())]
    left.plot(ends, ends, color="0.6", linewidth=1, label="as requested")
    left.plot(asked, made, "o", markersize=4, alpha=0.5, markeredgewidth=0, color="C0")
    left.set(xlabel="requested, seconds", ylabel="produced, seconds", xlim=ends, ylim=ends)
    left.legend(loc="upper left", frameon=False)
    names = list(dict.fromkeys(record["group"] for record in records))
    estimates = [
        estimate_mean([100 * record["error_share"] for record in records if record["group"] == name]) for name in names
    ]
    right.bar(range(len(names)), [item.value for item in estimates], width=0.55, color="C0", label="this model")
    _error_bars(right, range(len(names)), estimates, color="0.1")
    known = [(position, others[name]) for position, name in enumerate(names) if name in others]
    if known:
        right.plot(*zip(*known), "D", color="0.2", label="MOSS-TTS 8B (Delay), published")
    error = estimate_mean([100 * record["error_share"] for record in records]).value
    beside = f", {min(others.values()):.1f} to {max(others.values()):.1f} % published for 8B" if others else ""
    _title(figure, f"Length misses the request by {error:.1f} % on average{beside}")
    right.set_xticks(range(len(names)), names)
    right.set(ylabel="mean absolute error, %")
    _start_at_zero(right)
    right.legend(frameon=False)
    _save(figure, path)


def draw_drift(groups: dict[str, list[Record]], rate: str, baselines: SpeakerBaselines | None, path: Path) -> None:
    """
    Word errors and SIM of each window along the recording, a line as long as the window, with the line of least squares of each
    group that has three windows or more.
    """
    figure, axes = _figure(2, 1, figsize=(9.5, 6), sharex=True)
    windows = max((len(group) for group in groups.values()), default=0)
    longest = max((record["end"] for group in groups.values() for record in group), default=0)
    unit, name_of_unit = (60, "minutes") if longest > 120 else (1, "seconds")
    slopes = []
    for axis, key, scale, y_label in zip(axes, ("wer", "sim"), (100, 1), (f"{rate}, %", "SIM to the reference")):
        for number, (name, group) in enumerate(groups.items()):
            spans = sorted(
                (record["start"], record["end"], scale * record[key])
                for record in group
                if record.get(key) is not None
            )
            if not spans:
                continue
            starts, ends, values = map(np.array, zip(*spans))
            middles = (starts + ends) / 2
            label, color = f"{name}: {values.mean():.3g} on average", f"C{number}"
            if len(spans) > 2:
                slope = estimate_slope(middles / 60, values)
                label = f"{name}: {slope.value:+.3g} a minute"
                slopes.append(f"{name} {slope.value:+.2g} {'points of ' + rate if key == 'wer' else 'SIM'}")
                line = values.mean() + slope.value * (middles - middles.mean()) / 60
                axis.plot(middles / unit, line, color=color, linewidth=1, linestyle="--")
            axis.hlines(values, starts / unit, ends / unit, color=color, linewidth=2, alpha=0.6)
            axis.plot(middles / unit, values, "o", color=color, markersize=4, label=label, clip_on=False)
        axis.set_ylabel(y_label)
        if key == "wer":
            axis.set_ylim(0, max(5.0, 1.08 * axis.get_ylim()[1]))
        else:
            _mark_baselines(axis, baselines)
        if axis.get_legend_handles_labels()[0]:
            axis.legend(frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(1, 1))
    axes[-1].set(xlabel=name_of_unit, xlim=(0, None))
    is_long = slopes and longest >= 60
    _title(
        figure,
        f"Drift a minute: {', '.join(slopes)}"
        if is_long
        else f"At most {windows} windows in {longest:.0f} s: too short for a drift",
    )
    _save(figure, path)


def draw_codec(
    records: list[Record],
    recordings: list[Record],
    floor: list[Record],
    metrics: Sequence[Metric],
    others: Sequence[Published],
    baselines: SpeakerBaselines | None,
    path: Path,
) -> None:
    """Every metric by bit rate, beside those of the floor, the published codec and the recordings themselves."""
    metrics = [metric for metric in metrics if metric.of(records)]
    figure, axes = _panels(len(metrics), 4 if len(metrics) > 6 else 3, (4.0, 3.1))
    rates = sorted({record["bit_rate"] for record in records})
    for axis, metric in zip(axes, metrics):
        measured = {
            rate: metric.estimate([record for record in records if record["bit_rate"] == rate]) for rate in rates
        }
        estimates = [item for item in measured.values() if item is not None]
        positions = [rate for rate, item in measured.items() if item is not None]
        axis.plot(positions, [item.value * metric.scale for item in estimates], "o-", color="C0", label="this codec")
        _error_bars(axis, positions, estimates, metric.scale)
        below = {rate: metric.estimate([record for record in floor if record["bit_rate"] == rate]) for rate in rates}
        if points := [(rate, item.value * metric.scale) for rate, item in below.items() if item is not None]:
            axis.plot(*zip(*points), "s--", color="C7", markersize=4, label="k-means")
        # Its mel loss is another one than ours.
        known = [(item.values["bit_rate"], item.values[metric.key]) for item in others if metric.key in item.values]
        if known and metric.key != "mel":
            axis.plot(*zip(*known), marker="D", markersize=4, label="MOSS-Audio-Tokenizer (published)", **_PUBLISHED)
        if metric.key == "sim":
            _mark_baselines(axis, baselines)
        if ceiling := metric.estimate(recordings):
            axis.axhline(ceiling.value * metric.scale, color="C2", linestyle=":", label="recordings")
            axis.legend(*([items[-1]] for items in axis.get_legend_handles_labels()), frameon=False, fontsize=8)
        axis.set(title=metric.label, xlabel="bit/s")
        if metric.scale == 100:
            _cut_at_hundred(axis, positions, [item.value * metric.scale for item in estimates])
    axes[0].legend(frameon=False, fontsize=8)
    _title(figure, _codec_finding(records, metrics, max(rates), others))
    _save(figure, path)


def _codec_finding(records: list[Record], metrics: Sequence[Metric], rate: float, others: Sequence[Published]) -> str:
    found = []
    for metric in metrics:
        estimate = metric.estimate([record for record in records if record["bit_rate"] == rate])
        if metric.key not in ("stoi", "pesq_wb", "sim", "wer") or estimate is None:
            continue
        known = [
            item.values[metric.key]
            for item in others
            if item.values.get("bit_rate") == rate and metric.key in item.values
        ]
        beside = f" ({known[0]:g} published for 1.8 B)" if known else ""
        found.append(f"{metric.label} {metric.format(estimate).split(' [')[0]}{beside}")
    return f"At {rate:g} bit/s: {', '.join(found)}"


def _cut_at_hundred(axis, positions: Sequence[float], values: Sequence[float]) -> None:
    """Keeps rates above 100 %, where words are heard that nobody said, from hiding those below."""
    if max(values, default=0) <= 100:
        return
    axis.set_ylim(0, 105)
    for position, value in zip(positions, values):
        if value > 100:
            axis.plot(position, 102, "^", color="C0", clip_on=False)
            axis.annotate(f"{value:.0f} %", (position, 100), xytext=(8, -4), textcoords="offset points", fontsize=8)


def draw_speed(records: list[Record], path: Path) -> None:
    """Seconds of work and time to the first audio, by seconds of audio."""
    figure, (left, right) = _figure(1, 2, figsize=(10, 3.8))
    spoken = [record for record in records if record["seconds"]]
    longest = 1.05 * max((record["seconds"] for record in spoken), default=1)
    left.plot([0, longest], [0, longest], label="real time", **_PUBLISHED)
    left.plot([record["seconds"] for record in spoken], [record["took"] for record in spoken], "o", color="C0")
    left.set(xlabel="seconds of audio", ylabel="seconds of work", xlim=(0, longest))
    left.legend(frameon=False)
    heard = [record for record in spoken if record["first_audio"] is not None]
    if spoken:
        speed = describe_speed(1, float(np.median([record["took"] / record["seconds"] for record in spoken])))
        first = f", first audio after {1000 * np.median([r['first_audio'] for r in heard]):.0f} ms" if heard else ""
        _title(figure, f"Medians: {speed}{first}")
    right.plot(
        [record["seconds"] for record in heard], [1000 * record["first_audio"] for record in heard], "o", color="C0"
    )
    right.set(xlabel="seconds of audio", ylabel="first audio, ms", xlim=(0, longest))
    _start_at_zero(left, right)
    _save(figure, path)


def draw_stability(groups: dict[str, list[Record]], rate: Metric, path: Path) -> None:
    """Length and word errors of every sample; those that did not end or were cut stand out."""
    figure, axis = _figure(figsize=(7.5, 4.4))
    scored = any(rate.of(group) for group in groups.values())
    for number, (name, group) in enumerate(groups.items()):
        color = f"C{number % _NUM_COLORS}"
        # Without a recognizer every text has a line of its own.
        unknown = 0 if scored else len(groups) - number
        errors = [record[rate.key] * rate.scale if record.get(rate.key) is not None else unknown for record in group]
        # Samples of the same length and errors are one larger point.
        counts = Counter(zip([record["seconds"] for record in group], errors))
        sizes = [30 * count for count in counts.values()]
        axis.scatter(*zip(*counts), s=sizes, color=color, alpha=0.6, linewidths=0, clip_on=False)
        for key, marker in (("reached_limit", "x"), ("is_cut", "v")):
            marked = [(record["seconds"], error) for record, error in zip(group, errors) if record.get(key)]
            if marked:
                axis.plot(*zip(*marked), marker, color=color, markersize=10, fillstyle="none", clip_on=False)
        if len(groups) <= _NUM_COLORS:
            text = group[0].get("text") or name
            axis.plot([], [], "s", color=color, label=textwrap.shorten(text, _LONGEST_LABEL, placeholder=" …"))
    for marker, label in (("o", "ended by itself"), ("x", "did not end"), *([("v", "cut")] if scored else [])):
        axis.plot([], [], marker, color="0.3", fillstyle="none", label=label)
    lengths = [record["seconds"] for group in groups.values() for record in group]
    # Samples of one text hardly differ in length: an axis from 0 would crowd them.
    margin = max(0.1, 0.15 * (max(lengths) - min(lengths)))
    axis.set(xlabel="seconds", ylabel=rate.label if scored else "")
    axis.set_xlim(min(lengths) - margin, max(lengths) + margin)
    _start_at_zero(axis)
    if not scored:
        axis.set_yticks([])
    axis.legend(frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(1, 1))
    _title(figure, _stability_finding([record for group in groups.values() for record in group], rate))
    _save(figure, path)


def _stability_finding(records: list[Record], rate: Metric) -> str:
    scored = [record[rate.key] for record in records if record.get(rate.key) is not None]
    runaways, cuts = (sum(bool(record.get(key)) for record in records) for key in ("reached_limit", "is_cut"))
    right = f"{sum(error == 0 for error in scored)} of {len(scored)} samples without an error, " if scored else ""
    return f"{right}{runaways} of {len(records)} did not end" + (f", {cuts} cut" if scored else "")


def draw_differences(metrics: Sequence[Metric], differences: dict[str, dict[str, Estimate]], path: Path) -> None:
    """For each metric the difference of every group with its interval."""
    shown = [metric for metric in metrics if metric.key in differences]
    height = 1.5 + 0.35 * max(len(differences[metric.key]) for metric in shown)
    figure, axes = _panels(len(shown), 3, (4.4, height))
    for axis, metric in zip(axes, shown):
        groups = differences[metric.key]
        positions = range(len(groups))
        axis.axvline(0, color="0.6", linewidth=1)
        for position, item in zip(positions, groups.values()):
            color = "0.5"
            if item.excludes_zero and metric.lower_is_better is not None:
                color = "C2" if (item.value < 0) == metric.lower_is_better else "C3"
            ends = [item.value if end is None else end for end in (item.low, item.high)]
            axis.plot([end * metric.scale for end in ends], [position, position], color=color, linewidth=2)
            axis.plot(item.value * metric.scale, position, "o", color=color)
        axis.set_yticks(positions, groups)
        axis.set(title=f"{metric.label}, B - A", ylim=(len(groups) - 0.5, -0.5))
    items = [item for metric in shown for item in differences[metric.key].values()]
    _title(figure, f"{sum(item.excludes_zero for item in items)} of {len(items)} differences are not by chance (95 %)")
    _save(figure, path)


def _title(figure, finding: str) -> None:
    """What the picture shows, above it."""
    figure.suptitle(textwrap.fill(finding, round(9 * figure.get_figwidth())), fontsize=11)


def _figure(*shape: int, **options):
    from matplotlib.figure import Figure

    figure = Figure(figsize=options.pop("figsize"), layout="constrained")
    axes = figure.subplots(*shape, **options)
    for axis in np.atleast_1d(axes).flat:
        axis.grid(alpha=0.25)
        axis.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _panels(count: int, most_columns: int, size: tuple[float, float]):
    """A figure with so many panels, each of a size in inches."""
    columns = min(most_columns, count)
    rows = -(-count // columns)
    figure, axes = _figure(rows, columns, figsize=(size[0] * columns, size[1] * rows), squeeze=False)
    for axis in axes.flat[count:]:
        axis.set_visible(False)
    return figure, list(axes.flat[:count])


def _save(figure, path: Path) -> None:
    figure.savefig(path, dpi=_DPI)


def _start_at_zero(*axes) -> None:
    for axis in axes:
        axis.set_ylim(0, 1.05 * axis.get_ylim()[1])


def _error_bars(
    axis, positions: Sequence[float], estimates: Sequence[Estimate], scale: float = 1.0, color: str = "C0"
) -> None:
    for position, item in zip(positions, estimates):
        if item.low is not None and item.high is not None:
            ends = [item.low * scale, item.high * scale]
            axis.plot([position] * 2, ends, color=color, linewidth=5, alpha=0.35, solid_capstyle="butt")


def _mark_baselines(axis, baselines: SpeakerBaselines | None, vertical: bool = False) -> None:
    """Lines of two recordings of one voice and of two voices."""
    if baselines is None:
        return
    line = axis.axvline if vertical else axis.axhline
    line(baselines.same, color="C2", linestyle=":", label=f"one voice ({baselines.same:.2f})")
    line(baselines.different, color="C3", linestyle=":", label=f"two voices ({baselines.different:.2f})")
    axis.legend(frameon=False, fontsize=8)


__all__ = [
    "draw_codec",
    "draw_differences",
    "draw_distributions",
    "draw_drift",
    "draw_durations",
    "draw_speed",
    "draw_stability",
]
