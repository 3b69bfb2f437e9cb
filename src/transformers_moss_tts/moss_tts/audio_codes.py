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
"""Recordings to codes, and codes to audio: what a processor does with its codec."""

import dataclasses
import os
from typing import Any

import numpy as np
import torch

from ..audio_io import load_audio, normalize_loudness, save_audio
from ..utils.checks import check_number
from .frames import split_audio_codes
from .generated_sequences import GeneratedSequences
from .messages import Audio, is_codes
from .outputs import MossTTSGenerateOutput
from .upstream import DecodedAudio, UpstreamMixin
from .voice import Voice, as_voice


# Frames a second of the family's codecs, in Hz.
FRAME_RATE = 12.5


class AudioCodesMixin(UpstreamMixin):
    """For processors: they have an `audio_tokenizer`, a `codec_path`, a `model_config`, a `variant` and `audio_limits`."""

    @property
    def frame_rate(self) -> float:
        """Frames of codes a second, in Hz."""
        return FRAME_RATE if self.audio_tokenizer is None else self.audio_tokenizer.config.frame_rate

    def encode_audio(self, audio: list[Audio], sampling_rate: int | None = None) -> list[torch.LongTensor]:
        """
        Codes `(frames, n_vq)` of recordings, encoded as one batch, after the family's loudness rule where the variant has it. Items
        that are codes or voices already are checked and returned; of codes with more codebooks, the first `n_vq`.
        """
        return self._encode_audio(audio, sampling_rate, {})

    def decode(
        self,
        outputs: MossTTSGenerateOutput | torch.LongTensor | list[torch.LongTensor],
        prompt_length: int | None = None,
    ) -> torch.FloatTensor | list[torch.FloatTensor]:
        r"""
        Turns what a model generated into waveforms.

        Args:
            outputs ([`MossTTSGenerateOutput`], `torch.LongTensor` or `list[torch.LongTensor]`):
                What `generate` returned, as dict or as sequences `(batch_size, length, 1 + n_vq)` or `(length, 1 + n_vq)`,
                or codes `(frames, n_vq)` or a list of them.
            prompt_length (`int`, *optional*):
                With sequences: length of the prompt, to leave out the audio that it began the assistant's turn with. What
                `generate` returned knows it.

        Returns:
            Waveforms `(samples,)`, of a stereo codec `(channels, samples)`, in float32 on the CPU, at the codec's rate: one
            for a single sequence or codes, else a list.
        """
        prefixes, codes = self._codes_of_outputs(outputs, prompt_length)
        waveforms = self._decode_codes([torch.cat(pair) for pair in zip(prefixes, codes)])
        frame = self._codec().config.downsample_rate
        # Decoded with its beginning, for the codec's context, which is then cut off.
        waveforms = [wave[..., len(prefix) * frame :] for wave, prefix in zip(waveforms, prefixes)]
        waveforms = [wave.as_subclass(DecodedAudio) for wave in waveforms]
        is_single = isinstance(outputs, torch.Tensor) and outputs.ndim == 2
        return waveforms[0] if is_single else waveforms

    def batch_decode(self, outputs, prompt_length: int | None = None) -> list[torch.FloatTensor]:
        """As [`~MossTTSProcessor.decode`] of the same `outputs` and `prompt_length`, always a list."""
        waveforms = self.decode(outputs, prompt_length)
        return waveforms if isinstance(waveforms, list) else [waveforms]

    def save_audio(
        self,
        audio: torch.Tensor | np.ndarray | list[torch.Tensor | np.ndarray],
        path: str | os.PathLike | list[str | os.PathLike],
        sampling_rate: int | None = None,
    ) -> None:
        """
        Writes one waveform, or a list of them to as many paths, at `sampling_rate` Hz (the model's by default). The suffix
        of the path says the format: wav, flac, mp3, ogg or opus.

        Args:
            audio (waveform or `list`):
                Samples of shape `(samples,)` or `(channels, samples)`, floats in -1 to 1.
            path (`str`, `os.PathLike` or `list`):
                Path of each waveform.
            sampling_rate (`int`, *optional*):
                Rate in Hz.

        Raises:
            ValueError: if there are not as many paths as waveforms; and see [`~transformers_moss_tts.audio_io.save_audio`].
            OSError: if a file cannot be written.
        """
        paths = path if isinstance(path, list) else [path]
        waveforms = audio if isinstance(audio, list) else [audio]
        if len(paths) != len(waveforms):
            raise ValueError(f"There are {len(waveforms)} waveforms for {len(paths)} paths: give one path for each.")
        for waveform, target in zip(waveforms, paths):
            save_audio(waveform, target, self.model_config.sampling_rate if sampling_rate is None else sampling_rate)

    def _encode_audio(
        self,
        audio: list[Audio],
        sampling_rate: int | None,
        known: dict[Any, torch.LongTensor],
        limit: float | None = None,
    ) -> list[torch.LongTensor]:
        """
        As [`encode_audio`]. Recordings of which `known` has the codes are not encoded again, and those of new ones are put
        there; none may last longer than `limit` seconds.
        """
        # Codes by the place of the item: voices have theirs.
        given = {
            place: self._check_codes(item) if is_codes(item) else self._codes_of_voice(voice, limit)
            for place, item in enumerate(audio)
            if is_codes(item) or (voice := as_voice(item)) is not None
        }
        recordings = {_key_of(item): item for place, item in enumerate(audio) if place not in given}
        fresh = {key: item for key, item in recordings.items() if key not in known}
        if fresh:
            waves = [self._load_recording(item, sampling_rate, limit) for item in fresh.values()]
            known |= zip(fresh, self._encode_waves(waves))
        return [given[place] if place in given else known[_key_of(item)] for place, item in enumerate(audio)]

    def _codes_of_voice(self, voice: Voice, limit: float | None) -> torch.LongTensor:
        voice.check_codec(self.audio_tokenizer, self.model_config)
        return self._check_codes(voice.reference_codes(None if limit is None else int(limit * self.frame_rate)))

    def _load_recording(self, item: Audio, sampling_rate: int | None, limit: float | None) -> torch.FloatTensor:
        config, limits = self._codec().config, self.audio_limits
        channels = config.num_channels
        if limit is not None and limit < limits.max_duration:
            limits = dataclasses.replace(limits, max_duration=limit)
        wave = load_audio(
            item, config.sampling_rate, array_sampling_rate=sampling_rate, num_channels=channels, limits=limits
        )
        return torch.from_numpy(wave).view(channels, -1)

    def _encode_joined(self, audio: list[Audio], sampling_rate: int | None) -> torch.LongTensor:
        """Codes `(frames, n_vq)` of recordings one behind the other; they are joined before they are encoded."""
        if any(is_codes(item) or as_voice(item) is not None for item in audio):
            return torch.cat(self.encode_audio(audio, sampling_rate))
        waves = [self._load_recording(item, sampling_rate, None) for item in audio]
        return self._encode_waves([torch.cat(waves, dim=1)])[0]

    def _encode_waves(
        self, waves: list[torch.FloatTensor], num_quantizers: int | None = None
    ) -> list[torch.LongTensor]:
        """Codes of waveforms `(channels, samples)`, with the model's codebooks or so many."""
        codec = self._codec()
        num_quantizers = num_quantizers or self.model_config.n_vq
        if self.variant.moves_loudness:
            waves = [torch.from_numpy(normalize_loudness(wave.numpy())) for wave in waves]
        lengths = torch.tensor([wave.shape[1] for wave in waves])
        values = torch.nn.utils.rnn.pad_sequence([wave.T for wave in waves], batch_first=True).transpose(1, 2)
        mask = torch.arange(values.shape[2]) < lengths[:, None]
        with torch.inference_mode():
            encoded = codec.encode(
                values.to(codec.device), padding_mask=mask.to(codec.device), num_quantizers=num_quantizers
            )
        recordings = zip(encoded.audio_codes.permute(1, 2, 0).cpu(), encoded.audio_codes_lengths.tolist())
        return [codes[:length].clone() for codes, length in recordings]

    def _encode_references(
        self, references: list, sampling_rate: int | None, known: dict[Any, torch.LongTensor]
    ) -> list[torch.LongTensor | None]:
        limit = self.max_reference_duration
        recorded = [item for item in references if item is not None]
        codes = iter(self._encode_audio(recorded, sampling_rate, known, limit))
        encoded = [None if item is None else next(codes) for item in references]
        for number, item in enumerate(encoded, 1):
            if item is not None and len(item) > limit * self.frame_rate:
                raise ValueError(
                    f"Reference {number} lasts {len(item) / self.frame_rate:.1f} s; at most {limit:g} s are allowed. Cut it, or "
                    "raise `max_reference_duration`."
                )
        return encoded

    def _check_codes(self, codes: torch.Tensor | np.ndarray) -> torch.LongTensor:
        config = self.model_config
        if not is_codes(codes):
            kind = getattr(codes, "dtype", type(codes).__name__)
            raise TypeError(f"Codes must be tensors (frames, {config.n_vq}) of whole numbers, got {kind}.")
        codes = torch.as_tensor(codes).cpu().long()
        if codes.shape[1] < config.n_vq:
            raise ValueError(
                f"Codes must have shape (frames, {config.n_vq}), got {tuple(codes.shape)}. `encode` of a codec returns codebooks "
                "first: `codes[:, 0].T`."
            )
        # The codebooks refine one another: the first are a coarser version of the same audio.
        codes = codes[:, : config.n_vq]
        if codes.numel() and not 0 <= int(codes.min()) <= int(codes.max()) < config.audio_vocab_size:
            raise ValueError(
                f"Codes must be between 0 and {config.audio_vocab_size - 1}, got {int(codes.min())} to "
                f"{int(codes.max())}: are they of another codec, or still delayed and padded?"
            )
        return codes

    def _codec(self):
        codec, config = self.audio_tokenizer, self.model_config
        if codec is None:
            raise ValueError(
                f"Audio needs a codec and this processor has none (the checkpoint names {self.codec_path!r}). Load it with "
                "`codec_path=`, set `processor.audio_tokenizer`, or pass ready codes of shape (frames, n_vq)."
            )
        wanted = (config.sampling_rate, config.audio_vocab_size)
        if (codec.config.sampling_rate, codec.config.codebook_size) != wanted:
            raise ValueError(
                f"The codec has {codec.config.sampling_rate} Hz and {codec.config.codebook_size} codes a codebook, the model "
                f"{wanted[0]} Hz and {wanted[1]}: they do not fit."
            )
        if codec.config.num_quantizers < config.n_vq:
            raise ValueError(
                f"The codec has {codec.config.num_quantizers} codebooks, the model needs {config.n_vq}: they do not fit."
            )
        return codec

    def _codes_of_outputs(self, outputs, prompt_length: int | None) -> tuple[list, list]:
        config = self.model_config
        if prompt_length is not None:
            check_number("prompt_length", prompt_length, 0, is_whole=True)
        if isinstance(outputs, dict) and outputs.keys() >= {"prefix_codes", "audio_codes"}:
            return outputs["prefix_codes"], outputs["audio_codes"]
        if isinstance(outputs, list):
            if not outputs:
                raise ValueError("`outputs` is an empty list: there are no codes to decode.")
            checked = [self._check_codes(codes) for codes in outputs]
            return [codes[:0] for codes in checked], checked
        if not isinstance(outputs, torch.Tensor) or outputs.ndim not in (2, 3):
            raise TypeError(
                "`outputs` must be what `generate` returned, sequences (batch_size, length, 1 + n_vq), codes (frames, n_vq) or "
                f"a list of codes, got {type(outputs).__name__}."
            )
        if outputs.shape[-1] == config.n_vq and outputs.ndim == 2:
            return [outputs[:0].cpu()], [self._check_codes(outputs)]
        if outputs.shape[-1] != 1 + config.n_vq or 0 in outputs.shape:
            raise ValueError(
                f"Sequences must have {1 + config.n_vq} streams, codes {config.n_vq} codebooks, got {tuple(outputs.shape)}."
            )
        if prompt_length is None and isinstance(outputs, GeneratedSequences):
            prompt_length = outputs.prompt_length
        sequences = (outputs[None] if outputs.ndim == 2 else outputs).cpu().as_subclass(torch.Tensor)
        if prompt_length is not None:
            return split_audio_codes(self.model_config, sequences, prompt_length)
        codes, _ = split_audio_codes(self.model_config, sequences, sequences.shape[1])
        return [item[:0] for item in codes], codes

    def _decode_codes(self, codes: list[torch.LongTensor]) -> list[torch.FloatTensor]:
        codec = self._codec()
        lengths = torch.tensor([len(item) for item in codes])
        padded = torch.nn.utils.rnn.pad_sequence([item.cpu() for item in codes], batch_first=True)
        mask = torch.arange(padded.shape[1]) < lengths[:, None]
        with torch.inference_mode():
            decoded = codec.decode(padded.permute(2, 0, 1).to(codec.device), padding_mask=mask.to(codec.device))
        # `(samples,)` of one channel, `(channels, samples)` of more.
        waveforms = decoded.audio.float().cpu()
        waveforms = waveforms[:, 0] if waveforms.shape[1] == 1 else waveforms
        return [waveform[..., :length].clone() for waveform, length in zip(waveforms, decoded.audio_lengths.tolist())]


def _key_of(item: Audio) -> Any:
    """What tells recordings of one call apart: the path, or which object it is."""
    return str(item) if isinstance(item, str | os.PathLike) else id(item)


__all__ = ["FRAME_RATE", "AudioCodesMixin"]
