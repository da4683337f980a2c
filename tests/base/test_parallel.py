"""Several processes: the same result as one, one writer, one sentence when one of them fails."""

from __future__ import annotations

import fnmatch
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch

from families import tiny
from one_model import found
from snipbias.base.errors import SnipbiasError
from snipbias.base.parallel import DIED
from snipbias.models.loading import load
from together import KINDS, everything

HERE = Path(__file__).parents[1]
LONG = 900  # seconds; on an idle machine a tenth of it
SOURCE = HERE.parent / "src"
_port = 29600 + os.getpid() % 1000


def start(*command: str, processes: int = 2, folder: Path | None = None) -> subprocess.Popen[str]:
    """A command in several processes, by accelerate's own launcher."""
    global _port
    _port += 1
    launcher = "from accelerate.commands.accelerate_cli import main; main()"
    options = {
        "--num_processes": processes,
        "--num_machines": 1,
        "--mixed_precision": "no",
        "--dynamo_backend": "no",
        "--main_process_port": _port,
    }
    words = [str(word) for option in options.items() for word in option]
    paths = os.pathsep.join([str(SOURCE), str(HERE), os.environ.get("PYTHONPATH", "")])
    return subprocess.Popen(
        [sys.executable, "-c", launcher, "launch", "--multi_gpu", *words, *command],
        env={**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=folder,
    )


@pytest.fixture
def alone(cli, folder, monkeypatch):
    """A snipbias command in this process, beside the others' results, on one thread as they."""
    monkeypatch.chdir(folder)
    torch.set_num_threads(1)
    return cli


def complaints(err: str) -> list[str]:
    return [line for line in err.splitlines() if line.startswith("error:")]


FIND = (
    *("find", "demo", "mini:age", "--n", "3,10", "--samples", "4", "--json"),
    *("--instructions", "2", "--label", "age"),  # by default the folder's name
)
ASK = (
    *("evaluate", "demo", "mini:age", "--items", "8", "--json", "--instructions", "1"),
    *("--retention-items", "9", "--elsewhere", "3"),
)
REPRODUCE = (
    *("reproduce", "demo", "--task", "mini:age", "--methods", "v1,random,steering,CC"),
    *("--trials", "1", "--items", "8", "--dev-items", "4", "--sizes", "3,10", "--refine", "0"),
    *("--instructions", "2", "--retention-items", "4", "--no-transfer", "--json", "--quiet"),
    *("--elsewhere", "1", "--prompts", "none", "--no-text", "--no-control-rows"),  # ASK has them
)
COMMANDS = (
    (*FIND, "--out", "two"),
    (*ASK, "--edit", "two/n10", "--out", "asked-two"),
    ("find", "demo", "mini:age", "--out", "there"),
    (*REPRODUCE, "--out", "reproduced-two"),
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Where two processes did everything, after the main one of an experiment was killed.

    One launch for all of it: most of its time is the start of Python and torch in each. Whichever
    process dies, the other says so by the same steps; the main one is also the one that writes.
    """
    folder = tmp_path_factory.mktemp("together")
    (folder / "there").mkdir()
    lm = tiny("llama-bias")
    lm.model.save_pretrained(folder / "model")
    lm.tokenizer.save_pretrained(folder / "model")
    process = start("-m", "snipbias", *COMMANDS[-1], folder=folder)
    parts = folder / "reproduced-two" / "parts"

    def whole() -> int:
        # A dot in front: not whole yet. Not rglob, which fails over a folder that is renamed.
        return sum(len(fnmatch.filter(names, "[!.]*.*")) for _, _, names in os.walk(parts))

    while whole() < 4 and process.poll() is None:
        time.sleep(0.02)
    os.kill(victim(process, rank=0), signal.SIGKILL)
    _, err = process.communicate(timeout=LONG)
    kept = {path: path.stat().st_mtime_ns for path in parts.rglob("[!.]*.*")}
    assert (process.returncode != 0, complaints(err)) == (True, [f"error: {DIED}"])
    assert len(kept) >= 4
    process = start(str(HERE / "together.py"), str(folder), json.dumps(COMMANDS), folder=folder)
    _, err = process.communicate(timeout=LONG)
    assert process.returncode == 0, err
    assert all(path.stat().st_mtime_ns == then for path, then in kept.items())
    return folder


def told(folder: Path, rank: int) -> tuple[list[list], dict, str]:
    """What its commands came to, what it found of one model in both, what it said at the end."""
    return json.loads((folder / f"told-{rank}.json").read_text())


def test_every_loop_gives_the_same_as_one_process(folder):
    torch.set_num_threads(1)
    for kind in KINDS:
        main, other = (json.loads((folder / f"{kind}-{r}.json").read_text()) for r in (0, 1))
        assert main == other  # to the bit: both go on alike
        tensors, rows = everything(kind)
        for name, values in main.pop("tensors").items():
            expected = tensors[name].double()
            torch.testing.assert_close(
                torch.tensor(values, dtype=torch.float64),
                expected,
                rtol=1e-12,
                atol=1e-12 * float(expected.abs().max()),
                msg=lambda told, what=f"{kind} {name}": f"{what}: {told}",
            )
        assert main == json.loads(json.dumps(rows))
    for rank in (0, 1):
        assert told(folder, rank)[2] == "process 1 has had enough: be kind to it."


def test_two_processes_hold_one_model(folder):
    """Tensor parallel: sites are split with their layers, and nothing else changes."""
    with pytest.raises(SnipbiasError, match="several processes"):
        load(folder / "model", tensor_parallel=True)
    one = found(folder / "model", tensor_parallel=False)
    both = [told(folder, rank)[1] for rank in (0, 1)]
    assert both[0] == both[1]
    assert both[0]["held"] == [12, 16]  # half of its 24 neurons
    assert both[0]["weights"] == one["weights"]
    for name in ("scores", "rows"):
        here, there = torch.tensor(one[name]), torch.tensor(both[0][name])
        torch.testing.assert_close(there, here, rtol=1e-5, atol=1e-5 * float(here.abs().max()))
    assert (
        torch.tensor(one["rows"][:16]).ne(torch.tensor(one["rows"][-16:])).any()
    )  # the edit counts


@pytest.mark.slow
def test_find_and_evaluate_are_the_same_commands(alone, folder):
    two, asked_two, *_ = told(folder, 0)[0]
    one = alone(*FIND, "--out", "one")
    assert (one.status, two[0]) == (0, 0), two
    assert json.loads(two[1])["found_on"] == json.loads(one.out)["found_on"]
    for n in ("n3", "n10"):
        edits = [(folder / out / n / "edit.json").read_text() for out in ("one", "two")]
        assert edits[0] == edits[1]
    for name in ("two", "reproduced-two"):
        assert json.loads((folder / name / "run.json").read_text())["machine"]["processes"] == 2

    asked_one = alone(*ASK, "--edit", "one/n10", "--out", "asked-one")
    assert (asked_one.status, asked_two[0]) == (0, 0), asked_two
    for name in ("rows.parquet", "retention.parquet"):
        tables = [pq.read_table(folder / out / name) for out in ("asked-one", "asked-two")]
        assert tables[0] == tables[1]
    summaries = [json.loads(out) for out in (asked_one.out, asked_two[1])]
    assert [summary.pop("out") for summary in summaries] == ["asked-one", "asked-two"]
    assert summaries[0] == summaries[1]
    assert not [path for path in folder.iterdir() if path.name.startswith(".")]
    assert [out for _, out, _ in told(folder, 1)[0]] == [""] * len(COMMANDS)


@pytest.mark.slow
def test_reproduce_gives_the_same_and_goes_on_after_the_main_process_was_killed(alone, folder):
    one = alone(*REPRODUCE, "--out", "reproduced-one")
    assert one.status == 0, one.err
    status, out, err = told(folder, 0)[0][3]
    assert status == 0, err
    names = ["reproduced-one", "reproduced-two"]
    results = [json.loads(text) for text in (one.out, out)]
    assert [result.pop("out") for result in results] == names
    assert results[0] == results[1]
    first, second = (folder / name for name in names)
    assert files(first) == files(second)
    for path in (first / "parts").rglob("*.parquet"):
        assert pq.read_table(path) == pq.read_table(second / path.relative_to(first)), path


def test_what_cannot_be_done_is_said_once(folder):
    (status, out, err), (other, *said) = (told(folder, rank)[0][2] for rank in (0, 1))
    assert (status, other, out, *said) == (1, 1, "", "", "")
    assert [err.rstrip("\n")] == complaints(err)
    assert "there exists" in err


def victim(launcher: subprocess.Popen[str], rank: int) -> int:
    """The process of that rank among the launcher's children."""
    for child in Path(f"/proc/{launcher.pid}/task/{launcher.pid}/children").read_text().split():
        if f"RANK={rank}\0" in Path(f"/proc/{child}/environ").read_text().replace("_RANK=", "_"):
            return int(child)
    raise AssertionError("there is no such process")


def files(folder: Path) -> set[Path]:
    return {path.relative_to(folder) for path in folder.rglob("*") if path.is_file()}
