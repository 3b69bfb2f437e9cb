"""What the reference computed with a small checkpoint, and what is saved of it."""

import json

import pytest
import torch
from checkpoints import assert_same_tensors, released_and_saved_config
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, AutoModelForTextToWaveform, AutoProcessor

from transformers_moss_tts import (
    MossTTSNanoConfig,
    MossTTSNanoModel,
    MossTTSNanoProcessor,
    MossTTSNanoSentencePieceTokenizer,
)
from transformers_moss_tts.compatibility import CACHE_NAME
from transformers_moss_tts.moss_tts import sampling
from transformers_moss_tts.moss_tts.text_normalization import normalize_sentences


CLOSE = {"atol": 1e-4, "rtol": 1e-4}
GREEDY = {"do_sample": False, "audio_repetition_penalty": 1.0}
PROMPTS = "plain plain_zh short newlines characters clone clone_zh continuation batch batch_continuation".split()
REPLIES = "plain plain_zh clone continuation batch clone_few plain_penalty batch_penalty clone_limit".split()


@pytest.fixture(scope="module")
def folder(golden_folder):
    return golden_folder / "moss_tts_nano"


@pytest.fixture(scope="module")
def tensors(folder):
    return load_file(folder / "golden.safetensors")


@pytest.fixture(scope="module")
def cases(folder):
    return json.loads((folder / "golden.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def model(folder):
    return AutoModel.from_pretrained(folder).eval()


@pytest.fixture(scope="module")
def processor(folder, golden_folder):
    codec = golden_folder / "moss_audio_tokenizer_nano"
    return AutoProcessor.from_pretrained(folder, codec_path=codec, normalize_inputs=False)


@pytest.fixture
def fill(cases, tensors):
    def fill(value):
        """Codes in place of their names."""
        if isinstance(value, str) and value in cases["codes"]:
            return tensors[cases["codes"][value]]
        if isinstance(value, list):
            return [fill(item) for item in value]
        return {key: fill(item) for key, item in value.items()} if isinstance(value, dict) else value

    return fill


def test_the_golden_cases_are_all_here(cases):
    # Codes past the first ones are pads there, which `n_vq_for_inference` makes of them; and what spells tokens.
    assert {*PROMPTS, "special", "clone_few", "continuation_few"} == set(cases["processor"])
    assert {*REPLIES, "nothing", "sampled.library", "sampled.apps"} == set(cases["generate"])


def test_auto_classes_know_the_architecture(folder, processor):
    assert type(AutoConfig.from_pretrained(folder)) is MossTTSNanoConfig
    for door in (AutoModelForTextToWaveform, AutoModelForCausalLM, AutoModel):
        assert type(door.from_pretrained(folder, trust_remote_code=door is AutoModel)) is MossTTSNanoModel
    assert type(processor) is MossTTSNanoProcessor
    assert type(processor.tokenizer) is MossTTSNanoSentencePieceTokenizer


def test_tokenizer(cases, processor):
    for text, ids in cases["tokenizer"].items():
        assert processor.tokenizer.encode(text, add_special_tokens=False) == ids


@pytest.mark.parametrize("name", PROMPTS)
def test_processor(cases, tensors, processor, fill, name):
    case = cases["processor"][name]
    inputs = processor(conversations=fill(case["conversations"]), mode=case["mode"])
    for key in ("input_ids", "attention_mask"):
        assert torch.equal(inputs[key].long(), tensors[f"processor.{name}.{key}"].long())


@pytest.mark.parametrize("name", ["clone", "continuation"])
def test_codes_of_fewer_codebooks(cases, tensors, processor, fill, name):
    case = cases["processor"][name]
    conversations = fill(case["conversations"])
    for message in conversations[0]:
        for key in ("reference", "audio_codes_list"):
            if key in message:
                message[key] = [codes[:, :3] for codes in message[key]]
    inputs = processor(conversations=conversations, mode=case["mode"])
    assert torch.equal(inputs["input_ids"], tensors[f"processor.{name}_few.input_ids"])


def test_text_that_spells_tokens_stays_text(cases, tensors, processor):
    """The reference takes them for tokens of the prompt."""
    text = cases["processor"]["special"]["calls"][0]["text"]
    ids = processor(text=text)["input_ids"][0, :, 0].tolist()
    plain = processor(text="x")["input_ids"][0, :, 0].tolist()
    start, end = len(plain) - 6 - len(processor.tokenizer.encode("x")), -6
    said = ids[start:end]
    assert (ids[:start], ids[end:]) == (plain[:start], plain[end:])
    assert min(said) > 14 and processor.tokenizer.decode(said) == text
    fullwidth = text.replace("<|", "＜｜").replace("|>", "｜＞")
    assert processor(text=fullwidth)["input_ids"].tolist() == processor(text=text)["input_ids"].tolist()


def test_text_normalization(golden_folder):
    lines = (golden_folder / "text" / "normalize_nano.jsonl").read_text(encoding="utf-8").splitlines()
    for case in map(json.loads, lines):
        assert normalize_sentences(case["input"]) == case["output"]
        assert normalize_sentences(case["output"]) == case["output"]


def test_chunks(cases, processor):
    for case in cases["chunks"]:
        assert processor.split_text(case["text"], case["max_tokens"]) == case["spoken"]


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_forward(tensors, folder, attention):
    model = AutoModel.from_pretrained(folder, attn_implementation=attention)
    mask = tensors["processor.batch.attention_mask"].bool()
    outputs = model(
        input_ids=tensors["processor.batch.input_ids"], attention_mask=mask, output_hidden_states=True, use_cache=True
    )
    torch.testing.assert_close(outputs.last_hidden_state[mask], tensors["forward.global_hidden"][mask], **CLOSE)
    for states, expected in zip(outputs.hidden_states, tensors["forward.layers"], strict=True):
        torch.testing.assert_close(states[mask], expected[mask], **CLOSE)
    slot = model.config.audio_assistant_gen_slot_token_id
    step = torch.cat([torch.tensor([slot]), tensors["codes.ref1"][0]]).expand(3, 1, -1)
    text, audio = model.score_labels(outputs.last_hidden_state[:, -1:], step)
    torch.testing.assert_close(text[:, 0], tensors["forward.text_logits"], **CLOSE)
    for k in range(6):
        torch.testing.assert_close(audio[:, 0, k], tensors[f"forward.audio_logits.{k}"], **CLOSE)
    following = model(
        input_ids=step,
        attention_mask=torch.nn.functional.pad(mask, (0, 1), value=True),
        cache=getattr(outputs, CACHE_NAME),
    )
    torch.testing.assert_close(following.last_hidden_state, tensors["forward.next_hidden"], **CLOSE)


@pytest.mark.parametrize("batch", ["a", "b"])
@pytest.mark.parametrize("weights", ["equal", "text1_audio32"])
def test_training_step(cases, tensors, model, batch, weights):
    model.zero_grad()
    outputs = model(
        input_ids=tensors[f"train.{batch}.input_ids"],
        attention_mask=tensors[f"train.{batch}.attention_mask"].bool(),
        labels=tensors[f"train.{batch}.labels"],
        channelwise_loss_weight=cases["train"]["weights"][weights],
    )
    outputs.loss.backward()
    close = {"atol": 0, "rtol": 1e-4}
    torch.testing.assert_close(outputs.loss[None], tensors[f"train.{batch}.loss.{weights}"], **close)
    torch.testing.assert_close(outputs.channel_losses, tensors[f"train.{batch}.head_losses"], **CLOSE)
    parts = {part: model.get_submodule(part) for part in ("transformer.wte", "transformer.h.0", "audio_embeddings.0")}
    parts |= {"": model, "local_transformer.h.0": model.local_transformer.h[0]}
    for part, module in parts.items():
        norm = torch.stack([weight.grad.norm() for weight in module.parameters() if weight.grad is not None]).norm()
        name = f"train.{batch}.grad_norm.{weights}" + f".{part}" * bool(part)
        torch.testing.assert_close(norm[None], tensors[name], **close)
    model.zero_grad()


@pytest.mark.parametrize("name", REPLIES)
def test_greedy_generation(cases, tensors, model, name):
    case = cases["generate"][name]
    inputs = {key: tensors[f"processor.{case['prompt']}.{key}"] for key in ("input_ids", "attention_mask")}
    options = {"max_new_tokens": case["max_new_frames"], "n_vq_for_inference": case.get("nq")}
    options |= {"audio_repetition_penalty": case.get("audio_repetition_penalty", 1.0), "do_sample": False}
    outputs = model.generate(**inputs, **options, return_dict_in_generate=True)
    for codes, expected, length in zip(outputs.audio_codes, tensors[f"generate.{name}"], case["lengths"], strict=True):
        assert torch.equal(codes, expected[:length, : case.get("nq")])
    ended = outputs.sequences[:, inputs["input_ids"].shape[1] :]
    assert (ended[..., 1 + case.get("nq", 6) :] == model.config.audio_pad_code).all()


def test_fewer_codebooks_of_a_whole_prompt(tensors, model):
    inputs = {key: tensors[f"processor.clone.{key}"] for key in ("input_ids", "attention_mask")}
    outputs = model.generate(**inputs, **GREEDY, n_vq_for_inference=3, max_new_tokens=40, return_dict_in_generate=True)
    assert torch.equal(outputs.audio_codes[0], tensors["generate.clone_few"][0, :, :3])


def sample_in_order_of_tokens(logits, temperature, top_k=None, top_p=None, uniforms=None, keeps_ties=False):
    """As [`sample_tokens`], but drawn from all tokens in their order, as the reference does it."""
    scores = logits / temperature
    scores = scores.masked_fill(scores < scores.topk(min(top_k, scores.shape[-1])).values[..., -1:], float("-inf"))
    ordered, order = scores.sort(descending=True, dim=-1)
    before = ordered.softmax(-1).cumsum(-1) - ordered.softmax(-1)
    removed = torch.zeros_like(before, dtype=torch.bool).scatter(-1, order, before > top_p)
    probabilities = scores.masked_fill(removed, float("-inf")).softmax(-1)
    return torch.multinomial(probabilities.flatten(0, -2), 1).view(logits.shape[:-1])


@pytest.mark.parametrize("name", ["library", "apps"])
def test_sampled_generation(cases, tensors, model, monkeypatch, name):
    monkeypatch.setattr(sampling, "sample_tokens", sample_in_order_of_tokens)
    options = dict(cases["generate"][f"sampled.{name}"])
    lengths, prompt = options.pop("lengths"), options.pop("prompt")
    del options["seed"]
    inputs = {key: tensors[f"processor.{prompt}.{key}"] for key in ("input_ids", "attention_mask")}
    torch.manual_seed(1234)
    outputs = model.generate(
        **inputs, **options | {"max_new_tokens": options.pop("max_new_frames")}, return_dict_in_generate=True
    )
    for codes, expected, length in zip(outputs.audio_codes, tensors[f"sampled.{name}"], lengths, strict=True):
        assert torch.equal(codes, expected[:length])


@pytest.mark.parametrize("name", ["library", "apps", "tie", "narrow", "wide"])
def test_sampling(cases, tensors, monkeypatch, name):
    options = dict(cases["sampling"][name])
    logits, history = tensors["sampling.logits"], tensors["sampling.history"].clamp(min=0)
    seen = sampling.TokenHistory(history[..., None], 33, [0])
    logits = seen.penalize(logits[:, None], options.pop("repetition_penalty"))[:, 0]
    drawn = []

    def draw(probabilities, *args, **kwargs):
        drawn.append(probabilities)
        return torch.full((len(probabilities), 1), len(drawn) - 1)

    monkeypatch.setattr(torch, "multinomial", draw)
    options["keeps_ties"] = MossTTSNanoModel.keeps_ties
    tokens = torch.stack([sampling.sample_tokens(logits, **options) for _ in range(32)], dim=1)
    probabilities = torch.zeros(3, 32).scatter(1, tokens, drawn[0])
    torch.testing.assert_close(probabilities, tensors[f"sampling.probs.{name}"], **CLOSE)


def test_defaults_are_those_of_the_applications(cases, model):
    defaults = dict(cases["defaults"]["apps"])
    defaults["max_new_tokens"] = defaults.pop("max_new_frames")
    del defaults["voice_clone_max_text_tokens"]
    assert {name: getattr(model.generation_config, name) for name in defaults} == defaults


@pytest.mark.parametrize("name", ["clone", "long", "continuation", "few"])
def test_end_to_end(cases, tensors, golden_folder, model, processor, name):
    call = cases["end_to_end"][name]["call"]
    recording = load_file(golden_folder / "moss_audio_tokenizer_nano" / "golden.safetensors")["wav.mono"]
    reference = {"array": recording[0].numpy(), "sampling_rate": 48000}
    if call["mode"] == "continuation":
        reply = processor.build_assistant_message([reference])
        user = processor.build_user_message(text=call["prompt_text"] + call["text"])
        chunks, inputs = [call["text"]], processor(conversations=[[user, reply]], mode="continuation")
    else:
        chunks = processor.split_text(call["text"], call.get("voice_clone_max_text_tokens", 75))
        inputs = processor(text=list(chunks), reference=reference)
        codes = inputs["input_ids"][0][inputs["input_ids"][0, :, 0] == 8][:, 1:]
        assert torch.equal(codes, tensors["end_to_end.reference_codes"])
    assert chunks == cases["end_to_end"][name]["spoken"]
    options = {"max_new_tokens": call["max_new_frames"], "n_vq_for_inference": call.get("nq")}
    outputs = model.generate(**inputs, **GREEDY, **options, return_dict_in_generate=True)
    codes = torch.cat(outputs.audio_codes)
    assert torch.equal(codes, tensors[f"end_to_end.{name}.codes"][:, : call.get("nq")])
    waveform = processor.join_chunks(chunks, processor.decode(outputs))
    torch.testing.assert_close(waveform, tensors[f"end_to_end.{name}.waveform"], **CLOSE)
    # Sequences and codes say it too.
    prompt_length = inputs["input_ids"].shape[1]
    again = processor.decode(outputs.sequences.as_subclass(torch.Tensor), prompt_length=prompt_length)
    torch.testing.assert_close(processor.join_chunks(chunks, again), waveform)


def test_a_reply_without_frames(cases, model, processor):
    inputs = processor(text=cases["generate"]["nothing"]["call"]["text"])
    outputs = model.generate(**inputs, **GREEDY, return_dict_in_generate=True)
    assert outputs.audio_codes[0].shape == (0, 6)
    assert processor.decode(outputs)[0].shape == (2, 0)


def test_the_pickle_is_the_same_checkpoint(folder, model, tmp_path):
    (tmp_path / "config.json").write_bytes((folder / "config.json").read_bytes())
    (tmp_path / "pytorch_model.bin").write_bytes((folder / "pytorch_model.bin").read_bytes())
    for name, weight in AutoModel.from_pretrained(tmp_path).state_dict().items():
        assert torch.equal(weight, model.state_dict()[name])


def test_what_is_saved_is_what_was_loaded(folder, tmp_path):
    AutoModel.from_pretrained(folder, dtype=torch.bfloat16).save_pretrained(tmp_path)
    assert_same_tensors(folder, tmp_path)
    released, saved = released_and_saved_config(folder, tmp_path)
    for key in (
        *(
            "architectures",
            "model_type",
            "n_vq",
            "audio_vocab_size",
            "hidden_size",
            "vocab_size",
            "attn_implementation",
        ),
        *("local_transformer_layers", "tie_word_embeddings", "tokenizer_class"),
        *(key for key in released if key.startswith(("audio_", "im_", "pad_"))),
    ):
        assert saved[key] == released[key]
    backbone = {key: saved["gpt2_config"][key] for key in ("n_embd", "n_layer", "n_head", "n_inner", "rope_base")}
    assert backbone.items() <= released["gpt2_config"].items()
    assert type(AutoModel.from_pretrained(tmp_path)) is MossTTSNanoModel
