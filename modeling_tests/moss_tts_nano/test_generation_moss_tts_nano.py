"""What MossTTSNano has of its own: ways of loading, resized tables, its processor and its tokenizer."""

import copy
import json
import pickle
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_models import tiny_nano, tiny_nano_config, tiny_prompts, tiny_stereo_codec
from transformers import AutoConfig, AutoModel, AutoProcessor, AutoTokenizer

from transformers_moss_tts import MossTTSNanoConfig, MossTTSNanoModel, MossTTSNanoProcessor


@pytest.fixture(scope="module")
def folder(golden_folder):
    return golden_folder / "moss_tts_nano"


@pytest.fixture(scope="module")
def processor(folder):
    return MossTTSNanoProcessor(AutoTokenizer.from_pretrained(folder), model_config=AutoConfig.from_pretrained(folder))


@pytest.mark.parametrize(
    "options",
    [{"low_cpu_mem_usage": True}, {"device_map": "cpu"}, {"dtype": "bfloat16"}, {"attn_implementation": "eager"}],
    ids=lambda options: next(iter(options)),
)
def test_however_it_is_loaded_positions_turn_alike(folder, options):
    """The reference's frequencies are a buffer that no file has: on transformers 5 it is left uninitialised."""
    expected = AutoModel.from_pretrained(folder)
    if "dtype" in options:
        expected = expected.bfloat16()
    model = AutoModel.from_pretrained(folder, **options)
    inputs = {"input_ids": torch.randint(0, 32, (1, 12, 7), generator=torch.Generator().manual_seed(0))}
    states = model(**inputs).last_hidden_state
    torch.testing.assert_close(states, expected(**inputs).last_hidden_state, atol=1e-5, rtol=1e-5)
    assert not dict(model.named_buffers())


def test_a_model_that_was_made_without_memory(folder):
    with torch.device("meta"):
        model = MossTTSNanoModel(MossTTSNanoConfig.from_pretrained(folder))
    model = model.to_empty(device="cpu")
    model.load_state_dict(AutoModel.from_pretrained(folder).state_dict())
    inputs = {"input_ids": torch.randint(0, 32, (1, 12, 7))}
    expected = AutoModel.from_pretrained(folder)(**inputs).last_hidden_state
    torch.testing.assert_close(model(**inputs).last_hidden_state, expected)


@pytest.mark.parametrize("says_it", ["gpt2_config", "top", "both"])
def test_a_text_table_that_others_made_longer(folder, tmp_path, says_it):
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True, ignore=shutil.ignore_patterns("golden*", "*.bin"))
    weights = load_file(folder / "model.safetensors")
    table = weights["transformer.wte.weight"]
    weights["transformer.wte.weight"] = torch.cat([table, table[:88]])
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((folder / "config.json").read_text())
    if says_it != "top":
        config["gpt2_config"]["vocab_size"] = 600
    if says_it != "gpt2_config":
        config["vocab_size"] = 600
    (tmp_path / "config.json").write_text(json.dumps(config))
    model = AutoModel.from_pretrained(tmp_path)
    assert model.config.vocab_size == 600 == len(model.text_lm_head.weight)
    assert model.text_lm_head.weight is model.transformer.wte.weight
    inputs = tiny_prompts(model.config, 9)
    inputs["input_ids"][0, 3, 0] = 599
    assert model.generate(**inputs, max_new_tokens=3, seed=0).shape[1] > 9


def test_a_text_table_is_made_longer(tmp_path):
    model = tiny_nano()
    model.resize_token_embeddings(188)
    assert model.config.vocab_size == 188
    model.save_pretrained(tmp_path)
    saved = json.loads((tmp_path / "config.json").read_text())
    assert saved["vocab_size"] == saved["gpt2_config"]["vocab_size"] == 188
    again = AutoModel.from_pretrained(tmp_path)
    assert torch.equal(again.transformer.wte.weight, model.transformer.wte.weight)
    assert again.text_lm_head.weight is again.transformer.wte.weight


def test_fields_under_the_releases_names():
    config = tiny_nano_config()
    assert config.gpt2_config is config.language_config
    assert (config.audio_pad_token_id, config.audio_assistant_slot_token_id) == (16, 98)
    fields = config.to_dict()
    assert "language_config" not in fields and "audio_pad_code" not in fields
    assert MossTTSNanoConfig(**fields).to_dict() == fields
    released = MossTTSNanoConfig()
    sizes = (released.vocab_size, released.hidden_size, released.n_vq, released.local_config.n_layer)
    assert sizes == (16384, 768, 16, 1)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"gpt2_config": {"n_embd": 32, "n_head": 5}}, "n_head"),
        ({"gpt2_config": {"vocab_size": 100, "position_embedding_type": "absolute"}}, "rope"),
        ({"audio_codebook_sizes": [16, 16, 16, 8]}, "16 codes"),
        ({"local_transformer_layers": 0}, "local_transformer_layers"),
        ({"audio_end_token_id": 100}, "audio_end_token_id"),
        ({"gpt2_config": {"n_layer": 10**6}}, "n_layer"),
    ],
)
def test_configurations_that_are_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        tiny_nano_config(**fields)


def test_one_voice_at_a_time(processor):
    voice = torch.zeros(3, 6, dtype=torch.long)
    with pytest.raises(ValueError, match="one voice, got 2"):
        processor(text="Hi.", reference=[voice, voice])
    # A list has an entry for each text.
    assert processor(text=["Hi.", "Hello."], reference=[voice, None])["input_ids"].shape[0] == 2


def test_a_script_has_one_speaker(processor):
    voice = torch.zeros(3, 6, dtype=torch.long)
    expected = processor(text="One two.", reference=voice)["input_ids"]
    assert torch.equal(processor(script="[S1] One two.", voices=[voice])["input_ids"], expected)
    with pytest.raises(ValueError, match="speaks with one voice"):
        processor(script="[S1] One. [S2] Two.")


@pytest.mark.parametrize("codes", [torch.full((3, 6), 32), torch.full((3, 4), 33), torch.full((3, 3), -1)])
def test_codes_that_are_none(processor, codes):
    with pytest.raises(ValueError, match="between 0 and 31"):
        processor(text="Hi.", reference=codes)


def test_a_text_is_normalised_once(processor):
    plain = processor(text="hello world")["input_ids"]
    assert torch.equal(plain, processor(text="hello   world。")["input_ids"])
    # Chunks are spoken as they are cut, without a mark where there was none.
    chunks = processor.split_text("one two three four five six seven", max_tokens=8)
    assert len(chunks) > 1
    ids = processor(text=chunks[:1])["input_ids"][0, :, 0].tolist()
    assert chunks[0][-1].isalpha() and processor.tokenizer.decode(ids[-7:-6]).strip() in chunks[0]


def test_chunks_are_joined_with_pauses(processor):
    waves = [torch.ones(2, 10), torch.ones(2, 5)]
    joined = processor.join_chunks(["Hello.", "Bye."], waves)
    assert joined.shape == (2, 15 + 19200) and joined.sum() == 30
    assert processor.join_chunks(["One of more than four words.", "Bye."], waves).shape == (2, 15 + 11520)
    for chunks in (["Hello."], []):
        with pytest.raises(ValueError, match="chunks"):
            processor.join_chunks(chunks, waves)
    with pytest.raises(ValueError, match="max_tokens"):
        processor.split_text("Hello.", max_tokens=-1)


@pytest.mark.parametrize("text", ["a" * 20_000, "。" * 20_000, "word " * 4_000, "中" * 20_000], ids="a。w中")
def test_long_texts_are_split_in_chunks_that_fit(processor, text):
    chunks = processor.split_text(text, max_tokens=20)
    assert max(len(processor.tokenizer.encode_text(chunk)) for chunk in chunks) <= 20


def test_copies_of_a_processor_speak_text_alike(processor):
    expected = processor(text="Say <|im_end|>.")["input_ids"]
    for other in (copy.deepcopy(processor), pickle.loads(pickle.dumps(processor))):
        assert torch.equal(other(text="Say <|im_end|>.")["input_ids"], expected)


def test_a_saved_processor_is_the_same(folder, processor, tmp_path):
    AutoModel.from_pretrained(folder).save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    again = AutoProcessor.from_pretrained(tmp_path)
    assert (tmp_path / "tokenizer.model").read_bytes() == (folder / "tokenizer.model").read_bytes()
    assert json.loads((tmp_path / "tokenizer_config.json").read_text())["tokenizer_class"] == (
        "MossTTSNanoSentencePieceTokenizer"
    )
    assert torch.equal(again(text="Hi <pad>.")["input_ids"], processor(text="Hi <pad>.")["input_ids"])


def test_speech_of_fewer_codebooks_is_that_of_the_first(processor):
    """In a batch too where others have more."""
    codec = tiny_stereo_codec()
    processor = MossTTSNanoProcessor(processor.tokenizer, codec, tiny_nano_config(sampling_rate=16))
    codes = torch.randint(0, 16, (5, 4))
    few = codes.clone()
    few[:, 2:] = 16
    whole, padded, first = processor.decode([codes, few, codes[:, :2]])
    torch.testing.assert_close(padded, first)
    assert not torch.allclose(whole, first)
