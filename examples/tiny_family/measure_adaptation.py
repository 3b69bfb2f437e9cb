"""
Measures what an adapter changed: similarity to the speaker and wrong words, before, after, and along its training.

    python -m examples.tiny_family.measure_adaptation runs/anna sentences.txt a.wav b.wav --model model_cards/moss-tts-tiny

RUN is the output of `adapt_speaker.py`, or with `--codec` of `adapt_codec.py`; with `--codec-adapter` both change what is spoken.
a.wav, b.wav, ... are recordings of the speaker that it was not trained on. Every sentence is spoken without a reference and with
one of them, and compared with the next. Writes a table (adaptation.md) and a picture of losses and similarity by step
(adaptation.png) to RUN/measured; started again it goes on where it was. Needs `pip install '.[eval]'`.
"""

import argparse
from collections.abc import Callable
from functools import partial
from pathlib import Path

import matplotlib
from peft import PeftModel
from transformers import TextToAudioPipeline, TrainerState, pipeline
from transformers.trainer_utils import get_last_checkpoint

import transformers_moss_tts  # noqa: F401  (registers the models)
from transformers_moss_tts.evaluation import Sentences, Utterance, evaluate


matplotlib.use("Agg")
from matplotlib import pyplot


MODES = ("no reference", "reference")


def plan(sentences: list[str], recordings: list[Path], mode: str, folder: Path) -> tuple[list[dict], list[Utterance]]:
    """Chats to speak, and what to compare the speech with: another recording than the one it may have heard."""
    chats, utterances = [], []
    for number, text in enumerate(sentences):
        heard, other = (recordings[(number + offset) % len(recordings)] for offset in (0, 1))
        audio = [{"type": "audio", "audio": str(heard)}] if mode == "reference" else []
        content = [*audio, {"type": "text", "text": text}]
        chats.append([{"role": "user", "content": content, "language": "English"}])
        name = f"{number:03d}"
        utterances.append(Utterance(name, text, reference=other, recording=folder / f"{name}.wav"))
    return chats, utterances


def load_pipeline(model: str, adapter: Path | None, codec_adapter: Path | None) -> TextToAudioPipeline:
    speak = pipeline("text-to-speech", model=model)
    if adapter is not None:
        speak.model = PeftModel.from_pretrained(speak.model, adapter)
    if codec_adapter is not None:
        speak.processor.audio_tokenizer = PeftModel.from_pretrained(speak.processor.audio_tokenizer, codec_adapter)
    return speak


def measure(
    load: Callable[[], TextToAudioPipeline], sentences: list[str], recordings: list[Path], output: Path
) -> dict[str, dict[str, dict]]:
    """WER and SIM by mode, each with its interval."""
    measured, speak = {}, None
    for mode in MODES:
        folder = output / mode.replace(" ", "_")
        folder.mkdir(parents=True, exist_ok=True)
        chats, utterances = plan(sentences, recordings, mode, folder)
        for chat, utterance in zip(chats, utterances):
            if utterance.recording.exists():
                continue
            speak = speak or load()
            speech = speak(chat, generate_kwargs={"seed": 0, "max_new_tokens": 250})
            speak.processor.save_audio(speech["audio"], utterance.recording)
        summary = evaluate(None, Sentences(utterances), folder / "scores", progress=False)
        (measured[mode],) = summary["groups"].values()
    return measured


def step_of(checkpoint: Path) -> int:
    return int(checkpoint.name.removeprefix("checkpoint-"))


def draw(run: Path, by_step: dict[int, dict], output: Path) -> None:
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(9, 3.5), layout="constrained")
    log = TrainerState.load_from_json(str(Path(get_last_checkpoint(str(run))) / "trainer_state.json")).log_history
    for name, label in (("loss", "training"), ("eval_loss", "recordings left out")):
        left.plot(*zip(*((example["step"], example[name]) for example in log if name in example)), label=label)
    left.set(xlabel="step", ylabel="loss")
    for mode in MODES:
        right.plot(list(by_step), [measured[mode]["sim"]["value"] for measured in by_step.values()], "o-", label=mode)
    right.set(xlabel="step", ylabel="SIM to the speaker")
    for axes in (left, right):
        axes.grid(alpha=0.3)
        axes.legend()
    figure.savefig(output, dpi=100)
    pyplot.close(figure)


def table(by_step: dict[int, dict]) -> str:
    """Before and after, as Markdown."""
    lines = ["| | SIM before | SIM after | WER before | WER after |", "|---|---|---|---|---|"]
    before, after = by_step[min(by_step)], by_step[max(by_step)]
    for mode in MODES:
        cells = [_cell(measured[mode]["sim"], 1, "") for measured in (before, after)]
        cells += [_cell(measured[mode]["wer"], 100, " %") for measured in (before, after)]
        lines.append(f"| {mode} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _cell(estimate: dict, scale: float, unit: str) -> str:
    digits = 3 if scale == 1 else 1
    value, low, high = (f"{scale * estimate[name]:.{digits}f}" for name in ("value", "low", "high"))
    return f"{value}{unit} [{low}, {high}]"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="output folder of adapt_speaker.py")
    parser.add_argument("sentences", type=Path, help="text file with a sentence a line")
    parser.add_argument(
        "recordings", type=Path, nargs="+", help="recordings of the speaker that were left out, two or more"
    )
    parser.add_argument("--model", required=True, help="folder or Hub id of the generator that was adapted")
    parser.add_argument("--codec", action="store_true", help="the adapter is one of the codec")
    parser.add_argument("--codec-adapter", type=Path, help="adapter of adapt_codec.py that speaks along")
    parser.add_argument("--count", type=int, default=40, help="sentences")
    args = parser.parse_args()
    if len(args.recordings) < 2:
        raise SystemExit("There must be two recordings at least: one to hear, one to compare with.")
    lines = args.sentences.read_text(encoding="utf-8").split("\n")
    sentences = [line.strip() for line in lines if line.strip()][: args.count]
    if len(sentences) < 2:
        raise SystemExit(f"{args.sentences} must have two sentences at least: one has no interval.")

    output = args.run / "measured"
    checkpoints = sorted(args.run.glob("checkpoint-*"), key=step_of)
    adapters = [None, *checkpoints[:-1], args.run / "adapter"]
    by_step = {}
    for step, adapter in zip([0, *map(step_of, checkpoints)], adapters):
        beside = args.codec_adapter if adapter else None
        of_generator, of_codec = (None, adapter) if args.codec else (adapter, beside)
        load = partial(load_pipeline, args.model, of_generator, of_codec)
        name = "before" if adapter is None else adapter.name
        by_step[step] = measure(load, sentences, args.recordings, output / name)
    draw(args.run, by_step, output / "adaptation.png")
    (output / "adaptation.md").write_text(table(by_step), encoding="utf-8")
    print(table(by_step), end="")
    print(f"wrote {output / 'adaptation.png'}")


if __name__ == "__main__":
    main()
