"""A server with a generator of random weights."""

import pytest
from serving_at import running
from speakers import build_speaker


@pytest.fixture(scope="session")
def speaker(golden_folder):
    return build_speaker(golden_folder, "delay")


@pytest.fixture(scope="module")
def server(speaker, tmp_path_factory):
    with running(speaker, voices=tmp_path_factory.mktemp("voices")) as server:
        yield server
