"""Generators of every architecture that speak greedily for a known time, each with a codec of random weights."""

from types import SimpleNamespace

import torch
from tiny_models import small_codec, small_stereo_codec
from transformers import AutoModel, AutoProcessor


SPEAKERS = {
    "delay": ("moss_tts_delay", small_codec),
    "local v1.0": ("moss_tts_local", small_codec),
    "local v1.5": ("moss_tts_local_v1_5", small_stereo_codec),
    "nano": ("moss_tts_nano", small_stereo_codec),
}


def build_speaker(golden_folder, name: str) -> SimpleNamespace:
    torch.manual_seed(0)
    folder, build_codec = SPEAKERS[name]
    source = golden_folder / folder
    model = AutoModel.from_pretrained(source)
    model.generation_config.update(max_new_tokens=22, min_new_tokens=15, text_temperature=0.0)
    processor = AutoProcessor.from_pretrained(source)
    processor.audio_tokenizer = build_codec()
    return SimpleNamespace(model=model, processor=processor)
