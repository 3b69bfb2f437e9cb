"""transformers' own common tests on both local generators."""

import unittest

import torch
from tests.test_configuration_common import ConfigTester
from tests.test_modeling_common import ModelTesterMixin
from tiny_models import tiny_local_config, tiny_local_v1_config

from transformers_moss_tts import MossTTSLocalConfig, MossTTSLocalModel, MossTTSLocalV1Config, MossTTSLocalV1Model


class MossTTSLocalModelTester:
    def __init__(self, parent, get_config, batch_size=3, seq_length=7):
        self.parent = parent
        self.get_config = get_config
        self.batch_size = batch_size
        self.seq_length = seq_length
        self.is_training = True
        language_config = get_config().language_config
        self.hidden_size = language_config.hidden_size
        self.num_hidden_layers = language_config.num_hidden_layers
        self.num_attention_heads = language_config.num_attention_heads

    def prepare_config_and_inputs_for_common(self):
        config = self.get_config()
        shape = (self.batch_size, self.seq_length)
        text = torch.randint(0, config.vocab_size, (*shape, 1))
        codes = torch.randint(0, config.audio_vocab_size, (*shape, config.n_vq))
        inputs = {
            "input_ids": torch.cat([text, codes], dim=-1),
            "attention_mask": torch.ones(shape, dtype=torch.long),
        }
        return config, inputs

    prepare_config_and_inputs = prepare_config_and_inputs_for_common


class LocalModelTests(ModelTesterMixin):
    def _prepare_for_class(self, inputs_dict, model_class, return_labels=False):
        inputs = super()._prepare_for_class(inputs_dict, model_class, return_labels=return_labels)
        if return_labels:
            inputs["labels"] = inputs["input_ids"].clone()
            inputs["labels"][..., 0] = self.model_tester.get_config().audio_assistant_gen_slot_token_id
        return inputs

    def test_config(self):
        self.config_tester.run_common_tests()

    @unittest.skip("GenerationTesterMixin is not in the sdist; moss_tts/test_frame_generation.py tests `generate`.")
    def test_generation_tester_mixin_inheritance(self):
        pass

    @unittest.skip(
        "Embeds ids of shape (batch, length) only. moss_tts/test_frame_generation.py passes `inputs_embeds`."
    )
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

    @unittest.skip("Clamps codes to the text vocabulary.")
    def test_resize_tokens_embeddings(self):
        pass

    @unittest.skip(
        "A prefix would make transformers look for checkpoints of the bare backbone, which there are none of."
    )
    def test_model_base_model_prefix(self):
        pass


class MossTTSLocalV1ModelTest(LocalModelTests, unittest.TestCase):
    all_model_classes = (MossTTSLocalV1Model,)

    def setUp(self):
        self.model_tester = MossTTSLocalModelTester(self, tiny_local_v1_config)
        self.config_tester = ConfigTester(
            self, config_class=MossTTSLocalV1Config, has_text_modality=False, common_properties=[]
        )


class MossTTSLocalModelTest(LocalModelTests, unittest.TestCase):
    all_model_classes = (MossTTSLocalModel,)

    def setUp(self):
        self.model_tester = MossTTSLocalModelTester(self, tiny_local_config)
        self.config_tester = ConfigTester(
            self, config_class=MossTTSLocalConfig, has_text_modality=False, common_properties=[]
        )


del LocalModelTests
