"""The scorers themselves, on a recording that comes with the examples and on small models of random weights."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import (
    Wav2Vec2FeatureExtractor,
    WavLMConfig,
    WavLMForXVector,
    WhisperConfig,
    WhisperFeatureExtractor,
    WhisperForConditionalGeneration,
    WhisperProcessor,
    WhisperTokenizer,
)

from transformers_moss_tts.audio_io import load_audio
from transformers_moss_tts.evaluation import load_scorer, scorer_names
from transformers_moss_tts.evaluation.measures.signals import compare_signals
from transformers_moss_tts.evaluation.measures.text_errors import count_errors
from transformers_moss_tts.evaluation.scorers import RATE


RECORDING = Path(__file__).parents[3] / "examples" / "assets" / "reference.ogg"


@pytest.fixture(scope="module")
def speech() -> np.ndarray:
    return load_audio(RECORDING, RATE)


def test_offline_whisper_hears_the_same_words_each_time(speech):
    asr = load_scorer("asr", "whisper-base")
    assert {"en", "zh"} <= asr.languages
    heard = asr.transcribe(speech, "en")
    assert len(heard.split()) >= 3 and heard == asr.transcribe(speech, "en")


def test_short_windows_hear_nearly_the_same(speech):
    whole, short = load_scorer("asr", "whisper-base"), load_scorer("asr", "whisper-base-short")
    heard = short.transcribe(speech, "en")
    assert count_errors(whole.transcribe(speech, "en"), heard, "en").rate <= 0.2
    features = short.features(speech)
    assert features.shape == (len(speech) * 50 // RATE, 512)
    # The same words a little later.
    later = short.features(np.pad(speech, (RATE // 5, 0)))[10:]
    alike = (features * later[: len(features)]).sum(1) / np.linalg.norm(features, axis=1)
    alike /= np.linalg.norm(later[: len(features)], axis=1)
    assert alike.mean() > 0.7
    with pytest.raises(ValueError, match=r"27\.0 seconds, and may last 26"):
        short.transcribe(np.zeros(27 * RATE, np.float32), "en")


def test_resemblyzer_knows_a_voice_again(speech):
    encoder = load_scorer("speaker", "resemblyzer")
    half = len(speech) // 2
    # The same voice a fifth slower is another one.
    other = np.interp(np.arange(0, half, 0.8), np.arange(half), speech[:half]).astype(np.float32)
    first, second, third = map(encoder.embed, (speech[:half], speech[half:], other))
    assert np.linalg.norm(first) == pytest.approx(1, abs=1e-4)
    assert first @ second > 0.75 and first @ second > first @ third + 0.05
    assert encoder.baselines.same > encoder.baselines.different


@pytest.mark.skipif(importlib.util.find_spec("distillmos") is None, reason="installed by hand, without its torchaudio")
def test_distillmos_likes_speech_more_than_noise(speech):
    mos = load_scorer("mos", "distillmos")
    noise = np.random.default_rng(0).normal(0, 0.1, len(speech)).astype(np.float32)
    assert 5 > mos.predict(speech) > mos.predict(noise) + 1


def test_signals_are_compared(speech):
    same = compare_signals(speech, speech, RATE)
    assert same["stoi"] == pytest.approx(1, abs=1e-3) and same["mel"] == 0
    assert same["pesq_wb"] > 4.5 and same["pesq_nb"] > 4.4
    assert same["mel_rmse"] == 0 and same["f0_accuracy"] == 1 and same["gross_pitch_error"] == 0
    noisy = speech + np.random.default_rng(0).normal(0, 0.02, len(speech)).astype(np.float32)
    worse = compare_signals(speech, noisy, RATE)
    assert worse["stoi"] < same["stoi"] and worse["pesq_wb"] < same["pesq_wb"] - 1 and worse["mel"] > 0
    assert 0.5 < worse["mel_rmse"] < 30 and worse["f0_accuracy"] > 0.8
    silence = compare_signals(np.zeros(RATE, dtype=np.float32), np.zeros(RATE, dtype=np.float32), RATE)
    assert silence.pop("mel") == 0 and set(silence.values()) == {None}


def test_a_whisper_of_transformers(speech, tmp_path):
    """Of random weights: it says something, and knows which languages it was made for."""
    # Tokens behind the last one would be times.
    special = ["<|endoftext|>", "<|startoftranscript|>", "<|en|>", "<|de|>", "<|transcribe|>", "<|notimestamps|>"]
    vocabulary = {token: number for number, token in enumerate(list("abcdefghij") + special)}
    tokenizer = WhisperTokenizer(vocabulary, [], extra_special_tokens=special[1:])
    torch.manual_seed(0)
    config = WhisperConfig(
        vocab_size=len(vocabulary),
        d_model=16,
        encoder_layers=1,
        decoder_layers=1,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=16,
        decoder_ffn_dim=16,
        num_mel_bins=80,
        pad_token_id=10,
        bos_token_id=10,
        eos_token_id=10,
        decoder_start_token_id=11,
    )
    WhisperForConditionalGeneration(config).save_pretrained(tmp_path)
    options = {"is_multilingual": True, "lang_to_id": {"<|en|>": 12, "<|de|>": 13}, "task_to_id": {"transcribe": 14}}
    options |= {"no_timestamps_token_id": 15, "max_length": 12, "decoder_start_token_id": 11, "eos_token_id": 10}
    (tmp_path / "generation_config.json").write_text(json.dumps(options))
    WhisperProcessor(WhisperFeatureExtractor(), tokenizer).save_pretrained(tmp_path)
    asr = load_scorer("asr", str(tmp_path))
    assert asr.languages == {"en", "de"} and "transformers" in asr.description
    assert set(asr.transcribe(speech, "en")) <= set("abcdefghij")


def test_an_x_vector_model_of_transformers(speech, tmp_path):
    config = WavLMConfig(
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        conv_dim=(16, 16),
        conv_stride=(5, 4),
        conv_kernel=(10, 8),
        num_feat_extract_layers=2,
        tdnn_dim=(16, 16),
        tdnn_kernel=(5, 1),
        tdnn_dilation=(1, 1),
        xvector_output_dim=8,
        num_conv_pos_embeddings=16,
        num_conv_pos_embedding_groups=2,
    )
    WavLMForXVector(config).save_pretrained(tmp_path)
    Wav2Vec2FeatureExtractor().save_pretrained(tmp_path)
    encoder = load_scorer("speaker", str(tmp_path))
    embedding = encoder.embed(speech)
    assert embedding.shape == (8,) and np.linalg.norm(embedding) == pytest.approx(1, abs=1e-5)
    assert encoder.baselines is None


def test_what_is_not_there_is_said():
    assert "paraformer-zh" in scorer_names("asr")
    if importlib.util.find_spec("funasr") is None:
        with pytest.raises(ValueError, match="pip install funasr"):
            load_scorer("asr", "paraformer-zh")
    with pytest.raises(ValueError, match="is the Hub reachable"):
        load_scorer("asr", "whisper-large-v3")
    with pytest.raises(ValueError, match="is the Hub reachable"):
        load_scorer("speaker", "wavlm-base-plus-sv")
