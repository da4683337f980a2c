"""Finding, against the passes it cannot do without and against the plain ways."""

from __future__ import annotations

from benchmarks import peers
from benchmarks.measure import Spread, in_turns, ratio
from benchmarks.workloads import Workload
from snipbias import attribute


def run(work: Workload, *, batch_size: int, repeats: int, against: str) -> Spread:
    """Seconds of `attribute` over the floor's, or a slower way's over those of `attribute`."""

    def find() -> None:
        attribute(work.lm, work.task, batch_size=batch_size)

    def floor() -> None:
        for batch in work.batches(batch_size):
            peers.floor(work.lm, [query for _, query in batch])

    jobs = {
        "floor": floor,
        "schedule": lambda: peers.schedule(work, batch_size),
        "captum": lambda: peers.captum(work, batch_size),
    }
    taken = in_turns({"find": find, against: jobs[against]}, repeats)
    above, below = ("find", "floor") if against == "floor" else (against, "find")
    return ratio(taken, above, below)
