import os
import sys
from pathlib import Path

import pytest


os.environ.setdefault("HF_HUB_OFFLINE", "1")
sys.path.insert(0, str(Path(__file__).parent))

import transformers_common_tests
from local_hub import local_hub  # noqa: F401
from released.fixtures import _stand_ins, released, released_folders, released_hub  # noqa: F401

import transformers_moss_tts  # noqa: F401


def pytest_configure(config):
    # Workers of pytest-xdist start after this process has fetched the tests.
    if not hasattr(config, "workerinput"):
        transformers_common_tests.fetch()
    sys.path.insert(0, str(transformers_common_tests.folder()))


@pytest.fixture(scope="session")
def golden_folder() -> Path:
    return Path(__file__).parent / "golden"
