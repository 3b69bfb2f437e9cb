"""
Draws the losses of trainings from their TensorBoard logs, one run after the other.

    python -m examples.tiny_family.plot_losses runs/codec/logs runs/codec-annealed/logs --tags train/mel eval/mel --title "..." --output losses.png
"""

import argparse
from pathlib import Path

import matplotlib
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator


matplotlib.use("Agg")
from matplotlib import pyplot


def read_scalars(folder: Path, tag: str) -> list[tuple[int, float]]:
    """Steps and values of a tag over all logs of a folder; of a step that was run twice, the later one's."""
    values = {}
    for path in sorted(folder.rglob("events.out.tfevents*")):
        events = EventAccumulator(str(path), {"scalars": 0})
        events.Reload()
        if tag in events.Tags()["scalars"]:
            values |= {event.step: event.value for event in events.Scalars(tag)}
    return sorted(values.items())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("logs", type=Path, nargs="+")
    parser.add_argument("--tags", nargs="+", required=True)
    parser.add_argument("--title", required=True, help="what the picture shows")
    parser.add_argument("--output", type=Path, required=True)
    args = parser.parse_args()

    figure, axes = pyplot.subplots(figsize=(8, 4), layout="constrained")
    for tag in args.tags:
        points, first = [], 0
        for folder in args.logs:
            run = read_scalars(folder, tag)
            points += [(first + step, value) for step, value in run]
            first += max((step for step, _ in run), default=0)
        if not points:
            raise SystemExit(f"No log has {tag!r}.")
        axes.plot(*zip(*points), label=tag, linewidth=1)
    axes.set(xlabel="step", ylabel="loss", title=args.title)
    axes.grid(alpha=0.3)
    axes.legend()
    args.output.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(args.output, dpi=100)
    print(f"wrote {args.output}")


if __name__ == "__main__":
    main()
