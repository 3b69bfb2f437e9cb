"""Text in, audio out: the stock text-to-speech pipeline on a checkpoint in a folder."""

import numpy as np
import pytest
import torch
from tiny_models import GOLDEN_TTS, golden_processor, small_codec
from transformers import pipeline

from transformers_moss_tts import MossTTSDelayModel
from transformers_moss_tts.audio_io import save_audio


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The golden generator, which ends by itself, with a codec that fits, saved as one repository."""
    folder = tmp_path_factory.mktemp("checkpoint")
    model = MossTTSDelayModel.from_pretrained(GOLDEN_TTS)
    model.generation_config.do_sample = False
    model.save_pretrained(folder)
    codec = small_codec()
    codec.save_pretrained(folder / "codec")
    golden_processor(codec, codec_path="codec").save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def speak(folder):
    return pipeline("text-to-speech", model=str(folder))


@pytest.fixture(scope="module")
def expected(speak):
    """What model and processor give without the pipeline."""

    def synthesize(text, **fields):
        inputs = speak.processor(text=text, **fields)
        outputs = speak.model.generate(**inputs, return_dict_in_generate=True)
        return speak.processor.decode(outputs)[0].numpy()

    return synthesize


def test_one_text(speak, expected):
    result = speak("hello world")
    assert set(result) == {"audio", "sampling_rate"}
    assert result["sampling_rate"] == 24000
    assert result["audio"].dtype == np.float32 and result["audio"].ndim == 1
    # The golden case `plain` has six gen slots; the reference adds a seventh frame, which training never fills.
    assert len(result["audio"]) == 6 * 1920
    np.testing.assert_allclose(result["audio"], expected("hello world"), atol=1e-5)


@pytest.mark.parametrize("batch_size", [1, 2, 3])
def test_texts(speak, expected, batch_size):
    texts = ["hello", "the quick brown fox jumps over the lazy dog", "hello world"]
    results = speak(texts, batch_size=batch_size)
    assert len(results) == 3
    for text, result in zip(texts, results):
        np.testing.assert_allclose(result["audio"], expected(text), atol=1e-4)


def test_fields_of_the_prompt(speak, expected):
    result = speak("Bonjour, the fox.", preprocess_params={"language": "French", "tokens": 125})
    np.testing.assert_allclose(
        result["audio"], expected("Bonjour, the fox.", language="French", tokens=125), atol=1e-5
    )


def test_chat_with_reference_audio(speak, expected, tmp_path):
    path = tmp_path / "voice.wav"
    save_audio((0.1 * torch.randn(24000)).clamp(-1, 1), path, 24000)
    content = [{"type": "audio", "audio": str(path)}, {"type": "text", "text": "hello"}]
    chat = [{"role": "user", "content": content, "language": "English"}]
    result = speak(chat)
    np.testing.assert_allclose(result["audio"], expected("hello", reference=path, language="English"), atol=1e-5)
    assert not np.array_equal(result["audio"], expected("hello", language="English"))


def test_several_chats(speak, expected):
    chats = [[{"role": "user", "content": text}] for text in ("hello", "hello world")]
    for text, result in zip(("hello", "hello world"), speak(chats)):
        np.testing.assert_allclose(result["audio"], expected(text), atol=1e-5)


def test_generate_kwargs(speak):
    options = {"do_sample": True, "audio_temperature": 1.0, "seed": 3, "max_new_tokens": 40}
    first, second = (speak("hello", generate_kwargs=options)["audio"] for _ in range(2))
    np.testing.assert_array_equal(first, second)
    greedy = speak("hello")["audio"]
    assert first.shape != greedy.shape or not np.array_equal(first, greedy)


def test_the_pipelines_default_length_does_not_cut(folder, speak):
    """The pipeline would stop after 256 steps; the model's generation config has the last word."""
    model = MossTTSDelayModel.from_pretrained(folder)
    assert model.generation_config.max_new_tokens == 4096
    model.generation_config.max_new_tokens = 300
    with torch.no_grad():
        # No score for either slot: the best token is the first, and audio never ends.
        head, config = model.text_head.weight, model.config
        head[[config.audio_assistant_gen_slot_token_id, config.audio_assistant_delay_slot_token_id]] = 0
    endless = pipeline("text-to-speech", model=model, processor=speak.processor, tokenizer=speak.tokenizer)
    # The steps before audio and the last n_vq - 1, which are not complete, are no frames.
    assert 256 < len(endless("hello world")["audio"]) / 1920 <= 300 - 1 - 7


def test_model_and_processor_objects(folder, speak):
    model = MossTTSDelayModel.from_pretrained(folder)
    other = pipeline("text-to-speech", model=model, processor=speak.processor, tokenizer=speak.tokenizer)
    np.testing.assert_array_equal(other("hello")["audio"], speak("hello")["audio"])


def test_saved_pipeline_loads_again(speak, folder, tmp_path):
    speak.save_pretrained(tmp_path)
    again = pipeline("text-to-speech", model=str(tmp_path))
    again.processor.audio_tokenizer = speak.processor.audio_tokenizer
    np.testing.assert_array_equal(again("hello")["audio"], speak("hello")["audio"])


def test_a_continuation_and_its_beginning(speak):
    """The pipeline, `decode` of the output and `decode` of the sequences leave out what the prompt began with."""
    codes = torch.randint(0, 32, (5, 8), generator=torch.Generator().manual_seed(0))
    user, reply = {"role": "user", "content": "hello world"}, {"type": "audio", "audio": codes}
    chat = [user, {"role": "assistant", "content": [reply]}]
    inputs = speak.processor.apply_chat_template(chat, continue_final_message=True)
    options = {"max_new_tokens": 30}
    outputs = speak.model.generate(**inputs, **options, return_dict_in_generate=True)
    expected = speak.processor.decode(outputs)[0]
    assert len(expected) == 1920 * len(outputs.audio_codes[0]) > 0 and len(outputs.prefix_codes[0]) == 5
    sequences = speak.model.generate(**inputs, **options)
    for same in (sequences, outputs.sequences, sequences.clone(), sequences[:1]):
        assert torch.equal(speak.processor.decode(same)[0], expected)
    assert torch.equal(speak.processor.decode(next(iter(sequences))), expected)
    np.testing.assert_allclose(speak(chat, generate_kwargs=options)["audio"], expected, atol=1e-5)
    whole = speak.processor.decode(sequences.as_subclass(torch.Tensor))[0]
    torch.testing.assert_close(whole[-len(expected) :], expected)
    assert len(whole) == len(expected) + 5 * 1920
