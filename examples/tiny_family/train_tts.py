"""
Trains a small MossTTS or MossTTSLocal generator, from text and codes to a folder that `pipeline("text-to-speech")` takes.

    python -m examples.tiny_family.train_tts RUN/recorded_codes.parquet --codec RUN/codebooks/model --output runs/tts

A table has `text`, `speaker`, `language` and `codes`, and `reading` and `phonemes` where it is known when what is said, as the stages
`codes` and `render` write them. With `--guidance 1` a model that is trained from nothing learns from them where it is in the text and
which sounds come next, and reads many times sooner. The phases of the training stand in `examples/tiny_family/phases.yaml`. A run that
is started again goes on where it stopped.
`accelerate launch -m examples.tiny_family.train_tts ...` runs it on several devices.
"""

import argparse
import os
from collections.abc import Iterable
from pathlib import Path

import torch
from datasets import Dataset, concatenate_datasets
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    AutoModel,
    AutoModelForTextToWaveform,
    AutoProcessor,
    PreTrainedTokenizerFast,
    Trainer,
    TrainingArguments,
    set_seed,
)
from transformers.trainer_utils import get_last_checkpoint

from transformers_moss_tts import (
    MossTTSDelayConfig,
    MossTTSDelayProcessor,
    MossTTSLocalConfig,
    MossTTSLocalProcessor,
)
from transformers_moss_tts.training import MossTTSDataCollator, paper_stream_weights

from .adopt_codes import with_codebooks
from .guided_training import GuidedDataCollator, GuidedTrainer
from .paragraphs import paragraphs
from .phases import MOST_STEPS, Clock, ClockedPhases, PhasedSamples, load_phases, schedule_arguments
from .phonetic_loss import phoneme_classes


# Speech of so many seconds teaches a model to read before it can find its way through a sentence.
SHORT_SECONDS = 2.0
ARCHITECTURES = {
    "delay": (MossTTSDelayConfig, MossTTSDelayProcessor),
    "local": (MossTTSLocalConfig, MossTTSLocalProcessor),
}
PHASES = Path(__file__).parent / "phases.yaml"
SPECIAL_TOKENS = {
    "pad_token_id": "<|endoftext|>",
    "im_start_token_id": "<|im_start|>",
    "im_end_token_id": "<|im_end|>",
    "audio_start_token_id": "<|audio_start|>",
    "audio_end_token_id": "<|audio_end|>",
    "audio_user_slot_token_id": "<|audio_user_slot|>",
    "audio_assistant_gen_slot_token_id": "<|audio_assistant_gen_slot|>",
    "audio_assistant_delay_slot_token_id": "<|audio_assistant_delay_slot|>",
}
CHATML = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
# The prompt's own lines, a token each: most of a short sample would be template else.
TEMPLATE_TOKENS = [
    "user\n",
    "assistant\n",
    "<user_inst>\n- Reference(s):\n",
    "</user_inst>",
    "None\n",
    "[S1]:\n",
    "- Instruction:\nNone\n",
    "- Tokens:\n",
    "- Quality:\nNone\n- Sound Event:\nNone\n- Ambient Sound:\nNone\n",
    "- Language:\n",
    "English\n",
    "- Text:\n",
]
TEXT_BOUNDS = ("- Text:\n", "</user_inst>")
MOST_JOINED = 12_000  # sentences of paragraphs: all of them take a minute to join
SILENCE = (3.5, 5.0)  # frames before and after the speech of hibari and Kokoro, measured


def build_tokenizer(texts: Iterable[str], vocab_size: int) -> PreTrainedTokenizerFast:
    """A byte-level BPE of the texts, with the prompt's lines and the family's special tokens."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=vocab_size, initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.add_tokens([AddedToken(line, normalized=False) for line in TEMPLATE_TOKENS])
    tokenizer.add_special_tokens(list(SPECIAL_TOKENS.values()))
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=SPECIAL_TOKENS["pad_token_id"],
        eos_token=SPECIAL_TOKENS["im_end_token_id"],
        padding_side="left",
        chat_template=CHATML,
    )


def build_config(
    tokenizer: PreTrainedTokenizerFast, sampling_rate: int, args: argparse.Namespace
) -> MossTTSDelayConfig | MossTTSLocalConfig:
    config_class, processor_class = ARCHITECTURES[args.architecture]
    return config_class(
        language_config={
            "vocab_size": len(tokenizer),
            "hidden_size": args.hidden_size,
            "intermediate_size": 3 * args.hidden_size,
            "num_hidden_layers": args.num_layers,
            "num_attention_heads": args.hidden_size // 64,
            "num_key_value_heads": args.hidden_size // 64,
            "head_dim": 64,
            "max_position_embeddings": 4096,
        },
        n_vq=args.codebooks or 8,
        sampling_rate=sampling_rate,
        **{
            f"{name}_token_id": tokenizer.convert_tokens_to_ids(SPECIAL_TOKENS[f"{name}_token_id"])
            for name in processor_class.special_tokens
        },
    )


def parts_of(examples: Dataset, speakers: list[str] | None) -> tuple[Dataset, Dataset]:
    """Examples of the speakers who are heard without a reference, and of those with one: all others. Without names all are both."""
    if speakers is None:
        return examples, examples
    if unknown := set(speakers) - set(examples["speaker"]):
        raise SystemExit(f"Nobody is called {', '.join(sorted(unknown))} in the corpus.")
    parts = [], []
    for index, speaker in enumerate(examples["speaker"]):
        parts[speaker not in speakers].append(index)
    if not parts[1]:
        return examples, examples
    return examples.select(parts[0]), examples.select(parts[1])


def build_processor(texts: Iterable[str], args: argparse.Namespace) -> MossTTSDelayProcessor:
    """The processor of the model to begin with, or of a fresh one; with the codec."""
    if args.model:
        processor = AutoProcessor.from_pretrained(args.model, codec_path=str(args.codec.resolve()))
        processor.model_config.n_vq = args.codebooks or processor.model_config.n_vq
        return processor
    tokenizer = build_tokenizer(texts, args.vocab_size)
    codec = AutoModel.from_pretrained(args.codec).eval()
    return ARCHITECTURES[args.architecture][1](
        tokenizer,
        audio_tokenizer=codec,
        model_config=build_config(tokenizer, codec.config.sampling_rate, args),
        codec_path=f"../{args.codec.name}",
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tables", nargs="+", help="parquet files of the stages codes and render")
    parser.add_argument("--codec", type=Path, required=True, help="folder of the codec")
    parser.add_argument("--output", type=Path, default=Path("runs/tts"))
    parser.add_argument("--model", type=Path, help="a generator to begin with, instead of a fresh one")
    parser.add_argument("--phases", type=Path, default=PHASES)
    parser.add_argument("--takes", nargs="+", help="what another generator said, of `imitation`: the source `take`")
    parser.add_argument(
        "--plain-speakers", nargs="+", help="who is heard without a reference, and nobody else; everybody by default"
    )
    parser.add_argument("--architecture", choices=list(ARCHITECTURES), default="delay", help="of a fresh generator")
    parser.add_argument(
        "--codebooks", type=int, help="how many of the codec's codebooks are generated; 8, or those of the model"
    )
    parser.add_argument("--hidden-size", type=int, default=256)
    parser.add_argument("--num-layers", type=int, default=8)
    parser.add_argument(
        "--vocab-size", type=int, default=256, help="of the tokenizer; 256 are bytes, which read soonest"
    )
    parser.add_argument("--batch-size", type=int, default=16, help="samples a step and process")
    parser.add_argument("--bf16", action="store_true")
    parser.add_argument("--torch-compile", action="store_true")
    parser.add_argument(
        "--guidance",
        type=float,
        default=0.0,
        help="weight of losses that show where to read, and what sounds come next",
    )
    parser.add_argument("--save-steps", type=int, default=500)
    parser.add_argument(
        "--minutes", type=float, help="how long to train; the steps of the phases are their shares of the time then"
    )
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()

    set_seed(args.seed)
    examples = concatenate_datasets([Dataset.from_parquet(table) for table in args.tables])
    processor = build_processor(examples["text"], args)
    args.output.mkdir(parents=True, exist_ok=True)
    n_vq = processor.model_config.n_vq
    if len(examples[0]["codes"][0]) != n_vq:
        examples = examples.map(lambda example: {"codes": [frame[:n_vq] for frame in example["codes"]]})
    print(f"{len(examples)} examples of {len(set(examples['speaker']))} speakers")

    if args.model:
        model = AutoModelForTextToWaveform.from_pretrained(args.model, dtype="float32")
        if model.config.n_vq != n_vq:
            model = with_codebooks(model, n_vq)
    else:
        model = AutoModelForTextToWaveform.from_config(processor.model_config)
    print(f"{sum(p.numel() for p in model.parameters()) / 1e6:.1f} M parameters")
    phases = load_phases(args.phases)
    plain, others = parts_of(examples, args.plain_speakers)
    lengths = [len(codes) for codes in plain["codes"]]
    shortest = [index for index, length in enumerate(lengths) if length <= SHORT_SECONDS * processor.frame_rate]
    sources = {
        "plain": {"table": plain, "processor": processor},
        "short": {"table": plain.select(shortest), "processor": processor},
        "clone": {"table": others, "processor": processor, "reference_share": 1.0},
        "plain_clone": {"table": plain, "processor": processor, "reference_share": 1.0},
    }
    if args.takes:
        sources["take"] = {"table": Dataset.from_json(args.takes), "processor": processor}
    wanted = {name for phase in phases for name in phase.mix}
    for name, (spoken, sizes) in {"paragraph": (plain, (2, 5)), "continued": (others, (2, 2))}.items():
        if name in wanted:
            sources[name] = {
                "table": paragraphs(
                    spoken.select(range(min(len(spoken), MOST_JOINED))), sizes, processor.frame_rate, args.seed
                ),
                "processor": processor,
            }
    clock = Clock(args.minutes) if args.minutes else None
    training = TrainingArguments(
        output_dir=str(args.output),
        per_device_train_batch_size=args.batch_size,
        train_sampling_strategy="sequential",
        remove_unused_columns=False,
        bf16=args.bf16,
        torch_compile=args.torch_compile,
        weight_decay=0.01,
        adam_beta2=0.98,
        logging_steps=10,
        save_steps=args.save_steps,
        save_total_limit=2,
        report_to="tensorboard",
        use_cpu=not torch.cuda.is_available(),
        dataloader_num_workers=os.cpu_count() // 2 if torch.cuda.is_available() else 0,
        seed=args.seed,
        **(schedule_arguments(phases) if clock is None else {"max_steps": MOST_STEPS}),
    )
    weights = paper_stream_weights(processor.model_config.n_vq)
    trainer_class, options, collator = Trainer, {}, MossTTSDataCollator(processor, weights)
    if args.guidance:
        model.set_attn_implementation("eager")
        tokenizer = processor.tokenizer
        classes = phoneme_classes(examples["phonemes"])
        collator = GuidedDataCollator(processor, weights, phoneme_classes=classes or None)
        trainer_class, options = (
            GuidedTrainer,
            {
                "text_bounds": tuple(tokenizer.convert_tokens_to_ids(token) for token in TEXT_BOUNDS),
                "token_characters": torch.tensor([len(tokenizer.decode([token])) for token in range(len(tokenizer))]),
                # Two heads of all layers but the last learned faster than one of two layers, at the same number of steps.
                "guided_layers": tuple(range(model.config.language_config.num_hidden_layers - 1)),
                "guided_heads": min(2, model.config.language_config.num_attention_heads),
                "guidance": args.guidance,
                "silence": SILENCE,
            },
        )
    trainer = trainer_class(
        model,
        training,
        data_collator=collator,
        train_dataset=PhasedSamples(phases, sources, args.batch_size * training.world_size, args.seed, clock),
        callbacks=[ClockedPhases(phases, clock)] if clock else None,
        processing_class=processor,
        **options,
    )
    trainer.train(resume_from_checkpoint=get_last_checkpoint(str(args.output)))
    trainer.save_model(str(args.output / "model"))


if __name__ == "__main__":
    main()
