"""What a call does with an input: it runs in a child with limits of time and memory, which may hang, run out or die."""

import faulthandler
import json
import os
import resource
import select
import shutil
import signal
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import datasets
import torch
from huggingface_hub.errors import StrictDataclassError


# What the package promises for input that cannot be used.
REFUSALS = (ValueError, TypeError, OSError)
# Limits of an input: processor time, time on the clock, and memory beside what the process has.
CPU_SECONDS, WALL_SECONDS, MORE_BYTES = 10, 60, 3 * 2**30


@dataclass
class Case:
    """
    An input that is tried.

    Args:
        label (`str`): text that says what is called with what.
        call (`Callable`): the call; it runs in an empty working directory.
        names (`tuple[str, ...]`): words of which an error must have one, in any case: the argument, the key, the file.
        check (`Callable`, *optional*): takes what the call returned, and returns what is wrong with it, or `None`.
        is_nonsense (`bool`): whether the input must be refused.
    """

    label: str
    call: Callable[[], Any]
    names: tuple[str, ...]
    check: Callable[[Any], str | None] | None = None
    is_nonsense: bool = False


class Outcome(NamedTuple):
    """
    Kind and text of what happened: `"accepted"` and `"refused"` are as they should be; `"silent"` (accepted, and wrong),
    `"unnamed"` (refused without a word of the argument), `"raised"` (an error of another class), `"memory"`, `"hang"` and
    `"crash"` are faults.
    """

    kind: str
    text: str

    @property
    def is_fault(self) -> bool:
        return self.kind not in ("accepted", "refused")


def outcomes_of(cases: list[Case]) -> list[Outcome]:
    """What happens when cases are tried, one after the other in a child; after one that ends it, in another child."""
    outcomes: list[Outcome] = []
    root = tempfile.mkdtemp(prefix="fuzz-")
    try:
        while len(outcomes) < len(cases):
            outcomes += _outcomes_of_a_child(cases[len(outcomes) :], root)
    finally:
        shutil.rmtree(root, ignore_errors=True)
    return outcomes


def _outcomes_of_a_child(cases: list[Case], root: str) -> list[Outcome]:
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        _be_the_child(cases, root, writer)
    os.close(writer)
    outcomes: list[Outcome] = []
    with os.fdopen(reader, "rb", buffering=0) as answers:
        while len(outcomes) < len(cases):
            answer = _next_line(answers, time.monotonic() + WALL_SECONDS)
            if not answer:
                break
            outcomes.append(Outcome(*json.loads(answer)))
    if len(outcomes) < len(cases) and answer is None:
        os.kill(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    return outcomes if len(outcomes) == len(cases) else [*outcomes, _outcome_of_an_end(status)]


def _outcome_of_an_end(status: int) -> Outcome:
    ended_by = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
    if ended_by in (signal.SIGXCPU, signal.SIGKILL):
        return Outcome("hang", f"no answer in {CPU_SECONDS} s of processor time")
    return Outcome("crash", signal.Signals(ended_by).name if ended_by else f"exit code {os.WEXITSTATUS(status)}")


def _be_the_child(cases: list[Case], root: str, writer: int) -> None:
    """Tries the cases, tells an outcome a line and ends the process."""
    try:
        faulthandler.disable()
        nowhere = os.open(os.devnull, os.O_RDWR)
        for standard in range(3):
            os.dup2(nowhere, standard)
        torch.set_num_threads(1)
        for case in cases:
            folder = tempfile.mkdtemp(dir=root)
            os.chdir(folder)
            tempfile.tempdir = folder
            datasets.config.HF_DATASETS_CACHE = Path(folder, "cache")
            _limit()
            os.write(writer, json.dumps(_try(case)).encode() + b"\n")
            os.chdir(root)
            tempfile.tempdir = None
            shutil.rmtree(folder, ignore_errors=True)
    finally:
        os._exit(0)


def _limit() -> None:
    """Limits from now on, beside what the process has used."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    seconds = int(used.ru_utime + used.ru_stime) + 1 + CPU_SECONDS
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, resource.RLIM_INFINITY))
    in_use = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (in_use + MORE_BYTES, resource.RLIM_INFINITY))


def _try(case: Case) -> tuple[str, str]:
    try:
        result = case.call()
    except MemoryError as error:
        return "memory", str(error)
    except BaseException as error:
        text = " ".join(f"{type(error).__name__}: {error}".split())
        if "DefaultCPUAllocator" in text or "std::bad_alloc" in text:
            return "memory", text[:300]
        # Of configurations huggingface_hub raises an error of its own, which names the field, the value and the type.
        if not isinstance(error, (*REFUSALS, StrictDataclassError)):
            return "raised", f"{text[:300]} {_place(error)}"
        is_named = any(name.casefold() in str(error).casefold() for name in case.names)
        return ("refused", text[:200]) if is_named else ("unnamed", f"{text[:300]} {_place(error)}")
    if case.is_nonsense:
        return "silent", f"it returned {_shown(result)}"
    try:
        wrong = case.check(result) if case.check is not None else None
    except Exception as error:
        wrong = f"the check of {_shown(result)} raised {error!r}"
    return ("accepted", "") if wrong is None else ("silent", wrong[:300])


def _place(error: BaseException) -> str:
    """The last line of the package that an error came by, and where it was raised."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if "moss_tts" in frame.filename and "modeling_tests" not in frame.filename]
    places = [*ours[-1:], *frames[-1:]]
    return " ".join(f"({Path(frame.filename).name}:{frame.lineno})" for frame in places)


def _shown(value: Any) -> str:
    try:
        return " ".join(repr(value).split())[:120]
    except Exception as error:
        return f"{type(value).__name__}, which has no repr ({error!r})"


def _next_line(answers: BinaryIO, end: float) -> bytes | None:
    """A line of a pipe; empty if it was closed, None if there is none until then."""
    line = b""
    while (remaining := end - time.monotonic()) > 0:
        if not select.select([answers], [], [], remaining)[0]:
            break
        character = answers.read(1)
        if not character or character == b"\n":
            return line
        line += character
    return None
