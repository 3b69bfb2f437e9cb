"""
Gives a generator that speaks the codes of one codec those of another, without losing what it reads:

    python -m examples.tiny_family.adopt_codes runs/tts/model --codec model_cards/moss-audio-tokenizer-tiny --run RUN --corpus CORPUS \
        --output runs/adopted

Its embeddings become those whose sums come nearest to what it heard of the same recordings before (ridge regression), so that its states
stay what they were. Then all but the Transformer over steps learns the new codes for some minutes (`moss-tts-local-tiny`: loss 6.2 to
4.0 in 180 steps), and `train_tts --model` goes on.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from datasets import Dataset
from torch import nn
from transformers import AutoModelForTextToWaveform, AutoProcessor

from transformers_moss_tts import MossAudioTokenizerModel
from transformers_moss_tts.moss_tts_delay.delay_pattern import apply_delay_pattern
from transformers_moss_tts.training import MossTTSDataCollator, paper_stream_weights

from .codec_stages import READ_SOURCES, be_modest, begin_stage
from .corpus import read_source
from .phases import PhasedSamples, TrainingPhase
from .progress import train_steps
from .spectral_latents import whole_frames


RIDGE = 20.0  # rows that every code is taken to have been heard as nothing
BATCH_SIZE = 16


def paired_codes(
    old: MossAudioTokenizerModel, new: MossAudioTokenizerModel, corpus: Path, books: tuple[int, int], most: int
) -> list[tuple[torch.LongTensor, torch.LongTensor]]:
    """Codes `(frames, codebooks)` of recordings by both codecs."""
    pairs = []
    for name in READ_SOURCES:
        _, recordings = read_source(corpus, name)
        for index in np.random.default_rng(0).permutation(len(recordings))[:most]:
            waveform = whole_frames(recordings[index])[None]
            codes = [
                codec.encode(waveform, num_quantizers=count).audio_codes[:, 0].t()
                for codec, count in zip((old, new), books)
            ]
            pairs.append((codes[0], codes[1]))
    return pairs


def placed(codes: torch.LongTensor, length: int, pad_code: int, is_delayed: bool) -> torch.LongTensor:
    """Codes `(frames, codebooks)` as a generator gets them, `(length, codebooks)`: codebook `n` maybe `n` steps later."""
    steps = apply_delay_pattern(codes, pad_code) if is_delayed else codes
    return nn.functional.pad(steps, (0, 0, 0, length - len(steps)), value=pad_code)


def nearest_embeddings(
    pairs: list[tuple[torch.LongTensor, torch.LongTensor]], embeddings: torch.Tensor, books: int, is_delayed: bool
) -> torch.Tensor:
    """
    The embeddings `(books, codes, hidden_size)` of new codes whose sums come nearest to those of the old codes of the same steps, whose
    `embeddings` are `(old books, codes, hidden_size)`.
    """
    old_books, size, width = embeddings.shape
    matrix, products = torch.zeros(books * size, books * size), torch.zeros(books * size, width)
    for old, new in pairs:
        length = len(new) + (books - 1 if is_delayed else 0)
        # Where codes have no pad, their last entry is that of nothing.
        steps = placed(old[: len(new)], length, size - 1, is_delayed)
        heard = sum(embeddings[book][steps[:, book]] for book in range(old_books))
        rows = placed(new, length, size - 1, is_delayed) + size * torch.arange(books)
        ones = torch.ones(length, books, books)
        matrix.index_put_((rows[:, :, None].expand_as(ones), rows[:, None].expand_as(ones)), ones, accumulate=True)
        products.index_add_(0, rows.flatten(), heard.repeat_interleave(books, 0))
    matrix.diagonal().add_(RIDGE)
    return torch.linalg.solve(matrix, products).view(books, size, width)


def audio_embeddings(model: nn.Module) -> list[torch.Tensor]:
    """Views `(codes, hidden_size)` of the embeddings of each codebook."""
    if hasattr(model, "audio_embeddings"):
        return [embedding.weight for embedding in model.audio_embeddings]
    return list(model.audio_embedding.weight.unflatten(0, (model.config.n_vq, -1)))


@torch.no_grad()
def with_codebooks(generator: nn.Module, books: int) -> nn.Module:
    """A generator of so many codebooks, with the weights of one of others; what is new is random."""
    # The sizes of the codebooks follow from their number.
    values = {name: value for name, value in generator.config.to_dict().items() if name != "audio_codebook_sizes"}
    changed = type(generator)(type(generator.config).from_dict(values | {"n_vq": books}))
    weights = generator.state_dict()
    for name, weight in changed.state_dict().items():
        # The delay pattern has the rows of all codebooks in one matrix, in their order.
        if name in weights:
            rows = min(len(weight), len(weights[name]))
            weight[:rows] = weights[name][:rows]
    changed.generation_config = generator.generation_config
    return changed


@torch.no_grad()
def adopt(generator: nn.Module, pairs: list[tuple[torch.LongTensor, torch.LongTensor]], books: int) -> nn.Module:
    """A generator of so many new codebooks, with the weights of one of old codes."""
    adopted = with_codebooks(generator, books)
    is_delayed = generator.config.model_type == "moss_tts_delay"
    old = torch.stack(audio_embeddings(generator))
    for target, source in zip(audio_embeddings(adopted), nearest_embeddings(pairs, old, books, is_delayed)):
        target.copy_(source)
    return adopted


def learn_codes(model: nn.Module, processor, table: Dataset, steps: int, folder: Path) -> None:
    """Trains all but the Transformer over steps, which is what reads; states go to the folder."""
    model.train()
    model.backbone.requires_grad_(False)
    phase = TrainingPhase("codes", steps, 512, (1.0, 1.0), {"plain": 2, "clone": 1})
    source = {"table": table, "processor": processor}
    samples = PhasedSamples([phase], {"plain": source, "clone": source | {"reference_share": 1.0}}, BATCH_SIZE)
    collator = MossTTSDataCollator(processor, paper_stream_weights(model.config.n_vq))

    def loss_of(step: int) -> torch.Tensor:
        return model(**collator([samples[step * BATCH_SIZE + index] for index in range(BATCH_SIZE)])).loss

    train_steps(folder, model, loss_of, dict, steps, learning_rate=2e-3, warmup_steps=0)
    model.requires_grad_(True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help="folder of the generator")
    parser.add_argument("--codec", type=Path, required=True, help="folder of its codec")
    parser.add_argument("--run", type=Path, required=True, help="with the new codebooks and recorded_codes.parquet")
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--codebooks", type=int, default=8)
    parser.add_argument("--recordings", type=int, default=1000, help="of each source that both codecs encode")
    parser.add_argument("--steps", type=int, default=220)
    args = parser.parse_args()

    be_modest()
    torch.manual_seed(0)
    generator = AutoModelForTextToWaveform.from_pretrained(args.model, dtype="float32")
    old = MossAudioTokenizerModel.from_pretrained(args.codec, dtype="float32").eval()
    with torch.no_grad():
        books = (generator.config.n_vq, args.codebooks)
        pairs = paired_codes(old, begin_stage("decoder", args.run).eval(), args.corpus, books, args.recordings)
    adopted = adopt(generator, pairs, args.codebooks)
    processor = AutoProcessor.from_pretrained(args.model, codec_path=str((args.run / "codebooks" / "model").resolve()))
    processor.model_config.n_vq = args.codebooks
    table = Dataset.from_parquet(str(args.run / "recorded_codes.parquet"))
    learn_codes(adopted, processor, table, args.steps, args.run / "adopt_codes" / args.output.name)
    adopted.save_pretrained(args.output)
    processor.save_pretrained(args.output)


if __name__ == "__main__":
    main()
