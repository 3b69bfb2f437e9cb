"""transformers' own common tests on the processor."""

import unittest

from tests.test_processing_common import ProcessorTesterMixin
from tiny_models import GOLDEN_TTS, golden_processor

from transformers_moss_tts import MossTTSDelayConfig, MossTTSDelayProcessor


class MossTTSDelayProcessorTest(ProcessorTesterMixin, unittest.TestCase):
    processor_class = MossTTSDelayProcessor

    @classmethod
    def _setup_tokenizer(cls):
        return golden_processor().tokenizer

    @staticmethod
    def prepare_processor_dict():
        return {"model_config": MossTTSDelayConfig.from_pretrained(GOLDEN_TTS), "max_reference_duration": 12.0}

    @unittest.skip("The model's configuration is saved as config.json, not inside processor_config.json.")
    def test_processor_to_json_string(self):
        pass

    @unittest.skip("`decode` gives waveforms, not text.")
    def test_tokenizer_decode_defaults(self):
        pass

    @unittest.skip("A prompt is the whole template with its codes, not the tokens of the text alone.")
    def test_subprocessor_defaults_0_text(self):
        pass

    @unittest.skip("The prompt's fields are arguments of their own; there are no nested `text_kwargs`.")
    def test_flat_kwarg_applied_when_modality_dict_lacks_it(self):
        pass

    @unittest.skip("The prompt's fields are arguments of their own; there are no `ProcessingKwargs`.")
    def test_call_arguments_not_in_processor_kwargs(self):
        pass

    @unittest.skip("`mode`, `padding` and `return_tensors` name their one default.")
    def test_call_arguments_default_none(self):
        pass
