"""Runs each case of a benchmark in a process of its own, so that its peak memory is its own."""

import multiprocessing
import resource
from collections.abc import Callable
from pathlib import Path

import torch


def peak_bytes(device: str) -> int:
    """Highest memory use of this process so far: of the machine for the CPU, of the card for a GPU."""
    if device == "cpu":
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return torch.cuda.max_memory_allocated()


def status_bytes(name: str) -> int:
    """
    A figure of this process (of Linux), in bytes: `VmRSS` now, `VmHWM` at most. (`getrusage` begins with what the process had that
    started it.)
    """
    status = Path("/proc/self/status").read_text()
    return 1024 * int(status.split(f"{name}:")[1].split()[0])


def _run(function: Callable[[dict], dict], case: dict, pipe) -> None:
    pipe.send(function(case))


def in_own_process(function: Callable[[dict], dict], case: dict) -> dict:
    """`function(case)`, computed in a fresh process."""
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_run, args=(function, case, sender))
    process.start()
    sender.close()
    try:
        return receiver.recv()
    except EOFError:
        raise RuntimeError(f"The process of {case} died, probably for lack of memory.") from None
    finally:
        process.join()
