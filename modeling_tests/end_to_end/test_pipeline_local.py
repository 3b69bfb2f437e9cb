"""The stock text-to-speech pipeline and the command on MossTTSLocal checkpoints in folders: v1.0 in mono, v1.5 in stereo."""

import numpy as np
import pytest
import soundfile
from tiny_models import small_codec, small_stereo_codec
from transformers import AutoConfig, AutoModel, AutoTokenizer, pipeline

from transformers_moss_tts import (
    MossTTSLocalModel,
    MossTTSLocalProcessor,
    MossTTSLocalV1Model,
    MossTTSLocalV1Processor,
)
from transformers_moss_tts.audio_io import save_audio
from transformers_moss_tts.cli import main


MONO, STEREO = "moss_tts_local", "moss_tts_local_v1_5"
CODECS = {MONO: small_codec, STEREO: small_stereo_codec}
PROCESSORS = {MONO: MossTTSLocalV1Processor, STEREO: MossTTSLocalProcessor}


@pytest.fixture(scope="module")
def folders(golden_folder, tmp_path_factory):
    """Checkpoints with greedy generation and a codec of random weights."""

    def save(release: str):
        folder = tmp_path_factory.mktemp(release)
        source = golden_folder / release
        model = AutoModel.from_pretrained(source)
        model.generation_config.do_sample = False
        model.save_pretrained(folder)
        codec = CODECS[release]()
        codec.save_pretrained(folder / "codec")
        PROCESSORS[release](
            AutoTokenizer.from_pretrained(source),
            audio_tokenizer=codec,
            model_config=AutoConfig.from_pretrained(source),
            codec_path="codec",
        ).save_pretrained(folder)
        return folder

    return {release: save(release) for release in CODECS}


@pytest.fixture(scope="module")
def pipelines(folders):
    return {release: pipeline("text-to-speech", model=str(folder)) for release, folder in folders.items()}


def write_voice(path, rate: int, channels: int):
    shape = (channels, 2 * rate // 5) if channels > 1 else 2 * rate // 5
    save_audio(np.random.default_rng(0).normal(0, 0.1, shape).astype(np.float32), path, rate)
    return str(path)


def test_a_text_and_a_batch(pipelines):
    speak = pipelines[MONO]
    assert type(speak.model) is MossTTSLocalV1Model
    single = speak("hello world")
    assert single["sampling_rate"] == 24000
    assert len(single["audio"]) == 6 * 1920  # the golden case `plain` speaks six frames before audio_end
    batch = speak(["hello world", "hello"], batch_size=2)
    np.testing.assert_allclose(batch[0]["audio"], single["audio"], atol=1e-4)


def test_stereo_has_two_channels(pipelines, tmp_path):
    speak = pipelines[STEREO]
    assert type(speak.model) is MossTTSLocalModel
    single = speak("hello world", generate_kwargs={"max_new_tokens": 12})
    assert single["sampling_rate"] == 48000
    assert single["audio"].shape[0] == 2 and single["audio"].shape[1] % 3840 == 0 and single["audio"].shape[1] > 0
    assert not np.allclose(single["audio"][0], single["audio"][1])
    batch = speak(["hello world", "hello"], batch_size=2, generate_kwargs={"max_new_tokens": 12})
    np.testing.assert_allclose(batch[0]["audio"], single["audio"], atol=1e-4)
    save_audio(single["audio"], tmp_path / "out.wav", single["sampling_rate"])
    samples, rate = soundfile.read(tmp_path / "out.wav")
    assert rate == 48000 and samples.shape == single["audio"].T.shape
    np.testing.assert_allclose(samples, single["audio"].T.clip(-1, 1), atol=1e-4)


@pytest.mark.parametrize(
    ("release", "rate", "channels"), [(MONO, 24000, 1), (STEREO, 48000, 2), (STEREO, 24000, 1), (MONO, 48000, 2)]
)
def test_a_voice_is_cloned(pipelines, tmp_path, release, rate, channels):
    speak = pipelines[release]
    voice = write_voice(tmp_path / "voice.wav", rate, channels)
    content = [{"type": "audio", "audio": voice}, {"type": "text", "text": "hello world"}]
    cloned = speak([{"role": "user", "content": content}], generate_kwargs={"max_new_tokens": 30})
    codec = speak.processor.audio_tokenizer.config
    assert cloned["audio"].ndim == codec.num_channels and cloned["audio"].shape[-1] % codec.downsample_rate == 0
    inputs = speak.processor(text="hello world", reference=voice)
    outputs = speak.model.generate(**inputs, max_new_tokens=30, return_dict_in_generate=True)
    np.testing.assert_allclose(cloned["audio"], speak.processor.decode(outputs)[0].numpy(), atol=1e-4)


def test_a_stereo_reply_goes_on(pipelines, tmp_path):
    processor, model = pipelines[STEREO].processor, pipelines[STEREO].model
    user = processor.build_user_message(text="hello world")
    reply = processor.build_assistant_message([write_voice(tmp_path / "begun.wav", 48000, 2)])
    inputs = processor(conversations=[[user, reply]], mode="continuation")
    outputs = model.generate(**inputs, max_new_tokens=8, return_dict_in_generate=True)
    audio = processor.decode(outputs)[0]
    assert audio.shape == (2, len(outputs.audio_codes[0]) * 3840)


@pytest.mark.parametrize("release", [MONO, STEREO])
def test_the_command_speaks(folders, tmp_path, release):
    out = tmp_path / "out.wav"
    assert main(["hello world", "-o", str(out), "--model", str(folders[release]), "--quiet"]) == 0
    samples, rate = soundfile.read(out, always_2d=True)
    assert (rate, samples.shape[1]) == ((24000, 1) if release == MONO else (48000, 2)) and len(samples)
