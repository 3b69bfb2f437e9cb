"""A teacher of generators: the codes of speech of which it is known when what is said, how high and how loud."""

from collections.abc import Mapping
from typing import Any

import librosa
import numpy as np
import torch
from torch import nn
from torch.nn.functional import cross_entropy, pad

from .phonetic_loss import SLOTS_A_FRAME, phoneme_track


SOUNDS_A_FRAME = 2
_LOWEST_PITCH, _HIGHEST_PITCH = 60.0, 400.0  # Hz
_SILENCE = 1e-4
_CONTEXT = 2  # frames of phonemes on each side
_IGNORED = -100
# Shares of a history that are hidden and replaced in training: at the end it is the teacher's own, with its mistakes.
_HIDDEN, _REPLACED = 0.15, 0.15


def sound_features(waveform: np.ndarray, sampling_rate: int, num_frames: int, frame_rate: float) -> np.ndarray:
    """
    Pitch (the logarithm of Hz over 150) and loudness (the logarithm of the root mean square) of speech, `SOUNDS_A_FRAME` of each
    a frame: `(num_frames, 2 * SOUNDS_A_FRAME)`.

    Args:
        waveform (`np.ndarray` of shape `(samples,)`)
        sampling_rate (`int`): in Hz.
        num_frames (`int`): of the codes.
        frame_rate (`float`): of the codes, in Hz.
    """
    hop = round(sampling_rate / frame_rate / SOUNDS_A_FRAME)
    window, count = 2 * hop, num_frames * SOUNDS_A_FRAME
    waveform = np.pad(waveform, (0, max(0, (count + 1) * hop - len(waveform))))
    pitch = librosa.yin(
        waveform, fmin=_LOWEST_PITCH, fmax=_HIGHEST_PITCH, sr=sampling_rate, frame_length=window, hop_length=hop
    )
    loudness = librosa.feature.rms(y=waveform, frame_length=window, hop_length=hop)[0]
    features = np.stack([np.log(pitch[:count] / 150), np.log(loudness[:count] + _SILENCE) / 3 + 1], axis=1)
    return features.reshape(num_frames, -1).astype(np.float32)


class CodeTeacher(nn.Module):
    """
    Predicts the codes of each frame from the phonemes around it, pitch and loudness, the speaker and the frame before. What it
    chooses for a recording is all but determined by them, unlike the recording's own codes, of which much is chance to a
    generator: generators learn it in far fewer steps. It is sequence-level knowledge distillation (arXiv 1606.07947).

    Args:
        phoneme_classes (`dict[str, int]`): numbers of the phonemes, see [`phoneme_classes`].
        speakers (`list[str]`): who speaks.
        n_vq (`int`): codebooks to predict, the first ones of the codec.
        codebook_size (`int`): codes of each.
        width (`int`): of the hidden layers.
    """

    def __init__(
        self,
        phoneme_classes: dict[str, int],
        speakers: list[str],
        n_vq: int,
        codebook_size: int = 1024,
        width: int = 512,
    ):
        super().__init__()
        self.phoneme_classes = phoneme_classes
        self.speakers = {speaker: number for number, speaker in enumerate(speakers)}
        self.n_vq, self.no_code = n_vq, codebook_size
        small, features = 24, 64
        self.phoneme_embedding = nn.Embedding(1 + len(phoneme_classes), small)
        self.speaker_embedding = nn.Embedding(len(speakers), features)
        self.history_embeddings = nn.ModuleList(nn.Embedding(codebook_size + 1, features) for _ in range(n_vq))
        self.code_embeddings = nn.ModuleList(nn.Embedding(codebook_size, features) for _ in range(n_vq - 1))
        # A projection of their own: a few numbers among a thousand would be learned last.
        self.sound_projection = nn.Linear(3 * 2 * SOUNDS_A_FRAME, features)
        inputs = (2 * _CONTEXT + 1) * SLOTS_A_FRAME * small + (2 + n_vq) * features
        self.body = nn.Sequential(
            nn.Linear(inputs, 3 * width // 2),
            nn.GELU(),
            nn.LayerNorm(3 * width // 2),
            nn.Linear(3 * width // 2, width),
            nn.GELU(),
        )
        self.depth_projections = nn.ModuleList(nn.Linear(features * depth, width) for depth in range(1, n_vq))
        self.heads = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width), nn.GELU(), nn.Linear(width, codebook_size))
            for _ in range(n_vq)
        )

    def collate(self, examples: list[Mapping[str, Any]]) -> dict[str, torch.Tensor]:
        """
        Rows with `phonemes`, `sounds` ([`sound_features`]), `speaker` and `codes` as a padded batch.

        Raises:
            ValueError: at a speaker or a phoneme that the teacher does not know.
        """
        if unknown := {example["speaker"] for example in examples} - self.speakers.keys():
            raise ValueError(f"Unknown speakers: {', '.join(sorted(unknown))}. Known are {', '.join(self.speakers)}.")
        symbols = {phoneme["symbol"] for example in examples for phoneme in example["phonemes"]}
        if unknown := symbols - self.phoneme_classes.keys():
            raise ValueError(f"Unknown phonemes: {' '.join(sorted(unknown))}.")
        codes = [torch.as_tensor(np.asarray(example["codes"]))[:, : self.n_vq].long() for example in examples]
        sounds = [
            torch.as_tensor(np.asarray(example["sounds"], dtype=np.float32))[: len(c)]
            for example, c in zip(examples, codes)
        ]
        phonemes = [self._slots(example, len(c)) for example, c in zip(examples, codes)]
        return {
            "phonemes": nn.utils.rnn.pad_sequence(phonemes, batch_first=True),
            "sounds": nn.utils.rnn.pad_sequence(sounds, batch_first=True),
            "speakers": torch.tensor([self.speakers[example["speaker"]] for example in examples]),
            "labels": nn.utils.rnn.pad_sequence(codes, batch_first=True, padding_value=_IGNORED),
        }

    def _slots(self, example: Mapping[str, Any], num_frames: int) -> torch.LongTensor:
        slots_a_second = SLOTS_A_FRAME * example["frame_rate"]
        track = phoneme_track(example["phonemes"], SLOTS_A_FRAME * num_frames, slots_a_second, self.phoneme_classes)
        return torch.from_numpy(track).long().unflatten(0, (num_frames, SLOTS_A_FRAME))

    def forward(
        self,
        phonemes: torch.LongTensor,
        sounds: torch.Tensor,
        speakers: torch.LongTensor,
        labels: torch.LongTensor,
    ) -> dict[str, torch.Tensor]:
        """
        Args:
            phonemes (`torch.LongTensor` of shape `(batch_size, frames, SLOTS_A_FRAME)`)
            sounds (`torch.FloatTensor` of shape `(batch_size, frames, 2 * SOUNDS_A_FRAME)`)
            speakers (`torch.LongTensor` of shape `(batch_size,)`)
            labels (`torch.LongTensor` of shape `(batch_size, frames, n_vq)`): codes, -100 after the end.

        Returns:
            `loss`, the sum of `channel_losses`, the cross entropy of each codebook.
        """
        is_frame = labels[..., 0] != _IGNORED
        known = labels.masked_fill(~is_frame[..., None], self.no_code)
        history = self._disturb(pad(known[:, :-1], (0, 0, 1, 0), value=self.no_code))
        states = self._states(*self._windows(phonemes, sounds), speakers, history)[is_frame]
        codes = labels[is_frame]
        losses = [cross_entropy(self._scores(states, codes, depth), codes[:, depth]) for depth in range(self.n_vq)]
        return {"loss": torch.stack(losses).sum(), "channel_losses": torch.stack(losses).detach()}

    @torch.no_grad()
    def generate(
        self, phonemes: torch.LongTensor, sounds: torch.Tensor, speakers: torch.LongTensor, labels: torch.LongTensor
    ) -> list[torch.LongTensor]:
        """The most likely codes `(frames, n_vq)` of each example of a batch, on a history of its own; of `labels` only the length counts."""
        phonemes, sounds = self._windows(phonemes, sounds)
        history = torch.full_like(labels[:, :1], self.no_code)
        chosen = []
        for frame in range(labels.shape[1]):
            part = slice(frame, frame + 1)
            states = self._states(phonemes[:, part], sounds[:, part], speakers, history)[:, 0]
            codes = torch.zeros_like(history[:, 0])
            for depth in range(self.n_vq):
                codes[:, depth] = self._scores(states, codes, depth).argmax(-1)
            chosen.append(codes)
            history = codes[:, None]
        lengths = (labels[..., 0] != _IGNORED).sum(1)
        return [codes[:length] for codes, length in zip(torch.stack(chosen, dim=1), lengths)]

    def _windows(self, phonemes: torch.LongTensor, sounds: torch.Tensor) -> tuple[torch.LongTensor, torch.Tensor]:
        return _around(phonemes, _CONTEXT), _around(sounds, 1)

    def _states(self, phonemes, sounds, speakers, history) -> torch.Tensor:
        speaker = self.speaker_embedding(speakers)[:, None].expand(-1, phonemes.shape[1], -1)
        past = [embed(history[..., depth]) for depth, embed in enumerate(self.history_embeddings)]
        phonemes, sounds = self.phoneme_embedding(phonemes).flatten(2), self.sound_projection(sounds)
        return self.body(torch.cat([phonemes, sounds, speaker, *past], dim=-1))

    def _scores(self, states: torch.Tensor, codes: torch.LongTensor, depth: int) -> torch.Tensor:
        if depth:
            before = [self.code_embeddings[index](codes[:, index]) for index in range(depth)]
            states = states + self.depth_projections[depth - 1](torch.cat(before, dim=-1))
        return self.heads[depth](states)

    def _disturb(self, history: torch.LongTensor) -> torch.LongTensor:
        if not self.training:
            return history
        replaced = torch.rand(history.shape, device=history.device) < _REPLACED
        history = torch.where(replaced, torch.randint_like(history, self.no_code), history)
        hidden = torch.rand(history.shape[:2], device=history.device) < _HIDDEN
        return history.masked_fill(hidden[..., None], self.no_code)


def _around(frames: torch.Tensor, context: int) -> torch.Tensor:
    """Each frame with those before and after it, `(batch_size, frames, (2 * context + 1) * features)`."""
    padded = pad(frames, (0, 0, context, context))
    return torch.cat([padded[:, index : index + frames.shape[1]] for index in range(2 * context + 1)], dim=-1)
