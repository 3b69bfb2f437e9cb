"""Training in phases: the mix of samples, the schedule, and runs that stop and go on."""

import numpy as np
import pytest
import torch
from datasets import Dataset
from tiny_models import GOLDEN_TTS, golden_processor
from transformers import Trainer, TrainerCallback, TrainingArguments

from examples.tiny_family.guided_training import TimedSamples
from examples.tiny_family.phases import (
    Clock,
    ClockedPhases,
    PhasedSamples,
    TrainingPhase,
    load_phases,
    schedule_arguments,
)
from transformers_moss_tts import MossTTSDelayModel
from transformers_moss_tts.training import MossTTSDataCollator, encode_sample, paper_stream_weights


TEXTS = ("One.", "Two and three.", "Four, five and six.", "Seven.")


@pytest.fixture(scope="module")
def processor():
    return golden_processor()


def examples(count: int = 8, speakers: int = 2) -> Dataset:
    draw = np.random.default_rng(0)
    return Dataset.from_list(
        [
            {
                "text": TEXTS[i % 4],
                "speaker": f"speaker {i % speakers}",
                "language": "English",
                "codes": draw.integers(0, 32, (3 + i, 8)).tolist(),
            }
            for i in range(count)
        ]
    )


def trainer_of(folder, dataset, processor, **changes) -> Trainer:
    settings = {
        "per_device_train_batch_size": 2,
        "learning_rate": 1e-2,
        "report_to": "none",
        "use_cpu": True,
        "seed": 1,
    }
    settings |= {"remove_unused_columns": False, "save_steps": 4, "logging_steps": 1, "disable_tqdm": True}
    return Trainer(
        MossTTSDelayModel.from_pretrained(GOLDEN_TTS),
        TrainingArguments(output_dir=str(folder), **(settings | changes)),
        data_collator=MossTTSDataCollator(processor, paper_stream_weights(8)),
        train_dataset=dataset,
        processing_class=processor,
    )


def test_references_are_recordings_where_codes_are_distilled(processor):
    table = examples().map(lambda example: {"recorded_codes": [[1] * len(code) for code in example["codes"]]})
    sample = TimedSamples(table, processor, duration_conditioning=(False,), reference_share=1.0)[0]
    matches = [
        torch.equal(
            sample["input_ids"],
            encode_sample(processor, table[0] | {"reference": table[i]["recorded_codes"]})["input_ids"],
        )
        for i in range(1, len(table))
    ]
    assert any(matches)


PHASES = """
phases:
  - {name: rise, steps: 2, max_length: 300, learning_rate: [0, 1e-2], mix: {plain: 1}}
  - {name: hold, steps: 2, max_length: 300, learning_rate: 1e-2, mix: {plain: 1, clone: 1}}
  - {name: fall, steps: 3, max_length: 300, learning_rate: [1e-2, 1e-3], mix: {clone: 1}}
  - {name: end, steps: 1, max_length: 400, learning_rate: 1e-3, mix: {clone: 1}}
"""


@pytest.fixture
def phases(tmp_path) -> list[TrainingPhase]:
    (tmp_path / "phases.yaml").write_text(PHASES)
    return load_phases(tmp_path / "phases.yaml")


def phased(phases, processor, clock: Clock | None = None) -> PhasedSamples:
    sources = {
        "plain": {"table": examples(), "processor": processor},
        "clone": {"table": examples(), "processor": processor, "reference_share": 1.0},
    }
    return PhasedSamples(phases, sources, batch_size=2, seed=3, clock=clock)


def test_phases_follow_the_mix_and_the_schedule(phases, processor, tmp_path):
    samples = phased(phases, processor)
    assert len(samples) == 16
    config = processor.model_config
    has_reference = [
        (samples[i]["input_ids"][:, 0] == config.audio_user_slot_token_id).any().item() for i in range(16)
    ]
    assert not any(has_reference[:4]) and all(has_reference[8:])
    trainer = trainer_of(
        tmp_path, samples, processor, train_sampling_strategy="sequential", **schedule_arguments(phases)
    )
    trainer.train()
    rates = [entry["learning_rate"] for entry in trainer.state.log_history if "loss" in entry]
    # transformers' warmup begins at the lowest rate.
    expected = [1e-3, 5.5e-3, 1e-2, 1e-2, 1e-2, 7e-3, 4e-3, 1e-3]
    np.testing.assert_allclose(rates, expected, atol=1e-6)


def test_phases_are_shares_of_the_time_where_a_clock_is_given(phases, processor, tmp_path, monkeypatch):
    clock = Clock(minutes=8)  # of eight steps
    now = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    samples = phased(phases, processor, clock)
    trainer = trainer_of(tmp_path, samples, processor, max_steps=50, train_sampling_strategy="sequential")
    pad = processor.model_config.audio_user_slot_token_id
    heard = []

    class Passing(TrainerCallback):
        def on_step_begin(self, args, state, control, **kwargs):
            heard.append([(samples[i]["input_ids"][:, 0] == pad).any().item() for i in range(3)])

        def on_optimizer_step(self, args, state, control, optimizer=None, **kwargs):
            rates.append(optimizer.param_groups[0]["lr"])
            now[0] += 60

    rates = []
    trainer.add_callback(ClockedPhases(phases, clock))
    trainer.add_callback(Passing())
    trainer.train()
    np.testing.assert_allclose(rates, [0, 5e-3, 1e-2, 1e-2, 1e-2, 7e-3, 4e-3, 1e-3], atol=1e-9)
    assert heard[:2] == [[False] * 3] * 2 and heard[4:] == [[True] * 3] * 4


def test_a_phased_run_goes_on_where_it_stopped(phases, processor, tmp_path):
    settings = {"train_sampling_strategy": "sequential"} | schedule_arguments(phases)
    whole = trainer_of(tmp_path / "whole", phased(phases, processor), processor, **settings)
    whole.train()
    parts = trainer_of(tmp_path / "parts", phased(phases, processor), processor, **settings)
    parts.train(resume_from_checkpoint=str(tmp_path / "whole" / "checkpoint-4"))
    for name, tensor in whole.model.state_dict().items():
        torch.testing.assert_close(parts.model.state_dict()[name], tensor, atol=0, rtol=0, msg=name)


@pytest.mark.parametrize(
    "text,message",
    [
        ("phases: []", "no list"),
        ("phases: [", "no YAML"),
        ("phases: [{name: a, steps: 1}]", "A phase has"),
        ("phases: [{name: a, steps: 0, max_length: 9, learning_rate: 1, mix: {b: 1}}]", "at least 1"),
        ("phases: [{name: a, steps: 1, max_length: 9, learning_rate: 1, mix: {b: -1}}]", "mix"),
    ],
)
def test_bad_phases(tmp_path, text, message):
    (tmp_path / "phases.yaml").write_text(text)
    with pytest.raises(ValueError, match=message):
        load_phases(tmp_path / "phases.yaml")


def test_schedules_that_are_none(phases, processor):
    with pytest.raises(ValueError, match="in this order"):
        schedule_arguments([phases[2], phases[0]])
    with pytest.raises(ValueError, match="must begin with"):
        schedule_arguments([phases[0], phases[3]])
    with pytest.raises(ValueError, match="no sources clone"):
        PhasedSamples(phases, {"plain": {"table": examples(), "processor": processor}}, 2)
