"""Generators of every architecture, see `speakers`."""

import pytest
from speakers import SPEAKERS, build_speaker


@pytest.fixture(scope="session")
def speakers(golden_folder):
    return {name: build_speaker(golden_folder, name) for name in SPEAKERS}


@pytest.fixture(params=list(SPEAKERS))
def speaker(speakers, request):
    return speakers[request.param]
