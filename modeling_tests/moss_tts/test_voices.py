# Copyright 2026 The transformers-moss-tts team. All rights reserved.
#
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#
#     http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.
"""Voices that are kept: files, and every door that a reference goes through."""

import copy
import errno
import json
import os
import pickle
import resource

import numpy as np
import pytest
import torch
from datasets import Dataset
from local_hub import environment  # noqa: F401
from safetensors.torch import load_file, save, save_file
from tiny_models import GOLDEN_TTS, golden_processor, small_codec, small_stereo_codec
from transformers import pipeline

from transformers_moss_tts import MossTTSDelayModel
from transformers_moss_tts.audio_io import save_audio
from transformers_moss_tts.speech import Voice
from transformers_moss_tts.training import encode_recordings


RATE = 24000
FIELDS = {"text": "hello world", "language": "English", "settings": {"audio_temperature": 0.5}, "licence": "CC0"}


def noise(seconds: float, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 0.1, round(seconds * RATE)).astype(np.float32)


@pytest.fixture(scope="module")
def processor():
    return golden_processor(small_codec())


@pytest.fixture(scope="module")
def recording(tmp_path_factory):
    path = tmp_path_factory.mktemp("recordings") / "anna.wav"
    save_audio(noise(1), path, RATE)
    return path


@pytest.fixture(scope="module")
def voice(processor, recording):
    return Voice.from_recording(recording, processor, consent="Anna agrees.", **FIELDS)


def test_what_is_saved_is_loaded(processor, voice, tmp_path):
    voice.save(tmp_path / "anna.safetensors")
    loaded = Voice.load(tmp_path / "anna.safetensors")
    for name in ("name", "texts", "language", "settings", "licence", "consent", "duration"):
        assert getattr(loaded, name) == getattr(voice, name)
    assert (loaded.name, loaded.texts, loaded.codec.sampling_rate) == ("anna", ("hello world",), RATE)
    assert torch.equal(loaded.codes[0], voice.codes[0]) and loaded.codec.is_same(voice.codec)
    assert (tmp_path / "anna.safetensors").stat().st_size < 10_000
    assert os.listdir(tmp_path) == ["anna.safetensors"]
    for other in (pickle.loads(pickle.dumps(voice)), copy.deepcopy(voice)):
        assert torch.equal(other.codes[0], voice.codes[0]) and other.codec.is_same(voice.codec)


def test_every_door_takes_a_voice(processor, voice, recording, tmp_path):
    path = tmp_path / "anna.safetensors"
    voice.save(path)
    expected = processor(text="One.", reference=recording)["input_ids"]
    for reference in (voice, path, str(path)):
        content = [{"type": "audio", "audio": reference}, {"type": "text", "text": "One."}]
        chat = [{"role": "user", "content": content}]
        assert torch.equal(processor(text="One.", reference=reference)["input_ids"], expected)
        assert torch.equal(processor(text="One.", reference=[reference])["input_ids"], expected)
        assert torch.equal(processor.apply_chat_template(chat)["input_ids"], expected)
        message = processor.build_user_message(text="One.", reference=reference)
        assert torch.equal(processor([[message]])["input_ids"], expected)
        assert torch.equal(
            processor(text=["One.", "One."], reference=[reference, recording])["input_ids"], expected.repeat(2, 1, 1)
        )
        reply = [*chat, {"role": "assistant", "content": [{"type": "audio", "audio": reference}]}]
        plain = [*chat, {"role": "assistant", "content": [{"type": "audio", "audio": str(recording)}]}]
        prompts = [processor.apply_chat_template(c, continue_final_message=True)["input_ids"] for c in (reply, plain)]
        assert torch.equal(*prompts)


def test_a_pipeline_speaks_with_a_voice(processor, voice, recording):
    model = MossTTSDelayModel.from_pretrained(GOLDEN_TTS)
    speak = pipeline("text-to-speech", model=model, processor=processor, tokenizer=processor.tokenizer)
    options = {"text_temperature": 0.0, "audio_temperature": 0.0, "max_new_tokens": 12}
    spoken = [
        speak(
            [{"role": "user", "content": [{"type": "audio", "audio": item}, {"type": "text", "text": "One."}]}],
            generate_kwargs=options,
        )["audio"]
        for item in (voice, str(recording))
    ]
    np.testing.assert_array_equal(*spoken)
    assert spoken[0].size


def test_a_script_goes_on_from_voices_with_words(recording):
    processor = golden_processor(small_codec(), variant="MOSS-TTSD-v1.0")
    voice = Voice.from_recording(recording, processor, text="hello world")
    mute = Voice.from_recording(recording, processor)
    codes = processor.encode_audio([str(recording)])[0]
    script = "[S1] one [S2] two"
    said = processor(script=script, voices={"S1": voice, "S2": (codes, "hello")})["input_ids"]
    expected = processor(script=script, voices={"S1": (codes, "hello world"), "S2": (codes, "hello")})["input_ids"]
    assert torch.equal(said, expected)
    cloned = processor(script=script, voices=[codes, codes])["input_ids"]
    assert torch.equal(processor(script=script, voices=[voice, mute])["input_ids"], cloned)
    with pytest.raises(ValueError, match="recording of S1 are missing"):
        processor(script=script, voices=[mute, (codes, "hello")])


def test_several_recordings_are_one_reference_as_far_as_they_fit(recording):
    processor = golden_processor(small_codec(), max_reference_duration=2.5)
    recordings = [str(recording), (noise(1, 1), RATE), (noise(2, 2), RATE)]
    voice = Voice.from_recording(recordings, processor, text=["hello", None, "world"], name="Anna")
    assert len(voice.codes) == 3 and voice.text is None and voice.duration == pytest.approx(3.92)
    codes = [processor.encode_audio([item])[0] for item in recordings]
    reference = torch.cat(codes[:2])
    assert torch.equal(
        processor(text="One.", reference=voice)["input_ids"], processor(text="One.", reference=reference)["input_ids"]
    )
    narrow = golden_processor(processor.audio_tokenizer, max_reference_duration=0.9)
    with pytest.raises(ValueError, match=r"Reference 1 lasts 1.0 s"):
        narrow(text="One.", reference=voice)


def test_a_voice_is_of_its_codec_in_all_dtypes(processor, voice, recording, tmp_path):
    codec = processor.audio_tokenizer
    state = {name: tensor.to(torch.bfloat16).float() for name, tensor in codec.state_dict().items()}
    rounded = small_codec()
    rounded.load_state_dict(state)
    half = copy.deepcopy(codec).half()
    for same in (rounded, half):
        voice.check_codec(same, processor.model_config)
    codec.save_pretrained(tmp_path / "one" / "codec")
    other = small_codec(seed=1)
    other.save_pretrained(tmp_path / "two" / "codec")
    named = golden_processor(type(codec).from_pretrained(tmp_path / "one" / "codec"))
    kept = Voice.from_recording(recording, named)
    foreign = golden_processor(type(codec).from_pretrained(tmp_path / "two" / "codec"))
    for call in ({"text": "One.", "reference": kept}, {"script": "[S1] One.", "voices": [kept]}):
        with pytest.raises(ValueError, match=r"is of the codec 'one/codec' .* and the processor has 'two/codec'"):
            foreign(**call)
    with pytest.raises(ValueError, match="48000 Hz"):
        kept.check_codec(small_stereo_codec(), processor.model_config)
    # Without a codec prompts are built, of a model that can have the codes.
    without = golden_processor()
    prompts = [item(text="One.", reference=kept)["input_ids"] for item in (without, named)]
    assert torch.equal(*prompts)
    without.model_config.audio_vocab_size = 16
    with pytest.raises(ValueError, match="they do not fit"):
        without(text="One.", reference=kept)


def test_a_decoder_that_was_trained_reads_the_same_codes(processor, voice):
    codec = copy.deepcopy(processor.audio_tokenizer)
    with torch.no_grad():
        for name, parameter in codec.named_parameters():
            if name.startswith("decoder."):
                parameter += 1
    voice.check_codec(codec, processor.model_config)


def test_training_takes_voices_as_references(processor, voice, recording, tmp_path):
    voice.save(tmp_path / "anna.safetensors")
    examples = [{"text": "One.", "audio": str(recording), "reference": str(tmp_path / "anna.safetensors")}]
    encoded = encode_recordings(Dataset.from_list(examples), processor, cache_dir=tmp_path / "codes")
    assert torch.equal(torch.tensor(encoded[0]["reference"][0]), processor.encode_audio([str(recording)])[0])
    with pytest.raises(ValueError, match="is of the codec"):
        encode_recordings(Dataset.from_list(examples), golden_processor(small_codec(1)), cache_dir=tmp_path / "codes")


def test_a_voice_is_pushed_and_loaded(local_hub, voice, tmp_path):
    with pytest.raises(ValueError, match="no consent"):
        Voice(voice.codes, voice.codec, licence="CC0").push_to_hub("me/anna")
    voice.push_to_hub("me/anna", private=True)
    voice.push_to_hub("me/anna", "others/ben.safetensors")
    assert local_hub.repositories["me/anna"].private
    for options in ({}, {"filename": "others/ben.safetensors"}):
        loaded = Voice.from_pretrained("me/anna", cache_dir=tmp_path / "cache", **options)
        assert torch.equal(loaded.codes[0], voice.codes[0]) and loaded.consent == "Anna agrees."
    voice.save(tmp_path / "voice.safetensors")
    assert Voice.from_pretrained(tmp_path).name == Voice.from_pretrained(tmp_path / "voice.safetensors").name == "anna"


def changed(data: bytes, **changes) -> bytes:
    """The file of a voice with other metadata."""
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    fields = json.loads(header["__metadata__"]["voice"])
    if "fields" in changes:
        header["__metadata__"]["voice"] = json.dumps(fields | changes.pop("fields"))
    header["__metadata__"] |= changes
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data[8 + length :]


BAD_FILES = {
    "cut": (lambda data: data[:-5], "cut or damaged"),
    "cut in its header": (lambda data: data[:100], "cut or damaged"),
    "empty": (lambda data: b"", "cut or damaged"),
    "a recording": (lambda data: b"RIFF" + bytes(1000), "cut or damaged"),
    "weights of a model": (lambda data: save({"weight": torch.zeros(2)}), "no voice, though"),
    "of a newer version": (lambda data: changed(data, version="2"), "version 2 of the format.*update"),
    "without a version": (lambda data: changed(data, version="x"), "its version is 'x'"),
    "no JSON": (lambda data: changed(data, voice="{"), "damaged"),
    "deep JSON": (lambda data: changed(data, voice="[" * 100_000), "damaged"),
    "an unknown field": (lambda data: changed(data, fields={"run": "rm"}), "fields are not those"),
    "a text too few": (lambda data: changed(data, fields={"texts": []}), "damaged"),
    "a text too many": (lambda data: changed(data, fields={"texts": ["a", "b"]}), "damaged"),
    "a number as text": (lambda data: changed(data, fields={"texts": [1]}), "A text of a voice must be a string"),
    "a line break of a terminal": (lambda data: changed(data, fields={"name": "\x1b[2J"}), "control character"),
    "another setting": (lambda data: changed(data, fields={"settings": {"max_new_tokens": 9}}), "settings"),
    "a codec without a name": (lambda data: changed(data, fields={"codec": {}}), "which codec"),
    "larger than any voice": (lambda data: data + bytes(2**24), "more than"),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_bad_files_are_refused(processor, voice, tmp_path, name):
    change, message = BAD_FILES[name]
    path = tmp_path / "anna.safetensors"
    voice.save(path)
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(ValueError, match=f"anna.safetensors.*{message}"):
        processor(text="One.", reference=path)


def test_codes_of_bad_files_are_refused(voice, tmp_path):
    path = tmp_path / "anna.safetensors"
    voice.save(path)
    header = path.read_bytes()
    metadata = json.loads(header[8 : 8 + int.from_bytes(header[:8], "little")])["__metadata__"]
    tensors = load_file(path)
    for changes, message in (
        ({"codes.0": tensors["codes.0"] + 32}, "between 0 and 31"),
        ({"codes.0": tensors["codes.0"].float()}, "float32"),
        ({"codes.0": tensors["codes.0"][0]}, "shape"),
        ({"codes.0": tensors["codes.0"][:0]}, "shape"),
        ({"codebook_values": tensors["codebook_values"] * float("nan")}, "tensors"),
        ({"other": torch.zeros(1)}, "tensors"),
    ):
        save_file(tensors | changes, path, metadata)
        with pytest.raises(ValueError, match=message):
            Voice.load(path)


BAD_VOICES = {
    "silence": (lambda p: Voice.from_recording((np.zeros(RATE, np.float32), RATE), p), "is silent"),
    "20 ms": (lambda p: Voice.from_recording((noise(0.02), RATE), p), "at least 0.5 s"),
    "40 s": (lambda p: Voice.from_recording((noise(40), RATE), p), "at most 30 s"),
    "no recording": (lambda p: Voice.from_recording([], p), "empty list"),
    "missing": (lambda p: Voice.from_recording("missing.wav", p), "missing.wav"),
    "one text for two": (lambda p: Voice.from_recording([(noise(1), RATE)] * 2, p, text="a"), "a list of them"),
    "two texts for one": (lambda p: Voice.from_recording([(noise(1), RATE)], p, text=["a", "b"]), "2 texts"),
    "no codec": (lambda p: Voice.from_recording((noise(1), RATE), golden_processor()), "needs a codec"),
}


@pytest.mark.parametrize("name", BAD_VOICES)
def test_bad_voices(processor, name):
    make, message = BAD_VOICES[name]
    with pytest.raises(ValueError, match=message):
        make(processor)


def test_bad_places_of_files(voice, tmp_path):
    for path, message in (
        (tmp_path / "anna.wav", "must end with .safetensors"),
        (tmp_path / "missing" / "anna.safetensors", "does not exist"),
    ):
        with pytest.raises(ValueError, match=message):
            voice.save(path)
    with pytest.raises(ValueError, match="no voice"):
        Voice.load(tmp_path / "missing.safetensors")


def test_a_full_disk_leaves_the_old_voice(voice, tmp_path):
    path = tmp_path / "anna.safetensors"
    voice.save(path)
    before = path.read_bytes()
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, limit[1]))
    try:
        with pytest.raises(OSError, match=path.name) as caught:
            voice.save(path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert caught.value.errno == errno.EFBIG
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]
