"""The processor: three doors to one prompt, text that stays text, audio in and out, saving, bad input."""

import json

import numpy as np
import pytest
import torch
from tiny_models import GOLDEN_TTS, golden_processor, small_codec
from transformers import AutoProcessor

from transformers_moss_tts import MossTTSDelayProcessor
from transformers_moss_tts.audio_io import load_audio, normalize_loudness, save_audio


RATE = 24000


@pytest.fixture(scope="module")
def codec():
    return small_codec()


@pytest.fixture(scope="module")
def processor(codec):
    return golden_processor(codec)


@pytest.fixture(scope="module")
def bare():
    return golden_processor()


@pytest.fixture(scope="module")
def codes():
    torch.manual_seed(0)
    return torch.randint(0, 32, (7, 8)), torch.randint(0, 32, (4, 8))


@pytest.fixture(scope="module")
def recording(tmp_path_factory):
    path = tmp_path_factory.mktemp("audio") / "voice.wav"
    time = np.arange(RATE) / RATE
    save_audio((0.2 * np.sin(2 * np.pi * 220 * time)).astype(np.float32), path, RATE)
    return path


def same(first, second):
    return torch.equal(first["input_ids"], second["input_ids"]) and torch.equal(
        first["attention_mask"], second["attention_mask"]
    )


def test_three_doors_to_the_same_prompt(bare, codes):
    fields = {"language": "English", "tokens": 25, "instruction": "Calm.", "quality": "high", "ambient_sound": "rain"}
    by_fields = bare(text="Hello there.", reference=codes[0], **fields)
    content = [{"type": "text", "text": "Hello there."}, {"type": "audio", "audio": codes[0]}]
    by_chat = bare.apply_chat_template([{"role": "user", "content": content, **fields}])
    by_chat_options = bare.apply_chat_template([{"role": "user", "content": content}], **fields)
    message = bare.build_user_message(text="Hello there.", reference=[codes[0]], **fields)
    by_message = bare([[message]], mode="generation")
    for other in (by_chat, by_chat_options, by_message, bare(conversations=message), bare([message])):
        assert same(by_fields, other)


def test_three_doors_to_the_same_continuation(bare, codes):
    by_fields = bare(
        [[bare.build_user_message(text="Hello."), bare.build_assistant_message([codes[0]])]], mode="continuation"
    )
    chat = [
        {"role": "user", "content": "Hello."},
        {"role": "assistant", "content": [{"type": "audio", "audio": codes[0]}]},
    ]
    assert same(bare.apply_chat_template(chat, continue_final_message=True), by_fields)
    whole = bare([chat_to_messages(bare, codes)], mode="computing_loss")
    assert same(bare.apply_chat_template(chat), whole)
    assert by_fields["input_ids"][0, -1, 0] == bare.model_config.audio_assistant_gen_slot_token_id
    assert whole["input_ids"].shape[1] > by_fields["input_ids"].shape[1]


def chat_to_messages(processor, codes):
    return [processor.build_user_message(text="Hello."), processor.build_assistant_message([codes[0]])]


def test_many_texts(bare, codes):
    batch = bare(
        text=["One.", "Two and a half."],
        reference=[None, [codes[0], None, codes[1]]],
        language="English",
        tokens=[5, None],
    )
    first = bare(text="One.", language="English", tokens=5)
    second = bare(text="Two and a half.", reference=[codes[0], None, codes[1]], language="English")
    for index, single in enumerate((first, second)):
        length = single["input_ids"].shape[1]
        assert torch.equal(batch["input_ids"][index, -length:], single["input_ids"][0])
        assert batch["attention_mask"][index].sum() == length
    padding = batch["input_ids"][0][~batch["attention_mask"][0]]
    assert (padding[:, 0] == bare.model_config.pad_token_id).all() and (padding[:, 1:] == 32).all()


def test_duration_is_frames(bare):
    assert same(bare(text="Hi.", duration_seconds=2.0), bare(text="Hi.", tokens=25))
    assert same(bare(text="Hi.", duration_seconds=0.01), bare(text="Hi.", tokens=1))


def test_text_is_normalized_once(bare):
    assert same(bare(text="Hello   world !"), bare(text="Hello world!"))


def special_strings():
    tokens = [token["content"] for token in json.loads((GOLDEN_TTS / "tokenizer.json").read_text())["added_tokens"]]
    assert len(tokens) == 8
    return [*tokens, "<|audio|>"]


@pytest.mark.parametrize("spelled", special_strings())
@pytest.mark.parametrize("field", ["text", "instruction", "language", "quality", "sound_event", "ambient_sound"])
def test_special_tokens_in_text_stay_text(bare, codes, spelled, field):
    harmless = bare(text="hello", reference=codes[0], **({} if field == "text" else {field: "x"}))
    fields = {"text": "hello", field: f"one {spelled} two {spelled}{spelled}"}
    inputs = bare(**fields, reference=codes[0])
    tokens, config = inputs["input_ids"][0, :, 0], bare.model_config
    for name in (
        "im_start_token_id",
        "im_end_token_id",
        "audio_start_token_id",
        "audio_end_token_id",
        "audio_user_slot_token_id",
        "audio_assistant_gen_slot_token_id",
        "audio_assistant_delay_slot_token_id",
        "pad_token_id",
    ):
        token_id = getattr(config, name)
        assert (tokens == token_id).sum() == (harmless["input_ids"][0, :, 0] == token_id).sum(), name
    assert (inputs["input_ids"][0, :, 1:] != 32).sum() == codes[0].numel()
    # What the user wrote is still there.
    plain = bare.tokenizer.decode([token for token in tokens.tolist() if token < 384])
    assert f"one {spelled} two {spelled}{spelled}" in plain


def test_special_tokens_in_raw_content_stay_text(bare, codes):
    message = {"role": "user", "content": "say <|im_end|> <|audio|> now", "audio_codes_list": [codes[0]]}
    tokens = bare([message])["input_ids"][0, :, 0]
    assert (tokens == bare.model_config.im_end_token_id).sum() == 1
    assert (tokens == bare.model_config.audio_start_token_id).sum() == 1


def test_neighbouring_audio_is_one_span(bare, codes):
    user = bare.build_user_message(text="Hello.")
    split = [user, bare.build_assistant_message(list(codes), content="<|audio|> \n<|audio|>")]
    joined = [user, bare.build_assistant_message([torch.cat(codes)])]
    assert same(bare([split], mode="computing_loss"), bare([joined], mode="computing_loss"))
    apart = [user, bare.build_assistant_message(list(codes), content="<|audio|>and<|audio|>")]
    tokens = bare([apart], mode="computing_loss")["input_ids"][0, :, 0]
    assert (tokens == bare.model_config.audio_start_token_id).sum() == 2


def test_recordings_are_levelled_and_encoded(processor, codec, recording):
    waveform = torch.from_numpy(normalize_loudness(load_audio(recording, RATE)))
    with torch.no_grad():
        expected = codec.encode(waveform[None])
    expected = expected.audio_codes[:, 0, : expected.audio_codes_lengths[0]].T
    assert expected.shape == (12, 8)
    array = load_audio(recording, 16000)
    for audio in (recording, str(recording), recording.read_bytes(), {"path": str(recording)}):
        assert torch.equal(processor.encode_audio([audio])[0], expected)
        assert same(processor(text="Hi.", reference=audio), processor(text="Hi.", reference=expected))
    by_array = processor(text="Hi.", reference=array, sampling_rate=16000)
    by_dict = processor(text="Hi.", reference={"array": array, "sampling_rate": 16000})
    assert same(by_array, by_dict)


def test_recordings_of_unequal_length_in_one_batch(processor, recording):
    long = {"array": np.tile(load_audio(recording, RATE), 2), "sampling_rate": RATE}
    together = processor.encode_audio([long, recording])
    assert torch.equal(together[1], processor.encode_audio([recording])[0])
    assert torch.equal(together[0], processor.encode_audio([long])[0])


def test_decode(processor, codec, codes):
    with torch.no_grad():
        expected = [codec.decode(item.T).audio[0, 0] for item in codes]
    torch.testing.assert_close(processor.decode(codes[0]), expected[0], atol=1e-5, rtol=1e-5)
    for decoded in (processor.decode(list(codes)), processor.batch_decode(list(codes))):
        assert [len(wave) for wave in decoded] == [7 * 1920, 4 * 1920]
        for wave, reference in zip(decoded, expected):
            torch.testing.assert_close(wave, reference, atol=1e-5, rtol=1e-5)


def test_decode_of_long_codes(processor, codec):
    torch.manual_seed(1)
    codes = torch.randint(0, 32, (600, 8))  # 48 s; the window is 10 s
    expected = codec.decode(codes.T).audio[0, 0].detach()
    torch.testing.assert_close(processor.decode(codes), expected, atol=1e-4, rtol=1e-4)


def test_decode_of_sequences(processor, codes):
    messages = chat_to_messages(processor, codes)
    sequence = processor([messages], mode="computing_loss")["input_ids"]
    expected = processor.decode(codes[0])
    torch.testing.assert_close(processor.decode(sequence[0]), expected)
    (decoded,) = processor.decode(sequence)
    torch.testing.assert_close(decoded, expected)
    prompt_length = processor([messages], mode="continuation")["input_ids"].shape[1] - 4
    trimmed = processor.decode(sequence[0], prompt_length=prompt_length)
    # Three of the seven frames were the prompt's: the rest sounds as it does in the whole.
    torch.testing.assert_close(trimmed, expected[3 * 1920 :])


def test_no_audio_gives_no_samples(processor):
    assert processor.decode(torch.zeros(0, 8, dtype=torch.long)).shape == (0,)
    prompt = processor(text="Hello.")["input_ids"]
    assert processor.decode(prompt)[0].shape == (0,)


def test_save_audio(processor, codes, tmp_path):
    waves = processor.decode(list(codes))
    processor.save_audio(waves, [tmp_path / "a.wav", tmp_path / "b.flac"])
    processor.save_audio(waves[0], tmp_path / "c.wav")
    assert len(load_audio(tmp_path / "a.wav", RATE)) == len(load_audio(tmp_path / "c.wav", RATE)) == 7 * 1920
    with pytest.raises(ValueError, match="whole number of Hz from 1 to 768000, got 0"):
        processor.save_audio(waves[0], tmp_path / "c.wav", sampling_rate=0)
    with pytest.raises(ValueError, match="2 waveforms for 1 paths"):
        processor.save_audio(waves, tmp_path / "d.wav")


def test_save_and_load_with_the_codec_by_name(codec, recording, tmp_path):
    codec.save_pretrained(tmp_path / "codec")
    processor = golden_processor(codec, codec_path="codec", max_reference_duration=20.0)
    processor.save_pretrained(tmp_path)
    saved = json.loads((tmp_path / "processor_config.json").read_text())
    assert saved["audio_tokenizer_name_or_path"] == "codec"
    for load in (MossTTSDelayProcessor.from_pretrained, AutoProcessor.from_pretrained):
        loaded = load(tmp_path)
        assert type(loaded) is MossTTSDelayProcessor
        assert loaded.max_reference_duration == 20.0
        assert same(loaded(text="Hi.", reference=recording), processor(text="Hi.", reference=recording))
    loaded.save_pretrained(tmp_path / "again")
    again = json.loads((tmp_path / "again" / "processor_config.json").read_text())
    assert again == saved | {"audio_tokenizer_name_or_path": "../codec"}


def test_codec_path_overrides_the_name(tmp_path, recording):
    small_codec(1).save_pretrained(tmp_path / "other")
    golden_processor(codec_path="nowhere").save_pretrained(tmp_path)
    loaded = AutoProcessor.from_pretrained(tmp_path, codec_path=str(tmp_path / "other"))
    assert torch.equal(
        loaded.encode_audio([recording])[0], golden_processor(small_codec(1)).encode_audio([recording])[0]
    )
    with pytest.raises(OSError):
        AutoProcessor.from_pretrained(tmp_path, codec_path=str(tmp_path / "missing"))


def test_without_a_codec_prompts_come_from_codes(tmp_path, codes, recording, caplog):
    golden_processor(codec_path="nowhere").save_pretrained(tmp_path)
    with caplog.at_level("WARNING"):
        loaded = AutoProcessor.from_pretrained(tmp_path)
    assert "'nowhere' could not be loaded" in caplog.text
    assert same(loaded(text="Hi.", reference=codes[0]), golden_processor()(text="Hi.", reference=codes[0]))
    for call in (lambda: loaded(text="Hi.", reference=recording), lambda: loaded.decode(codes[0])):
        with pytest.raises(ValueError, match="codec_path"):
            call()


def test_the_reference_limit(bare):
    codes = torch.zeros(376, 8, dtype=torch.long)
    bare(text="Hi.", reference=codes[:375])
    with pytest.raises(ValueError, match=r"30\.1 s; at most 30 s"):
        bare(text="Hi.", reference=codes)
    golden_processor(max_reference_duration=40.0)(text="Hi.", reference=codes)


USER = {"role": "user", "text": "Hello."}
CODES = torch.zeros(3, 8, dtype=torch.long)
ASSISTANT = {"role": "assistant", "audio_codes_list": [CODES]}

BAD_INPUT = {
    "empty text": (lambda p: p(text=""), ValueError, "empty"),
    "blank text": (lambda p: p(text=" \n "), ValueError, "empty"),
    "one empty text of two": (lambda p: p(text=["Hi.", ""]), ValueError, "empty"),
    "no text": (lambda p: p(), ValueError, "nothing to say"),
    "no texts": (lambda p: p(text=[]), ValueError, "empty"),
    "a number for text": (lambda p: p(text=5), TypeError, "got int"),
    "tokens 0": (lambda p: p(text="Hi.", tokens=0), ValueError, "tokens"),
    "negative tokens": (lambda p: p(text="Hi.", tokens=-5), ValueError, "-5"),
    "half a token": (lambda p: p(text="Hi.", tokens=2.5), ValueError, "whole number"),
    "duration 0": (lambda p: p(text="Hi.", duration_seconds=0), ValueError, "above 0"),
    "tokens and duration": (lambda p: p(text="Hi.", tokens=5, duration_seconds=1.0), ValueError, "not both"),
    "a language too few": (lambda p: p(text=["a", "b"], language=["English"]), ValueError, "1 entries for 2 texts"),
    "a reference too many": (lambda p: p(text=["a"], reference=[None, None]), ValueError, "2 entries for 1 texts"),
    "codes too high": (lambda p: p(text="Hi.", reference=CODES + 32), ValueError, "between 0 and 31"),
    "codes of another codec": (lambda p: p(text="Hi.", reference=CODES[:, :4]), ValueError, r"\(frames, 8\)"),
    "a missing file": (lambda p: p(text="Hi.", reference="no.wav"), ValueError, "no.wav"),
    "an array without its rate": (
        lambda p: p(text="Hi.", reference=np.zeros(9000)),
        ValueError,
        "has no sampling rate",
    ),
    "unknown mode": (lambda p: p(text="Hi.", mode="speak"), ValueError, "generation, continuation"),
    "unknown role": (lambda p: p([[{"role": "system", "text": "a"}]]), ValueError, "'system'"),
    "no role": (lambda p: p([[{"text": "a"}]]), TypeError, "role"),
    "generation that ends with the assistant": (lambda p: p([[USER, ASSISTANT]]), ValueError, "ends with user"),
    "continuation that ends with the user": (lambda p: p([[USER]], mode="continuation"), ValueError, "assistant"),
    "two user messages": (lambda p: p([[USER, USER]]), ValueError, "alternates"),
    "no conversations": (lambda p: p(conversations=[]), ValueError, "empty"),
    "no messages": (lambda p: p([[]]), ValueError, "no messages"),
    "fields beside conversations": (lambda p: p([[USER]], language="English"), ValueError, "language"),
    "a placeholder too many": (
        lambda p: p([[USER, ASSISTANT | {"content": "<|audio|>a<|audio|>"}]], mode="computing_loss"),
        ValueError,
        "2 <|audio|> but there are 1",
    ),
    "continuation of text": (
        lambda p: p([[USER, ASSISTANT | {"content": "<|audio|>end"}]], mode="continuation"),
        ValueError,
        "must end with audio",
    ),
    "numpy tensors": (lambda p: p(text="Hi.", return_tensors="np"), ValueError, "pt"),
    "chat of unknown content": (
        lambda p: p.apply_chat_template([{"role": "user", "content": [{"type": "image"}]}]),
        ValueError,
        "image",
    ),
    "chat with audio without source": (
        lambda p: p.apply_chat_template([{"role": "user", "content": [{"type": "audio"}]}]),
        ValueError,
        "'audio', 'array', 'path', 'url'",
    ),
    "chat as a string": (lambda p: p.apply_chat_template([USER], tokenize=False), ValueError, "tokenize"),
    "chat with an unknown option": (
        lambda p: p.apply_chat_template([{"role": "user", "content": "a"}], speed=2),
        TypeError,
        "speed",
    ),
    "decode of a number": (lambda p: p.decode(3), TypeError, "got int"),
    "decode of other streams": (lambda p: p.decode(torch.zeros(1, 5, 7, dtype=torch.long)), ValueError, "streams"),
    "codec of another rate": (
        lambda p: golden_processor(_other_codec(sampling_rate=48000)),
        ValueError,
        "48000 Hz",
    ),
    "codec of another codebook size": (lambda p: golden_processor(small_codec(codebook_size=64)), ValueError, "64"),
    "codec of too few codebooks": (
        lambda p: golden_processor(small_codec(num_quantizers=4)),
        ValueError,
        "4 codebooks, the model needs 8",
    ),
}


def _other_codec(**changes):
    codec = small_codec()
    for name, value in changes.items():
        setattr(codec.config, name, value)
    return codec


@pytest.mark.parametrize("name", BAD_INPUT)
def test_bad_input(processor, name):
    call, error, message = BAD_INPUT[name]
    with pytest.raises(error, match=message.replace("|", r"\|") if "<|" in message else message):
        call(processor)
