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
"""What the processor of MOSS-TTSD builds, against the reference, and dialogues in one call."""

import json

import numpy as np
import pytest
import torch
from datasets import Dataset
from safetensors.torch import load_file
from tiny_models import golden_processor, small_codec
from transformers import AutoModel, AutoProcessor

from transformers_moss_tts.audio_io import normalize_loudness
from transformers_moss_tts.training import TrainingSamples, encode_sample


@pytest.fixture(scope="module")
def ttsd(golden_folder):
    return AutoProcessor.from_pretrained(golden_folder / "moss_ttsd")


@pytest.fixture(scope="module")
def golden(golden_folder):
    folder = golden_folder / "moss_ttsd"
    return json.loads((folder / "golden.json").read_text()), load_file(folder / "golden.safetensors")


def with_codes(item, tensors, names):
    if isinstance(item, dict):
        return {key: with_codes(value, tensors, names) for key, value in item.items()}
    if isinstance(item, list):
        return [with_codes(value, tensors, names) for value in item]
    return tensors[names[item]] if isinstance(item, str) and item in names else item


def conversations_of(golden, name):
    data, tensors = golden
    return with_codes(data["processor"][name]["conversations"], tensors, data["codes"])


CASES = ("plain", "tokens_are_not_said", "text_as_it_is", "reference", "dialogue", "silent_speaker", "first_silent")
CASES += ("instruction", "batch", "continuation", "clone_and_continue")


@pytest.mark.parametrize("name", CASES)
def test_prompts_are_the_references(ttsd, golden, name):
    data, tensors = golden
    assert set(data["processor"]) == set(CASES)
    inputs = ttsd(conversations_of(golden, name), mode=data["processor"][name]["mode"])
    for key, value in inputs.items():
        assert torch.equal(value, tensors[f"processor.{name}.{key}"].to(value.dtype)), key


def test_the_default_sampling_is_the_references(golden_folder, golden):
    generation = AutoModel.from_pretrained(golden_folder / "moss_ttsd").generation_config
    assert {name: getattr(generation, name) for name in golden[0]["defaults"]} == golden[0]["defaults"]


def test_training_examples_get_the_same_prompt(ttsd, golden):
    _, tensors = golden
    codes = tensors["codes.pre"]
    references = [tensors["codes.ref1"].tolist(), None]
    sample = encode_sample(
        ttsd, {"text": "[S1] hello [S2] world", "codes": codes.tolist(), "reference": references, "tokens": 9}
    )
    prompt = ttsd(text="[S1] hello [S2] world", reference=[[tensors["codes.ref1"], None]][0])["input_ids"][0]
    assert torch.equal(sample["input_ids"][: len(prompt)], prompt)


def test_training_takes_the_first_codebooks(ttsd):
    codes = torch.randint(0, 32, (5, 32), generator=torch.Generator().manual_seed(0))
    whole, cut = (
        TrainingSamples(Dataset.from_list([{"text": "[S1] hello", "codes": table.tolist()}]), ttsd)[0]
        for table in (codes, codes[:, :16])
    )
    assert torch.equal(whole["labels"], cut["labels"]) and torch.equal(whole["input_ids"], cut["input_ids"])


def test_a_dialogue_clones_and_continues(ttsd, golden):
    _, tensors = golden
    voices = {"S1": (tensors["codes.ref1"], "hello"), "S2": (tensors["codes.ref2"], "[S2] world")}
    messages = [
        ttsd.build_user_message("[S1] hello [S2] world [S1] the fox", [tensors["codes.ref1"], tensors["codes.ref2"]]),
        ttsd.build_assistant_message([torch.cat([tensors["codes.ref1"], tensors["codes.ref2"]])]),
    ]
    with pytest.raises(ValueError, match="S2, who says nothing"):
        ttsd(script="[S1] the fox", voices=voices)
    script = "[S1] the fox [S2] jumps"
    messages[0]["text"] = "[S1] hello [S2] world [S1] the fox [S2] jumps"
    expected = ttsd([messages], mode="continuation")["input_ids"]
    assert torch.equal(ttsd(script=script, voices=voices)["input_ids"], expected)
    assert torch.equal(ttsd(script=script, voices=list(voices.values()))["input_ids"], expected)


def test_a_dialogue_clones_alone(ttsd, golden):
    _, tensors = golden
    script, codes = "[S1] hello [S2] world", tensors["codes.ref1"]
    for voices, reference in (
        ({"S1": codes}, [codes, None]),
        ([None, codes], [None, codes]),
        (None, None),
        ([], None),
    ):
        assert torch.equal(
            ttsd(script=script, voices=voices)["input_ids"], ttsd(text=script, reference=reference)["input_ids"]
        )


def test_recordings_of_a_dialogue_are_joined_before_they_are_encoded():
    codec = small_codec()
    processor = golden_processor(codec, variant="MOSS-TTSD-v1.0")
    waves = [0.1 * np.random.default_rng(seed).standard_normal(24000 // 2 + 500).astype(np.float32) for seed in (0, 1)]
    voices = [({"array": wave, "sampling_rate": 24000}, word) for wave, word in zip(waves, ("hello", "world"))]
    inputs = processor(script="[S1] one [S2] two", voices=voices)
    joined = torch.from_numpy(normalize_loudness(np.concatenate(waves)))[None]
    encoded = codec.encode(joined)
    expected = encoded.audio_codes[:, 0, : encoded.audio_codes_lengths[0]].T
    codes_of_reply = inputs["input_ids"][0, -len(expected) :, 1]
    assert torch.equal(codes_of_reply, expected[:, 0])


BAD_DIALOGUES = {
    "no speakers": ({"script": "hello"}, ValueError, "names no speaker"),
    "two scripts": ({"script": ["[S1] a", "[S1] b"]}, TypeError, "one dialogue"),
    "words of one alone": (
        {"script": "[S1] a [S2] b", "voices": [(torch.zeros(2, 16).long(), "a"), torch.zeros(2, 16).long()]},
        ValueError,
        "recording of S2 are missing",
    ),
    "a name for a speaker": ({"script": "[S1] a", "voices": {"Anna": None}}, ValueError, "got 'Anna'"),
    "voices in a string": ({"script": "[S1] a", "voices": "voice.wav"}, TypeError, "by speaker"),
    "text beside it": ({"script": "[S1] a", "text": "b"}, ValueError, "stands for text"),
    "voices without a script": ({"text": "[S1] a", "voices": [None]}, ValueError, "those of a `script`"),
}


@pytest.mark.parametrize(("options", "error", "match"), BAD_DIALOGUES.values(), ids=BAD_DIALOGUES)
def test_bad_dialogues(ttsd, options, error, match):
    with pytest.raises(error, match=match):
        ttsd(**options)
