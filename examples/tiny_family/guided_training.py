"""Guided training: shows a small generator where in the text it is, and which sounds come next."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from transformers import Trainer
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from transformers_moss_tts.training import MossTTSDataCollator, TrainingSamples, encode_sample

from .phonetic_loss import SLOTS_A_FRAME, UNKNOWN, PhonemeHead, Phonemes, phoneme_track


_HEAD_FILE = "phoneme_head.safetensors"
# Of the diagonal: in parts of the text where the pace is taken for even, and in characters where it is known.
_EVEN_WIDTH, _KNOWN_WIDTH = 0.07, 1.5


def guided_attention_loss(
    attention: torch.Tensor,
    num_characters: torch.LongTensor,
    is_frame: torch.BoolTensor,
    reading: torch.Tensor | None = None,
    silence: tuple[float, float] = (0.0, 0.0),
) -> torch.Tensor:
    """
    How little of an attention lies on the text that is being read: guided attention (arXiv 1710.08969) for self-attention,
    which may look elsewhere, as the negative logarithm of the guided mass. Where nobody knows what is being read, reading is
    taken to go on at an even pace.

    Args:
        attention (`torch.FloatTensor` of shape `(batch_size, heads, length, length)`): weights of the heads to guide.
        num_characters (`torch.LongTensor` of shape `(batch_size, length)`): of the tokens that are read; 0 elsewhere. The
            pace is even in characters.
        is_frame (`torch.BoolTensor` of shape `(batch_size, length)`): the positions that predict frames of speech.
        reading (`torch.FloatTensor` of shape `(batch_size, length)`, *optional*): share of the characters that is read at
            these positions; NaN where it is not known.
        silence (`tuple[float, float]`): frames before and after the speech, where the pace is taken for even.
    """
    before, after = silence
    frame, num_frames = is_frame.cumsum(1) - 0.5, is_frame.sum(1)[:, None]
    progress = ((frame - before) / (num_frames - before - after).clamp(min=1)).clamp(0, 1)
    total = num_characters.sum(1).clamp(min=1)[:, None]
    width = torch.full_like(progress, _EVEN_WIDTH)
    if reading is not None:
        progress = torch.where(reading.isnan(), progress, reading)
        width = torch.where(reading.isnan(), width, _KNOWN_WIDTH / total)
    place = (num_characters.cumsum(1) - num_characters / 2) / total
    distance = (progress[:, :, None] - place[:, None]) / width[:, :, None]
    guide = torch.exp(-(distance**2) / 2) * (num_characters > 0)[:, None]
    mass = (attention.float() * guide[:, None]).sum(-1)
    weights = is_frame[:, None].expand(mass.shape)
    return -(mass.clamp(min=1e-6).log() * weights).sum() / weights.sum().clamp(min=1)


def add_times(sample: dict[str, Any], example: Mapping[str, Any], frame_rate: float) -> dict[str, Any]:
    """
    A sample of [`~transformers_moss_tts.training.encode_sample`] with what its example tells of times.

    Args:
        sample (`dict`): `input_ids` and `labels`.
        example (`Mapping`): perhaps `reading`, pairs of seconds and of the share of the text's characters that is read by then, and
            `phonemes` (`symbol`, `start` and `end` in seconds).
        frame_rate (`float`): rate of the codes, in Hz.

    Returns:
        The sample, with `reading` also `reading` `(length,)`: the share that is read in the middle of the frame to predict, NaN
        where none is. `phonemes` are kept.
    """
    if example.get("reading") is not None:
        seconds, shares = np.asarray(example["reading"], dtype=np.float64).reshape(-1, 2).T
        is_frame = sample["labels"][:, 1] != -100
        middles = (np.arange(int(is_frame.sum())) + 0.5) / frame_rate
        sample["reading"] = torch.full(is_frame.shape, float("nan"))
        sample["reading"][is_frame] = torch.from_numpy(np.interp(middles, seconds, shares)).float()
    if example.get("phonemes") is not None:
        sample["phonemes"] = example["phonemes"]
    return sample


class TimedSamples(TrainingSamples):
    """
    [`~transformers_moss_tts.training.TrainingSamples`] with the times of [`add_times`]. Where `codes` are not those of the
    recordings, references are `recorded_codes`.
    """

    def __init__(self, table, *args, **kwargs):
        if "recorded_codes" in table.column_names:
            self._reference_column = "recorded_codes"
        super().__init__(table, *args, **kwargs)

    def encode(self, index: int, epoch: int) -> dict[str, Any]:
        example = self.table[self._kept[index] // len(self.duration_conditioning)]
        return add_times(super().encode(index, epoch), example, self.processor.frame_rate)


class GuidedDataCollator(MossTTSDataCollator):
    """
    [`MossTTSDataCollator`] that also gives [`GuidedTrainer`] what is known of the speech: `reading` `(batch_size, length)`, NaN
    where it is not known, and with `phoneme_classes` `phonemes` `(batch_size, length, slots)`, -1 where they are not.

    Args:
        processor ([`MossTTSDelayProcessor`]): of the model in training.
        channelwise_loss_weight (`list[float]`, *optional*): as for [`MossTTSDataCollator`].
        phoneme_classes (`dict[str, int]`, *optional*): numbers of the phonemes that examples have, see
            [`phoneme_classes`].
    """

    def __init__(
        self,
        processor,
        channelwise_loss_weight: list[float] | None = None,
        phoneme_classes: dict[str, int] | None = None,
    ):
        super().__init__(processor, channelwise_loss_weight)
        self.phoneme_classes = phoneme_classes

    def __call__(self, examples: list[Mapping[str, Any]]) -> dict[str, torch.Tensor]:
        samples = [
            example
            if "labels" in example
            else add_times(encode_sample(self.processor, example), example, self.processor.frame_rate)
            for example in examples
        ]
        batch = super().__call__(samples)
        shape = batch["input_ids"].shape[:2]
        batch["reading"] = torch.full(shape, float("nan"))
        if self.phoneme_classes is not None:
            batch["phonemes"] = torch.full((*shape, SLOTS_A_FRAME), UNKNOWN)
        for index, sample in enumerate(samples):
            if "reading" in sample:
                batch["reading"][index, -len(sample["reading"]) :] = sample["reading"]
            if "phonemes" in sample and self.phoneme_classes is not None:
                is_frame = sample["labels"][:, 1] != -100
                batch["phonemes"][index, -len(is_frame) :][is_frame] = self._slots(sample["phonemes"], is_frame.sum())
        return batch

    def _slots(self, phonemes: Phonemes, num_frames: int) -> torch.LongTensor:
        rate = SLOTS_A_FRAME * self.processor.frame_rate
        track = phoneme_track(phonemes, SLOTS_A_FRAME * int(num_frames), rate, self.phoneme_classes)
        return torch.from_numpy(track).long().unflatten(0, (-1, SLOTS_A_FRAME))


class GuidedTrainer(Trainer):
    """
    [`~transformers.Trainer`] that adds to the loss of a generator [`guided_attention_loss`] of the first heads of some layers,
    and what a [`PhonemeHead`] cannot read in the last state of the phonemes that come next. Its model must run with eager
    attention. What is read stands between two tokens of the text channel. With [`GuidedDataCollator`] and examples that have
    `reading` the heads follow what is known, else an even pace; phonemes count where examples have them. The phoneme head is saved
    beside checkpoints and is no part of the model.

    Args:
        text_bounds (`tuple[int, int]`): ids of the tokens before and after the text.
        token_characters (`torch.LongTensor` of shape `(vocab_size,)`): how many characters each token has.
        guided_layers (`tuple[int, ...]`): layers whose first heads are guided.
        guided_heads (`int`): how many of each layer.
        guidance (`float`): weight of both losses.
        silence (`tuple[float, float]`): frames before and after the speech, where the pace is taken for even.
    """

    def __init__(
        self,
        *args,
        text_bounds: tuple[int, int],
        token_characters: torch.LongTensor,
        guided_layers: tuple[int, ...],
        guided_heads: int = 1,
        guidance: float = 1.0,
        silence: tuple[float, float] = (0.0, 0.0),
        **kwargs,
    ):
        super().__init__(*args, **kwargs)
        self.text_bounds = text_bounds
        self.token_characters = token_characters.to(self.args.device)
        self.guided_layers = guided_layers
        self.guided_heads = guided_heads
        self.guidance = guidance
        self.silence = silence
        classes = getattr(self.data_collator, "phoneme_classes", None)
        self.phoneme_head = None
        if classes is not None:
            width = self.model.config.get_text_config().hidden_size
            head = PhonemeHead(width, 1 + len(classes)).to(self.args.device)
            self.phoneme_head = self.accelerator.prepare_model(head)

    def create_optimizer(self, *args, **kwargs):
        is_new = self.optimizer is None
        optimizer = super().create_optimizer(*args, **kwargs)
        if is_new and self.phoneme_head is not None:
            optimizer.add_param_group({"params": list(self.phoneme_head.parameters()), "weight_decay": 0.0})
            # Trainer empties the gradients of its model alone.
            optimizer.register_step_post_hook(lambda *step: self.phoneme_head.zero_grad())
        return optimizer

    def compute_loss(self, model, inputs, return_outputs: bool = False, num_items_in_batch=None):
        known = {name: inputs[name] for name in ("reading", "phonemes") if name in inputs}
        inputs = {name: value for name, value in inputs.items() if name not in known}
        options = {"output_attentions": True, "output_hidden_states": self.phoneme_head is not None}
        loss, outputs = super().compute_loss(
            model, inputs | options, return_outputs=True, num_items_in_batch=num_items_in_batch
        )
        guided = [outputs.attentions[layer][:, : self.guided_heads] for layer in self.guided_layers]
        guide = guided_attention_loss(
            torch.cat(guided, dim=1), *self._masks(inputs), known.get("reading"), self.silence
        )
        if self.phoneme_head is not None:
            guide = guide + self.phoneme_head(outputs.hidden_states[-1], known["phonemes"])
        loss = loss + self.guidance * guide
        return (loss, outputs) if return_outputs else loss

    def _masks(self, inputs: dict[str, torch.Tensor]) -> tuple[torch.LongTensor, torch.BoolTensor]:
        tokens, labels = inputs["input_ids"][..., 0], inputs["labels"]
        first, last = self.text_bounds
        opened, closed = (tokens == first).cumsum(1), (tokens == last).cumsum(1)
        is_text = (opened > 0) & (closed == 0) & (tokens != first)
        is_frame = torch.nn.functional.pad(labels[..., 1] != -100, (tokens.shape[1] - labels.shape[1], 0))
        return self.token_characters[tokens] * is_text, is_frame

    def _save_checkpoint(self, model, trial):
        super()._save_checkpoint(model, trial)
        if self.phoneme_head is not None and self.args.should_save:
            folder = Path(self._get_output_dir(trial), f"{PREFIX_CHECKPOINT_DIR}-{self.state.global_step}")
            head = self.accelerator.unwrap_model(self.phoneme_head, keep_torch_compile=False)
            save_file(head.state_dict(), folder / _HEAD_FILE)

    def _load_from_checkpoint(self, resume_from_checkpoint, model=None):
        super()._load_from_checkpoint(resume_from_checkpoint, model)
        if self.phoneme_head is not None:
            head = self.accelerator.unwrap_model(self.phoneme_head, keep_torch_compile=False)
            head.load_state_dict(load_file(Path(resume_from_checkpoint, _HEAD_FILE)))
