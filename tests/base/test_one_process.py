"""One process, alone or as one of several: it exchanges nothing, and what it refuses."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from snipbias.base import parallel
from snipbias.base.errors import SnipbiasError
from snipbias.base.parallel import DIED, Workers, data_parallel, workers
from snipbias.models.loading import load

SOURCE = Path(__file__).parents[2] / "src"


def test_other_commands_are_done_by_the_main_process(cli, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    assert cli("tasks", "--json") == (0, "", "")
    monkeypatch.setenv("RANK", "0")
    assert json.loads(cli("tasks", "--json").out)["tasks"]


def test_without_a_launcher_a_variable_called_rank_is_somebody_elses(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    monkeypatch.setenv("RANK", "gold")
    assert parallel.launched_rank() == 0


def test_what_the_main_process_does_alone_waits_for_nobody(monkeypatch):
    """Else the harness, which the main process runs alone, took the others' turn."""
    met = []
    monkeypatch.setattr(Workers, "_all", lambda who, mine=None: met.append(who.count) or [mine])
    here = parallel._here.set(Workers(0, 2))
    try:
        assert workers().from_main(lambda: workers().from_main(lambda: workers().count)) == 1
        assert workers().count == 2
    finally:
        parallel._here.reset(here)
    assert met == [1, 2]


def test_one_process_needs_no_accelerate_and_no_torch():
    code = (
        "import sys; sys.modules['accelerate'] = None\n"
        "from snipbias.base.parallel import data_parallel\n"
        "with data_parallel() as who:\n"
        "    assert who.share([1, 2]) == [1, 2] and who.gather({0: 1}) == {0: 1}\n"
        "    assert who.from_main(lambda: 3) == who.main_first(lambda: 3) == 3\n"
        "    who.add([])\n"
        "assert 'torch' not in sys.modules\n"
    )
    subprocess.run(
        [sys.executable, "-c", code], check=True, env={**os.environ, "PYTHONPATH": str(SOURCE)}
    )


def test_a_launch_without_accelerate_names_the_extra(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setitem(sys.modules, "accelerate", None)
    with (
        pytest.raises(SnipbiasError, match=r"pip install 'snipbias\[accelerate\]'"),
        data_parallel(),
    ):
        pass


def test_fsdp_and_a_device_map_for_each_are_refused(monkeypatch):
    monkeypatch.setattr("snipbias.models.loading.workers", lambda: Workers(0, 2))
    with pytest.raises(SnipbiasError, match="run one process"):
        load("demo", device_map="auto")
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    with pytest.raises(SnipbiasError, match="--device-map auto"), data_parallel():
        pass


def test_a_launch_that_started_one_process_is_told(monkeypatch):
    monkeypatch.setenv("ACCELERATE_USE_CPU", "True")
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    with pytest.warns(UserWarning, match="--multi_gpu"), data_parallel() as who:
        assert who == workers() == Workers()


def test_a_signal_to_stop_is_an_error(monkeypatch):
    monkeypatch.setattr(parallel, "_mind_no_signal", lambda: None)
    with pytest.raises(KeyboardInterrupt), parallel.sigterm_raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGTERM)
    one_sentence = pytest.raises(SnipbiasError, match="was told to stop")
    with one_sentence, parallel.sigterm_raises(lambda: parallel.LostError(DIED)):
        os.kill(os.getpid(), signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
