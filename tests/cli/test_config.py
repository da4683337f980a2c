"""Settings from a file: what is written is read again, and the command line comes first."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import typer

from snipbias.base.errors import SnipbiasError
from snipbias.cli import config
from snipbias.cli import options as o
from snipbias.cli.app import add
from snipbias.cli.doctor import examine
from snipbias.cli.ending import Tracked, again
from snipbias.cli.find import Find

SEEN: list[Any] = []


class Look(o.Batching, o.Asking):
    """Look."""

    examples = ()
    model: str = o.MODEL
    n: str = o.option("", "50")
    deep: bool = o.option("", False, "--deep/--flat")
    method: str = o.option("", "v1")

    def __call__(self) -> None:
        SEEN.append(self)


def look(*words: str) -> Look:
    app = typer.Typer()
    add(Look, app)
    add(type("Other", (Look,), {"__doc__": "Other."}), app)  # or there would be one command
    app(["look", *words], standalone_mode=False)
    return SEEN[-1]


def settings(tmp_path: Path, text: str) -> str:
    path = tmp_path / "s.toml"
    path.write_text(text)
    return str(path)


def test_the_command_line_then_the_file_then_the_default(tmp_path: Path) -> None:
    text = (
        'model = "m"\nn = [3, 5]\n[look]\ndeep = true\n[other]\nn = 1\n[columns]\ngold = "label"\n'
    )
    path = settings(tmp_path, text)
    found = look("--config", path)
    assert (found.model, found.n, found.deep) == ("m", "3,5", True)
    assert found.column == ["gold=label"]
    assert look("--config", path, "--n", "7", "--flat", "x") == Look(
        model="x", n="7", column=["gold=label"]
    )


def test_one_value_is_a_list_of_one_and_a_number_is_read_as_the_option_reads_it(
    tmp_path: Path,
) -> None:
    text = 'model = "m"\ninstruction = "Say who."\nbatch-size = 4\n'
    found = look("--config", settings(tmp_path, text))
    assert found.instruction == ["Say who."]
    assert found.batch_size == 4
    for wrong in ("0", "-1", '"4a"', "true", "2.5", "1" * 5_000):
        with pytest.raises((typer.BadParameter, SnipbiasError)):
            look("--config", settings(tmp_path, f'model = "m"\nbatch-size = {wrong}\n'))


def test_what_a_run_wrote_is_the_same_run(tmp_path: Path) -> None:
    told = look(
        'a "b"\x7f', "--instruction", "Ü?", "--instruction", "two", "--deep", "--batch-size", "4"
    )
    config.write(tmp_path, told)
    assert look("--config", str(tmp_path / config.FILE)) == told


def test_a_name_that_no_command_knows_is_refused(tmp_path: Path) -> None:
    for text, said in (
        ("[look]\ndeeep = true", "did you mean 'deep'"),
        ("modell = 1", "did you mean 'model'"),
        ("[lok]\nn = 1", "did you mean 'look'"),
        ("n = [", "give a TOML file"),
        ("n = " + "[" * 9_999, "give a TOML file"),
        ("n = " + "1" * 9_999, "give a TOML file"),
        ("columns = 3", r"write \[columns\], and below"),
        ('[look]\nmethod = "theirs:scorer"', "give --method if you trust it"),
        ('model = "LM-eval:t"\ndata-dir = "theirs"', "give --data-dir if you trust it"),
    ):
        with pytest.raises(SnipbiasError, match=said):
            look("--config", settings(tmp_path, text))


def test_a_file_leads_to_no_task_files_for_a_task_named_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["snipbias", "evaluate", "m", "lm-eval:t"])
    with pytest.raises(SnipbiasError, match="give --data-dir if you trust it"):
        look("--config", settings(tmp_path, 'data-dir = "theirs"'))


def test_the_next_command_repeats_what_both_need() -> None:
    find = Find(model="a b", task="t.csv", column=["x=y"], chat=False, n="3", dtype="float16")
    assert again("evaluate", find, "--out", "r") == (
        "snipbias evaluate 'a b' t.csv --dtype float16 --no-chat --column x=y --out r"
    )


def test_doctor_knows_this_machine() -> None:
    found = examine()
    assert "float32" in found["devices"]["cpu"]
    assert found["versions"]["snipbias"]


def test_every_number_is_logged_by_its_path(monkeypatch) -> None:
    calls: list[Any] = []
    fake = SimpleNamespace(
        init=lambda **given: calls.append(given), log=calls.append, finish=lambda: None
    )
    monkeypatch.setitem(sys.modules, "trackio", fake)
    result = {"methods": {"edit": {"accuracy": 0.5, "kl": None, "name": "x", "control": False}}}
    Tracked(log_to="trackio").log("run", {"n": 3, "out": None, "path": Path("p")}, result)
    assert calls == [
        {"project": "snipbias", "name": "run", "config": {"n": 3, "path": "p"}},
        {"methods/edit/accuracy": 0.5, "methods/edit/control": 0.0},
    ]
