"""Seconds until the command line answers, and until the package is imported."""

from __future__ import annotations

import subprocess
import sys
import time

from benchmarks.measure import Spread, in_turns


def run(repeats: int) -> tuple[Spread, Spread]:
    """Seconds of `snipbias --help`, and of `import snipbias` in a new interpreter.

    Raises:
        AssertionError: the import loads torch.
    """
    check = "import snipbias, sys; assert 'torch' not in sys.modules"
    jobs = {
        "help": lambda: _call("-m", "snipbias", "--help"),
        "import": lambda: _call("-c", check),
    }
    # Wall time: processes of their own do the work.
    taken = in_turns(jobs, repeats, time.perf_counter)
    return Spread.of(taken["help"]), Spread.of(taken["import"])


def _call(*arguments: str) -> None:
    subprocess.run([sys.executable, *arguments], check=True, capture_output=True)
