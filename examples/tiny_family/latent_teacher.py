"""
A teacher of generators that speaks in the latents of the codec: from what hibari's model predicts of a sentence (which phoneme is said
when, F0, the phase of the pulses, loudness) and a voice to the latents that the codec would make of the sentence in that voice.
Quantized by the codec's own codebooks they are codes that follow from text and voice, in any of the warped voices.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from datasets import Dataset
from torch import nn

from transformers_moss_tts import MossAudioTokenizerModel

from .corpus import NUM_WARPED_VOICES, RATE, Reader, WarpedVoice
from .progress import train_steps
from .speech_timing import time_speech


SLOTS = 8  # a frame: what is known of the speech is given every 10 ms
SOUNDS = 5  # values a slot: F0, whether it is voiced, cosine and sine of the pulses' phase, loudness
VOICE = 4
_HOP = 300  # samples between hibari's values
_UNVOICED = 40.0  # Hz, below which hibari's F0 means that there is none


@dataclass
class Rendering:
    """
    A sentence as it is heard and as the teacher is told of it.

    Args:
        waveform (`np.ndarray` of shape `(samples,)`): whole frames.
        phonemes (`np.ndarray` of shape `(slots,)`): hibari's ids.
        sounds (`np.ndarray` of shape `(slots, SOUNDS)`)
        voice (`np.ndarray` of shape `(VOICE,)`)
        durations (`np.ndarray`, *optional*): of the symbols of the sentence and the silences around it, in frames of hibari.
    """

    waveform: np.ndarray
    phonemes: np.ndarray
    sounds: np.ndarray
    voice: np.ndarray
    durations: np.ndarray | None = None


def voice_vector(voice: WarpedVoice) -> np.ndarray:
    """A voice in numbers of about unit size."""
    return np.array([3 * np.log(voice.pitch), 10 * np.log(voice.formants), voice.tilt, 3 * voice.noise], np.float32)


def sounds_of(f0: np.ndarray, waveform: np.ndarray, num_slots: int) -> np.ndarray:
    """
    F0 (the logarithm of Hz over 150), voicing, phase of the pulses and loudness (a scaled logarithm of the root mean square) at the
    middle of each slot, `(slots, SOUNDS)`.

    Args:
        f0 (`np.ndarray` of shape `(frames,)`): F0 every 300 samples, in Hz, below 40 where there is none.
        waveform (`np.ndarray` of shape `(samples,)`): the speech at 24 kHz.
        num_slots (`int`): slots of 240 samples.
    """
    slot = RATE // 100
    samples = np.arange(num_slots * slot)
    curve = np.interp(samples, (np.arange(len(f0)) + 0.5) * _HOP - 0.5, f0)
    # The pulses of the synthesis, which go on at 40 Hz where nothing is voiced.
    phase = 2 * np.pi * (np.cumsum(np.maximum(curve, _UNVOICED)) / RATE % 1)
    middle = samples[slot // 2 :: slot]
    is_voiced = (curve[middle] > _UNVOICED).astype(float)
    powers = np.pad(waveform[: len(samples)] ** 2, (0, max(0, len(samples) - len(waveform)))).reshape(num_slots, slot)
    columns = (
        is_voiced * np.log(np.maximum(curve[middle], _UNVOICED) / 150),
        is_voiced,
        is_voiced * np.cos(phase[middle]),
        is_voiced * np.sin(phase[middle]),
        np.log(np.sqrt(powers.mean(1)) + 1e-4) / 3 + 1,
    )
    return np.stack(columns, axis=1).astype(np.float32)


def track_of(ids: list[int], durations: np.ndarray, num_slots: int) -> np.ndarray:
    """The id that is said in the middle of each slot, `(slots,)`; `durations` are in any unit."""
    ends = np.cumsum(durations) / np.sum(durations) * num_slots
    return np.asarray(ids)[np.searchsorted(ends, np.arange(num_slots) + 0.5).clip(max=len(ids) - 1)]


class Renderer:
    """Renders sentences in warped voices, with what the teacher is told of them."""

    def __init__(self, frame_samples: int):
        self.reader = Reader()
        self.frame_samples = frame_samples

    def render(self, phonemes: str, voice: WarpedVoice, speed: float, seed: int) -> Rendering:
        """Raises nothing: a sentence of less than a frame is padded with silence to one."""
        waveform = self.reader.speak(phonemes, voice, speed, seed)
        f0 = self.reader.parts(phonemes, speed)[-1]
        f0 = np.where(f0 > _UNVOICED, f0 * voice.pitch, f0)
        ids = self.reader.hibari.ids(phonemes)
        durations = self.reader.durations(phonemes, speed)
        num_frames = max(1, len(waveform) // self.frame_samples)
        waveform = np.pad(waveform, (0, max(0, num_frames * self.frame_samples - len(waveform))))
        num_slots = num_frames * SLOTS
        return Rendering(
            waveform[: num_frames * self.frame_samples],
            track_of(ids, durations, num_slots),
            sounds_of(f0, waveform, num_slots),
            voice_vector(voice),
            durations,
        )

    def renderings(self, sentences: list[str], seed: int) -> Iterator[Rendering]:
        """Sentences at random, each in a voice at random, without end."""
        draw = random.Random(seed)
        while True:
            phonemes = self.reader.phonemes(draw.choice(sentences))
            if phonemes is not None:
                voice = WarpedVoice.number(draw.randrange(NUM_WARPED_VOICES))
                yield self.render(phonemes, voice, draw.uniform(0.85, 1.2), draw.randrange(2**31))


class _Block(nn.Module):
    """A depthwise convolution over frames and a feed-forward layer (ConvNeXt, arXiv 2201.03545)."""

    def __init__(self, width: int):
        super().__init__()
        self.mix = nn.Conv1d(width, width, 7, padding=3, groups=width)
        self.feedforward = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 3 * width), nn.GELU(), nn.Linear(3 * width, width)
        )

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        return states + self.feedforward(self.mix(states.transpose(1, 2)).transpose(1, 2))


class LatentTeacher(nn.Module):
    """
    Predicts the codec's latents. It sees a whole sentence, so it is not causal.

    Args:
        num_phonemes (`int`): ids of phonemes.
        latent_dim (`int`): features of the codec's latents.
        width (`int`): of the hidden layers.
        num_blocks (`int`): blocks.
    """

    def __init__(self, num_phonemes: int, latent_dim: int, width: int = 320, num_blocks: int = 5):
        super().__init__()
        small = 32
        self.phoneme_embedding = nn.Embedding(num_phonemes, small)
        self.inward = nn.Linear(SLOTS * (small + SOUNDS) + VOICE, width)
        self.blocks = nn.ModuleList(_Block(width) for _ in range(num_blocks))
        self.outward = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, latent_dim))

    def forward(self, phonemes: torch.LongTensor, sounds: torch.Tensor, voices: torch.Tensor) -> torch.Tensor:
        """
        Args:
            phonemes (`torch.LongTensor` of shape `(batch_size, slots)`)
            sounds (`torch.FloatTensor` of shape `(batch_size, slots, SOUNDS)`)
            voices (`torch.FloatTensor` of shape `(batch_size, VOICE)`)

        Returns:
            `torch.FloatTensor` of shape `(batch_size, slots / SLOTS, latent_dim)`.
        """
        known = torch.cat([self.phoneme_embedding(phonemes), sounds], dim=-1)
        frames = known.unflatten(1, (-1, SLOTS)).flatten(2)
        voices = voices[:, None].expand(-1, frames.shape[1], -1)
        states = self.inward(torch.cat([frames, voices], dim=-1))
        for block in self.blocks:
            states = block(states)
        return self.outward(states)

    @torch.no_grad()
    def codes(self, rendering: Rendering, codec: MossAudioTokenizerModel, n_vq: int) -> torch.LongTensor:
        """Codes `(frames, n_vq)` of a sentence, by the codec's own codebooks."""
        batch = collate([rendering])
        latents = self(batch["phonemes"], batch["sounds"], batch["voices"]).transpose(1, 2)
        lengths = torch.tensor([latents.shape[2]], device=latents.device)
        return codec.quantizer(latents, lengths, n_vq)[1][:, 0].t()


def collate(renderings: list[Rendering]) -> dict[str, torch.Tensor]:
    """Renderings as a padded batch, with `num_frames` `(batch_size,)` and `waveforms` `(batch_size, samples)`."""
    pad = nn.utils.rnn.pad_sequence
    return {
        "phonemes": pad([torch.from_numpy(item.phonemes).long() for item in renderings], batch_first=True),
        "sounds": pad([torch.from_numpy(item.sounds) for item in renderings], batch_first=True),
        "voices": torch.from_numpy(np.stack([item.voice for item in renderings])),
        "num_frames": torch.tensor([len(item.phonemes) // SLOTS for item in renderings]),
        "waveforms": pad([torch.from_numpy(item.waveform).float() for item in renderings], batch_first=True),
    }


def teacher_loss(
    teacher: LatentTeacher, codec: MossAudioTokenizerModel, batch: dict[str, torch.Tensor]
) -> torch.Tensor:
    """Mean squared error of the latents of all frames over their mean square: 1 for a teacher that says nothing."""
    samples = batch["waveforms"].shape[1]
    mask = torch.arange(samples) < (batch["num_frames"] * codec.config.downsample_rate)[:, None]
    with torch.no_grad():
        expected = codec.encode(batch["waveforms"], padding_mask=mask, num_quantizers=1).encoder_hidden_states
    expected = expected.transpose(1, 2)
    is_frame = torch.arange(expected.shape[1]) < batch["num_frames"][:, None]
    predicted = teacher(batch["phonemes"], batch["sounds"], batch["voices"])
    return (predicted - expected)[is_frame].pow(2).mean() / expected[is_frame].pow(2).mean()


def render_table(
    run: Path, codec_folder: Path, sentences: list[str], n_vq: int, limit: int, voices_a_sentence: int = 2
) -> int:
    """
    Writes `RUN/codes.parquet`, from which `train_tts` trains generators: each sentence in some voices, with the teacher's codes and
    in `recorded_codes` those of the speech itself, for references.

    Returns:
        `int`: examples that were written, at most `limit`.
    """
    codec = MossAudioTokenizerModel.from_pretrained(codec_folder).eval()
    renderer = Renderer(codec.config.downsample_rate)
    teacher = build_teacher(renderer, codec)
    teacher.load_state_dict(torch.load(run / "teacher" / "state.pt", weights_only=True)["module"])
    teacher.eval()
    examples = (
        example_of(text, number, renderer, teacher, codec, n_vq)
        for text in sentences
        for number in random.Random(text).sample(range(NUM_WARPED_VOICES), voices_a_sentence)
    )
    kept = list(islice((example for example in examples if example is not None), limit))
    Dataset.from_list(kept).to_parquet(run / "codes.parquet")
    return len(kept)


def example_of(
    text: str, number: int, renderer: Renderer, teacher: LatentTeacher, codec: MossAudioTokenizerModel, n_vq: int
) -> dict | None:
    """A sentence in a voice as an example of the table, None where the text is more than a sentence."""
    phonemes = renderer.reader.phonemes(text)
    if phonemes is None:
        return None
    speed = random.Random(f"{text} {number}").uniform(0.85, 1.2)
    rendering = renderer.render(phonemes, WarpedVoice.number(number), speed, number)
    seconds = len(rendering.waveform) / RATE
    symbols = [symbol for symbol in phonemes if symbol in renderer.reader.hibari.vocab]
    with torch.no_grad():
        waveform = torch.from_numpy(rendering.waveform).float()[None]
        recorded = codec.encode(waveform, num_quantizers=n_vq).audio_codes[:, 0].t()
    return {
        "text": text,
        "speaker": f"warped_{number:03d}",
        "language": "English",
        "seconds": seconds,
        "codes": teacher.codes(rendering, codec, n_vq).tolist(),
        "recorded_codes": recorded.tolist(),
        **time_speech(text, symbols, rendering.durations, seconds),
    }


def build_teacher(renderer: Renderer, codec: MossAudioTokenizerModel) -> LatentTeacher:
    """A teacher of random weights that fits hibari's phonemes and the codec's latents."""
    num_phonemes = max(renderer.reader.hibari.vocab.values()) + 1
    return LatentTeacher(num_phonemes, codec.config.quantizer_kwargs["input_dim"])


def train_teacher(
    run: Path, codec_folder: Path, sentences: list[str], steps: int, batch_size: int, learning_rate: float = 1e-3
) -> None:
    """Trains a teacher of a codec to its end, or until its folder has a file `STOP`; goes on where it stopped."""
    folder = run / "teacher"
    codec = MossAudioTokenizerModel.from_pretrained(codec_folder).eval()
    renderer = Renderer(codec.config.downsample_rate)
    torch.manual_seed(0)
    teacher = build_teacher(renderer, codec)

    def loss_of(step: int) -> torch.Tensor:
        renderings = renderer.renderings(sentences, seed=step)
        return teacher_loss(teacher, codec, collate(list(islice(renderings, batch_size))))

    train_steps(folder, teacher, loss_of, dict, steps, learning_rate)
