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
from snipbias.base import parallel
from snipbias.base.errors import SnipbiasError
from snipbias.base.parallel import DIED, Workers, data_parallel, workers
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


def together(*arguments: str | Path, folder: Path) -> subprocess.CompletedProcess[str]:
    """A snipbias command in two processes."""
    process = start("-m", "snipbias", *map(str, arguments), folder=folder)
    out, err = process.communicate(timeout=LONG)
    return subprocess.CompletedProcess([], process.returncode, out, err)


@pytest.fixture
def alone(cli, here):
    """A snipbias command in this process, in a folder of its own, on one thread as the others."""
    torch.set_num_threads(1)
    return cli


def complaints(process: subprocess.CompletedProcess[str]) -> list[str]:
    return [line for line in process.stderr.splitlines() if line.startswith("error:")]


def test_every_loop_gives_the_same_as_one_process(tmp_path):
    """One launch for all of it: most of its time is two starts of Python and torch."""
    torch.set_num_threads(1)
    (tmp_path / "rank").write_text("1")
    process = start(str(HERE / "together.py"), str(tmp_path))
    _, err = process.communicate(timeout=LONG)
    assert process.returncode == 0, err
    for kind in KINDS:
        main, other = (json.loads((tmp_path / f"{kind}-{r}.json").read_text()) for r in (0, 1))
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
        said = (tmp_path / f"said-{rank}").read_text()
        assert said == "process 1 has had enough: be kind to it."


def test_two_processes_hold_one_model(tmp_path):
    """Tensor parallel: sites are split with their layers, and nothing else changes."""
    lm = tiny("llama-bias")
    lm.model.save_pretrained(tmp_path)
    lm.tokenizer.save_pretrained(tmp_path)
    with pytest.raises(SnipbiasError, match="several processes"):
        load(tmp_path, tensor_parallel=True)
    process = start(str(HERE / "one_model.py"), str(tmp_path))
    _, err = process.communicate(timeout=LONG)
    assert process.returncode == 0, err
    one = found(tmp_path, tensor_parallel=False)
    both = [json.loads((tmp_path / f"found-{rank}.json").read_text()) for rank in (0, 1)]
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
def test_find_and_evaluate_are_the_same_commands(alone, tmp_path):
    find = ("find", "demo", "mini:age", "--n", "3,10", "--samples", "4", "--json")
    find = (*find, "--instructions", "2")
    find += ("--label", "age")  # by default the folder's name
    one = alone(*find, "--out", "one")
    two = together(*find, "--out", "two", folder=tmp_path)
    assert (one.status, two.returncode) == (0, 0), two.stderr
    assert json.loads(two.stdout)["found_on"] == json.loads(one.out)["found_on"]
    for n in ("n3", "n10"):
        edits = [(tmp_path / out / n / "edit.json").read_text() for out in ("one", "two")]
        assert edits[0] == edits[1]
    assert json.loads((tmp_path / "two" / "run.json").read_text())["machine"]["processes"] == 2

    ask = ("evaluate", "demo", "mini:age", "--edit", "one/n10", "--items", "8", "--json")
    ask += ("--instructions", "1", "--retention-items", "9", "--elsewhere", "3")
    one = alone(*ask, "--out", "asked-one")
    two = together(*ask, "--out", "asked-two", folder=tmp_path)
    assert (one.status, two.returncode) == (0, 0), two.stderr
    for name in ("rows.parquet", "retention.parquet"):
        tables = [pq.read_table(tmp_path / out / name) for out in ("asked-one", "asked-two")]
        assert tables[0] == tables[1]
    summaries = [json.loads(out) for out in (one.out, two.stdout)]
    assert [summary.pop("out") for summary in summaries] == ["asked-one", "asked-two"]
    assert summaries[0] == summaries[1]
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


REPRODUCE = (
    *("reproduce", "demo", "--task", "mini:age", "--methods", "v1,random,steering,CC"),
    *("--trials", "1", "--items", "8", "--dev-items", "4", "--sizes", "3,10", "--refine", "0"),
    *("--instructions", "2", "--retention-items", "4", "--no-transfer", "--json", "--quiet"),
    *("--elsewhere", "1"),
)


@pytest.mark.slow
def test_reproduce_gives_the_same_and_goes_on_after_a_process_was_killed(alone, tmp_path):
    one = alone(*REPRODUCE, "--out", "one")
    assert one.status == 0, one.err
    process = start("-m", "snipbias", *REPRODUCE, "--out", "two", folder=tmp_path)
    parts = tmp_path / "two" / "parts"

    def whole() -> int:
        # A dot in front: not whole yet. Not rglob, which fails over a folder that is renamed.
        return sum(len(fnmatch.filter(names, "[!.]*.*")) for _, _, names in os.walk(parts))

    while whole() < 4 and process.poll() is None:
        time.sleep(0.02)
    os.kill(victim(process, rank=1), signal.SIGKILL)
    _, err = process.communicate(timeout=LONG)
    assert process.returncode != 0
    assert complaints(subprocess.CompletedProcess([], 1, "", err)) == [f"error: {DIED}"]
    before = {path: path.stat().st_mtime_ns for path in parts.rglob("[!.]*.*")}
    assert len(before) >= 4

    two = together(*REPRODUCE, "--out", "two", folder=tmp_path)
    assert two.returncode == 0, two.stderr
    assert all(path.stat().st_mtime_ns == then for path, then in before.items())
    results = [json.loads(out) for out in (one.out, two.stdout)]
    assert [result.pop("out") for result in results] == ["one", "two"]
    assert results[0] == results[1]
    assert files(tmp_path / "one") == files(tmp_path / "two")
    for path in (tmp_path / "one" / "parts").rglob("*.parquet"):
        same = tmp_path / "two" / path.relative_to(tmp_path / "one")
        assert pq.read_table(path) == pq.read_table(same), path


@pytest.mark.slow
def test_when_the_main_process_dies_another_says_so(tmp_path):
    process = start("-m", "snipbias", *REPRODUCE, "--out", "killed", folder=tmp_path)
    while not (tmp_path / "killed" / "parts").exists() and process.poll() is None:
        time.sleep(0.02)
    os.kill(victim(process, rank=0), signal.SIGKILL)
    _, err = process.communicate(timeout=LONG)
    assert process.returncode != 0
    assert complaints(subprocess.CompletedProcess([], 1, "", err)) == [f"error: {DIED}"]


@pytest.mark.slow
def test_what_cannot_be_done_is_said_once(tmp_path):
    (tmp_path / "there").mkdir()
    process = together("find", "demo", "mini:age", "--out", "there", folder=tmp_path)
    assert process.returncode != 0
    (line,) = complaints(process)
    assert "there exists" in line
    assert "snipbias" not in process.stderr.split("Traceback")[0].replace(line, "")


def victim(launcher: subprocess.Popen[str], rank: int) -> int:
    """The process of that rank among the launcher's children."""
    for child in Path(f"/proc/{launcher.pid}/task/{launcher.pid}/children").read_text().split():
        if f"RANK={rank}\0" in Path(f"/proc/{child}/environ").read_text().replace("_RANK=", "_"):
            return int(child)
    raise AssertionError("there is no such process")


def files(folder: Path) -> set[Path]:
    return {path.relative_to(folder) for path in folder.rglob("*") if path.is_file()}


# -- one process -----------------------------------------------------------------------------------


def test_other_commands_are_done_by_the_main_process(cli, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    assert cli("tasks", "--json") == (0, "", "")
    monkeypatch.setenv("RANK", "0")
    assert json.loads(cli("tasks", "--json").out)["tasks"]


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


def test_a_signal_to_stop_ends_in_one_sentence(monkeypatch):
    monkeypatch.setattr(parallel, "_mind_no_signal", lambda: None)
    with pytest.raises(SnipbiasError, match="was told to stop"), parallel._told_to_stop():
        os.kill(os.getpid(), signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
