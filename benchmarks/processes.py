"""Finding by two processes of one thread each, against one process of one thread."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.measure import Spread
from benchmarks.workloads import place_of

ONE = ("-m", "snipbias")
# --multi_gpu starts several processes on CPUs too; --cpu would start one.
TWO = ("-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2", *ONE)


def run(model: str, *, items: int, batch_size: int, repeats: int) -> Spread:
    """Seconds of one process over those of two, of the work alone: no start, no loading."""
    with tempfile.TemporaryDirectory() as folder:
        place = place_of(model, Path(folder))
        taken = [
            [_work_seconds(launch, place, items, batch_size) for launch in (ONE, TWO)]
            for _ in range(repeats)
        ]
    return Spread.of([one / two for one, two in taken])


def _work_seconds(launch: tuple[str, ...], model: str, items: int, batch_size: int) -> float:
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "edit"
        options = ["--samples", str(items), "--instructions", "1", "--batch-size", str(batch_size)]
        subprocess.run(
            [sys.executable, *launch, "find", model, "mini:age", *options, "--out", str(out)],
            check=True,
            capture_output=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        return json.loads((out / "run.json").read_text())["seconds"]["attribute"]
