"""
Tries the public surface with inputs that nobody expects. Every outcome must be right, or an error that names the argument.

`TORTURE_INPUTS` is the number of inputs of all areas together, 300 by default; `TORTURE_SEED` is their seed, 0 by default.
"""

import importlib
import os
import warnings

import pytest
from fuzz.outcomes import Case, outcomes_of
from hypothesis import HealthCheck, Phase, given, seed, settings


# Areas and their shares of the inputs: where a model is loaded each time, fewer are tried.
AREAS = {
    "audio": 0.1,
    "prompts": 0.1,
    "generation": 0.1,
    "codes": 0.1,
    "configurations": 0.1,
    "tables": 0.1,
    "training": 0.1,
    "evaluation": 0.1,
    "folders": 0.05,
    "commands": 0.05,
    "voices": 0.1,
}
NUM_INPUTS = int(os.environ.get("TORTURE_INPUTS", 300))
SEED = int(os.environ.get("TORTURE_SEED", 0))


def cases_of(area: str, count: int) -> list[Case]:
    """Inputs of an area, by the seed."""
    cases: list[Case] = []

    @seed(SEED)
    @settings(
        max_examples=count,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(importlib.import_module(f"fuzz.{area}").cases)
    def collect(case: Case) -> None:
        cases.append(case)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        collect()
    return cases


@pytest.mark.parametrize("area", AREAS)
def test_odd_inputs_are_taken_rightly_or_named(area):
    print(f"seed {SEED}")
    cases = cases_of(area, round(NUM_INPUTS * AREAS[area]))
    assert len(cases) >= 10
    found = [(case.label, outcome) for case, outcome in zip(cases, outcomes_of(cases)) if outcome.is_fault]
    lines = [f"{outcome.kind}: {label[:300]}\n    {outcome.text}" for label, outcome in found]
    assert not found, f"{len(found)} of {len(cases)} inputs (seed {SEED}):\n" + "\n".join(lines[:40])


FAULTS = {
    "silent": Case("", lambda: 1, (), is_nonsense=True),
    "unnamed": Case("", lambda: int("x"), ("argument",)),
    "raised": Case("", lambda: {}["key"], ("key",)),
    "memory": Case("", lambda: bytearray(2**40), ()),
    "crash": Case("", lambda: os.kill(os.getpid(), 11), ()),
    "refused": Case("", lambda: int("x"), ("invalid literal",)),
    "accepted": Case("", lambda: 1, (), lambda result: None),
}


def test_faults_are_seen():
    assert [outcome.kind for outcome in outcomes_of(list(FAULTS.values()))] == list(FAULTS)


def test_a_hang_is_ended(monkeypatch):
    monkeypatch.setattr("fuzz.outcomes.CPU_SECONDS", 0)

    def hang():
        while True:
            pass

    assert outcomes_of([Case("", hang, ())])[0].kind == "hang"
