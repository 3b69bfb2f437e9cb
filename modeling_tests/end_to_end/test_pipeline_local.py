"""The stock text-to-speech pipeline on a MossTTSLocal v1.0 checkpoint in a folder."""

import numpy as np
import pytest
from tiny_models import small_codec
from transformers import AutoConfig, AutoModel, AutoTokenizer, pipeline

from transformers_moss_tts import MossTTSLocalV1Model, MossTTSLocalV1Processor
from transformers_moss_tts.audio_io import save_audio


@pytest.fixture(scope="module")
def speak(golden_folder, tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoint")
    source = golden_folder / "moss_tts_local"
    model = AutoModel.from_pretrained(source)
    model.generation_config.do_sample = False
    model.save_pretrained(folder)
    codec = small_codec()
    codec.save_pretrained(folder / "codec")
    MossTTSLocalV1Processor(
        AutoTokenizer.from_pretrained(source),
        audio_tokenizer=codec,
        model_config=AutoConfig.from_pretrained(source),
        codec_path="codec",
    ).save_pretrained(folder)
    return pipeline("text-to-speech", model=str(folder))


def test_a_text_and_a_batch(speak):
    assert type(speak.model) is MossTTSLocalV1Model
    single = speak("hello world")
    assert single["sampling_rate"] == 24000
    assert len(single["audio"]) == 6 * 1920  # the golden case `plain` speaks six frames before audio_end
    batch = speak(["hello world", "hello"], batch_size=2)
    np.testing.assert_allclose(batch[0]["audio"], single["audio"], atol=1e-4)


def test_a_voice_is_cloned(speak, tmp_path):
    save_audio(np.random.default_rng(0).normal(0, 0.1, 9600).astype(np.float32), tmp_path / "voice.wav", 24000)
    content = [{"type": "audio", "audio": str(tmp_path / "voice.wav")}, {"type": "text", "text": "hello world"}]
    cloned = speak([{"role": "user", "content": content}], generate_kwargs={"max_new_tokens": 30})
    assert cloned["audio"].ndim == 1 and len(cloned["audio"]) % 1920 == 0
    inputs = speak.processor(text="hello world", reference=str(tmp_path / "voice.wav"))
    outputs = speak.model.generate(**inputs, max_new_tokens=30, return_dict_in_generate=True)
    np.testing.assert_allclose(cloned["audio"], speak.processor.decode(outputs)[0].numpy(), atol=1e-4)
