"""
Teaches a small codec's decoder a speaker: a LoRA adapter from a few minutes of recordings, with plain PEFT and Trainer.

    python examples/adapt_codec.py recordings --codec model_cards/moss-audio-tokenizer-tiny --codebooks 4 --output runs/anna

The first codebooks of a small codec say what is spoken, but little of who speaks: it is the decoder that has a voice. Its adapter
gives any generator of that codec the speaker's, and leaves the codes, so the generator too, as they are:

    speak = pipeline("text-to-speech", model="model_cards/moss-tts-tiny")
    speak.processor.audio_tokenizer.load_adapter("runs/anna/adapter")

Generators choose codes of the voices they know. So the decoder also hears the recordings in other pitches (`--shifts`), and has to
answer with the speaker's own. Recordings are what adapt_speaker.py takes; their texts are not needed. What is saved are means of
the weights over many steps, weakened (`--strength`): less of the voice, more of the words, as in arXiv 2109.01903.
"""

import argparse
from pathlib import Path

import librosa
import numpy as np
import torch
from adapt_speaker import select_speaker, weaken
from peft import LoraConfig, PeftModel, get_peft_model
from torch.optim.swa_utils import AveragedModel, get_ema_avg_fn
from torch.utils.data import Dataset
from tqdm import tqdm
from transformers import AutoModel, PreTrainedModel, Trainer, TrainerCallback, TrainingArguments, set_seed

from transformers_moss_tts.audio_io import load_audio
from transformers_moss_tts.training import load_rows
from transformers_moss_tts.training.codec_losses import ReconstructionLoss


# As many of the decoder's last Transformers make the sound; those before them know the words, and stay.
NUM_SOUND_STAGES = 2


class SpeakerCrops(Dataset):
    """
    Random crops of recordings, each heard in one of several pitches.

    Args:
        recordings (`list[np.ndarray]`): waveforms `(samples,)`.
        rate (`int`): their rate, in Hz.
        shifts (`list[float]`): pitches to hear them in, in semitones.
        hop (`int`): samples of a frame, at multiples of which crops begin.
        frames (`int`): length of a crop.
        count (`int`): how many crops there are.
    """

    def __init__(
        self, recordings: list[np.ndarray], rate: int, shifts: list[float], hop: int, frames: int, count: int
    ):
        self.recordings = [waveform for waveform in recordings if len(waveform) >= hop * frames]
        if not self.recordings:
            raise ValueError(f"No recording lasts {hop * frames / rate:.1f} seconds, the length of a crop.")
        lengths = np.array([len(waveform) for waveform in self.recordings])
        self.weights, self.starts = lengths / lengths.sum(), lengths // hop - frames + 1
        self.hop, self.frames, self.count = hop, frames, count
        self.heard = [
            [librosa.effects.pitch_shift(waveform, sr=rate, n_steps=shift) if shift else waveform for shift in shifts]
            for waveform in tqdm(self.recordings, desc="pitches")
        ]

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, number: int) -> dict[str, np.ndarray]:
        draw = np.random.default_rng(number)
        index = draw.choice(len(self.weights), p=self.weights)
        first = self.hop * draw.integers(self.starts[index])
        crop = slice(first, first + self.hop * self.frames)
        heard = self.heard[index][draw.integers(len(self.heard[index]))]
        return {"input_values": heard[crop], "labels": self.recordings[index][crop]}


class MeanAdapter(TrainerCallback):
    """Moving averages of an adapter's weights, which take the place of the weights in every checkpoint."""

    def __init__(self, model: PeftModel, decay: float, strength: float):
        self.mean = AveragedModel(model, avg_fn=get_ema_avg_fn(decay))
        self.strength = strength

    def on_step_end(self, args, state, control, model: PeftModel, **kwargs):
        self.mean.update_parameters(model)

    def on_save(self, args, state, control, **kwargs):
        if state.is_world_process_zero:
            self.save(Path(args.output_dir, f"checkpoint-{state.global_step}"))

    def save(self, folder: Path) -> None:
        self.mean.module.save_pretrained(folder)
        weaken(folder, self.strength)


def read_recordings(rows: Dataset, minutes: float, rate: int) -> list[np.ndarray]:
    """The first rows' recordings that last no longer together."""
    recordings, lasted = [], 0.0
    for row in rows:
        waveform = load_audio(row["audio"], rate)
        lasted += len(waveform) / rate / 60
        if lasted > minutes:
            break
        recordings.append(waveform)
    return recordings


def sound_layers(codec: PreTrainedModel) -> list[str]:
    """Names of the linear layers of the decoder's last Transformers."""
    stages = [index for index, stage in enumerate(codec.decoder) if list(stage.parameters())]
    prefixes = tuple(f"decoder.{index}." for index in stages[-NUM_SOUND_STAGES:])
    linears = (name for name, part in codec.named_modules() if isinstance(part, torch.nn.Linear))
    return [name for name in linears if name.startswith(prefixes)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recordings", help="folder, table or dataset")
    parser.add_argument("--codec", required=True, help="folder or Hub id of the codec")
    parser.add_argument("--codebooks", type=int, help="as many as the generator speaks with; all by default")
    parser.add_argument("--output", type=Path, default=Path("runs/codec_speaker"))
    parser.add_argument("--speaker", help="whose rows to take from a table with `speaker`; all by default")
    parser.add_argument("--minutes", type=float, default=5.0, help="take no more than that")
    parser.add_argument("--shifts", nargs="+", type=float, default=[0, 3, 6], help="semitones, towards known voices")
    parser.add_argument("--rank", type=int, default=32)
    parser.add_argument(
        "--strength", type=float, default=0.75, help="share of what was learned that the adapter keeps"
    )
    parser.add_argument("--decay", type=float, default=0.985, help="of the moving averages of the weights")
    parser.add_argument("--steps", type=int, default=250)
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--batch-size", type=int, default=8, help="crops a step and process")
    parser.add_argument("--crop-frames", type=int, default=24)
    parser.add_argument("--save-steps", type=int, default=50)
    parser.add_argument("--bf16", action="store_true")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()

    set_seed(args.seed)
    codec = AutoModel.from_pretrained(args.codec, dtype=torch.float32)
    config = codec.config
    rows = select_speaker(load_rows(args.recordings), args.speaker, None)
    recordings = read_recordings(rows, args.minutes, config.sampling_rate)
    seconds = sum(map(len, recordings)) / config.sampling_rate
    print(f"{len(recordings)} recordings of {seconds / 60:.1f} minutes")
    num_crops = args.steps * args.batch_size
    crops = SpeakerCrops(
        recordings, config.sampling_rate, args.shifts, config.downsample_rate, args.crop_frames, num_crops
    )

    model = get_peft_model(
        codec, LoraConfig(r=args.rank, lora_alpha=2 * args.rank, target_modules=sound_layers(codec))
    )
    model.print_trainable_parameters()
    loss = ReconstructionLoss(config.sampling_rate, ["mel"])
    training = TrainingArguments(
        output_dir=str(args.output),
        max_steps=args.steps,
        learning_rate=args.learning_rate,
        # Betas of HiFi-GAN and DAC, as in the codec's own training.
        adam_beta1=0.8,
        adam_beta2=0.99,
        lr_scheduler_type="constant_with_warmup",
        warmup_steps=max(1, args.steps // 12),
        per_device_train_batch_size=args.batch_size,
        remove_unused_columns=False,
        label_names=["labels"],
        bf16=args.bf16,
        save_steps=args.save_steps,
        logging_steps=10,
        report_to="tensorboard",
        use_cpu=not torch.cuda.is_available(),
        seed=args.seed,
    )

    def collate(items: list[dict[str, np.ndarray]]) -> dict[str, torch.Tensor | int]:
        batch = {name: torch.from_numpy(np.stack([item[name] for item in items])) for name in items[0]}
        return batch | {"num_quantizers": args.codebooks}

    def difference(outputs, labels: torch.Tensor, num_items_in_batch=None) -> torch.Tensor:
        return loss.to(labels.device)(outputs.audio[:, 0].float(), labels)["mel"]

    mean = MeanAdapter(model, args.decay, args.strength)
    trainer = Trainer(
        model, training, data_collator=collate, train_dataset=crops, compute_loss_func=difference, callbacks=[mean]
    )
    trainer.train()
    mean.save(args.output / "adapter")
    print(f"wrote {args.output / 'adapter'}")


if __name__ == "__main__":
    main()
