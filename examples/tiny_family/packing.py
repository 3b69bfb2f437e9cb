"""What goes to a machine with an accelerator, and what comes back; see `accelerator.py`."""

import importlib.util
import shutil
from pathlib import Path

import numpy as np
import soundfile
import torch

from transformers_moss_tts import MossAudioTokenizerModel

from .accelerator import LATENTS_FILE, Codec, check_against_package, load_weights, save_weights
from .codec_stages import SOURCES
from .corpus import RATE


LIMIT_BYTES = 64 * 2**20
_PART_SAMPLES = 600 * RATE


def pack(model_folder: Path, corpus: Path, target: Path, limit: int = LIMIT_BYTES, latents: Path | None = None) -> int:
    """
    Writes a codec and as much of the corpus as `limit` bytes hold, taken from the sources in turn; with the file of the latents also
    what its encoder is to compute.

    Returns:
        `int`: bytes of all files.

    Raises:
        ValueError: if `target` exists already, or the codec has two channels.
    """
    if target.exists():
        raise ValueError(f"{target} exists already: name a new folder.")
    model = MossAudioTokenizerModel.from_pretrained(model_folder).eval()
    if model.config.num_channels != 1:
        raise ValueError("Only codecs of one channel can be packed.")
    save_weights(model.state_dict(), target)
    model.load_state_dict(load_weights(target))
    model.config.to_json_file(target / "config.json", use_diff=False)
    if latents is not None and latents.exists():
        shutil.copyfile(latents, target / LATENTS_FILE)
    draw = np.random.default_rng(0)
    waveform = (0.1 * draw.standard_normal(12 * model.config.downsample_rate)).astype(np.float32)
    with torch.no_grad():
        decoded = model(torch.from_numpy(waveform)[None]).audio[0, 0].numpy()
    np.savez(target / "test.npz", waveform=waveform, decoded=decoded)
    data = Path(importlib.util.find_spec("_soundfile_data").origin).parent
    shutil.copyfile(next(data.glob("libsndfile*.so")), target / "libsndfile.so")
    codec = Codec(model.config.to_dict())
    codec.load_state_dict(load_weights(target))
    check_against_package(codec, target)
    return _pack_recordings(corpus, target, limit)


def _pack_recordings(corpus: Path, target: Path, limit: int) -> int:
    size = sum(path.stat().st_size for path in target.iterdir())
    streams = {}
    for name in SOURCES:
        if (corpus / f"{name}.jsonl").exists():
            streams[name] = np.memmap(corpus / f"{name}.i16", dtype="<i2", mode="r")
    part = 0
    while streams:
        for name in list(streams):
            samples = streams[name][part * _PART_SAMPLES : (part + 1) * _PART_SAMPLES]
            path = target / f"{name}-{part:02d}.ogg"
            if len(samples):
                soundfile.write(path, samples, RATE, format="OGG", subtype="OPUS")
                size += path.stat().st_size
            if size > limit:
                size -= path.stat().st_size
                path.unlink()
                return size
            if len(samples) < _PART_SAMPLES:
                streams.pop(name)
        part += 1
    return size


def unpack(returned: Path, model_folder: Path, target: Path) -> None:
    """Writes the codec of `model_folder` with the weights that came back to `target`."""
    model = MossAudioTokenizerModel.from_pretrained(model_folder)
    model.load_state_dict(load_weights(returned))
    model.save_pretrained(target)
