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
"""Training of MossAudioTokenizer from recordings."""

import contextlib
import functools
import json
import math
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import broadcast, reduce, set_seed
from tqdm.auto import tqdm
from transformers import get_wsd_schedule
from transformers.utils import logging

from ...audio_io import save_audio
from ...moss_audio_tokenizer import MossAudioTokenizerModel
from ...moss_audio_tokenizer.modeling_moss_audio_tokenizer import MossAudioTokenizerOutput
from ...utils.checks import check_number
from ...utils.spectrograms import draw_spectrograms
from .codebook_refresh import CodebookAverager, CodebookRefresher
from .data import RandomCrops
from .discriminators import CodecDiscriminator
from .losses import ReconstructionLoss, adversarial_loss, discriminator_loss, feature_matching_loss


logger = logging.get_logger(__name__)

# A function of the quantized states (batch_size, output_dim, frames) and the crops (batch_size, samples) that returns a loss.
SemanticLoss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
# A function of the trainer and the losses of the step that returns whether to end the run.
StepCallback = Callable[["CodecTrainer", dict[str, torch.Tensor]], bool | None]


def _default_weights() -> dict[str, float]:
    return {
        "semantic": 20.0,
        "mel": 15.0,
        # A tenth of the mel loss: at its full weight a codec keeps quiet what has no predictable phase, and the words are lost.
        "complex_stft": 1.5,
        "waveform": 1.5,
        "stft": 0.0,
        "commitment": 0.25,
        "codebook": 1.0,
        "adversarial": 1.0,
        "feature_matching": 2.0,
    }


def _is_trained(loss: SemanticLoss | None) -> TypeGuard[torch.nn.Module]:
    return isinstance(loss, torch.nn.Module) and any(p.requires_grad for p in loss.parameters())


_COUNTS = (
    *("max_steps", "batch_size", "logging_steps", "eval_steps", "save_steps", "save_total_limit", "codebook_patience"),
)
_PRECISIONS = ("no", "bf16", "fp16")
# What NumPy takes as a seed, seconds of a crop, a factor on widths, and samples: beyond them nothing can be trained.
_HIGHEST_SEED, _LONGEST_CROP, _WIDEST_DISCRIMINATOR, _LARGEST_WINDOW = 2**32 - 1, 3600, 64, 2**20
_RECONSTRUCTION = ("mel", "complex_stft", "waveform", "stft")
_PARTS = {
    "encoder": lambda model: [model.encoder],
    "quantizer": lambda model: [model.quantizer.input_proj, model.quantizer.quantizers],
    "decoder": lambda model: [model.quantizer.output_proj, model.decoder],
}


@dataclass
class CodecTrainingArguments:
    """
    Arguments of a run of [`CodecTrainer`].

    Args:
        output_dir (`str`): folder of checkpoints, samples and logs; a run that finds checkpoints there goes on from the last.
        max_steps (`int`): number of steps of the whole run.
        batch_size (`int`): number of crops a step and process.
        crop_seconds (`float`): length of a crop; it becomes whole frames. A codec that learns from nothing should look back no further:
            see `causal_transformer_context_duration` of its config.
        learning_rate (`float`): highest learning rate, reached after `warmup_steps` and lowered over the last `decay_steps`.
        adversarial_start (`int`, *optional*): first step with the adversarial losses; none by default.
        discriminator_width (`float`): factor on the widths of the discriminators' layers.
        discriminator_periods, discriminator_windows (`tuple[int, ...]`): periods and windows of the discriminators, in samples. On a
            CPU one window of 1024 and no period at a width of 1/8 is affordable.
        loss_weights (`dict[str, float]`): weights of the losses, 0 to leave one out. By default those of the paper (arXiv
            2602.10934) with the mel loss as its reconstruction loss, and a tenth of it for the complex STFT loss
            (`"complex_stft"`) and the loss of samples (`"waveform"`), which give the decoded speech its pitch. A codec with a
            linear start ([`~transformers_moss_tts.training.initialize_linear`]) trains with both at the weight of the mel loss
            for a few hundred steps first. `"stft"`, the loss of magnitudes, is left out.
        codebook_patience (`int`): steps after which an unused entry of a codebook is moved.
        codebook_decay (`float`, *optional*): decay of the moving averages that the codebooks are then, instead of being trained
            by the codebook loss; 0.98 learns a small codec in far fewer steps.
        autoencoder (`bool`): whether encoder and decoder train without the quantizer between them, as before
            [`~transformers_moss_tts.training.initialize_codebooks`].
        frozen_parts (`tuple[str, ...]`): parts that are left as they are, of `"encoder"`, `"quantizer"` (all but its projection
            to the decoder) and `"decoder"`. With the first two frozen, generators keep understanding the codes.
        max_grad_norm (`float`): largest norm of a gradient.
        mixed_precision (`str`): precision, `"no"`, `"bf16"` or `"fp16"`.
        torch_compile (`bool`): whether to compile the Transformer stages.
        logging_steps, eval_steps, save_steps (`int`): steps from one to the next; a killed run loses at most `save_steps`.
        save_total_limit (`int`): number of checkpoints kept.
        seed (`int`): seed of everything random.
    """

    output_dir: str
    max_steps: int
    batch_size: int = 8
    crop_seconds: float = 1.6
    learning_rate: float = 3e-4
    warmup_steps: int = 200
    decay_steps: int = 0
    adversarial_start: int | None = None
    discriminator_width: float = 1.0
    discriminator_periods: tuple[int, ...] = (2, 3, 5, 7, 11)
    discriminator_windows: tuple[int, ...] = (2048, 1024, 512)
    loss_weights: dict[str, float] = field(default_factory=_default_weights)
    codebook_patience: int = 100
    codebook_decay: float | None = None
    autoencoder: bool = False
    frozen_parts: tuple[str, ...] = ()
    max_grad_norm: float = 1.0
    mixed_precision: str = "no"
    torch_compile: bool = False
    logging_steps: int = 10
    eval_steps: int = 500
    save_steps: int = 500
    save_total_limit: int = 2
    seed: int = 0

    def __post_init__(self):
        self._check_numbers()
        for name in ("autoencoder", "torch_compile"):
            if not isinstance(getattr(self, name), bool):
                raise TypeError(f"`{name}` must be True or False, got {getattr(self, name)!r:.80}.")
        if not isinstance(self.mixed_precision, str) or self.mixed_precision not in _PRECISIONS:
            raise ValueError(
                f"`mixed_precision` must be one of {', '.join(_PRECISIONS)}, got {self.mixed_precision!r:.80}."
            )
        if not isinstance(self.loss_weights, dict):
            raise TypeError(f"`loss_weights` must be a dict of weights by name, got {self.loss_weights!r:.80}.")
        if unknown := set(map(str, self.loss_weights)) - set(_default_weights()):
            raise ValueError(
                f"`loss_weights` has unknown losses: {', '.join(sorted(unknown))}. Known are "
                f"{', '.join(_default_weights())}."
            )
        for name, weight in self.loss_weights.items():
            check_number(f"loss_weights[{name!r}]", weight, 0)
        self.loss_weights = _default_weights() | self.loss_weights
        self.frozen_parts = _tuple("frozen_parts", self.frozen_parts, str)
        if (unknown := set(self.frozen_parts) - set(_PARTS)) or len(set(self.frozen_parts)) == len(_PARTS):
            raise ValueError(
                f"`frozen_parts` takes some, not all, of {', '.join(_PARTS)}; got {', '.join(self.frozen_parts)}"
                f"{' with unknown parts' * bool(unknown)}."
            )
        if not any(self.loss_weights[name] for name in _RECONSTRUCTION):
            raise ValueError(f"At least one of {', '.join(_RECONSTRUCTION)} needs a weight above 0 in `loss_weights`.")

    def _check_numbers(self) -> None:
        for name in _COUNTS:
            check_number(name, getattr(self, name), 1, is_whole=True)
        for name in ("warmup_steps", "decay_steps"):
            check_number(name, getattr(self, name), 0, is_whole=True)
        check_number("seed", self.seed, 0, _HIGHEST_SEED, is_whole=True)
        check_number("crop_seconds", self.crop_seconds, math.ulp(0), _LONGEST_CROP, unit="seconds")
        for name in ("learning_rate", "max_grad_norm"):
            check_number(name, getattr(self, name), math.ulp(0))
        if self.adversarial_start is not None:
            check_number("adversarial_start", self.adversarial_start, 0, is_whole=True)
        if self.codebook_decay is not None:
            check_number("codebook_decay", self.codebook_decay, 0, 1)
        check_number("discriminator_width", self.discriminator_width, math.ulp(0), _WIDEST_DISCRIMINATOR)
        for name in ("discriminator_periods", "discriminator_windows"):
            setattr(self, name, _tuple(name, getattr(self, name), int))
            for size in getattr(self, name):
                check_number(name, size, 1, _LARGEST_WINDOW, is_whole=True, unit="samples")


def _tuple(name: str, values: Any, kind: type) -> tuple:
    if not isinstance(values, list | tuple) or not all(isinstance(value, kind) for value in values):
        raise TypeError(f"`{name}` must be a tuple of {kind.__name__}, got {values!r:.80}.")
    return tuple(values)


class CodecTrainer:
    """
    Trains a codec; `accelerate` underneath, so that `accelerate launch` runs it on several devices.

    Args:
        model ([`MossAudioTokenizerModel`]): the codec. Its config says how often the quantizer drops codebooks.
        args ([`CodecTrainingArguments`]): what to do.
        recordings (`list[np.ndarray]`): 16 bit samples at the codec's rate, from
            [`~transformers_moss_tts.training.codec.data.load_recordings`].
        eval_recordings (`list[np.ndarray]`, *optional*): recordings that are never trained on; the first few are written as
            samples.
        semantic_loss (`Callable`, *optional*): any text head on the quantized states `(batch_size, output_dim, frames)` and the
            crops `(batch_size, samples)`; it returns a loss. The parameters of a `torch.nn.Module` are trained with the codec's
            and saved in its checkpoints.
        step_callback (`Callable`, *optional*): function of the trainer and the losses that is called after every step. When it returns
            True the run ends there with a checkpoint, from which the next run goes on.

    Raises:
        ValueError: if the codec has two channels.
    """

    def __init__(
        self,
        model: MossAudioTokenizerModel,
        args: CodecTrainingArguments,
        recordings: list[np.ndarray],
        eval_recordings: list[np.ndarray] | None = None,
        semantic_loss: SemanticLoss | None = None,
        step_callback: StepCallback | None = None,
    ):
        if model.config.num_channels != 1:
            raise ValueError(
                f"`CodecTrainer` trains codecs of one channel, and this one has {model.config.num_channels}."
            )
        self.args = args
        self.step_callback = step_callback
        self.config = model.config
        self.accelerator = Accelerator(
            mixed_precision=args.mixed_precision, log_with="tensorboard", project_dir=args.output_dir
        )
        set_seed(args.seed, device_specific=True)
        self.eval_recordings = eval_recordings or []
        self.semantic_loss = semantic_loss
        frames = max(1, round(args.crop_seconds * model.config.frame_rate))
        self.crops = RandomCrops(
            recordings,
            frames * model.config.downsample_rate,
            args.batch_size,
            args.seed,
            process_index=self.accelerator.process_index,
            num_processes=self.accelerator.num_processes,
        )
        self.reconstruction_loss = ReconstructionLoss(
            model.config.sampling_rate, [name for name in _RECONSTRUCTION if args.loss_weights[name]]
        ).to(self.accelerator.device)
        self.step = 0
        self._prepare(model)

    def _prepare(self, model: MossAudioTokenizerModel) -> None:
        args, prepare = self.args, self.accelerator.prepare
        model.to(self.accelerator.device)
        for part in args.frozen_parts:
            for module in _PARTS[part](model):
                module.requires_grad_(False)
        if args.autoencoder:
            model.quantizer.quantizers.requires_grad_(False)
        self.refresher = self._refresher_of(model)
        if args.torch_compile:
            for stage in (*model.encoder, *model.decoder):
                stage.compile()
        if isinstance(self.semantic_loss, torch.nn.Module):
            self.semantic_loss.to(self.accelerator.device)
        heads = [self.semantic_loss] if _is_trained(self.semantic_loss) else []
        self.optimizer, self.schedule = self._optimizer_of(model, *heads)
        self.model, self.optimizer, *heads = prepare(model, self.optimizer, *heads)
        if heads:
            (self.semantic_loss,) = heads
        self.discriminator = None
        # The schedules count steps of the run, not of its processes, so they are not prepared but saved.
        saved = [self.schedule] if self.refresher is None else [self.refresher, self.schedule]
        if args.adversarial_start is not None:
            discriminator = CodecDiscriminator(
                args.discriminator_periods, args.discriminator_windows, args.discriminator_width
            )
            optimizer, self.discriminator_schedule = self._optimizer_of(discriminator)
            self.discriminator, self.discriminator_optimizer = prepare(discriminator, optimizer)
            saved.append(self.discriminator_schedule)
        self.accelerator.register_for_checkpointing(*saved)

    def _refresher_of(self, model: MossAudioTokenizerModel) -> CodebookAverager | CodebookRefresher | None:
        if self.args.autoencoder or "quantizer" in self.args.frozen_parts:
            return None
        if self.args.codebook_decay is None:
            return CodebookRefresher(model, self.args.codebook_patience)
        return CodebookAverager(model, self.args.codebook_decay, functools.partial(reduce, reduction="sum"))

    def _optimizer_of(self, *modules: torch.nn.Module):
        # Betas of HiFi-GAN and DAC.
        parameters = [p for module in modules for p in module.parameters() if p.requires_grad]
        optimizer = torch.optim.AdamW(parameters, lr=self.args.learning_rate, betas=(0.8, 0.99), fused=True)
        schedule = get_wsd_schedule(
            optimizer,
            self.args.warmup_steps,
            max(1, self.args.decay_steps),
            num_training_steps=self.args.max_steps + 1,
        )
        return optimizer, schedule

    def train(self) -> None:
        """Trains to `max_steps`, from the last checkpoint of `output_dir` if there is one."""
        args, accelerator = self.args, self.accelerator
        accelerator.init_trackers("logs")
        self._resume()
        bar = tqdm(
            total=args.max_steps,
            initial=self.step,
            desc="codec",
            disable=not accelerator.is_main_process,
            dynamic_ncols=True,
        )
        is_stopped = False
        while self.step < args.max_steps and not is_stopped:
            losses = self._train_step(self.crops.batch(self.step).to(accelerator.device))
            self.step += 1
            bar.update()
            is_stopped = self.step_callback is not None and bool(
                self.step_callback(self, {name: loss.detach() for name, loss in losses.items()})
            )
            if self.step % args.logging_steps == 0:
                values = {name: value.item() for name, value in losses.items()}
                bar.set_postfix(
                    {
                        name: f"{values[name]:.3f}"
                        for name in ("mel", "complex_stft", "codebook", "semantic")
                        if name in values
                    }
                )
                self._log(values | {"learning_rate": self.schedule.get_last_lr()[0]}, "train")
            if self.step % args.eval_steps == 0 or self.step == args.max_steps:
                self.evaluate()
            if self.step % args.save_steps == 0 or self.step == args.max_steps or is_stopped:
                self.save_checkpoint()
        bar.close()
        accelerator.end_training()

    def _train_step(self, crops: torch.Tensor) -> dict[str, torch.Tensor]:
        self.model.train()
        start = self.args.adversarial_start
        discriminator = None if start is None or self.step < start else self.discriminator
        observing = contextlib.nullcontext() if self.refresher is None else self.refresher.observe()
        with observing, self.accelerator.autocast(), self._quantizer_of_stage():
            outputs = self.model(crops)
        decoded = outputs.audio[:, 0].float()
        losses = self.reconstruction_loss(decoded, crops) | self._codebook_losses(outputs)
        if self.semantic_loss is not None:
            losses["semantic"] = self.semantic_loss(outputs.quantized_states, crops)
        judged: dict[str, torch.Tensor] = {}
        if discriminator is not None:
            judged["discriminator"] = self._train_discriminator(discriminator, crops, decoded.detach())
            of_recordings, of_decoded = discriminator(crops), discriminator(decoded)
            losses["adversarial"] = adversarial_loss(of_decoded)
            losses["feature_matching"] = feature_matching_loss(of_recordings, of_decoded)
        total = sum(self.args.loss_weights[name] * loss for name, loss in losses.items())
        self._update(total, self.model, self.optimizer, self.schedule)
        moved = self._refresh_codebooks()
        return losses | judged | {"total": total, "moved_codes": torch.tensor(float(moved))}

    def _quantizer_of_stage(self) -> contextlib.AbstractContextManager:
        """The quantizer as it is, or with its outer projections alone, where an autoencoder is trained."""
        if not self.args.autoencoder:
            return contextlib.nullcontext()
        quantizer = self.accelerator.unwrap_model(self.model).quantizer
        return _hooked(quantizer, lambda module, args, output: (_project(module, args[0]), *output[1:]))

    def _codebook_losses(self, outputs: MossAudioTokenizerOutput) -> dict[str, torch.Tensor]:
        if self.args.autoencoder:
            return {}
        losses: dict[str, Any] = {"commitment": outputs.commitment_loss, "codebook": outputs.codebook_loss}
        if "encoder" in self.args.frozen_parts:
            losses.pop("commitment")
        if "quantizer" in self.args.frozen_parts:
            losses.pop("codebook")
        elif self.args.codebook_decay is not None:
            losses["codebook"] = losses["codebook"].detach()
        return losses

    def _train_discriminator(
        self, discriminator: torch.nn.Module, crops: torch.Tensor, decoded: torch.Tensor
    ) -> torch.Tensor:
        loss = discriminator_loss(discriminator(crops), discriminator(decoded))
        self._update(loss, discriminator, self.discriminator_optimizer, self.discriminator_schedule)
        return loss

    def _update(self, loss: torch.Tensor, module, optimizer, schedule) -> None:
        optimizer.zero_grad()
        self.accelerator.backward(loss)
        self.accelerator.clip_grad_norm_(module.parameters(), self.args.max_grad_norm)
        optimizer.step()
        schedule.step()

    def _refresh_codebooks(self) -> int:
        if self.refresher is None:
            return 0
        moved = self.refresher.refresh()
        if self.accelerator.num_processes > 1:
            # Each process has seen its own crops; the first one's choice holds.
            for tensor in self.refresher.tensors():
                tensor.copy_(broadcast(tensor.clone()))
        return moved

    @torch.no_grad()
    def evaluate(self, num_samples: int = 4) -> dict[str, float]:
        """
        Losses on whole held-out recordings, logged; the first `num_samples` are written to `output_dir/samples` as wav with a
        picture of both spectrograms.
        """
        if not self.eval_recordings or not self.accelerator.is_main_process:
            return {}
        with torch.compiler.set_stance("force_eager"):  # recordings have all lengths
            return self._evaluate(self.accelerator.unwrap_model(self.model).eval(), num_samples)

    def _evaluate(self, model: MossAudioTokenizerModel, num_samples: int) -> dict[str, float]:
        folder = Path(self.args.output_dir, "samples", f"step_{self.step:07d}")
        folder.mkdir(parents=True, exist_ok=True)
        totals: dict[str, float] = {}
        for index, recording in enumerate(self.eval_recordings):
            waveform = torch.from_numpy(recording.astype(np.float32)).to(self.accelerator.device)[None] / 32767
            with self._quantizer_of_stage():
                decoded = model(waveform).audio[:, 0].float()
            for name, loss in self.reconstruction_loss(decoded, waveform).items():
                totals[name] = totals.get(name, 0.0) + loss.item() / len(self.eval_recordings)
            if index < num_samples:
                pair = (waveform[0].cpu().numpy(), decoded[0].cpu().numpy())
                save_audio(pair[1], folder / f"{index}_decoded.wav", self.config.sampling_rate)
                save_audio(pair[0], folder / f"{index}_recording.wav", self.config.sampling_rate)
                draw_spectrograms(pair, ("recording", "decoded"), self.config.sampling_rate, folder / f"{index}.png")
        self._log(totals, "eval")
        return totals

    def save_checkpoint(self) -> Path:
        """Writes `output_dir/checkpoint-STEP`, complete or not at all, and the model in `output_dir/model`, file by file."""
        target = self._checkpoints_folder() / f"checkpoint-{self.step}"
        scratch = target.with_name(f"tmp-{target.name}")
        self.accelerator.wait_for_everyone()
        self.accelerator.save_state(str(scratch))
        self.accelerator.wait_for_everyone()
        if self.accelerator.is_main_process:
            (scratch / "trainer_state.json").write_text(
                json.dumps({"step": self.step, "args": asdict(self.args)}, indent=1)
            )
            _remove(target)
            os.replace(scratch, target)
        self._complete_checkpoint()
        return target

    def _complete_checkpoint(self) -> None:
        """What follows a checkpoint: the model of its step, and no more checkpoints than are kept."""
        if self.accelerator.is_main_process:
            self.accelerator.unwrap_model(self.model).save_pretrained(self._checkpoints_folder() / "model")
            for old in self._checkpoints()[: -self.args.save_total_limit]:
                _remove(old)
        self.accelerator.wait_for_everyone()

    def _resume(self) -> None:
        checkpoints = self._checkpoints()
        if not checkpoints:
            return
        self.accelerator.load_state(str(checkpoints[-1]))
        self.step = json.loads((checkpoints[-1] / "trainer_state.json").read_text())["step"]
        logger.info(f"Going on from step {self.step} ({checkpoints[-1]}).")
        # The last run may have been killed just before.
        self._complete_checkpoint()

    def _checkpoints_folder(self) -> Path:
        folder = Path(self.args.output_dir)
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def _checkpoints(self) -> list[Path]:
        """Complete checkpoints, oldest first."""
        return sorted(self._checkpoints_folder().glob("checkpoint-*"), key=lambda path: int(path.name.split("-")[1]))

    def _log(self, values: dict[str, float], prefix: str) -> None:
        self.accelerator.log({f"{prefix}/{name}": value for name, value in values.items()}, step=self.step)


def _remove(folder: Path) -> None:
    """Removes a checkpoint, which is never seen with half of its files."""
    if not folder.exists():
        return
    scratch = folder.with_name(f"tmp-removed-{folder.name}")
    shutil.rmtree(scratch, ignore_errors=True)
    os.replace(folder, scratch)
    shutil.rmtree(scratch)


@contextlib.contextmanager
def _hooked(module: torch.nn.Module, hook: Callable) -> Iterator[None]:
    handle = module.register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()


def _project(quantizer: Any, hidden_states: torch.Tensor) -> torch.Tensor:
    """Output of a quantizer with infinitely many codes."""
    with torch.autocast(hidden_states.device.type, enabled=False):
        return quantizer.output_proj(quantizer.input_proj(hidden_states.float()))
