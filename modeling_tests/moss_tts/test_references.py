"""References as programs hold them, in every door of a processor."""

import base64
import io

import numpy as np
import pytest
import soundfile
import torch
from tiny_models import golden_processor, small_codec

from transformers_moss_tts.audio_io import AudioLimits


RATE = 24000


@pytest.fixture(scope="module")
def codec():
    return small_codec()


@pytest.fixture(scope="module")
def processor(codec):
    return golden_processor(codec)


@pytest.fixture(scope="module")
def samples():
    return (0.2 * np.sin(np.arange(RATE) / 20)).astype(np.float32)


@pytest.fixture
def encoded(codec, monkeypatch):
    """Seconds of each recording that the codec was given."""
    encode, seconds = codec.encode, []

    def noted(values, *args, **kwargs):
        seconds.extend([values.shape[-1] / RATE] * len(values))
        return encode(values, *args, **kwargs)

    monkeypatch.setattr(codec, "encode", noted)
    return seconds


def wav_of(samples):
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, RATE, format="WAV", subtype="FLOAT")
    return buffer


HELD = {
    "pair": lambda samples: (samples, RATE),
    "pair as gradio gives": lambda samples: (RATE, samples),
    "dict": lambda samples: {"array": torch.from_numpy(samples), "sampling_rate": RATE},
    "open file": wav_of,
    "bytes": lambda samples: wav_of(samples).getvalue(),
    "data URI": lambda samples: "data:audio/wav;base64," + base64.b64encode(wav_of(samples).getvalue()).decode(),
}


@pytest.mark.parametrize("name", HELD)
def test_every_door_takes_it(processor, samples, encoded, name):
    expected = processor(text="One.", reference=samples, sampling_rate=RATE)["input_ids"]
    audio = HELD[name](samples)
    item = {"type": "audio", "audio": audio}
    chat = [{"role": "user", "content": [item, {"type": "text", "text": "One."}]}]
    message = processor.build_user_message(text="One.", reference=audio)
    assert torch.equal(processor(text="One.", reference=audio)["input_ids"], expected)
    assert torch.equal(processor(text="One.", reference=[audio])["input_ids"], expected)
    assert torch.equal(processor.apply_chat_template(chat)["input_ids"], expected)
    assert torch.equal(processor([[message]])["input_ids"], expected)
    encoded.clear()
    assert torch.equal(processor(text=["One.", "One."], reference=audio)["input_ids"], expected.repeat(2, 1, 1))
    assert encoded == [1.0]


@pytest.mark.parametrize("make", [np.asarray, torch.from_numpy, lambda samples: samples.tolist()])
def test_a_chat_item_with_its_rate(processor, samples, make):
    item = {"type": "audio", "audio": make(samples[:4800]), "sampling_rate": RATE}
    chat = [{"role": "user", "content": [item, {"type": "text", "text": "One."}]}]
    expected = processor(text="One.", reference=(samples[:4800], RATE))["input_ids"]
    assert torch.equal(processor.apply_chat_template(chat)["input_ids"], expected)


def test_a_long_reference_is_not_encoded(processor, encoded, samples):
    for audio in ((np.tile(samples, 31), RATE), wav_of(np.tile(samples, 31))):
        with pytest.raises(ValueError, match=r"lasts at least 31.0 s; at most 30 s are allowed"):
            processor(text="One.", reference=audio)
    assert encoded == []
    processor(text="One.", reference=(np.tile(samples, 30), RATE))
    assert encoded == [30.0]


def test_the_limits_of_a_processor(codec, samples):
    processor = golden_processor(codec, audio_limits=AudioLimits(max_bytes=1000, allow_private_addresses=False))
    with pytest.raises(ValueError, match="at most 1000"):
        processor(text="One.", reference=wav_of(samples))
    with pytest.raises(ValueError, match="private addresses are not allowed"):
        processor(text="One.", reference="http://localhost/a.wav")
