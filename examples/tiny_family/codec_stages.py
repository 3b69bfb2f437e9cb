"""
The stages in which the codec of the family is trained. Each begins with the model of the one before, in `RUN/STAGE/model`:

- `pitch`: a linear start, then the autoencoder without its quantizer, with the complex loss at the weight of the mel loss;
- `autoencoder`: the same with a tenth of the complex loss, which decides about the words;
- `codebooks`: residual k-means of the latents;
- `decoder`: the decoder on quantized latents;
- `together`: everything at a low rate, the codebooks as moving averages;
- `adversarial`: the decoder against a small discriminator, where no accelerator is at hand.
"""

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from transformers_moss_tts import MossAudioTokenizerConfig, MossAudioTokenizerModel
from transformers_moss_tts.evaluation.measures.signals import mel_rmse
from transformers_moss_tts.training import (
    CodecTrainer,
    CodecTrainingArguments,
    initialize_codebooks,
    initialize_linear,
)
from transformers_moss_tts.utils.pitch import pitch_agreement

from .corpus import RATE, read_source
from .progress import Progress


SOURCES = ("kokoro", "warped", "hibari", "librispeech")
HELD_OUT = ("kokoro_held_out", "librispeech_held_out")
LATENT, CODEBOOK_DIM, NUM_CODEBOOKS = 96, 49, 16
# Features before and after each stage of the encoder, from 100 Hz to 12.5 Hz, and width, heads, layers and feed-forward width of
# the encoder's and the decoder's layers. Harmonics are made at 100 Hz, by the decoder's last stage.
ENDS = ((240, 128), (256, 192), (384, 256), (512, LATENT))
ENCODER = ((192, 3, 2, 384), (256, 4, 1, 512), (256, 4, 2, 512), (256, 4, 2, 512))
DECODER = ((256, 4, 4, 1024), (256, 4, 2, 512), (256, 4, 2, 512), (256, 4, 3, 512))
PATCHES = (240, 2, 2, 2)
_EVEN = {"complex_stft": 15.0, "waveform": 15.0}
_CODES_STAY = ("encoder", "quantizer")


def build_config(quantizer_dropout: float = 0.5) -> MossAudioTokenizerConfig:
    """The codec: the released frame rate, 16 codebooks of 1024, 11.8 million parameters."""
    encoder, decoder = [], []
    for patch, (first, last), of_encoder, of_decoder in zip(PATCHES, ENDS, ENCODER, DECODER):
        encoder += [{"module_type": "PatchedPretransform", "patch_size": patch}, _stage(first, last, *of_encoder)]
        decoder += [{"module_type": "PatchedPretransform", "patch_size": patch}, _stage(last, first, *of_decoder)]
    quantizer = {
        "input_dim": LATENT,
        "rvq_dim": LATENT,
        "output_dim": LATENT,
        "num_quantizers": NUM_CODEBOOKS,
        "codebook_size": 1024,
        "codebook_dim": CODEBOOK_DIM,
        "quantizer_type": "rlfq",
    }
    return MossAudioTokenizerConfig(
        encoder_kwargs=encoder,
        decoder_kwargs=decoder[::-1],
        quantizer_kwargs=quantizer,
        quantizer_dropout=quantizer_dropout,
    )


def _stage(first: int, last: int, width: int, heads: int, layers: int, feedforward: int) -> dict[str, Any]:
    return {
        "module_type": "Transformer",
        "input_dimension": first,
        "output_dimension": last,
        "d_model": width,
        "num_heads": heads,
        "num_layers": layers,
        "dim_feedforward": feedforward,
        "layer_scale": 0.05,
        "max_period": 10000,
    }


@dataclass(frozen=True)
class Stage:
    """
    How a stage is trained.

    Args:
        after (`str`, *optional*): stage whose model it begins with; the first one makes its own.
        steps (`int`): steps.
        decay (`float`): share of the steps over which the learning rate is let down.
        options (`dict`): settings of [`CodecTrainingArguments`] that are not those of the other stages.
    """

    after: str | None
    steps: int
    decay: float = 1 / 3
    options: dict[str, Any] = field(default_factory=dict)


STAGES = {
    "pitch": Stage(None, 400, 0.0, {"autoencoder": True, "loss_weights": _EVEN}),
    "autoencoder": Stage("pitch", 8000, options={"autoencoder": True}),
    "decoder": Stage("codebooks", 8000, options={"frozen_parts": _CODES_STAY}),
    "together": Stage("decoder", 6000, options={"learning_rate": 1e-4, "codebook_decay": 0.99}),
    "adversarial": Stage(
        "together",
        4000,
        options={
            "frozen_parts": _CODES_STAY,
            "learning_rate": 1e-4,
            "adversarial_start": 0,
            "discriminator_width": 0.125,
            "discriminator_periods": (),
            "discriminator_windows": (1024,),
        },
    ),
}


def load_sources(corpus: Path, names: tuple[str, ...]) -> list[np.ndarray]:
    """
    Recordings of the sources that there are.

    Raises:
        ValueError: if there is none.
    """
    found = [name for name in names if (corpus / f"{name}.jsonl").exists()]
    if not found:
        raise ValueError(f"{corpus} has none of {', '.join(names)}: make the corpus first.")
    return [recording for name in found for recording in read_source(corpus, name)[1]]


def train_stage(
    name: str, run: Path, corpus: Path, steps: int | None = None, batch_size: int = 6, start: Path | None = None
) -> None:
    """
    Trains a stage to its end, or until its folder has a file `STOP`; goes on where it stopped. It begins with the codec of the
    folder `start`, or with that of the stage before.
    """
    stage, folder = STAGES[name], run / name
    steps = steps or stage.steps
    recordings, held_out = load_sources(corpus, SOURCES), load_sources(corpus, HELD_OUT)
    model = _begin(stage, run, recordings, start)
    settings = {"crop_seconds": 0.96, "learning_rate": 6e-4, "warmup_steps": 100, "logging_steps": 50} | stage.options
    args = CodecTrainingArguments(
        output_dir=str(folder),
        max_steps=steps,
        batch_size=batch_size,
        decay_steps=round(stage.decay * steps),
        eval_steps=steps,
        save_steps=steps,
        **settings,
    )
    is_quantized = not args.autoencoder
    progress = Progress(folder, lambda: measure(model, held_out, is_quantized))

    def watch(trainer: CodecTrainer, losses: dict[str, torch.Tensor]) -> bool:
        return progress.step(trainer.step, losses, trainer.save_checkpoint)

    CodecTrainer(model, args, recordings, held_out[:4], step_callback=watch).train()
    progress.close()


def _begin(stage: Stage, run: Path, recordings: list[np.ndarray], start: Path | None) -> MossAudioTokenizerModel:
    if start is not None or stage.after is not None:
        return MossAudioTokenizerModel.from_pretrained(start or run / stage.after / "model", dtype="float32")
    torch.manual_seed(0)
    model = MossAudioTokenizerModel(build_config())
    initialize_linear(model, recordings)
    return model


def make_codebooks(run: Path, corpus: Path) -> list[float]:
    """Writes `RUN/codebooks/model` and returns the share of the energy that each codebook leaves over."""
    model = MossAudioTokenizerModel.from_pretrained(run / "autoencoder" / "model")
    left = initialize_codebooks(model, load_sources(corpus, SOURCES))
    model.save_pretrained(run / "codebooks" / "model")
    return left


@torch.no_grad()
def measure(model: MossAudioTokenizerModel, held_out: list[np.ndarray], is_quantized: bool) -> dict[str, float]:
    """Error of mel levels in dB and share of voiced frames with the right F0, over three seconds of six held-out recordings."""
    is_training = model.training
    model.eval()
    values: dict[str, list[float]] = {"mel_rmse": [], "f0_accuracy": []}
    for recording in held_out[:: max(1, len(held_out) // 6)][:6]:
        waveform = recording[: 3 * RATE].astype(np.float32) / 32767
        decoded = reconstruct(model, waveform, is_quantized)
        values["mel_rmse"].append(mel_rmse(waveform, decoded, RATE))
        accuracy = pitch_agreement(waveform, decoded, RATE)["f0_accuracy"]
        values["f0_accuracy"] += [] if accuracy is None else [accuracy]
    model.train(is_training)
    return {name: round(float(np.mean(found)), 4) for name, found in values.items() if found}


@torch.no_grad()
def reconstruct(model: MossAudioTokenizerModel, waveform: np.ndarray, is_quantized: bool) -> np.ndarray:
    """A waveform `(samples,)` through the codec, or through its autoencoder without the quantizer's codebooks."""
    quantizer = model.quantizer

    def project(module: torch.nn.Module, args: tuple, output: tuple) -> tuple:
        return quantizer.output_proj(quantizer.input_proj(args[0].float())), *output[1:]

    handle = None if is_quantized else quantizer.register_forward_hook(project)
    try:
        return model(torch.from_numpy(waveform)[None]).audio[0, 0].numpy()
    finally:
        if handle is not None:
            handle.remove()


def be_modest() -> None:
    """One thread at the lowest priority."""
    torch.set_num_threads(1)
    os.nice(max(0, 19 - os.nice(0)))
