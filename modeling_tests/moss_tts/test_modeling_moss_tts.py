"""What the models of all generators share: classes and configurations, the loss and its errors."""

from decimal import Decimal

import pytest
import torch
from tiny_models import tiny_local, tiny_local_v1, tiny_prompts, tiny_tts
from transformers import Trainer, TrainingArguments


BUILDERS = {"delay": tiny_tts, "local v1.0": tiny_local_v1, "local v1.5": tiny_local}


@pytest.fixture(scope="module")
def models():
    return {name: build() for name, build in BUILDERS.items()}


@pytest.fixture(params=list(BUILDERS))
def model(models, request):
    return models[request.param]


def batch_of(config):
    """Two sequences that end in audio, with labels."""
    inputs = tiny_prompts(config, 9, 7)
    codes = torch.randint(0, 16, (2, 4, config.n_vq), generator=torch.Generator().manual_seed(0))
    inputs["input_ids"][:, -4:, 1:] = codes
    inputs["input_ids"][:, -4:, 0] = config.audio_assistant_gen_slot_token_id
    labels = inputs["input_ids"].roll(-1, 1)
    labels[:, :4] = labels[:, -1] = -100
    return inputs | {"labels": labels}


@pytest.mark.parametrize("name", BUILDERS)
def test_a_model_needs_a_configuration_of_its_class(models, name):
    for other in BUILDERS:
        if other != name:
            with pytest.raises(ValueError, match=f"needs a {type(models[name].config).__name__}"):
                type(models[name])(models[other].config)


def test_outputs_have_the_same_fields(model):
    outputs = model(**batch_of(model.config), use_cache=True, output_hidden_states=True, logits_to_keep=0)
    text_size = 2 if type(model).__name__ == "MossTTSLocalModel" else 100
    assert outputs.logits.shape == (2, 9, text_size)
    assert outputs.audio_logits.shape[:3] == (2, 9, 4)
    assert outputs.last_hidden_state.shape == (2, 9, 32)
    assert outputs.channel_losses.shape == outputs.channel_counts.shape == (5,)
    assert len(outputs.hidden_states) == 3


def test_equal_weights_are_the_mean_of_the_streams(model):
    outputs = model(**batch_of(model.config), channelwise_loss_weight=[2.0] * 5)
    torch.testing.assert_close(outputs.loss, outputs.channel_losses.mean())
    plain = model(**batch_of(model.config))
    share = plain.channel_counts / plain.channel_counts.sum()
    if type(model).__name__ != "MossTTSDelayModel":
        share = torch.full((5,), 0.2)
    torch.testing.assert_close(plain.loss, (plain.channel_losses * share).sum())


@pytest.mark.parametrize("weight", [float("nan"), float("inf"), -1.0])
def test_weights_that_are_no_weights_are_refused(model, weight):
    for weights in ([1.0, 1.0, weight, 1.0, 1.0], torch.tensor([1.0, 1.0, weight, 1.0, 1.0])):
        with pytest.raises(ValueError, match="`channelwise_loss_weight` must be numbers of at least 0"):
            model(**batch_of(model.config), channelwise_loss_weight=weights)


def test_weights_that_are_all_0_are_refused(model):
    with pytest.raises(ValueError, match="not all 0"):
        model(**batch_of(model.config), channelwise_loss_weight=[0.0] * 5)
    with pytest.raises(TypeError, match="`channelwise_loss_weight` must be numbers, one a stream: got"):
        model(**batch_of(model.config), channelwise_loss_weight=[Decimal("1.5")] * 5)


def test_label_smoothing_of_trainer_is_refused(tmp_path, model):
    batch = batch_of(model.config)
    arguments = TrainingArguments(
        output_dir=str(tmp_path),
        max_steps=1,
        label_smoothing_factor=0.1,
        report_to="none",
        use_cpu=True,
        disable_tqdm=True,
        remove_unused_columns=False,
    )
    samples = [{name: value[index] for name, value in batch.items()} for index in range(2)]
    with pytest.raises(ValueError, match="`label_smoothing_factor`, set it to 0"):
        Trainer(type(model)(model.config), arguments, train_dataset=samples).train()
