"""
Teaches a small codec's decoder a speaker: a LoRA adapter from a few minutes of recordings, with plain PEFT and Trainer.

    python -m examples.tiny_family.adapt_codec recordings --codec model_cards/moss-audio-tokenizer-tiny --codebooks 4 --output runs/anna

The first codebooks of a small codec say what is spoken, but little of who speaks: it is the decoder that has a voice. Its adapter
gives any generator of that codec the speaker's, and leaves the codes, so the generator too, as they are:

    speak = pipeline("text-to-speech", model="model_cards/moss-tts-tiny")
    speak.processor.audio_tokenizer = PeftModel.from_pretrained(speak.processor.audio_tokenizer, "runs/anna/adapter")

Generators choose codes of the voices they know. So the decoder also hears the recordings in other pitches (`--shifts`), and has to
answer with the speaker's own. Better still it hears what a generator itself says (`--aligned`, from align_readings.py). Recordings
are what adapt_speaker.py takes; their texts are not needed. What is saved are means of the weights over many steps, weakened
(`--strength`): less of the voice, more of the words, as in arXiv 2109.01903.
"""

import argparse
from pathlib import Path

import librosa
import numpy as np
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch.optim.swa_utils import AveragedModel, get_ema_avg_fn
from torch.utils.data import Dataset
from tqdm import tqdm
from transformers import AutoModel, PreTrainedModel, Trainer, TrainerCallback, TrainingArguments, set_seed

from transformers_moss_tts.audio_io import load_audio
from transformers_moss_tts.training import load_table
from transformers_moss_tts.training.codec.losses import ReconstructionLoss

from .adapt_speaker import select_speaker, weaken


# As many of the decoder's last Transformers make the sound; those before them know the words, and stay.
NUM_SOUND_STAGES = 2

Pair = tuple[np.ndarray, np.ndarray]  # codes `(codebooks, frames)` and a waveform `(samples,)` as long


class SpeakerCrops(Dataset):
    """
    Random crops of codes, and how the speaker says them.

    Args:
        pairs (`list[list[Pair]]`): of several kinds; of one kind, longer ones are drawn more often, in proportion.
        shares (`list[float]`): how many crops are of each kind.
        hop (`int`): samples of a frame.
        frames (`int`): length of a crop.
        count (`int`): how many crops there are.

    Raises:
        ValueError: if no pair of a kind is so long.
    """

    def __init__(self, pairs: list[list[Pair]], shares: list[float], hop: int, frames: int, count: int):
        self.pairs = [[pair for pair in kind if pair[0].shape[1] >= frames] for kind in pairs]
        if not all(self.pairs):
            raise ValueError(
                f"No recording lasts {frames} frames, the length of a crop: use shorter ones (--crop-frames)."
            )
        lengths = [np.array([codes.shape[1] for codes, _ in kind]) for kind in self.pairs]
        self.weights = [length / length.sum() for length in lengths]
        self.shares, self.hop, self.frames, self.count = shares, hop, frames, count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, number: int) -> dict[str, np.ndarray]:
        draw = np.random.default_rng(number)
        kind = draw.choice(len(self.pairs), p=self.shares)
        codes, waveform = self.pairs[kind][draw.choice(len(self.pairs[kind]), p=self.weights[kind])]
        first = draw.integers(codes.shape[1] - self.frames + 1)
        last = first + self.frames
        return {"audio_codes": codes[:, first:last], "labels": waveform[self.hop * first : self.hop * last]}


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


def read_recordings(examples: Dataset, minutes: float, rate: int) -> list[np.ndarray]:
    """The first examples' recordings that last no longer together."""
    recordings, lasted = [], 0.0
    for example in examples:
        waveform = load_audio(example["audio"], rate)
        lasted += len(waveform) / rate / 60
        if lasted > minutes:
            break
        recordings.append(waveform)
    return recordings


def heard_pairs(
    recordings: list[np.ndarray], codec: PreTrainedModel, shifts: list[float], codebooks: int | None
) -> list[Pair]:
    """Each recording as the codec hears it in each pitch, with the speaker's own."""
    rate, hop = codec.config.sampling_rate, codec.config.downsample_rate
    pairs = []
    for waveform in tqdm(recordings, desc="pitches"):
        for shift in shifts:
            heard = librosa.effects.pitch_shift(waveform, sr=rate, n_steps=shift) if shift else waveform
            with torch.inference_mode():
                codes = codec.encode(torch.from_numpy(heard)[None], num_quantizers=codebooks).audio_codes[:, 0].numpy()
            pairs.append(_whole_frames(codes, waveform, hop))
    return pairs


def aligned_pairs(folder: str, codec: PreTrainedModel, codebooks: int | None) -> list[Pair]:
    """What align_readings.py wrote."""
    rate, hop = codec.config.sampling_rate, codec.config.downsample_rate
    examples = load_table(folder)
    return [
        _whole_frames(np.array(example["codes"]).T[:codebooks], load_audio(example["audio"], rate), hop)
        for example in tqdm(examples, desc="aligned")
    ]


def _whole_frames(codes: np.ndarray, waveform: np.ndarray, hop: int) -> Pair:
    frames = min(codes.shape[1], len(waveform) // hop)
    return codes[:, :frames], waveform[: hop * frames]


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
    parser.add_argument("--speaker", help="whose examples to take from a table with `speaker`; all by default")
    parser.add_argument("--minutes", type=float, default=5.0, help="take no more than that")
    parser.add_argument("--aligned", help="output of align_readings.py")
    parser.add_argument("--aligned-share", type=float, default=0.75, help="of the crops")
    parser.add_argument("--shifts", nargs="+", type=float, default=[0, 3, 6], help="semitones, towards known voices")
    parser.add_argument("--rank", type=int, default=32)
    parser.add_argument(
        "--strength", type=float, default=0.65, help="share of what was learned that the adapter keeps"
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
    examples = select_speaker(load_table(args.recordings), args.speaker, None)
    recordings = read_recordings(examples, args.minutes, config.sampling_rate)
    seconds = sum(map(len, recordings)) / config.sampling_rate
    print(f"{len(recordings)} recordings of {seconds / 60:.1f} minutes")
    pairs, shares = [heard_pairs(recordings, codec.eval(), args.shifts, args.codebooks)], [1.0]
    if args.aligned is not None:
        pairs.append(aligned_pairs(args.aligned, codec, args.codebooks))
        shares = [1 - args.aligned_share, args.aligned_share]
    crops = SpeakerCrops(pairs, shares, config.downsample_rate, args.crop_frames, args.steps * args.batch_size)

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

    def collate(items: list[dict[str, np.ndarray]]) -> dict[str, torch.Tensor]:
        codes, labels = (torch.from_numpy(np.stack([item[name] for item in items])) for name in items[0])
        return {"audio_codes": codes.transpose(0, 1), "labels": labels}

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
