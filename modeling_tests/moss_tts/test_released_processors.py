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
"""The processors of all released repositories, over stand-ins: class, variant, codec, prompt, audio."""

import copy
import json
import pickle

import pytest
import soundfile
import torch
from released.stand_ins import GENERATORS, ORGANIZATION
from transformers import AutoConfig, AutoModelForTextToWaveform, AutoProcessor, pipeline

from transformers_moss_tts import (
    MossTTSDelayProcessor,
    MossTTSLocalProcessor,
    MossTTSLocalV1Processor,
    MossTTSNanoProcessor,
)
from transformers_moss_tts.cli import main


CLASSES = dict.fromkeys(GENERATORS, MossTTSDelayProcessor) | {
    "MOSS-TTS-Local-Transformer": MossTTSLocalV1Processor,
    "MOSS-TTS-Local-Transformer-v1.5": MossTTSLocalProcessor,
    "MOSS-TTS-Nano": MossTTSNanoProcessor,
}
CODECS = {"MOSS-TTS-Local-Transformer-v1.5": "-v2", "MOSS-TTS-Nano": "-Nano"}
NORMALIZED = {"MOSS-TTS-v1.5": "Well。Yes", "MOSS-VoiceGenerator": "Well. Yes"}


def said(processor, inputs) -> str:
    return processor.tokenizer.decode(inputs["input_ids"][0, inputs["attention_mask"][0].bool(), 0])


@pytest.mark.parametrize("name", GENERATORS)
def test_class_variant_codec_and_prompt_are_those_of_the_release(released, name):
    processor = AutoProcessor.from_pretrained(released(name), trust_remote_code=True)
    assert type(processor) is CLASSES[name]
    assert processor.variant.name == name and f'"variant": "{name}"' in repr(processor)
    assert processor.audio_tokenizer.name_or_path == f"{ORGANIZATION}/MOSS-Audio-Tokenizer{CODECS.get(name, '')}"
    if name == "MOSS-TTS-Nano":
        return  # The golden tests have its prompts.
    inputs = processor(text="Well... Yes", tokens=25)
    prompt = said(processor, inputs)
    assert f"- Text:\n{NORMALIZED.get(name, 'Well... Yes')}\n" in prompt
    assert ("- Scene:\nNone\n" in prompt) == (name == "MOSS-TTSD-v1.0")
    assert ("- Tokens:\nNone\n" in prompt) == (name == "MOSS-TTSD-v1.0")
    opens_audio = inputs["input_ids"][0, -1, 0] == processor.model_config.audio_start_token_id
    assert opens_audio == (CLASSES[name] is not MossTTSDelayProcessor)


def test_the_class_follows_from_the_model_whichever_is_called(released):
    for name, wrong in (
        ("MOSS-TTS-Local-Transformer", MossTTSDelayProcessor),
        ("MOSS-TTS", MossTTSLocalProcessor),
        ("MOSS-TTS-Local-Transformer-v1.5", MossTTSLocalV1Processor),
    ):
        processor = wrong.from_pretrained(released(name))
        assert type(processor) is CLASSES[name]
        with pytest.raises(ValueError, match=CLASSES[name].__name__):
            wrong(processor.tokenizer, model_config=processor.model_config)


@pytest.mark.parametrize("name", GENERATORS)
def test_the_command_speaks_with_every_release(released, tmp_path, name):
    out = tmp_path / "speech.wav"
    # With its sampling the stand-in of MOSS-TTSD hardly ends.
    cut = ["--max-new-tokens", "60", "--allow-cut"] if name == "MOSS-TTSD-v1.0" else []
    assert main(["[S1] Hello.", "-o", str(out), "--model", released(name), "--seed", "0", "--quiet", *cut]) == 0
    speech = soundfile.info(out)
    assert speech.samplerate == (48000 if name in CODECS else 24000) and speech.frames > 0


@pytest.mark.parametrize("name", ["MOSS-TTS-Local-Transformer", "MOSS-TTSD-v1.0", "MOSS-SoundEffect"])
def test_what_is_saved_and_moved_keeps_the_variant(released, tmp_path, name):
    speak = pipeline("text-to-speech", model=released(name))
    speak.save_pretrained(tmp_path / "anna")
    moved = pipeline("text-to-speech", model=str((tmp_path / "anna").rename(tmp_path / "bert")))
    assert type(moved.processor) is CLASSES[name] and moved.processor.variant.name == name
    options = {"seed": 0, "max_new_tokens": 30}
    speech = speak("Hello.", generate_kwargs=options)["audio"]
    assert speech.size > 0
    torch.testing.assert_close(moved("Hello.", generate_kwargs=options)["audio"], speech)


def test_a_variant_can_be_said(released, tmp_path):
    folder = released("MOSS-TTS", processor_config={"variant": "MOSS-SoundEffect"})
    assert AutoProcessor.from_pretrained(folder).variant.name == "MOSS-SoundEffect"
    processor = AutoProcessor.from_pretrained(folder, variant="MOSS-TTSD-v1.0")
    processor.save_pretrained(tmp_path)
    assert AutoProcessor.from_pretrained(tmp_path).variant.name == "MOSS-TTSD-v1.0"
    assert AutoConfig.from_pretrained(tmp_path).moss_tts_variant == "MOSS-TTSD-v1.0"
    options = {"moss_tts_variant": "MOSS-TTSD-v1.0"}
    speak = pipeline("text-to-speech", model=released("MOSS-TTS"), model_kwargs=options)
    assert speak.processor.variant.name == speak.model.config.moss_tts_variant == "MOSS-TTSD-v1.0"
    assert speak.model.generation_config.audio_temperature == 1.1
    with pytest.raises(ValueError, match="The variants are MOSS-TTS"):
        AutoProcessor.from_pretrained(folder, variant="MOSS")


def test_normalisation_can_be_turned_off_and_stays_off(released, tmp_path):
    name, options = (
        released("MOSS-VoiceGenerator"),
        {"text": "Well... [sighs]\nYes", "instruction": "An {old} voice!!"},
    )
    cleaned = said(processor := AutoProcessor.from_pretrained(name, normalize_inputs=True), processor(**options))
    assert "Well. Yes\n" in cleaned and "An voice!\n" in cleaned
    plain = AutoProcessor.from_pretrained(name, normalize_inputs=False)
    plain.save_pretrained(tmp_path)
    for processor in (plain, AutoProcessor.from_pretrained(tmp_path)):
        prompt = said(processor, processor(**options))
        assert "Well... [sighs]\nYes\n" in prompt and "An {old} voice!!\n" in prompt
    with pytest.raises(ValueError, match="speaks texts as they are"):
        AutoProcessor.from_pretrained(released("MOSS-TTS"), normalize_inputs=True)


def test_codes_of_more_codebooks_are_cut(released):
    processor = AutoProcessor.from_pretrained(released("MOSS-TTSD-v1.0"))
    codes = torch.randint(0, 32, (4, 32), generator=torch.Generator().manual_seed(0))
    for whole, cut in zip(
        (processor(text="[S1] Hi.", reference=codes)["input_ids"], processor.decode([codes])[0]),
        (processor(text="[S1] Hi.", reference=codes[:, :16])["input_ids"], processor.decode([codes[:, :16]])[0]),
    ):
        assert torch.equal(whole, cut)


def test_codec_of_config_and_of_a_nested_entry(released, released_folders):
    name, codec = "MOSS-TTS-Local-Transformer-v1.5", str(released_folders / "MOSS-Audio-Tokenizer-v2")
    processor_config = json.loads((released_folders / name / "processor_config.json").read_text())
    del processor_config["audio_tokenizer_name_or_path"]
    folder = released(name, processor_config=None)
    assert AutoProcessor.from_pretrained(folder).audio_tokenizer.config.sampling_rate == 48000
    folder = released(name, processor_config=None, config={"audio_tokenizer_name_or_path": codec})
    assert AutoProcessor.from_pretrained(folder).audio_tokenizer.name_or_path == codec
    codec = str(released_folders / "MOSS-Audio-Tokenizer")
    nested = {"audio_tokenizer_class": "MossAudioTokenizerModel", "audio_tokenizer_name_or_path": codec}
    folder = released("MOSS-TTS", processor_config={"audio_tokenizer": nested})
    assert AutoProcessor.from_pretrained(folder).audio_tokenizer.name_or_path == codec


def test_dtype_of_the_codec(released):
    name = released("MOSS-TTS")
    for options in ({"codec_dtype": torch.float16}, {"codec_dtype": "float16"}, {"codec_weight_dtype": "fp16"}):
        codec = AutoProcessor.from_pretrained(name, **options).audio_tokenizer
        dtypes = {name.split(".")[0]: weight.dtype for name, weight in codec.named_parameters()}
        assert dtypes == {"encoder": torch.float16, "decoder": torch.float16, "quantizer": torch.float32}
    with pytest.raises(ValueError, match="float8"):
        AutoProcessor.from_pretrained(name, codec_dtype="float8")


def test_unknown_options_are_named(released):
    for options in ({"codec_pth": "/nowhere"}, {"max_reference_duraton": 60.0}, {"dtype": torch.float16}):
        with pytest.raises(TypeError, match=f"`{next(iter(options))}`"):
            AutoProcessor.from_pretrained(released("MOSS-TTS"), **options)
    # Those of a pipeline are its generator's.
    speak = pipeline(
        "text-to-speech",
        model=released("MOSS-TTS"),
        dtype=torch.bfloat16,
        model_kwargs={"attn_implementation": "eager"},
    )
    assert speak.model.dtype == torch.bfloat16


@pytest.mark.parametrize(
    "copied", [copy.deepcopy, lambda item: pickle.loads(pickle.dumps(item))], ids=["copy", "pickle"]
)
def test_processors_travel_with_their_codec(released, copied):
    processor = AutoProcessor.from_pretrained(released("MOSS-TTSD-v1.0"))
    arrived = copied(processor)
    codes = torch.randint(0, 32, (3, 16))
    assert torch.equal(arrived.decode(codes), processor.decode(codes))
    assert arrived.variant == processor.variant and arrived.codec_path == processor.codec_path
    message = copied(processor.build_user_message(text="[S1] Hi.", reference=[codes]))
    assert torch.equal(arrived([message])["input_ids"], processor([message])["input_ids"])
    assert torch.equal(copied(processor.decode(codes)), processor.decode(codes))


def test_the_codec_is_where_the_generator_is(released):
    name = released("MOSS-TTS")
    speak = pipeline("text-to-speech", model=name, device="meta")
    assert speak.processor.audio_tokenizer.device == speak.model.device == torch.device("meta")
    speak = pipeline("text-to-speech", model=name, device_map="cpu").to("meta")
    assert speak.processor.audio_tokenizer.device == speak.model.device == speak.device == torch.device("meta")
    model, processor = AutoModelForTextToWaveform.from_pretrained(name), AutoProcessor.from_pretrained(name)
    speak = pipeline(
        "text-to-speech", model=model.to("meta"), processor=processor, tokenizer=processor.tokenizer, device="meta"
    )
    assert processor.audio_tokenizer.device == torch.device("meta")


def test_pipelines_of_other_models_are_their_own():
    from transformers import TextToAudioPipeline, VitsConfig, VitsModel

    model = VitsModel(
        VitsConfig(
            hidden_size=16,
            num_hidden_layers=1,
            num_attention_heads=2,
            ffn_dim=16,
            flow_size=16,
            spectrogram_bins=9,
            wavenet_dilation_rate=1,
            prior_encoder_num_flows=1,
            posterior_encoder_num_wavenet_layers=1,
            prior_encoder_num_wavenet_layers=1,
            upsample_initial_channel=16,
            upsample_rates=[2],
            upsample_kernel_sizes=[4],
            resblock_kernel_sizes=[3],
            resblock_dilation_sizes=[[1]],
            duration_predictor_num_flows=1,
            depth_separable_channels=2,
        )
    )
    assert type(pipeline("text-to-speech", model=model, tokenizer=object())) is TextToAudioPipeline
