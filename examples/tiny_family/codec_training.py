"""Codec training by what is known of the recordings: when which phoneme is said, and the codes that generators learn."""

import numpy as np
import torch

from transformers_moss_tts import MossAudioTokenizerModel
from transformers_moss_tts.training import CodecTrainer, CodecTrainingArguments, RandomCrops

from .phonetic_loss import SILENCE, SLOTS_A_FRAME, Phonemes, PhoneticLoss, phoneme_classes, phoneme_track


class LabelledCrops(RandomCrops):
    """
    [`RandomCrops`] that start at multiples of `hop` samples and know their labels.

    Args:
        crops (`RandomCrops`): crops whose recordings, length and draws are taken over.
        hop (`int`): samples between possible starts of a crop.
    """

    def __init__(self, crops: RandomCrops, hop: int):
        self.__dict__ |= crops.__dict__
        self.hop = hop

    def labels(self, number: int, tracks: list[np.ndarray], hop: int, padding: int) -> torch.LongTensor:
        """
        What the crops of batch `number` have in `tracks`, which hold a label (or an array of them) of each recording every `hop`
        samples: `(batch_size, crop_samples // hop, ...)`; `padding` after the end of a recording.
        """
        labels = np.full((self.batch_size, self.crop_samples // hop, *tracks[0].shape[1:]), padding)
        for crop, (index, start) in zip(labels, self._sample(number)):
            first = round(start / hop)
            part = tracks[index][first : first + len(crop)]
            crop[: len(part)] = part
        return torch.from_numpy(labels)

    def _sample(self, number: int) -> list[tuple[int, int]]:
        return [(index, start - start % self.hop) for index, start in super()._sample(number)]


class TimedCodecTrainer(CodecTrainer):
    """
    [`CodecTrainer`] that makes the first codebook phonetic, or the decoder ready for the codes that generators learn.

    Args:
        model ([`MossAudioTokenizerModel`]): the codec.
        args ([`CodecTrainingArguments`]): settings of the run.
        recordings (`list[np.ndarray]`): 16 bit samples at the codec's rate.
        eval_recordings (`list[np.ndarray]`, *optional*): recordings that are never trained on.
        phonemes (`list`, *optional*): phonemes of each recording (`symbol`, `start`, `end` in seconds), or None where they are
            not known; adds [`PhoneticLoss`] with the weight of the semantic loss.
        codes (`list[np.ndarray]`, *optional*): codes `(frames, n_vq)` of each recording that are not the codec's own. Half of
            the crops are decoded from them. Needs encoder and quantizer in `frozen_parts`.

    Raises:
        ValueError: if `phonemes` or `codes` are not as many as the recordings, all phonemes are None, or `codes` are given and
            the encoder is trained.
    """

    def __init__(
        self,
        model: MossAudioTokenizerModel,
        args: CodecTrainingArguments,
        recordings: list[np.ndarray],
        eval_recordings: list[np.ndarray] | None = None,
        phonemes: list[Phonemes | None] | None = None,
        codes: list[np.ndarray] | None = None,
    ):
        if codes is not None and not {"encoder", "quantizer"} <= set(args.frozen_parts):
            raise ValueError("`codes` that are not the codec's own need `frozen_parts=('encoder', 'quantizer')`.")
        for name, values in (("phonemes", phonemes), ("codes", codes)):
            if values is not None and len(values) != len(recordings):
                raise ValueError(f"`{name}` needs one item a recording: got {len(values)} of {len(recordings)}.")
        self.codes = codes
        loss = None if phonemes is None else self._phonetic_loss_of(model, recordings, phonemes)
        super().__init__(model, args, recordings, eval_recordings, semantic_loss=loss)
        self.crops = LabelledCrops(self.crops, 1 if codes is None else self.config.downsample_rate)
        if codes is not None:
            model.quantizer.register_forward_hook(self._give_codes)

    def _phonetic_loss_of(
        self, model: MossAudioTokenizerModel, recordings: list[np.ndarray], phonemes: list[Phonemes | None]
    ) -> PhoneticLoss:
        classes = phoneme_classes(phonemes)
        if not classes:
            raise ValueError("`phonemes` are not known of any recording: leave the argument out.")
        self.label_hop = model.config.downsample_rate // SLOTS_A_FRAME
        rate = model.config.sampling_rate / self.label_hop
        self.tracks = [
            phoneme_track(known, len(recording) // self.label_hop, rate, classes)
            for known, recording in zip(phonemes, recordings)
        ]
        return PhoneticLoss(model, 1 + len(classes))

    def _train_step(self, crops: torch.Tensor) -> dict[str, torch.Tensor]:
        if self.semantic_loss is not None:
            labels = self.crops.labels(self.step, self.tracks, self.label_hop, padding=SILENCE)
            self.accelerator.unwrap_model(self.semantic_loss).labels = labels.to(crops.device)
        return super()._train_step(crops)

    def _give_codes(self, quantizer: torch.nn.Module, args, output: tuple[torch.Tensor, ...]) -> tuple | None:
        """Half of a batch's quantized states from `codes`, where a recording has them."""
        if not quantizer.training:
            return None
        quantized, *others = output
        labels = self.crops.labels(self.step, self.codes, self.config.downsample_rate, padding=-1)
        given = labels[: (len(labels) + 1) // 2].to(quantized.device)
        states = quantizer.decode(given.clamp(min=0).permute(2, 0, 1))
        states = torch.where((given[..., 0] >= 0)[:, None], states, quantized[: len(given)])
        return torch.cat([states, quantized[len(given) :]]), *others
