"""Seconds and peak memory of functions, run in turns; ratios with their spread."""

from __future__ import annotations

import ctypes
import gc
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

Job = Callable[[], object]
Clock = Callable[[], float]


@dataclass(frozen=True)
class Spread:
    """The least, the middle and the largest of some repetitions."""

    min: float
    median: float
    max: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        return cls(min(values), statistics.median(values), max(values))


def seconds(job: Job, clock: Clock) -> float:
    """What one call takes by a clock."""
    gc.collect()
    start = clock()
    job()
    return clock() - start


def in_turns(
    jobs: Mapping[str, Job], repeats: int, clock: Clock = time.process_time
) -> dict[str, list[float]]:
    """Seconds of each job, called one after the other, `repeats` times after one call to warm up.

    Every second round goes backwards, so that no job always runs on what another left.

    Args:
        clock: the processor's time in this process, since whatever else runs on the machine takes
            its share of wall time.
    """
    taken: dict[str, list[float]] = {name: [] for name in jobs}
    for job in jobs.values():
        job()
    for turn in range(repeats):
        order = list(jobs.items())
        for name, job in order[::-1] if turn % 2 else order:
            taken[name].append(seconds(job, clock))
    return taken


def ratio(taken: Mapping[str, Sequence[float]], above: str, below: str) -> Spread:
    """One job's seconds over another's, turn by turn."""
    return Spread.of([a / b for a, b in zip(taken[above], taken[below], strict=True)])


def peak_memory(job: Job) -> tuple[int, int]:
    """Resident bytes of this process before a job and at its highest while it ran (Linux)."""
    gc.collect()
    # Freed blocks may still be resident: a job that takes them again would seem to take none.
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")  # sets the highest mark back to where we are
    before = _status("VmRSS")
    job()
    return before, _status("VmHWM")


def _status(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    line = next(line for line in lines if line.startswith(f"{field}:"))
    return int(line.split()[1]) * 1024
