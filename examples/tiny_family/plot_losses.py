"""
Draws the losses of trainings, one run after the other, from the `log.jsonl` of a stage or the `trainer_state.json` of a checkpoint.

    python -m examples.tiny_family.plot_losses RUN/decoder/log.jsonl --names mel mel_rmse --title "..." --output losses.png
"""

import argparse
import json
from pathlib import Path

import matplotlib


matplotlib.use("Agg")
from matplotlib import pyplot


def read_values(path: Path, name: str) -> list[tuple[int, float]]:
    """Steps and values of a name in a log; of a step that was run twice, the later one's."""
    text = path.read_text(encoding="utf-8")
    entries = map(json.loads, text.splitlines()) if path.suffix == ".jsonl" else json.loads(text)["log_history"]
    return sorted({entry["step"]: float(entry[name]) for entry in entries if name in entry}.items())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("logs", type=Path, nargs="+")
    parser.add_argument("--names", nargs="+", required=True)
    parser.add_argument("--title", required=True, help="what the picture shows")
    parser.add_argument("--output", type=Path, required=True)
    args = parser.parse_args()

    figure, axes = pyplot.subplots(figsize=(8, 4), layout="constrained")
    for name in args.names:
        points, first = [], 0
        for path in args.logs:
            run = read_values(path, name)
            points += [(first + step, value) for step, value in run]
            first += max((step for step, _ in run), default=0)
        if not points:
            raise SystemExit(f"No log has {name!r}.")
        axes.plot(*zip(*points), label=name, linewidth=1)
    axes.set(xlabel="step", ylabel="loss", title=args.title)
    axes.grid(alpha=0.3)
    axes.legend()
    args.output.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(args.output, dpi=100)
    print(f"wrote {args.output}")


if __name__ == "__main__":
    main()
