"""Generation: batches, sampling, limits, streamers, transformers' own paths, and what is refused."""

import threading

import pytest
import torch
from host_reads import CountHostReads
from tiny_models import tiny_prompts, tiny_tts
from transformers import CompileConfig, GenerationConfig, StaticCache, StoppingCriteria, StoppingCriteriaList
from transformers.generation.streamers import BaseStreamer

from transformers_moss_tts import MossTTSDelayModel, MossTTSFrameStreamer
from transformers_moss_tts.compatibility import CACHE_NAME
from transformers_moss_tts.moss_tts_delay.delay_pattern import apply_delay_pattern, undo_delay_pattern


class LeaningHead(torch.nn.Linear):
    """A text head that likes to start audio, to stay in it for a while, and to end turns."""

    def forward(self, hidden_states):
        return super().forward(hidden_states) + self.leaning


def talkative(model: MossTTSDelayModel, **leanings: float) -> MossTTSDelayModel:
    """Random weights hardly ever begin or end anything."""
    leanings = {"audio_start": 7.0, "audio_assistant_gen_slot": 3.0, "im_end": 3.0} | leanings
    head = LeaningHead(model.config.hidden_size, model.config.vocab_size, bias=False)
    head.load_state_dict(model.text_head.state_dict())
    head.leaning = torch.zeros(model.config.vocab_size)
    for name, value in leanings.items():
        head.leaning[getattr(model.config, f"{name}_token_id")] = value
    model.text_head = head
    return model


@pytest.fixture(scope="module")
def model():
    return talkative(tiny_tts())


def rules_violated(config, sequence, prompt_length):
    """Checks one sequence against the state machine, written out step by step."""
    n_vq = config.n_vq
    in_audio, audio_length, delayed, ended = False, 0, None, False
    for step, (token, *codes) in enumerate(sequence[prompt_length:].tolist()):
        if ended:
            assert token == config.pad_token_id and set(codes) == {config.audio_pad_code}
            continue
        for k, code in enumerate(codes):
            is_live = audio_length > k and (delayed is None or k >= delayed)
            assert (code != config.audio_pad_code) == is_live, (step, k)
        if delayed is not None:
            forced = config.audio_assistant_delay_slot_token_id if delayed < n_vq else config.audio_end_token_id
            assert token == forced, step
        elif in_audio:
            assert token in (config.audio_assistant_gen_slot_token_id, config.audio_assistant_delay_slot_token_id)
        else:
            assert token not in (
                config.pad_token_id,
                config.audio_assistant_gen_slot_token_id,
                config.audio_assistant_delay_slot_token_id,
                config.audio_end_token_id,
            )
        if token == config.im_end_token_id:
            assert step > n_vq
            ended = True
        if token == config.audio_start_token_id:
            in_audio, audio_length = True, 1
        elif token == config.audio_end_token_id:
            in_audio, audio_length, delayed = False, 0, None
        elif in_audio:
            audio_length += 1
        if token == config.audio_assistant_delay_slot_token_id:
            delayed = 1 if delayed is None else delayed + 1


@pytest.mark.parametrize("seed", range(5))
def test_sampled_sequences_keep_the_rules_of_the_pattern(model, seed):
    inputs = tiny_prompts(model.config, 9, 6, 9, 7, seed=seed)
    outputs = model.generate(**inputs, max_new_tokens=80, seed=seed, return_dict_in_generate=True)
    spoken = 0
    for index, sequence in enumerate(outputs.sequences):
        rules_violated(model.config, sequence, 9)
        assert outputs.audio_codes[index].shape[1] == 4
        codes = outputs.audio_codes[index]
        assert not codes.numel() or 0 <= int(codes.min()) <= int(codes.max()) < 16
        spoken += len(codes)
    assert spoken > 0


@pytest.mark.parametrize("do_sample", [{"do_sample": False}, {"text_temperature": 0, "audio_temperature": 0}])
def test_a_sequence_of_a_batch_equals_its_single_run(model, do_sample):
    lengths = (12, 7, 9, 4)
    inputs = tiny_prompts(model.config, *lengths)
    batch = model.generate(**inputs, max_new_tokens=40, audio_repetition_penalty=1.2, **do_sample)
    for index, length in enumerate(lengths):
        alone = model.generate(
            inputs["input_ids"][index : index + 1, -length:],
            max_new_tokens=40,
            audio_repetition_penalty=1.2,
            **do_sample,
        )
        new = alone[0, length:]
        torch.testing.assert_close(batch[index, 12 : 12 + len(new)], new)


def test_what_pads_the_prompt_does_not_matter(model):
    """A pipeline pads every stream with the text pad token, which is no code."""
    inputs = tiny_prompts(model.config, 9, 5)
    expected = model.generate(**inputs, max_new_tokens=20, do_sample=False)
    inputs["input_ids"][1, :4] = model.config.pad_token_id
    assert torch.equal(model.generate(**inputs, max_new_tokens=20, do_sample=False), expected)


def test_right_padding_moves_to_the_left(model):
    inputs = tiny_prompts(model.config, 9, 5)
    expected = model.generate(**inputs, max_new_tokens=20, do_sample=False)
    shifted = {name: torch.stack([value[0], value[1].roll(-4, 0)]) for name, value in inputs.items()}
    assert not shifted["attention_mask"][1, -1]
    assert torch.equal(model.generate(**shifted, max_new_tokens=20, do_sample=False), expected)


def test_seed_repeats_and_leaves_the_global_generator_alone(model):
    inputs = tiny_prompts(model.config, 9)
    torch.manual_seed(0)
    before = torch.get_rng_state()
    first = model.generate(**inputs, max_new_tokens=30, seed=5)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(model.generate(**inputs, max_new_tokens=30, seed=5), first)
    assert not torch.equal(model.generate(**inputs, max_new_tokens=30, seed=6), first)


def test_a_seed_says_the_same_alone_and_in_a_batch(model):
    """Also where another sequence is at its text, so that the scores of the whole vocabulary are computed."""
    inputs = tiny_prompts(model.config, 9, 5, 7)
    seeds = [11, 4, 11]
    batch = model.generate(**inputs, max_new_tokens=40, seed=seeds, return_dict_in_generate=True)
    for index, seed in enumerate(seeds):
        prompt = inputs["input_ids"][index : index + 1, inputs["attention_mask"][index].bool()]
        alone = model.generate(prompt, max_new_tokens=40, seed=seed, return_dict_in_generate=True)
        assert torch.equal(batch.audio_codes[index], alone.audio_codes[0])
    with pytest.raises(ValueError, match="3 sequences, got 2"):
        model.generate(**inputs, max_new_tokens=4, seed=[1, 2])
    with pytest.raises(ValueError, match="seed"):
        model.generate(**inputs, max_new_tokens=4, seed=[1, 2, 0.5])


def test_several_sequences_for_a_prompt(model):
    inputs = tiny_prompts(model.config, 9, 5)
    outputs = model.generate(**inputs, max_new_tokens=20, num_return_sequences=3, seed=0)
    assert outputs.shape[0] == 6
    assert torch.equal(outputs[0, :9], outputs[2, :9])
    assert not torch.equal(outputs[0], outputs[1])


def test_audio_codes_are_those_of_the_sequences(model):
    inputs = tiny_prompts(model.config, 9)
    config = model.config
    outputs = model.generate(**inputs, max_new_tokens=60, seed=1, return_dict_in_generate=True)
    tokens = outputs.sequences[0, 9:, 0].tolist()
    by_hand, span = [], None
    for token, codes in zip(tokens, outputs.sequences[0, 9:, 1:]):
        if token == config.audio_start_token_id:
            span, num_frames = [], 0
        elif token in (config.audio_assistant_gen_slot_token_id, config.audio_assistant_delay_slot_token_id):
            span.append(codes)
            # As in training, a frame begins on a gen slot; the frame of the delay slot that generation adds is none.
            num_frames += token == config.audio_assistant_gen_slot_token_id
        elif span:
            by_hand.append(undo_delay_pattern(torch.stack(span))[:num_frames])
            span = None
    if span:
        by_hand.append(undo_delay_pattern(torch.stack(span))[:num_frames])
    assert by_hand
    assert torch.equal(outputs.audio_codes[0], torch.cat(by_hand))
    assert outputs.prefix_codes[0].shape == (0, 4)


def continuation_prompt(config, num_frames):
    inputs = tiny_prompts(config, 9)
    torch.manual_seed(0)
    codes = torch.randint(0, 16, (num_frames, config.n_vq))
    steps = torch.full((num_frames + 1, 1 + config.n_vq), config.audio_pad_code)
    steps[0, 0] = config.audio_start_token_id
    steps[1:, 0] = config.audio_assistant_gen_slot_token_id
    steps[1:, 1:] = apply_delay_pattern(codes, config.audio_pad_code)[:num_frames]
    return codes, torch.cat([inputs["input_ids"], steps[None]], dim=1)


@pytest.mark.parametrize("num_frames", [1, 2, 3, 4, 7])
def test_continuation_keeps_the_prefix_apart(model, num_frames):
    codes, prompt = continuation_prompt(model.config, num_frames)
    outputs = model.generate(prompt, max_new_tokens=40, seed=2, return_dict_in_generate=True)
    prefix = outputs.prefix_codes[0]
    assert prefix.shape == (num_frames, 4)
    # Of the last frames the prompt has the first codebooks only; the others are the model's.
    for k in range(4):
        given = max(num_frames - k, 0)
        assert torch.equal(prefix[:given, k], codes[:given, k])
    assert len(outputs.audio_codes[0]) > 0
    assert prompt.shape[1] + 40 >= outputs.sequences.shape[1]


def test_reaching_the_limit_says_so(model, caplog):
    inputs = tiny_prompts(model.config, 9)
    with caplog.at_level("WARNING"):
        cut = model.generate(**inputs, max_new_tokens=6, seed=1, return_dict_in_generate=True)
    assert cut.reached_limit.tolist() == [True]
    assert cut.sequences.shape[1] == 15
    assert "did not end by themselves within 6 new tokens" in caplog.text
    ending = talkative(tiny_tts(), audio_start=0.0, im_end=9.0)
    caplog.clear()
    outputs = ending.generate(**inputs, max_new_tokens=400, seed=1, return_dict_in_generate=True)
    assert outputs.reached_limit.tolist() == [False]
    assert outputs.sequences[0, -1, 0] == ending.config.im_end_token_id
    assert not caplog.text


@pytest.mark.parametrize("lengths", [(9, 9), (9, 6)])
@pytest.mark.parametrize("attn_implementation", ["sdpa", "eager"])
def test_one_wait_for_the_device_a_step(lengths, attn_implementation):
    model = talkative(tiny_tts(), im_end=-9.0)
    model.set_attn_implementation(attn_implementation)
    inputs = tiny_prompts(model.config, *lengths)
    counts = []
    for steps in (10, 40):
        with CountHostReads() as syncs:
            outputs = model.generate(**inputs, max_new_tokens=steps, seed=0)
        assert outputs.shape[1] == 9 + steps
        counts.append(syncs.count)
    # `.tolist()` of the two flags reads two values in one wait.
    assert counts[1] - counts[0] <= 2 * 30


def test_inside_audio_two_logits_of_the_text_head_are_computed():
    model = tiny_tts()
    _, prompt = continuation_prompt(model.config, 3)
    sizes = []
    forward = model.forward

    def spy(*args, **kwargs):
        outputs = forward(*args, **kwargs)
        sizes.append(outputs.logits.shape[-1])
        return outputs

    model.forward = spy
    try:
        sequences = model.generate(prompt, max_new_tokens=12, text_temperature=0, seed=0)
    finally:
        del model.forward
    tokens = sequences[0, prompt.shape[1] :, 0].tolist()
    slots = (model.config.audio_assistant_gen_slot_token_id, model.config.audio_assistant_delay_slot_token_id)
    in_audio = [True] + [token in slots for token in tokens[:-1]]
    assert sizes == [100] + [2 if inside else 100 for inside in in_audio[1:]]


def test_a_wrapped_text_head_is_not_bypassed(model):
    """PEFT wraps heads: their own forward must be used for the two candidates as well."""
    wrapped = talkative(tiny_tts())
    inner = wrapped.text_head

    class Doubled(torch.nn.Module):
        def forward(self, hidden_states):
            return 2 * inner(hidden_states)

    candidates = torch.tensor([98, 99])
    ids = tiny_prompts(wrapped.config, 5)["input_ids"]
    with torch.no_grad():
        expected = 2 * wrapped(ids).logits[..., candidates]
        wrapped.text_head = Doubled()
        torch.testing.assert_close(wrapped(ids, text_candidates=candidates).logits, expected)


def test_stopping_criteria_end_sequences(model):
    class StopAt(StoppingCriteria):
        def __call__(self, input_ids, scores, **kwargs):
            assert input_ids.ndim == 2
            lengths = torch.tensor([12, 15])
            return input_ids.shape[1] >= lengths

    inputs = tiny_prompts(model.config, 9, 9)
    outputs = model.generate(**inputs, max_new_tokens=50, seed=0, stopping_criteria=StoppingCriteriaList([StopAt()]))
    assert outputs.shape[1] == 15
    assert (outputs[0, 12:, 0] == model.config.pad_token_id).all()
    assert (outputs[0, 12:, 1:] == model.config.audio_pad_code).all()


class Recorder(BaseStreamer):
    def __init__(self):
        self.values, self.ended = [], False

    def put(self, value):
        self.values.append(value)

    def end(self):
        self.ended = True


def test_a_streamer_gets_the_prompt_and_every_step(model):
    inputs = tiny_prompts(model.config, 9, 9)
    streamer = Recorder()
    sequences = model.generate(**inputs, max_new_tokens=15, seed=0, streamer=streamer)
    assert streamer.ended
    assert torch.equal(
        torch.cat([streamer.values[0], *(value[:, None] for value in streamer.values[1:])], 1), sequences
    )


@pytest.mark.parametrize("num_prefix_frames", [None, 2, 6])
def test_the_frame_streamer_yields_finished_frames(model, num_prefix_frames):
    if num_prefix_frames is None:
        prompt = tiny_prompts(model.config, 9)["input_ids"]
    else:
        _, prompt = continuation_prompt(model.config, num_prefix_frames)
    expected = model.generate(prompt, max_new_tokens=60, seed=1, return_dict_in_generate=True).audio_codes[0]
    streamer = MossTTSFrameStreamer(model.config, timeout=60)
    options = {"max_new_tokens": 60, "seed": 1, "streamer": streamer}
    thread = threading.Thread(target=model.generate, args=(prompt,), kwargs=options)
    thread.start()
    frames = list(streamer)
    thread.join()
    assert len(expected) > 0
    assert all(frame.shape == (1, 4) for frame in frames)
    assert torch.equal(torch.cat(frames), expected)


@pytest.mark.parametrize("num_prefix_frames", [1, 2, 6])
def test_the_frame_streamer_can_begin_with_the_frames_of_the_prompt(model, num_prefix_frames):
    _, prompt = continuation_prompt(model.config, num_prefix_frames)
    streamer = MossTTSFrameStreamer(model.config, timeout=60, skip_prompt=False)
    options = {"max_new_tokens": 60, "seed": 1, "return_dict_in_generate": True}
    outputs = model.generate(prompt, streamer=streamer, **options)
    assert torch.equal(torch.cat(list(streamer)), torch.cat([outputs.prefix_codes[0], outputs.audio_codes[0]]))
    assert streamer.num_prompt_frames == num_prefix_frames


def test_the_frame_streamer_is_for_one_sequence(model):
    with pytest.raises(ValueError, match="a batch of 2"):
        model.generate(**tiny_prompts(model.config, 9, 9), streamer=MossTTSFrameStreamer(model.config))


def test_a_static_cache_gives_the_same(model):
    inputs = tiny_prompts(model.config, 9, 5)
    options = {"max_new_tokens": 40, "do_sample": False}
    expected = model.generate(**inputs, **options)
    assert torch.equal(model.generate(**inputs, **options, cache_implementation="static"), expected)
    cache = StaticCache(model.config.get_text_config(), max_cache_len=64)
    assert torch.equal(model.generate(**inputs, **options, cache=cache), expected)
    assert torch.equal(model.generate(**inputs, **options, use_cache=False), expected)


def test_compiled_generation_gives_the_same(model):
    inputs = tiny_prompts(model.config, 9, 5)
    options = {"max_new_tokens": 25, "do_sample": False}
    expected = model.generate(**inputs, **options)
    options |= {"cache_implementation": "static", "compile_config": CompileConfig(fullgraph=True)}
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    compiled = model.generate(**inputs, **options)
    assert torch.equal(compiled, expected)
    # One graph for the whole text head and one for its two candidates.
    num_graphs = torch._dynamo.utils.counters["stats"]["unique_graphs"]
    assert 1 <= num_graphs <= 2
    # Other lengths are nothing new.
    for length, max_new_tokens in ((9, 30), (12, 25), (7, 300)):
        inputs = tiny_prompts(model.config, length, 5)
        model.generate(**inputs, **(options | {"max_new_tokens": max_new_tokens}))
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == num_graphs


def test_logits_hidden_states_and_attentions_on_request(model):
    model = talkative(tiny_tts())
    model.set_attn_implementation("eager")
    outputs = model.generate(
        **tiny_prompts(model.config, 9, 9),
        max_new_tokens=7,
        seed=0,
        return_dict_in_generate=True,
        output_logits=True,
        output_hidden_states=True,
        output_attentions=True,
    )
    for kept in (outputs.logits, outputs.audio_logits, outputs.hidden_states, outputs.attentions):
        assert len(kept) == 7
    assert outputs.logits[3].shape == (2, 100)
    assert outputs.audio_logits[3].shape == (2, 4, 17)
    assert outputs[CACHE_NAME].get_seq_length() == 9 + 6


def test_generation_config_is_saved_and_loaded(tmp_path):
    model = tiny_tts()
    assert model.generation_config.max_new_tokens == 4096
    assert model.generation_config.audio_temperature == 1.7
    model.generation_config.audio_temperature = 1.1
    model.generation_config.max_new_tokens = 77
    model.save_pretrained(tmp_path)
    loaded = MossTTSDelayModel.from_pretrained(tmp_path).generation_config
    assert (loaded.audio_temperature, loaded.max_new_tokens, loaded.text_temperature) == (1.1, 77, 1.5)
    (tmp_path / "generation_config.json").unlink()
    loaded = MossTTSDelayModel.from_pretrained(tmp_path).generation_config
    assert (loaded.audio_temperature, loaded.max_new_tokens) == (1.7, 4096)
    assert loaded.eos_token_id == model.config.im_end_token_id


def test_options_come_from_the_call_then_the_config_then_the_model(model):
    inputs = tiny_prompts(model.config, 9)
    greedy = model.generate(**inputs, max_new_tokens=20, do_sample=False)
    config = GenerationConfig(text_temperature=0.0, audio_temperature=0.0, max_new_tokens=20, do_sample=True)
    assert torch.equal(model.generate(**inputs, generation_config=config), greedy)
    sampled = model.generate(**inputs, max_new_tokens=20, seed=3)
    assert not torch.equal(sampled, greedy)


@pytest.mark.parametrize("options,length", [({"max_length": 20}, 20), ({"max_new_tokens": 4}, 13)])
def test_length_options(options, length):
    model = talkative(tiny_tts(), im_end=-9.0)
    assert model.generate(**tiny_prompts(model.config, 9), **options, seed=0).shape[1] == length


REFUSED = {
    "beam search": ({"num_beams": 2}, "num_beams"),
    "assisted generation": ({"prompt_lookup_num_tokens": 3}, "assist"),
    "a logits processor": ({"logits_processor": [lambda ids, scores: scores]}, "one vocabulary"),
    "prefix_allowed_tokens_fn": ({"prefix_allowed_tokens_fn": lambda batch, ids: [1]}, "one vocabulary"),
    "output_scores": ({"output_scores": True, "return_dict_in_generate": True}, "output_logits"),
    "prefill chunks": ({"prefill_chunk_size": 4}, "prefill_chunk_size"),
    "a negative temperature": ({"audio_temperature": -1.0}, "audio_temperature"),
    "top_p of 0": ({"text_top_p": 0.0}, "text_top_p"),
    "half a top_k": ({"audio_top_k": 2.5}, "whole number"),
    "a penalty of 0": ({"audio_repetition_penalty": 0.0}, "above 0"),
    "states instead of ids": ({"inputs_embeds": torch.zeros(1, 9, 32)}, "input_ids"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_options(model, name):
    options, message = REFUSED[name]
    with pytest.raises(ValueError, match=message):
        model.generate(**tiny_prompts(model.config, 9), max_new_tokens=5, **options)


BAD_PROMPTS = {
    "rank 2": (lambda ids: ids[..., 0], None, "batch_size, length, 5"),
    "a stream too many": (lambda ids: torch.cat([ids, ids[..., :1]], -1), None, "length, 5"),
    "no positions": (lambda ids: ids[:, :0], None, "length, 5"),
    "a code out of range": (lambda ids: ids + torch.tensor([0, 0, 1, 0, 0]), None, "out of range"),
    "a token out of range": (lambda ids: ids + torch.tensor([100, 0, 0, 0, 0]), None, "out of range"),
    "a negative code": (lambda ids: ids - torch.tensor([0, 17, 0, 0, 0]), None, "least -1"),
    "another mask": (lambda ids: ids, torch.ones(1, 8), r"\(1, 9\)"),
}


@pytest.mark.parametrize("name", BAD_PROMPTS)
def test_bad_prompts(model, name):
    change, mask, message = BAD_PROMPTS[name]
    ids = change(tiny_prompts(model.config, 9)["input_ids"])
    with pytest.raises(ValueError, match=message):
        model.generate(ids, attention_mask=mask, max_new_tokens=5)


def test_delay_pattern_and_back():
    codes = torch.arange(20).view(5, 4)
    steps = apply_delay_pattern(codes, 99)
    assert steps.shape == (8, 4)
    assert steps[0].tolist() == [0, 99, 99, 99] and steps[7].tolist() == [99, 99, 99, 19]
    assert torch.equal(undo_delay_pattern(steps), codes)
    assert torch.equal(undo_delay_pattern(steps[:6]), codes[:3])
    assert undo_delay_pattern(steps[:2]).shape == (0, 4)
