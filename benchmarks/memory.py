"""Peak memory of finding: over the floor's, and over the number of items.

Each job runs in a process of its own, since memory once taken is not given back for certain.
"""

from __future__ import annotations

import ctypes
import json
import subprocess
import sys
from dataclasses import dataclass

from benchmarks.measure import Spread, peak_memory


@dataclass(frozen=True)
class Peak:
    """Resident bytes before a job, with the model loaded, and at its highest."""

    before: int
    highest: int

    @property
    def added(self) -> int:
        return self.highest - self.before


def run(model: str, *, items: int, batch_size: int, repeats: int) -> tuple[Spread, Spread]:
    """Peak of `attribute` over the floor's: of the whole process, and of what comes on top."""
    peaks = [
        [_in_own_process(job, model, items, batch_size) for job in ("find", "floor")]
        for _ in range(repeats)
    ]
    whole = Spread.of([find.highest / floor.highest for find, floor in peaks])
    added = Spread.of([find.added / floor.added for find, floor in peaks])
    return whole, added


def growth(model: str, *, few: int, many: int, batch_size: int) -> float:
    """Peak of the process that finds on many items over that on few, which are the same ones."""
    peaks = [_in_own_process("find", model, few, batch_size, n) for n in (few, many)]
    return peaks[1].highest / peaks[0].highest


def _in_own_process(job: str, model: str, drawn: int, batch_size: int, items: int = 0) -> Peak:
    arguments = [job, model, str(drawn), str(batch_size), str(items or drawn)]
    command = [sys.executable, "-m", "benchmarks.memory", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return Peak(**json.loads(done.stdout.splitlines()[-1]))


def _measure(job: str, model: str, drawn: str, batch_size: str, items: str) -> None:
    import torch

    from benchmarks import peers
    from benchmarks.workloads import workload
    from snipbias import attribute

    torch.set_num_threads(1)
    work, size = workload(model, int(drawn)).of(int(items)), int(batch_size)

    def floor() -> None:
        for batch in work.batches(size):
            peers.floor(work.lm, [query for _, query in batch])

    jobs = {"find": lambda: attribute(work.lm, work.task, batch_size=size), "floor": floor}
    ctypes.CDLL("libc.so.6").malloc_trim(0)  # what loading left behind is not the model
    before, highest = peak_memory(jobs[job])
    print(json.dumps({"before": before, "highest": highest}))


if __name__ == "__main__":
    _measure(*sys.argv[1:])
