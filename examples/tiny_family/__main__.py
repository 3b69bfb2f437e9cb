"""
Makes the models of the family, stage by stage; every stage goes on where it stopped.

    python -m examples.tiny_family corpus --kokoro CORPUS --librispeech REAL --held-out heldout_sentences.txt
    python -m examples.tiny_family codebooks
    python -m examples.tiny_family decoder
    ...

A stage runs on one thread at the lowest priority, writes a line a minute to RUN/STAGE/log.jsonl and its state every ten minutes.
`touch RUN/STAGE/STOP` ends it with its state written; while the file that TINY_FAMILY_PAUSE names exists it waits.
"""

import argparse
import json
from pathlib import Path

from . import codec_stages, packing
from .corpus import hibari_utterances, read_sentences, recorded_utterances, unread, write_source


CODEC_STAGES = [*codec_stages.STAGES]


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m examples.tiny_family",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--run", type=Path, default=Path("runs/tiny_family"), help="folder of the states")
    parser.add_argument("--corpus", type=Path, help="folder of the corpus; RUN/corpus by default")
    stages = parser.add_subparsers(dest="stage", required=True, metavar="STAGE")
    corpus = stages.add_parser("corpus", help="make the recordings")
    corpus.add_argument("--kokoro", type=Path, help="folder of Kokoro's recordings, with metadata.jsonl")
    corpus.add_argument("--librispeech", type=Path, help="folder of excerpts of LibriSpeech, with metadata.jsonl")
    corpus.add_argument("--held-out", type=Path, help="text file of sentences that must not be read")
    corpus.add_argument("--hours", type=float, nargs=2, default=(8.0, 6.0), help="of hibari, and of its warped voices")
    for name in CODEC_STAGES:
        stage = stages.add_parser(name, help=f"train the codec, after {codec_stages.STAGES[name].after}")
        stage.add_argument("--steps", type=int, help=f"{codec_stages.STAGES[name].steps} by default")
        stage.add_argument("--batch-size", type=int, default=6, help="crops a step")
        stage.add_argument("--model", type=Path, help="folder of a codec to begin with, instead of the stage before")
    codebooks = stages.add_parser("codebooks", help="fit the latents and set the codec's codebooks, after corpus")
    codebooks.add_argument("--model", type=Path, help="folder of a codec whose weights to begin with")
    codes = stages.add_parser("codes", help="write RUN/recorded_codes.parquet for train_tts, after codebooks")
    codes.add_argument("--held-out", type=Path, help="text file of sentences that must not be read")
    codes.add_argument("--codebooks", type=int, default=8, help="codebooks that the generators learn")
    codes.add_argument("--model", type=Path, help="folder of a finished codec, whose encoder computes the codes")
    teacher = stages.add_parser("teacher", help="train the teacher of the generators, after the codec")
    teacher.add_argument(
        "codec", type=Path, help="folder of the codec, whose encoder and codebooks must not change any more"
    )
    teacher.add_argument("--held-out", type=Path, help="text file of sentences that must not be read")
    teacher.add_argument("--steps", type=int, default=20000)
    teacher.add_argument("--batch-size", type=int, default=8, help="sentences a step")
    render = stages.add_parser("render", help="write RUN/codes.parquet for train_tts, after teacher")
    render.add_argument("codec", type=Path, help="folder of the codec")
    render.add_argument("--held-out", type=Path, help="text file of sentences that must not be read")
    render.add_argument("--codebooks", type=int, default=8, help="codebooks that the generators learn")
    render.add_argument("--examples", type=int, default=60000)
    pack = stages.add_parser("pack", help="make a folder for a machine with an accelerator, see accelerator.py")
    pack.add_argument("model", type=Path, help="folder of a codec")
    pack.add_argument("target", type=Path, help="new folder")
    pack.add_argument("--mebibytes", type=int, default=packing.LIMIT_BYTES // 2**20, help="of all files at most")
    unpack = stages.add_parser("unpack", help="make a codec of what came back")
    unpack.add_argument("returned", type=Path, help="folder that came back")
    unpack.add_argument("model", type=Path, help="folder of the codec that was packed")
    unpack.add_argument("target", type=Path, help="folder of the trained codec")
    return parser


def make_corpus(args: argparse.Namespace, folder: Path) -> None:
    for name, path, train, held_out in (
        ("kokoro", args.kokoro, "train", "heldout"),
        ("librispeech", args.librispeech, "train-clean-100", "test-other"),
    ):
        if path is not None:
            write_source(folder, name, recorded_utterances(path, train))
            write_source(folder, f"{name}_held_out", recorded_utterances(path, held_out))
    sentences = read_sentences(args.held_out)
    half = len(sentences) // 2
    for name, part, is_warped, hours in (
        ("warped", sentences[half:], True, args.hours[1]),
        ("hibari", sentences[:half], False, args.hours[0]),
    ):
        write_source(folder, name, hibari_utterances(unread(part, folder, name), is_warped), hours)


def main(arguments: list[str] | None = None) -> None:
    args = build_parser().parse_args(arguments)
    corpus = args.corpus or args.run / "corpus"
    codec_stages.be_modest()
    if args.stage == "corpus":
        make_corpus(args, corpus)
    elif args.stage == "codebooks":
        print(json.dumps([round(share, 4) for share in codec_stages.make_codebooks(args.run, corpus, args.model)]))
    elif args.stage == "codes":
        count = codec_stages.write_codes(args.run, corpus, args.held_out, args.codebooks, args.model)
        print(f"{count} recordings in {args.run / 'recorded_codes.parquet'}")
    elif args.stage == "teacher":
        from . import latent_teacher

        latent_teacher.train_teacher(args.run, args.codec, read_sentences(args.held_out), args.steps, args.batch_size)
    elif args.stage == "render":
        from . import latent_teacher

        sentences = read_sentences(args.held_out)
        count = latent_teacher.render_table(args.run, args.codec, sentences, args.codebooks, args.examples)
        print(f"{count} examples in {args.run / 'codes.parquet'}")
    elif args.stage == "pack":
        latents = args.run / codec_stages.LATENTS_FILE
        print(f"{packing.pack(args.model, corpus, args.target, args.mebibytes * 2**20, latents) / 2**20:.1f} MiB")
    elif args.stage == "unpack":
        packing.unpack(args.returned, args.model, args.target)
    else:
        codec_stages.train_stage(args.stage, args.run, corpus, args.steps, args.batch_size, args.model)


if __name__ == "__main__":
    main()
