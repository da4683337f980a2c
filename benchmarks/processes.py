"""Finding by two processes of one thread each, against one process of one thread."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from benchmarks.measure import Spread
from benchmarks.workloads import place_of

ONE = ("-m", "snipbias")
# --multi_gpu starts several processes on CPUs too; --cpu would start one.
TWO = ("-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2", *ONE)
# Batches for each of two processes; with one, the longest prompts would all be in one of them.
BATCHES = 3


def run(model: str, *, batch_size: int, repeats: int) -> tuple[Spread, Spread]:
    """Seconds of one process over those of two, of the work alone: no start, no loading.

    Returns:
        (speedup, ceiling): of two processes that share the work, and of two at the same time that
        know nothing of each other and do half of it each, which is what the machine allows.
    """
    items = 2 * BATCHES * batch_size
    with tempfile.TemporaryDirectory() as folder:
        place = place_of(model, Path(folder))
        taken = [
            (
                _work_seconds([ONE], place, items, batch_size),
                _work_seconds([TWO], place, items, batch_size),
                _work_seconds([ONE, ONE], place, items // 2, batch_size),
            )
            for _ in range(repeats)
        ]
    speedup = Spread.of([one / two for one, two, _ in taken])
    return speedup, Spread.of([one / apart for one, _, apart in taken])


def _work_seconds(
    launches: Sequence[tuple[str, ...]], model: str, items: int, batch_size: int
) -> float:
    """Of runs that start together, those of the slowest."""
    options = ["--samples", str(items), "--instructions", "1", "--batch-size", str(batch_size)]
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        outs = [folder / str(number) for number in range(len(launches))]
        runs = [
            stack.enter_context(
                subprocess.Popen(
                    [sys.executable, *launch, "find", model, "mini:age", *options, "--out", out],
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.PIPE,
                    env={**os.environ, "OMP_NUM_THREADS": "1"},
                )
            )
            for launch, out in zip(launches, outs, strict=True)
        ]
        for one in runs:
            said = one.communicate()[1]
            if one.returncode:
                raise RuntimeError(said.decode())
        records = [json.loads((out / "run.json").read_text()) for out in outs]
    return max(record["seconds"]["attribute"] for record in records)
