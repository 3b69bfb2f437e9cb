"""What tests of adapters share."""

import importlib.metadata

import pytest
from packaging.version import parse
from transformers.integrations.peft import MIN_PEFT_VERSION


needs_peft_of_transformers = pytest.mark.skipif(
    parse(importlib.metadata.version("peft")) < parse(MIN_PEFT_VERSION),
    reason=f"transformers' own load_adapter needs PEFT {MIN_PEFT_VERSION}",
)
