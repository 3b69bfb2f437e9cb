"""transformers' own common tests on all generators."""

import unittest
from collections.abc import Callable

import torch
from tests.test_configuration_common import ConfigTester
from tests.test_modeling_common import ModelTesterMixin
from tiny_models import tiny_local_config, tiny_local_v1_config, tiny_nano_config, tiny_tts_config

from transformers_moss_tts import (
    MossTTSDelayConfig,
    MossTTSDelayModel,
    MossTTSLocalConfig,
    MossTTSLocalModel,
    MossTTSLocalV1Config,
    MossTTSLocalV1Model,
    MossTTSNanoConfig,
    MossTTSNanoModel,
)


class MossTTSModelTester:
    batch_size, seq_length, is_training = 3, 7, True

    def __init__(self, parent: unittest.TestCase, get_config: Callable):
        self.parent = parent
        self.get_config = get_config
        backbone = get_config().language_config
        self.hidden_size = backbone.hidden_size
        self.num_hidden_layers = backbone.num_hidden_layers
        self.num_attention_heads = backbone.num_attention_heads

    def prepare_config_and_inputs_for_common(self):
        config = self.get_config()
        shape = (self.batch_size, self.seq_length)
        text = torch.randint(0, config.vocab_size, (*shape, 1))
        codes = torch.randint(0, config.audio_vocab_size, (*shape, config.n_vq))
        mask = torch.ones(shape, dtype=torch.long)
        return config, {"input_ids": torch.cat([text, codes], dim=-1), "attention_mask": mask}

    prepare_config_and_inputs = prepare_config_and_inputs_for_common


class GeneratorTests(ModelTesterMixin):
    config_class: type
    get_config: Callable

    def setUp(self):
        self.model_tester = MossTTSModelTester(self, type(self).get_config)
        self.config_tester = ConfigTester(
            self, config_class=self.config_class, has_text_modality=False, common_properties=[]
        )

    def _prepare_for_class(self, inputs_dict, model_class, return_labels=False):
        inputs = super()._prepare_for_class(inputs_dict, model_class, return_labels=return_labels)
        if return_labels:
            inputs["labels"] = inputs["input_ids"].clone()
            # A token that the heads of two entries have too.
            inputs["labels"][..., 0] = self.model_tester.get_config().audio_assistant_gen_slot_token_id
        return inputs

    def test_config(self):
        self.config_tester.run_common_tests()

    @unittest.skip("GenerationTesterMixin is not in the sdist; the tests of generation here have `generate`.")
    def test_generation_tester_mixin_inheritance(self):
        pass

    @unittest.skip("Embeds ids of shape (batch, length) only. The tests of modelling here pass `inputs_embeds`.")
    def test_inputs_embeds(self):
        pass

    @unittest.skip(
        "Writes a file without one weight of the model, which is refused. loading/test_checkpoint.py has such files."
    )
    def test_model_weights_reload_no_missing_tied_weights(self):
        pass

    @unittest.skip("Leaves `pad_token_id` at a default that the tiny vocabulary has not, which is refused.")
    def test_model_forward_default_config_values(self):
        pass

    @unittest.skip(
        "Clamps codes to the text vocabulary. Other tests of MossTTSDelay and MossTTSNano resize the text table."
    )
    def test_resize_tokens_embeddings(self):
        pass

    @unittest.skip(
        "A prefix would make transformers look for checkpoints of the bare backbone, which there are none of."
    )
    def test_model_base_model_prefix(self):
        pass


class MossTTSDelayModelTest(GeneratorTests, unittest.TestCase):
    all_model_classes = (MossTTSDelayModel,)
    config_class, get_config = MossTTSDelayConfig, tiny_tts_config

    @unittest.skip(
        "Refuses minus infinity, the score of the pad code. moss_tts_delay/test_modeling_moss_tts_delay.py compares the rest."
    )
    def test_batching_equivalence(self):
        pass


class MossTTSLocalV1ModelTest(GeneratorTests, unittest.TestCase):
    all_model_classes = (MossTTSLocalV1Model,)
    config_class, get_config = MossTTSLocalV1Config, tiny_local_v1_config


class MossTTSLocalModelTest(GeneratorTests, unittest.TestCase):
    all_model_classes = (MossTTSLocalModel,)
    config_class, get_config = MossTTSLocalConfig, tiny_local_config


class MossTTSNanoModelTest(GeneratorTests, unittest.TestCase):
    all_model_classes = (MossTTSNanoModel,)
    config_class, get_config = MossTTSNanoConfig, tiny_nano_config


# Not to be collected itself.
del GeneratorTests
