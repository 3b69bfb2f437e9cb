"""
The stages in which the codec of the family is trained. Each begins with the model of the one before, in `RUN/STAGE/model`:

- `codebooks`: residual k-means of the latents that the encoder is to compute (`spectral_latents.py`), and a start from which encoder
  and decoder learn them;
- `decoder`: the decoder on quantized latents, which are computed without the encoder;
- `encoder`: the encoder, beside the decoder;
- `together`: both, everything at a low rate, the codebooks as moving averages;
- `adversarial`: the decoder against a small discriminator, where no accelerator is at hand;
- `spoken`: the decoder on what the finished encoder and codebooks say, mostly on as many codebooks as generators speak.
"""

import os
import random
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset

from transformers_moss_tts import MossAudioTokenizerConfig, MossAudioTokenizerModel
from transformers_moss_tts.evaluation.measures.signals import mel_rmse
from transformers_moss_tts.training import (
    CodecTrainer,
    CodecTrainingArguments,
    initialize_codebooks,
    initialize_linear,
)
from transformers_moss_tts.training.codec.data import RandomCrops
from transformers_moss_tts.utils.pitch import pitch_agreement
from transformers_moss_tts.utils.spectral_loss import SpectralLoss

from .accelerator import LATENTS_FILE, LOSS_WEIGHTS, WAVEFORM_BAND
from .corpus import RATE, Reader, read_source
from .metadata import key_of, read_keys
from .progress import Progress, train_steps
from .spectral_latents import FRAME, LATENT, NUM_WAVE, SpectralEncoder, SpectralLatents, whole_frames


SOURCES = ("kokoro", "warped", "hibari", "librispeech")
READ_SOURCES = ("kokoro", "hibari", "warped")  # of which it is known what they say
HIBARI_SOURCES = ("hibari", "warped")  # of which it is known when
HELD_OUT = ("kokoro_held_out", "librispeech_held_out")
CODEBOOK_DIM, NUM_CODEBOOKS = 57, 16
# Features before and after each stage of the encoder, from 100 Hz to 12.5 Hz, and width, heads, layers and feed-forward width of
# the encoder's and the decoder's layers. Harmonics are made at 100 Hz, by the decoder's last stage.
ENDS = ((240, 128), (256, 192), (384, 256), (512, LATENT))
ENCODER = ((192, 3, 2, 384), (256, 4, 1, 512), (256, 4, 2, 512), (256, 4, 2, 512))
DECODER = ((256, 4, 4, 1024), (256, 4, 2, 512), (256, 4, 2, 512), (256, 4, 3, 512))
PATCHES = (240, 2, 2, 2)
# What each codebook codes, levels or the part of the waveform. The two know nothing of each other: codebooks of both leave 3.6 %
# of the levels' energy over on held-out voices, these 2.2 %. The first one, of levels, is the one that text tells most of.
_LEVELS, _WAVE = slice(NUM_WAVE, LATENT), slice(NUM_WAVE)
CODED = tuple({"l": _LEVELS, "w": _WAVE}[part] for part in "llwllwllwllwlwll")
# Root mean square of the voice that generators speak in without a reference. At the levels of the corpus, which say nothing of the text,
# they were worse at the same sentences by .1 nats a code.
LOUDNESS = 0.065
_CODES_STAY = ("encoder", "quantizer")
# The longest crops that the codec learns from, and as far as its attention looks back. What lies further back than it has ever seen
# confuses it: with 10 s the mel error 12 s into a recording was 5.6 dB, with these 1.92 s 3.6 as at its beginning.
_LONGEST_CROP = 24 * FRAME
# Codebooks that generators speak. Of the batches of the stage `spoken` most have them alone, some all, some any number; most are of
# Kokoro, whose words suffered most.
SPOKEN_CODEBOOKS, SPOKEN_SHARES = 8, (0.6, 0.2, 0.2)
SPOKEN_SOURCES = {"kokoro": 0.6, "warped": 0.25, "hibari": 0.15}


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
        causal_transformer_context_duration=_LONGEST_CROP / RATE,
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
        after (`str`): stage whose model it begins with.
        steps (`int`): steps.
        options (`dict`): settings of [`CodecTrainingArguments`] that are not those of the other stages.
    """

    after: str
    steps: int
    options: dict[str, Any] = field(default_factory=dict)


STAGES = {
    "decoder": Stage("codebooks", 8000, {"frozen_parts": _CODES_STAY}),
    "encoder": Stage("codebooks", 10000),
    "together": Stage("decoder", 6000, {"learning_rate": 1e-4, "codebook_decay": 0.99}),
    "adversarial": Stage(
        "together",
        4000,
        {
            "frozen_parts": _CODES_STAY,
            "learning_rate": 1e-4,
            "adversarial_start": 0,
            "discriminator_width": 0.125,
            "discriminator_periods": (),
            "discriminator_windows": (1024,),
        },
    ),
    "spoken": Stage("adversarial", 1000),
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


def make_codebooks(run: Path, corpus: Path, start: Path | None = None) -> list[float]:
    """
    Writes `RUN/latents.safetensors` and `RUN/codebooks/model`, with the weights of the codec of the folder `start` or a linear start,
    and returns the share of the latents' energy that each codebook leaves over.
    """
    recordings = load_sources(corpus, SOURCES)
    latents = SpectralLatents.fit(recordings)
    latents.save(run / LATENTS_FILE)
    torch.manual_seed(0)
    model = MossAudioTokenizerModel(build_config()).eval()
    old = MossAudioTokenizerModel.from_pretrained(start, dtype="float32").eval() if start else None
    if old is None:
        initialize_linear(model, recordings)
    adopt_latents(model, old or model, latents, recordings)
    encoder = model.encoder
    model.encoder = SpectralEncoder(encoder, latents)
    left = initialize_codebooks(model, recordings, dimensions=CODED[: model.config.num_quantizers])
    model.encoder = encoder
    model.save_pretrained(run / "codebooks" / "model")
    return left


@torch.no_grad()
def adopt_latents(
    model: MossAudioTokenizerModel,
    old: MossAudioTokenizerModel,
    latents: SpectralLatents,
    recordings: list[np.ndarray],
    seed: int = 0,
) -> None:
    """
    Gives a codec the weights of one whose latents are others, and the last projection of its encoder and the first one of its decoder
    those that come nearest to the new latents (ridge regression over some recordings).
    """
    frames = []
    hook = old.encoder[-1].output_proj.register_forward_hook(
        lambda module, args, output: frames.append((args[0], output))
    )
    expected = []
    for index in np.random.default_rng(seed).permutation(len(recordings))[:600]:
        waveform = whole_frames(recordings[index][: 4 * RATE])
        if len(waveform):
            old.encode(waveform[None], num_quantizers=1)
            expected.append(latents(waveform[None])[0])
    hook.remove()
    states, outputs = (torch.cat([part[0] for part in parts]) for parts in zip(*frames))
    wanted = torch.cat(expected)
    inward, outward = _regression(wanted, outputs), _regression(states, wanted)
    first = old.decoder[0].input_proj.weight @ inward.t()
    kept = model.state_dict()
    for name, weight in old.state_dict().items():
        if not name.startswith("quantizer.") and kept[name].shape == weight.shape:
            kept[name].copy_(weight)
    model.decoder[0].input_proj.weight.copy_(first)
    model.encoder[-1].output_proj.weight.copy_(outward.t())


def _regression(inputs: torch.Tensor, outputs: torch.Tensor) -> torch.Tensor:
    """The matrix that inputs are multiplied by, `(features in, features out)`."""
    inputs, outputs = inputs.double(), outputs.double()
    products = inputs.t() @ inputs
    ridge = 1e-3 * products.diagonal().mean() * torch.eye(len(products))
    return torch.linalg.solve(products + ridge, inputs.t() @ outputs).float()


def train_stage(
    name: str, run: Path, corpus: Path, steps: int | None = None, batch_size: int = 6, start: Path | None = None
) -> None:
    """
    Trains a stage to its end, or until its folder has a file `STOP`; goes on where it stopped. It begins with the codec of the
    folder `start`, or with that of the stage before.
    """
    stage = STAGES[name]
    steps = steps or stage.steps
    held_out, model = load_sources(corpus, HELD_OUT), begin_stage(name, run, start)
    if name == "spoken":
        return train_spoken(model, run, corpus, held_out, steps, batch_size)
    recordings = load_sources(corpus, SOURCES)
    if name == "encoder":
        return train_encoder(model, run, recordings, held_out, steps, batch_size)
    settings = {"crop_seconds": 0.96, "learning_rate": 6e-4, "warmup_steps": 100, "logging_steps": 50}
    settings |= {"loss_weights": LOSS_WEIGHTS} | stage.options
    args = CodecTrainingArguments(
        output_dir=str(run / name),
        max_steps=steps,
        batch_size=batch_size,
        decay_steps=steps // 3,
        eval_steps=steps,
        save_steps=steps,
        **settings,
    )
    progress = Progress(run / name, lambda: measure(model, held_out))

    def watch(trainer: CodecTrainer, losses: dict[str, torch.Tensor]) -> bool:
        return progress.step(trainer.step, losses, trainer.save_checkpoint)

    trainer = CodecTrainer(model, args, recordings, held_out[:4], step_callback=watch)
    trainer.reconstruction_loss = SpectralLoss(RATE, waveform_band=WAVEFORM_BAND)
    trainer.train()
    progress.close()


def begin_stage(name: str, run: Path, start: Path | None = None) -> MossAudioTokenizerModel:
    model = MossAudioTokenizerModel.from_pretrained(start or run / STAGES[name].after / "model", dtype="float32")
    if name == "decoder":
        model.encoder = SpectralEncoder(model.encoder, SpectralLatents.load(run / LATENTS_FILE))
    elif name == "together" and start is None:
        model.encoder = MossAudioTokenizerModel.from_pretrained(run / "encoder" / "model", dtype="float32").encoder
    return model


def train_encoder(
    model: MossAudioTokenizerModel,
    run: Path,
    recordings: list[np.ndarray],
    held_out: list[np.ndarray],
    steps: int,
    batch_size: int,
) -> None:
    """Trains the encoder to compute the latents, and writes `RUN/encoder/model`."""
    latents = SpectralLatents.load(run / LATENTS_FILE)
    crops = RandomCrops(recordings, _LONGEST_CROP, batch_size, seed=0)

    def error(waveforms: torch.Tensor) -> torch.Tensor:
        expected = latents(waveforms)
        computed = model.encode(waveforms, num_quantizers=1).encoder_hidden_states.transpose(1, 2)
        return (computed - expected).pow(2)

    @torch.no_grad()
    def measure() -> dict[str, float]:
        errors = torch.cat([error(whole_frames(recording)[None])[0] for recording in held_out[:12]])
        wave, levels = errors[:, :NUM_WAVE], errors[:, NUM_WAVE:]
        return {"held_out_wave": round(wave.mean().item(), 4), "held_out_levels": round(levels.mean().item(), 4)}

    def loss_of(step: int) -> torch.Tensor:
        return error(crops.batch(step)).mean()

    train_steps(run / "encoder", model.encoder, loss_of, measure, steps, learning_rate=1e-3)
    model.save_pretrained(run / "encoder" / "model")


def train_spoken(
    model: MossAudioTokenizerModel, run: Path, corpus: Path, held_out: list[np.ndarray], steps: int, batch_size: int
) -> None:
    """Trains the decoder on what encoder and codebooks of a finished codec say, and writes `RUN/spoken/model`."""
    model.eval().requires_grad_(False)
    model.decoder.requires_grad_(True)
    loss = SpectralLoss(RATE, waveform_band=WAVEFORM_BAND)
    crops = {
        name: RandomCrops(load_sources(corpus, (name,)), _LONGEST_CROP, batch_size, seed=0) for name in SPOKEN_SOURCES
    }
    most = model.config.num_quantizers

    def loss_of(step: int) -> torch.Tensor:
        draw = random.Random(step)
        recording = crops[draw.choices(list(crops), list(SPOKEN_SOURCES.values()))[0]].batch(step)
        heard = draw.choices((min(SPOKEN_CODEBOOKS, most), most, draw.randint(2, most)), SPOKEN_SHARES)[0]
        with torch.no_grad():
            codes = model.encode(recording, num_quantizers=heard).audio_codes
        losses = loss(model.decode(codes).audio[:, 0], recording)
        return torch.stack([weight * losses[name] for name, weight in LOSS_WEIGHTS.items()]).sum()

    train_steps(run / "spoken", model.decoder, loss_of, lambda: measure(model, held_out), steps, learning_rate=3e-4)
    model.save_pretrained(run / "spoken" / "model")


@torch.no_grad()
def write_codes(run: Path, corpus: Path, held_out: Path | None, n_vq: int, finished: Path | None = None) -> int:
    """
    Writes `RUN/recorded_codes.parquet`, from which `train_tts` trains generators: what is read in the corpus with the codes of its
    latents, without held-out sentences; of hibari and its warped voices also when what is said. What the table has already stays. The
    codebooks of `RUN/codebooks` stay as they are, so that generators need not wait for encoder and decoder. Of a `finished` codec it is
    the codes that its encoder computes, which references will have too.

    Returns:
        `int`: number of recordings.
    """
    if finished:
        model = MossAudioTokenizerModel.from_pretrained(finished, dtype="float32")
    else:
        model = begin_stage("decoder", run)
    table, measured = run / "recorded_codes.parquet", read_keys(held_out)
    examples = Dataset.from_parquet(str(table)).to_list() if table.exists() else []
    known = {(example["text"], example["speaker"]) for example in examples}
    for name in READ_SOURCES:
        if not (corpus / f"{name}.jsonl").exists():
            continue
        lines, recordings = read_source(corpus, name)
        new = [
            (line, recording)
            for line, recording in zip(lines, recordings)
            if (line["text"], line["speaker"]) not in known and key_of(line["text"]) not in measured
        ]
        reader = Reader() if new and name in HIBARI_SOURCES else None
        for line, recording in new:
            text, speaker = line["text"], line["speaker"]
            # A last part of a frame is said too.
            waveform = whole_frames(np.pad(recording, (0, -len(recording) % FRAME)))
            if name == "hibari":
                waveform = at_loudness(waveform)
            codes = model.encode(waveform[None], num_quantizers=n_vq).audio_codes[:, 0].t()
            seconds = len(waveform) / RATE
            times = reader.times(text, name == "warped", seconds) if reader else {"reading": None, "phonemes": None}
            example = {"text": text, "speaker": speaker, "language": "English", "seconds": seconds}
            examples.append(example | {"codes": codes.tolist()} | times)
    Dataset.from_list(examples).to_parquet(table)
    return len(examples)


def at_loudness(waveform: torch.Tensor) -> torch.Tensor:
    """A waveform whose root mean square is `LOUDNESS`, or less where it would be clipped."""
    return waveform * torch.minimum(LOUDNESS / waveform.square().mean().sqrt(), 0.98 / waveform.abs().max())


@torch.no_grad()
def measure(model: MossAudioTokenizerModel, held_out: list[np.ndarray]) -> dict[str, float]:
    """Error of mel levels in dB and share of voiced frames with the right F0, over three seconds of six held-out recordings."""
    is_training = model.training
    model.eval()
    values: dict[str, list[float]] = {"mel_rmse": [], "f0_accuracy": []}
    for recording in held_out[:: max(1, len(held_out) // 6)][:6]:
        waveform = recording[: 3 * RATE].astype(np.float32) / 32767
        decoded = model(torch.from_numpy(waveform)[None]).audio[0, 0].numpy()
        values["mel_rmse"].append(mel_rmse(waveform, decoded, RATE))
        accuracy = pitch_agreement(waveform, decoded, RATE)["f0_accuracy"]
        values["f0_accuracy"] += [] if accuracy is None else [accuracy]
    model.train(is_training)
    return {name: round(float(np.mean(found)), 4) for name, found in values.items() if found}


def be_modest() -> None:
    """One thread at the lowest priority."""
    torch.set_num_threads(1)
    os.nice(max(0, 19 - os.nice(0)))
