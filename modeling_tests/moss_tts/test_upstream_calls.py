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
"""Calls of the released cards, apps and fine-tuning scripts, as they are written there."""

import io

import pytest
import torch
from released.stand_ins import GENERATORS
from transformers import AutoModel, AutoProcessor

from transformers_moss_tts.audio_io import normalize_loudness, save_audio


@pytest.fixture
def processor(released):
    return AutoProcessor.from_pretrained(released("MOSS-TTS-v1.5"), trust_remote_code=True)


@pytest.fixture(scope="module")
def tone():
    return (0.1 * torch.sin(torch.arange(12000) * 0.05))[None]


@pytest.mark.parametrize("name", GENERATORS)
def test_the_loop_of_the_cards(released, name):
    processor = AutoProcessor.from_pretrained(released(name), trust_remote_code=True)
    processor.audio_tokenizer = processor.audio_tokenizer.to("cpu")
    model = AutoModel.from_pretrained(released(name), trust_remote_code=True, attn_implementation="sdpa").eval()
    batch = processor([[processor.build_user_message(text="[S1] Hello.")]], mode="generation")
    torch.manual_seed(0)
    outputs = model.generate(
        input_ids=batch["input_ids"].to("cpu"), attention_mask=batch["attention_mask"].to("cpu"), max_new_tokens=40
    )
    (message,) = processor.decode(outputs)
    (audio,) = message.audio_codes_list
    assert type(audio) is torch.Tensor and audio.ndim == processor.audio_tokenizer.config.num_channels
    assert audio.shape[-1] % processor.audio_tokenizer.config.downsample_rate == 0 and audio.numel() > 0
    assert torch.equal(audio, message) and type(message * 2) is torch.Tensor
    # What is stored is a plain tensor.
    for result in (outputs, message):
        stored = io.BytesIO()
        torch.save(result, stored)
        stored.seek(0)
        loaded = torch.load(stored, weights_only=True)
        assert type(loaded) is torch.Tensor and torch.equal(loaded, result)


def test_recordings_to_codes_and_back(processor, tone, tmp_path):
    path = tmp_path / "tone.wav"
    save_audio(tone, path, 24000)
    (expected,) = processor.encode_audio([tone], 24000)
    for codes in (
        processor.encode_audios_from_wav([tone], sampling_rate=24000),
        processor.encode_audios_from_wav([tone], 24000, n_vq=32),
        processor.encode_audios_from_wav([tone[0]], 24000),
    ):
        assert torch.equal(codes[0], expected)
    for paths in (str(path), [str(path)], path):
        assert processor.encode_audios_from_path(paths)[0].shape == expected.shape
    assert torch.equal(
        processor.encode_audios_from_path(str(path), n_vq=4)[0], processor.encode_audio([path])[0][:, :4]
    )
    for decoded in (processor.decode_audio_codes([expected]), processor.decode_audio_codes(expected)):
        assert torch.equal(decoded[0], processor.decode(expected))
    with pytest.raises(ValueError, match="between 1 and the 32 codebooks"):
        processor.encode_audios_from_path(str(path), n_vq=33)


def test_delay_pattern_and_loudness(processor, tone):
    codes = torch.arange(6).view(3, 2)
    delayed = processor.apply_delay_pattern(codes, 9)
    assert delayed.tolist() == [[0, 9], [2, 1], [4, 3], [9, 5]]
    assert torch.equal(processor.apply_de_delay_pattern(delayed), codes)
    levelled = processor.loudness_normalize(tone)
    assert torch.equal(levelled, torch.from_numpy(normalize_loudness(tone.numpy())))
    assert torch.allclose(processor.loudness_normalize(tone * 0.01), tone * 0.01 * 10 ** (3 / 20))


def test_options_of_a_call(processor):
    message = processor.build_user_message(text="Hello.", reference=[torch.zeros(3, 32).long()])
    plain = processor([[message]], mode="generation")["input_ids"]
    options = {"n_vq": 32, "apply_chat_template": True, "truncation": False}
    assert torch.equal(processor([[message]], mode="generation", **options)["input_ids"], plain)
    for option in ({"n_vq": 8}, {"apply_chat_template": False}, {"truncation": True}):
        with pytest.raises(ValueError, match=f"`{next(iter(option))}` cannot be"):
            processor([[message]], **option)
    with pytest.raises(TypeError, match="`langauge`"):
        processor(text="Hello.", langauge="English")


@pytest.mark.parametrize(("name", "label"), [("MOSS-TTSD-v1.0", "[S1]:\n"), ("MOSS-TTS-Local-Transformer-v1.5", "")])
def test_a_user_message_has_its_content(released, name, label):
    processor = AutoProcessor.from_pretrained(released(name))
    codes = torch.zeros(3, 16).long()
    message = processor.build_user_message(text="Hello.", reference=[codes, None], language="English")
    scene = "- Scene:\nNone\n" if "TTSD" in name else ""
    assert f"- Reference(s):\n{label}<|audio|>" in message["content"]
    assert message["content"].endswith(f"- Language:\nEnglish\n{scene}- Text:\nHello.\n</user_inst>")
    assert message["audio_codes_list"] == [codes] and message["role"] == "user"
    assert processor.build_user_message(text="Hello.")["audio_codes_list"] == []
    with pytest.raises(KeyError, match="voice"):
        message["voice"]
