"""Generation a frame at a time: batches, sampling, fewer codebooks, and agreement with training."""

import threading

import pytest
import torch
from datasets import Dataset
from host_reads import CountHostReads
from tiny_models import tiny_local, tiny_local_v1, tiny_nano, tiny_prompts
from transformers import AutoConfig, AutoTokenizer, CompileConfig, Trainer, TrainingArguments

from transformers_moss_tts import (
    MossTTSFrameStreamer,
    MossTTSLocalModel,
    MossTTSLocalProcessor,
    MossTTSLocalV1Model,
    MossTTSLocalV1Processor,
    MossTTSNanoModel,
    MossTTSNanoProcessor,
)
from transformers_moss_tts.training import MossTTSDataCollator, TrainingSamples, paper_stream_weights


VERSIONS = {"local v1.0": tiny_local_v1, "local v1.5": tiny_local, "nano": tiny_nano}
GREEDY = {"text_temperature": 0.0, "audio_temperature": 0.0, "audio_repetition_penalty": 1.0}


@pytest.fixture(params=list(VERSIONS))
def model(request):
    return VERSIONS[request.param]()


def prompts(config, *lengths: int) -> dict[str, torch.Tensor]:
    inputs = tiny_prompts(config, *lengths)
    inputs["input_ids"][:, -1, 0] = config.audio_start_token_id
    return inputs


def without_padding(inputs: dict[str, torch.Tensor], index: int, length: int) -> dict[str, torch.Tensor]:
    return {name: tensor[index : index + 1, -length:] for name, tensor in inputs.items()}


def test_sequences_of_a_batch_are_those_of_single_runs(model):
    lengths = (9, 5, 7)
    inputs = prompts(model.config, *lengths)
    options = GREEDY | {"max_new_tokens": 12, "return_dict_in_generate": True}
    together = model.generate(**inputs, **options)
    for index, length in enumerate(lengths):
        alone = model.generate(**without_padding(inputs, index, length), **options)
        generated = alone.sequences[0, length:]
        assert torch.equal(together.sequences[index, 9 : 9 + len(generated)], generated)
        assert torch.equal(together.audio_codes[index], alone.audio_codes[0])


def test_what_comes_after_the_end_is_padding(model):
    config = model.config
    inputs = prompts(config, 9, 5, 7, 6)
    sequences = model.generate(**inputs, max_new_tokens=40, seed=1)
    ended = 0
    for generated in sequences[:, 9:]:
        ends = (generated[:, 0] == config.audio_end_token_id).nonzero().flatten()
        if len(ends):
            rest = generated[ends[0] + 1 :]
            assert (rest[:, 0] == config.pad_token_id).all() and (rest[:, 1:] == config.audio_pad_code).all()
            ended += len(rest) > 0
    assert ended or isinstance(model, MossTTSLocalV1Model)  # v1.0 chooses among 100 tokens, v1.5 between two


def test_a_seed_gives_the_same_speech(model):
    inputs = prompts(model.config, 9)
    first, again, other = (
        model.generate(**inputs, min_new_tokens=5, max_new_tokens=10, seed=seed) for seed in (1, 1, 2)
    )
    assert torch.equal(first, again)
    assert first.shape != other.shape or not torch.equal(first, other)


def test_a_seed_says_the_same_alone_and_in_a_batch(model):
    inputs = prompts(model.config, 9, 5, 7)
    batch = model.generate(**inputs, max_new_tokens=20, seed=6, return_dict_in_generate=True)
    for index in range(3):
        prompt = inputs["input_ids"][index : index + 1, inputs["attention_mask"][index].bool()]
        alone = model.generate(prompt, max_new_tokens=20, seed=[6 + index], return_dict_in_generate=True)
        assert torch.equal(batch.audio_codes[index], alone.audio_codes[0])


@pytest.mark.parametrize("num_prefix_frames", [0, 3])
def test_the_frame_streamer_yields_every_frame_at_once(model, num_prefix_frames):
    config = model.config
    prompt = prompts(config, 9)["input_ids"]
    spoken = torch.randint(0, 16, (1, num_prefix_frames, 1 + config.n_vq), generator=torch.Generator().manual_seed(0))
    spoken[..., 0] = config.audio_assistant_gen_slot_token_id
    prompt = torch.cat([prompt, spoken], dim=1)
    settings = {"max_new_tokens": 12, "seed": 1, "text_temperature": 0.0}
    # The slot that goes on is preferred, so that there is something to hear.
    continues = model.text_candidates(config)
    scores = model.decision_scores
    slot = config.audio_assistant_gen_slot_token_id if continues is None else 0
    model.decision_scores = lambda *inputs: scores(*inputs).index_fill(-1, torch.tensor([slot]), 9.0)
    expected = model.generate(prompt, **settings, return_dict_in_generate=True).audio_codes[0]
    streamer = MossTTSFrameStreamer(config, timeout=60)
    thread = threading.Thread(target=model.generate, args=(prompt,), kwargs=settings | {"streamer": streamer})
    thread.start()
    frames = list(streamer)
    thread.join()
    assert len(frames) == len(expected) == 12
    assert torch.equal(torch.cat(frames), expected)


def frame_of(model, **settings):
    """The sampler of a generation, and what it samples from."""
    inputs = prompts(model.config, 9, 6)
    generation_config, _ = model._prepare_generation_config(None, **(GREEDY | settings))
    with torch.no_grad():
        outputs = model(**inputs)
    return model.new_sampler(inputs["input_ids"], generation_config), outputs


@torch.no_grad()
@pytest.mark.parametrize("settings", [{}, {"audio_temperature": 1.0, "audio_repetition_penalty": 1.2, "seed": 1}])
def test_a_frame_never_waits_for_the_device(model, settings):
    sampler, outputs = frame_of(model, **settings)
    for _ in range(2):
        with CountHostReads() as reads:
            sampler.next_step(outputs)
        assert reads.count == 0


@torch.no_grad()
@pytest.mark.parametrize("lengths", [(9,), (9, 6, 7)], ids=["one sequence", "three sequences"])
@pytest.mark.parametrize("implementation", ["sdpa", "eager"])
def test_compiled_generation_says_the_same(model, implementation, lengths):
    model.set_attn_implementation(implementation)
    inputs = prompts(model.config, *lengths)
    expected = model.generate(**inputs, **GREEDY, max_new_tokens=5)
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    options = GREEDY | {"compile_config": CompileConfig(fullgraph=True, backend="aot_eager", mode=None)}
    for _ in range(2):
        assert torch.equal(model.generate(**inputs, **options, max_new_tokens=5), expected)
    # One step for all positions of all frames, and of a single sequence one for the scores of all codebooks.
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == (2 if len(lengths) == 1 else 1)
    assert torch.equal(model.generate(**inputs, **GREEDY, max_new_tokens=5, disable_compile=True), expected)


def test_each_code_is_the_best_that_training_would_score(model):
    """The cache over a frame changes nothing: scores of the generated labels, all at once, have their best there."""
    inputs = prompts(model.config, 9, 6)
    outputs = model.generate(**inputs, **GREEDY, max_new_tokens=8, return_dict_in_generate=True, output_logits=True)
    mask = torch.nn.functional.pad(inputs["attention_mask"], (0, outputs.sequences.shape[1] - 9), value=True)
    scored = model(input_ids=outputs.sequences, attention_mask=mask, labels=outputs.sequences.roll(-1, 1))
    candidates = model.text_candidates(model.config)
    for step, (text, audio) in enumerate(zip(outputs.logits, outputs.audio_logits)):
        place = 8 + step
        is_alive = outputs.sequences[:, place + 1, 0] != model.config.pad_token_id
        decision = scored.logits if scored.logits.shape[-1] == text.shape[-1] else scored.logits[..., candidates]
        torch.testing.assert_close(decision[is_alive, place], text[is_alive], atol=1e-4, rtol=1e-4)
        ends = outputs.sequences[:, place + 1, 0] == model.config.audio_end_token_id
        spoken = is_alive & ~ends
        finite = audio.isfinite()
        expected = scored.audio_logits[:, place].masked_fill(~finite, float("-inf"))
        torch.testing.assert_close(expected[spoken], audio[spoken], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(("build", "silent"), [(tiny_local_v1, 0), (tiny_nano, 16)])
def test_fewer_codebooks(build, silent):
    model = build()
    inputs = prompts(model.config, 9)
    options = GREEDY | {"max_new_tokens": 6, "min_new_tokens": 6, "return_dict_in_generate": True}
    outputs = model.generate(**inputs, **options, n_vq_for_inference=2)
    assert outputs.audio_codes[0].shape[1] == 2
    assert len(outputs.audio_codes[0]) > 0 and (outputs.sequences[0, 9:-1, 3:] == silent).all()
    for count in (0, 5):
        with pytest.raises(ValueError, match="n_vq_for_inference"):
            model.generate(**inputs, n_vq_for_inference=count)
    with pytest.raises(ValueError, match="all 4 codebooks"):
        tiny_local().generate(**inputs, n_vq_for_inference=2)


def test_embeddings_instead_of_tokens(model):
    inputs = prompts(model.config, 9, 5)
    outputs = model(**inputs).last_hidden_state
    embedded = model(inputs_embeds=model.embed(inputs["input_ids"]), attention_mask=inputs["attention_mask"])
    torch.testing.assert_close(embedded.last_hidden_state, outputs)
    with pytest.raises(ValueError, match="shape"):
        model(input_ids=inputs["input_ids"][..., :2])


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_the_local_transformer_does_not_see_the_future(attention):
    for build in VERSIONS.values():
        model = build()
        model.set_attn_implementation(attention)
        width = model.config.hidden_size
        inputs = model.to_local(torch.randn(2, 5, width))
        changed = inputs.clone()
        changed[:, 3:] += torch.randn_like(changed[:, 3:])
        before, after = model.local_transformer(inputs), model.local_transformer(changed)
        torch.testing.assert_close(before[:, :3], after[:, :3])
        assert not torch.allclose(before[:, 3:], after[:, 3:])


def test_absolute_positions():
    torch.manual_seed(0)
    model = tiny_local(gpt2_config={"n_layer": 1, "n_head": 4, "n_inner": 40, "position_embedding_type": "absolute"})
    assert model.local_transformer.wpe.weight.shape[0] == model.config.n_vq + 1
    inputs = prompts(model.config, 9)
    outputs = model.generate(**inputs, **GREEDY, max_new_tokens=4, return_dict_in_generate=True)
    assert outputs.sequences.shape[1] > 9


@pytest.mark.parametrize(
    "version,model_class,processor_class",
    [
        ("moss_tts_local", MossTTSLocalV1Model, MossTTSLocalV1Processor),
        ("moss_tts_local_v1_5", MossTTSLocalModel, MossTTSLocalProcessor),
        ("moss_tts_nano", MossTTSNanoModel, MossTTSNanoProcessor),
    ],
)
def test_what_was_learned_by_heart_is_generated(golden_folder, tmp_path, version, model_class, processor_class):
    """Prompt, labels, Trainer and generation agree: a model that knows its examples speaks their codes."""
    config = AutoConfig.from_pretrained(golden_folder / version)
    processor = processor_class(AutoTokenizer.from_pretrained(golden_folder / version), model_config=config)
    generator = torch.Generator().manual_seed(0)
    examples = Dataset.from_list(
        [
            {"text": text, "codes": torch.randint(0, 32, (3 + i, config.n_vq), generator=generator).tolist()}
            for i, text in enumerate(("One.", "Two and three.", "Four, five."))
        ]
    )
    torch.manual_seed(0)
    trainer = Trainer(
        model_class(config),
        TrainingArguments(
            output_dir=str(tmp_path),
            max_steps=150,
            learning_rate=5e-3,
            per_device_train_batch_size=3,
            remove_unused_columns=False,
            report_to="none",
            use_cpu=True,
            disable_tqdm=True,
            save_strategy="no",
            logging_steps=1000,
        ),
        data_collator=MossTTSDataCollator(processor, paper_stream_weights(config.n_vq)),
        train_dataset=TrainingSamples(examples, processor, duration_conditioning=(False,)),
    )
    trainer.train()
    inputs = processor(text=list(examples["text"]))
    outputs = trainer.model.eval().generate(**inputs, **GREEDY, max_new_tokens=20, return_dict_in_generate=True)
    for codes, known in zip(outputs.audio_codes, examples["codes"]):
        assert codes.tolist() == known
    assert not outputs.reached_limit.any()
