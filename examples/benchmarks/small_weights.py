"""
Measures what small weights of the backbone cost: bytes, time of a step beside float32 (all in turn, in one process), agreement of the
codes that float32 finds best, and with `--sentences` the word errors of what is spoken.

    python examples/benchmarks/small_weights.py --modes torchao-int8 bitsandbytes-nf4
    python examples/benchmarks/small_weights.py --sentences sentences.txt --output small_weights   # needs the extra `eval`

Heads, embeddings and the local transformer stay as they are. torchao's int4 needs a GPU; `torchao-int4-numbers` has the numbers of
int4 (groups of 64) in the space of int8, for agreement and word errors on a CPU.
"""

import argparse
import logging
import tempfile
import time
from pathlib import Path

import torch
from in_turn import best_and_median, print_table, ratios, run_in_turn
from processor_name import processor_name
from torch import nn
from transformers import AutoModelForTextToWaveform, AutoProcessor, BitsAndBytesConfig, TorchAoConfig

from transformers_moss_tts import bundled_model
from transformers_moss_tts.evaluation import Sentences, evaluate


MODES = ("bfloat16", "torchao-int8", "torchao-int4-numbers", "bitsandbytes-int8", "bitsandbytes-nf4")
TEXTS = (
    "The quick brown fox jumps over the lazy dog.",
    "A big dog barks at the gate.",
    "She sells bread in the morning.",
    "Nobody knew where the river ended.",
)
KEPT = ["audio_heads", "text_head", "lm_heads", "text_lm_head", "local_text_lm_head", "local_transformer"]
KEPT += ["local_to_speech_embedding_mlps", "speech_embedding_to_local_mlp"]
TOP_K = 25


def load(name: str, mode: str) -> nn.Module:
    return AutoModelForTextToWaveform.from_pretrained(name, **options_of(mode)).eval()


def options_of(mode: str) -> dict:
    """What loads a model with such weights."""
    if mode in ("float32", "bfloat16"):
        return {"dtype": getattr(torch, mode)}
    library, _, kind = mode.partition("-")
    if library == "bitsandbytes":
        bits = {"load_in_8bit": True} if kind == "int8" else {"load_in_4bit": True, "bnb_4bit_quant_type": kind}
        config = BitsAndBytesConfig(**bits, llm_int8_skip_modules=KEPT)
    else:
        from torchao.quantization import Int8WeightOnlyConfig, IntxWeightOnlyConfig
        from torchao.quantization.granularity import PerGroup

        int4 = IntxWeightOnlyConfig(weight_dtype=torch.int4, granularity=PerGroup(64))
        config = TorchAoConfig(Int8WeightOnlyConfig() if kind == "int8" else int4, modules_to_not_convert=KEPT)
    return {"dtype": torch.float32, "quantization_config": config}


def num_bytes(model: nn.Module) -> int:
    """Bytes of the weights, each tensor of a quantized one counted."""
    return sum(_bytes_of(weight) for weight in [*model.parameters(), *model.buffers()])


def _bytes_of(weight: torch.Tensor) -> int:
    names = getattr(weight, "tensor_data_names", None)
    if names is not None:
        return sum(getattr(weight, name).nbytes for name in names)
    state = getattr(weight, "quant_state", None)
    scales = 0 if state is None else sum(value.nbytes for value in vars(state).values() if torch.is_tensor(value))
    own = getattr(weight, "SCB", None)
    return weight.nbytes + scales + (0 if own is None else own.nbytes)


@torch.inference_mode()
def code_scores(model: nn.Module, sequences: torch.LongTensor, start: int) -> torch.Tensor:
    """Scores `(steps, n_vq, codes)` of the steps from `start` on, each given those before."""
    outputs = model(input_ids=sequences[:, :-1], labels=sequences[:, 1:])
    return outputs.audio_logits[0, start - 1 :].float()


def agreement(
    spoken: list[tuple[torch.Tensor, int]], expected: list[torch.Tensor], model: nn.Module
) -> tuple[float, float]:
    """Shares of the codes where the best one is that of float32, and of its best 25 that are among the best 25."""
    same, shared = [], []
    for (sequences, start), scores in zip(spoken, expected):
        own = code_scores(model, sequences, start)
        is_audio = sequences[0, start:, 1:] != model.config.audio_pad_code
        same.append((own.argmax(-1) == scores.argmax(-1))[is_audio])
        best, others = (found.topk(min(TOP_K, found.shape[-1])).indices for found in (scores, own))
        shared.append((best[..., None] == others[..., None, :]).any(-1).float().mean(-1)[is_audio])
    return torch.cat(same).float().mean().item(), torch.cat(shared).mean().item()


def word_errors(model: nn.Module, processor, sentences: Path, mode: str, output: Path) -> str:
    """The words that a recognizer does not hear, in percent with its interval."""
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        processor.save_pretrained(folder)
        evaluate(folder, Sentences(sentences), output / mode, speaker=None, mos=None, progress=False)
    report = (output / mode / "report.md").read_text(encoding="utf-8").splitlines()
    header, row = (
        next(line.split("|") for line in report if line.startswith(start)) for start in ("|  | n |", "| plain |")
    )
    return row[[cell.strip() for cell in header].index("WER % of all")].strip()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--model", default=bundled_model(), help="folder or Hub id of a generator; the bundled one by default"
    )
    parser.add_argument("--modes", nargs="+", choices=MODES, default=list(MODES))
    parser.add_argument("--steps", type=int, default=40, help="steps of a run")
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--sentences", type=Path, help="text file of sentences to speak and recognize")
    parser.add_argument("--output", type=Path, default=Path("demo/small_weights"), help="folder of the evaluations")
    args = parser.parse_args()

    # It says for every layer that it multiplies in float16.
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    processor = AutoProcessor.from_pretrained(args.model)
    models = {mode: load(args.model, mode) for mode in ("float32", *args.modes)}
    plain = models["float32"]
    prompts = [processor(text=text) for text in TEXTS]
    starts = [prompt["input_ids"].shape[1] for prompt in prompts]
    spoken = [plain.generate(**prompt, do_sample=False, max_new_tokens=100) for prompt in prompts]
    spoken = list(zip(spoken, starts))
    expected = [code_scores(plain, *sequence) for sequence in spoken]

    def timed(model: nn.Module) -> float:
        start = time.perf_counter()
        model.generate(**prompts[0], max_new_tokens=args.steps, min_new_tokens=args.steps, seed=0)
        return time.perf_counter() - start

    runs = {mode: lambda model=model: timed(model) for mode, model in models.items()}
    run_in_turn(runs, 1)
    times = run_in_turn(runs, args.rounds)
    print(
        f"{args.model} on {processor_name()}, {torch.get_num_threads()} threads, {args.rounds} rounds of {args.steps} steps"
    )
    rows = []
    for mode, model in models.items():
        best, median = (1000 * value / args.steps for value in best_and_median(times[mode]))
        faster = ratios(times[mode], times["float32"])
        same, shared = agreement(spoken, expected, model)
        row = {
            "weights": mode,
            "MB": f"{num_bytes(model) / 1e6:.1f}",
            "ms a step": f"{best:.1f} {median:.1f}",
            "of float32's speed": f"{faster[0]:.2f} {faster[1]:.2f}",
            "best code": f"{100 * same:.1f} %",
            f"best {TOP_K}": f"{100 * shared:.1f} %",
        }
        if args.sentences is not None:
            row["WER %"] = word_errors(model, processor, args.sentences, mode, args.output)
        rows.append(row)
    print_table(rows)


if __name__ == "__main__":
    main()
