"""What a command writes over, what a stopped run leaves, and where nothing can be written."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import snipbias as sb
from command_line import TASK, assert_refused, tree
from snipbias.base.errors import SnipbiasError
from snipbias.base.files import sweep
from snipbias.base.record import RunRecord
from snipbias.cli import main
from snipbias.cli.rerun import recorded_arguments


def test_a_rerun_never_overwrites(cli, here: Path, model: Path) -> None:
    command = ["find", model, *TASK, "--n", 3, "--samples", 2, "--overwrite"]
    assert cli(*command, "--out", "e").status == 0
    assert cli(*command, "--out=e").status == 0
    before = Path("e/run.json").read_bytes()
    done = cli("rerun", "e", "--out", "e")
    assert done.status == 1
    assert done.err.startswith("error: e exists")
    assert Path("e/run.json").read_bytes() == before
    assert cli("rerun", "e", "--out", "f").status == 0
    assert tree(here) == {
        f"{a}{b}"
        for a in "ef"
        for b in ("", "/edit.json", "/README.md", "/run.json", "/run.toml", "/sites.json")
    }


def test_a_record_lets_no_code_of_others_run(cli, here: Path) -> None:
    def asked(*words: str, given: dict[str, object] | None = None) -> list[str]:
        record = {"command": "evaluate", "argv": ["evaluate", *words], "arguments": {}}
        Path("run.json").write_text(json.dumps(record))
        nothing = {"--trust-remote-code": False, "--lm-eval-path": None}
        return recorded_arguments(here, Path("o"), {**nothing, **(given or {})})

    code = (["--trust-remote-code"], ["--lm-eval-path", "theirs"], ["--lm-eval-path=theirs"])
    for words in code:
        with pytest.raises(SnipbiasError, match="to rerun too if you trust it"):
            asked("m", *words)
    tasks = ["lm-eval:t", "--data-dir", "theirs"]
    Path("t.toml").write_text('task = "\\u004cm-eval:t"')
    shouted = ["LM-EVAL:t", "--data-dir=theirs"]
    in_file = ["--config=t.toml", "--data-dir=theirs"]
    Path("d.toml").write_text('data-dir = "theirs"')
    folder_in_file = ["lm-eval:t", "--config", "d.toml"]
    methods = (["--method", "a:b"], ["--methods", "v1,a:b"], ["--methods=a:b"])
    for words in (*methods, tasks, shouted, in_file, folder_in_file):
        with pytest.raises(SnipbiasError, match="run 'snipbias evaluate' with"):
            asked("m", *words)
    both = {"--trust-remote-code": True, "--lm-eval-path": Path("mine")}
    mine = ["--trust-remote-code", "--lm-eval-path", "mine", "--out", "o"]
    for words in code:
        assert asked("m", *words, given=both) == ["evaluate", "m", *mine]
    assert asked("m", "--out", "x", "--overwrite", "-q") == ["evaluate", "m", "-q", "--out", "o"]


def test_nothing_odd_is_written_over(cli, here: Path, edit: Path) -> None:
    (here / "folder").mkdir()
    (here / "file").write_text("mine")
    os.mkfifo(here / "pipe")
    for name in ("folder", "file", "nothing"):
        (here / f"to {name}").symlink_to(name)
    before = tree(here)
    for out in ("file", "pipe", "to folder", "to file", "to nothing"):
        for overwrite in ((), ("--overwrite",)):
            done = cli("combine", edit, "--strength", 0.5, "--out", out, *overwrite)
            assert_refused(done, f"{out} is a", status=1)
    record = {"command": "find", "argv": [], "arguments": {}}
    (here / "folder" / "run.json").write_text(json.dumps(record))
    for out in ("pipe", "to folder", "to file", "to nothing", "folder"):
        for overwrite in ((), ("--overwrite",)):
            assert_refused(cli("report", "folder", "--out", out, *overwrite), f"{out} is a")
    assert_refused(cli("report", "folder", "--out", "file"), "file exists")
    assert tree(here) == before | {"folder/run.json"}


@pytest.mark.parametrize("stop", [signal.SIGKILL, signal.SIGTERM])
def test_what_a_stopped_run_leaves(here: Path, edit: Path, stop: signal.Signals) -> None:
    """SIGTERM is as clean as Ctrl-C; what a killed run leaves, the next one removes."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.dup2(writing, 1)
        os.dup2(writing, 2)
        sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w")
        RunRecord.write = lambda *_: (print("at work", flush=True), time.sleep(60))
        try:
            main(["combine", str(edit), "--strength", ".5", "--out", "o"])
        except SystemExit as end:
            sys.stderr.flush()
            os._exit(int(end.code or 0))
        finally:
            os._exit(99)
    os.close(writing)
    told = os.fdopen(reading)
    assert told.readline() == "at work\n"
    (hidden,) = here.iterdir()
    sweep(here)
    assert list(here.iterdir()) == [hidden]  # its process is alive
    os.kill(child, stop)
    err, (_, status) = told.read(), os.waitpid(child, 0)
    if stop is signal.SIGTERM:
        assert os.waitstatus_to_exitcode(status) == 130
        assert err == "interrupted: nothing was written.\n"
        assert not list(here.iterdir())
    (here / ".o.original.partial").mkdir()
    (here / ".o.original.partial" / "mine").touch()
    sweep(here)
    assert [path.name for path in here.iterdir()] == [".o.original.partial"]


def test_a_kill_between_two_renames_loses_nothing(here: Path) -> None:
    hidden = here / ".o.a1b2c3d4.partial"
    (hidden / "old" / "o").mkdir(parents=True)
    (hidden / "old" / "o" / "edit.json").touch()
    (hidden / "o").mkdir()
    sweep(here)
    assert {str(path.relative_to(here)) for path in here.rglob("*")} == {"o", "o/edit.json"}


def test_a_full_standard_output_is_one_sentence() -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("no such device here")
    for words in (["tasks", "--json"], ["--help"]):
        with full.open("w") as nowhere:
            done = subprocess.run(
                [sys.executable, "-m", "snipbias", *words],
                stdout=nowhere,
                stderr=subprocess.PIPE,
                text=True,
                check=False,
            )
        assert done.returncode == 1
        assert done.stderr.startswith("error: No space left on device")
        assert done.stderr.count("\n") == 1


def test_overwrite_replaces_the_whole_folder(cli, here: Path, model: Path) -> None:
    Path("e").mkdir()
    Path("e/old").write_text("")
    command = ["find", model, *TASK, "--n", 3, "--samples", 2, "--out", "e", "--overwrite"]
    assert cli(*command).status == 0
    files = ("edit.json", "README.md", "run.json", "run.toml", "sites.json")
    assert tree(here) == {"e", *(f"e/{name}" for name in files)}


@pytest.mark.parametrize("out", ["there", "file", "file/inside", ".", "x" * 300, "a\nb/file/c"])
def test_places_that_cannot_be_written(cli, here: Path, model: Path, out: str) -> None:
    (here / "there").mkdir()
    (here / "there" / "mine").write_text("precious")
    (here / "file").write_text("precious")
    (here / "a\nb").mkdir()
    (here / "a\nb" / "file").write_text("precious")
    before = tree(here)
    command = ["find", model, *TASK, "--n", 3, "--samples", 2, "--out", out]
    assert_refused(cli(*command), "")
    if out != "there":
        assert_refused(cli(*command, "--overwrite"), "")
    assert tree(here) == before
    assert (here / "there" / "mine").read_text() == "precious"


@contextlib.contextmanager
def full_disk(limit: int) -> Iterator[None]:
    """No file may grow past so many bytes, as if the disk were full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)


def many(here: Path, model: Path) -> None:
    """An edit of so many neurons that its adapter is no small file."""
    sb.random_edit(sb.load(model), 60, seed=0).save(here / "many")


@pytest.mark.parametrize("limit", [0, 100, 5000])
@pytest.mark.parametrize("command", ["find", "evaluate", "apply", "export"])
def test_a_full_disk(cli, here: Path, model: Path, edit: Path, command: str, limit: int) -> None:
    words = {
        "find": ["find", model, *TASK, "--n", 400, "--samples", 1],
        "evaluate": [
            *("evaluate", model, *TASK, "--items", 8, "--no-retention", "--no-text"),
            *("--elsewhere", 0, "--no-control-rows"),
        ],
        "apply": ["apply", model, edit],
        "export": ["export", "many", "--model", model],
    }[command]
    if command == "export":
        many(here, model)
    before = tree(here)
    with full_disk(limit):
        done = cli(*words, "--out", "o/p")
    assert_refused(done, "could not write")
    assert tree(here) == before


@pytest.mark.parametrize("command", ["find", "evaluate", "apply", "export", "rerun"])
def test_an_interrupt_leaves_nothing(
    cli, here: Path, model: Path, edit: Path, command: str, monkeypatch
) -> None:
    words = {
        "find": ["find", model, *TASK, "--n", 3, "--samples", 1],
        "evaluate": [
            "evaluate",
            model,
            *TASK,
            "--items",
            2,
            "--no-retention",
            "--no-text",
            "--elsewhere",
            1,
        ],
        "apply": ["apply", model, edit],
        "export": ["export", edit, "--model", model],
        "rerun": ["rerun", "done"],
    }[command]
    if command == "rerun":
        cli("find", model, *TASK, "--n", 3, "--samples", 1, "--out", "done")

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(RunRecord, "write", interrupted)  # the very last thing
    before = tree(here)
    done = cli(*words, "--out", "o/p")
    assert (done.status, done.out) == (130, "")
    assert done.err == "interrupted: nothing was written.\n"
    assert tree(here) == before


def test_the_default_place_is_cleared_away_too(cli, here: Path, model: Path) -> None:
    assert_refused(cli("find", model, "mini:age", "--samples", 9999), "cannot draw")
    assert not tree(here)


def test_a_rerun_says_what_has_changed(cli, model: str, here: Path) -> None:
    row = {"question": "Who ran?", "options": ["A b", "C d"], "gold": 0}
    rows = [{**row, "context": f"scene {i}", "template": f"t{i}"} for i in range(6)]

    def write() -> None:
        Path("mine.jsonl").write_text("\n".join(map(json.dumps, rows)))

    write()
    find = ("find", model, "mine.jsonl", "--n", 2, "--samples", 1, "--out", "first")
    assert cli(*find, "--instruction", "Say who.").status == 0
    same = cli("rerun", "first", "--out", "second")
    assert (same.status, same.err) == (0, "")
    rows[0]["context"] = "another scene"
    write()
    done = cli("rerun", "first", "--out", "third")
    assert done.status == 0
    assert done.err.startswith("warning: mine.jsonl has changed since the recorded run")
    assert done.err.count("\n") == 1
