"""Generation of the released generators: their sampling where nothing is said, their ends, and their streams."""

import pytest
import torch
from released.stand_ins import GENERATORS
from transformers import AutoModelForTextToWaveform, AutoProcessor, GenerationConfig

from transformers_moss_tts import MossTTSFrameStreamer


# Audio temperature, top-p, top-k and repetition penalty, then the text's, of each release.
SAMPLING = {
    "MOSS-TTS": (1.7, 0.8, 25, 1.0, 1.5, 1.0, 50),
    "MOSS-TTS-v1.5": (1.7, 0.8, 25, 1.0, 1.5, 1.0, 50),
    "MOSS-TTSD-v1.0": (1.1, 0.9, 50, 1.1, 1.1, 0.9, 50),
    "MOSS-VoiceGenerator": (1.5, 0.6, 50, 1.1, 1.5, 1.0, 50),
    "MOSS-SoundEffect": (1.5, 0.6, 50, 1.2, 1.5, 1.0, 50),
    "MOSS-TTS-Local-Transformer": (1.0, 0.95, 50, 1.1, 1.5, 1.0, 50),
    "MOSS-TTS-Local-Transformer-v1.5": (1.7, 0.8, 25, 1.0, 1.0, 1.0, 50),
    "MOSS-TTS-Nano": (0.8, 0.95, 25, 1.2, 1.0, 1.0, 50),
}
NAMES = ("audio_temperature", "audio_top_p", "audio_top_k", "audio_repetition_penalty")
NAMES += ("text_temperature", "text_top_p", "text_top_k")


def speak(model, processor, **options):
    inputs = processor(text="[S1] Hello.")
    return model.generate(**inputs, **({"seed": 1, "max_new_tokens": 24} | options), return_dict_in_generate=True)


@pytest.mark.parametrize("source", ["folder", "hub"])
@pytest.mark.parametrize("name", GENERATORS)
def test_sampling_without_options_is_that_of_the_release(released, released_folders, name, source):
    path = released(name) if source == "hub" else released_folders / name
    model = AutoModelForTextToWaveform.from_pretrained(path)
    assert tuple(getattr(model.generation_config, parameter) for parameter in NAMES) == SAMPLING[name]
    if source == "folder":
        return
    processor = AutoProcessor.from_pretrained(path)
    plain = speak(model, processor, max_new_tokens=12)
    said = speak(model, processor, max_new_tokens=12, **dict(zip(NAMES, SAMPLING[name])))
    assert torch.equal(plain.sequences, said.sequences)


def test_a_config_of_the_caller_keeps_the_sampling_of_the_release(released):
    name = "MOSS-TTSD-v1.0"
    model = AutoModelForTextToWaveform.from_pretrained(released(name))
    processor = AutoProcessor.from_pretrained(released(name))
    expected = speak(model, processor, audio_top_k=3)
    inputs = processor(text="[S1] Hello.")
    config = GenerationConfig(top_k=3, seed=1, max_new_tokens=24)
    assert torch.equal(model.generate(**inputs, generation_config=config), expected.sequences)


@pytest.mark.parametrize("name", GENERATORS)
def test_streamed_frames_are_those_of_the_output(released, name):
    model = AutoModelForTextToWaveform.from_pretrained(released(name))
    processor = AutoProcessor.from_pretrained(released(name))
    streamer = MossTTSFrameStreamer(model.config, timeout=60)
    codes = speak(model, processor, streamer=streamer, max_new_tokens=45).audio_codes[0]
    assert len(codes) > 0 and torch.equal(torch.cat(list(streamer)), codes)


@pytest.mark.parametrize("name", GENERATORS)
def test_ends_of_the_backbone_in_generation_config_are_not_the_models(released, name):
    path = released(name, generation_config={"eos_token_id": [1, 2], "pad_token_id": 0})
    model, processor = AutoModelForTextToWaveform.from_pretrained(path), AutoProcessor.from_pretrained(path)
    end = model.end_token_id(model.config)
    for outputs in (speak(model, processor), speak(model, processor, min_new_tokens=10, forced_eos_token_id=end)):
        ended = bool((outputs.sequences[0, :, 0][-1] == end).item())
        assert outputs.reached_limit.tolist() == [not ended]
    assert ended
