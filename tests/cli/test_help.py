"""What commands print: help, tables, plain output."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import typer

import snipbias as sb
from command_line import TASK, save, strict
from snipbias.cli.app import app

COMMANDS = (
    *("find", "evaluate", "apply", "export", "show", "tasks", "demo", "reproduce"),
    *("card", "push", "play", "rerun", "fidelity", "check", "audit"),
)


ESCAPE = "\x1b"


def test_other_weights_are_one_line_of_warning(cli, here: Path, model: Path, edit: Path) -> None:
    save(here / "other", seed=1)
    done = cli("apply", "other", edit, "--out", "fair")
    assert done.status == 0
    assert re.fullmatch(r"warning: the edit was found on other weights .*\n", done.err)
    rest = ["--edit", edit, "--items", 2, "--no-retention", "--no-text", "--elsewhere", 0]
    rest += ["--out", "r"]
    done = cli("evaluate", "other", *TASK, *rest)
    assert done.status == 0
    assert re.fullmatch(r"warning: the edit was found on other weights .*\n", done.err)


def test_piped_output_is_plain(cli, here: Path, model: Path, edit: Path) -> None:
    command = ["evaluate", model, *TASK, "--items", 2, "--no-retention", "--no-text"]
    done = cli(*command, "--elsewhere", 0, "--edit", edit, "--out", "r")
    assert (done.status, done.err) == (0, "")
    assert ESCAPE not in done.out
    assert "\r" not in done.out
    for name in ("original", "v1 n=7", "random neurons", "\nnext     snipbias report r --out"):
        assert name in done.out


def test_tasks_are_listed(cli) -> None:
    names = [task["name"] for task in strict(cli("tasks", "--json").out)["tasks"]]
    assert {"mini:age", "bbq:SES"} <= set(names)
    shown = cli("tasks").out
    assert all(name in shown for name in names)


@pytest.mark.parametrize("command", COMMANDS)
def test_help(cli, command: str) -> None:
    done = cli(command, "--help")
    assert (done.status, done.err) == (0, "")
    assert f"snipbias {command}" in done.out


@pytest.mark.parametrize("command", COMMANDS)
def test_help_at_80_columns_breaks_no_list_of_choices(cli, monkeypatch, command: str) -> None:
    monkeypatch.setattr("typer.rich_utils.MAX_WIDTH", 80)
    assert re.findall(r"<\w+\|[^>\n]*$", cli(command, "--help").out, re.MULTILINE) == []


def test_help_names_every_command(cli) -> None:
    for words in ([], ["--help"]):
        done = cli(*words)
        assert (done.status, done.err) == (0, "")
        assert all(command in done.out for command in COMMANDS)


def examples() -> list[str]:
    listed = []
    for command in typer.main.get_group(app).commands.values():
        found = re.findall(r"snipbias [^\n]+", command.epilog)
        assert found, command.name
        listed += [example.strip() for example in found]
    return listed


@pytest.mark.parametrize("example", examples())
def test_examples_parse(example: str) -> None:
    program, name, *rest = shlex.split(example)
    assert program == "snipbias"
    command = typer.main.get_group(app).commands[name]
    context = command.make_context(name, rest)
    assert context.params
    assert not context.args
    tasks = context.params.get("task") or ()  # reproduce takes several, the others one
    for task in [tasks] if isinstance(tasks, str) else tasks:
        if not task.startswith("bbq:"):
            sb.task(task)
    for option in (word for word in rest if word.startswith("--")):
        assert option in {name for parameter in command.params for name in parameter.opts}


def test_version_by_module() -> None:
    command = [sys.executable, "-m", "snipbias", "--version"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == (f"snipbias {sb.__version__}\n", "")


def test_help_imports_no_torch() -> None:
    script = """
import sys
from snipbias.cli import main
try:
    main(["--help"])
except SystemExit as stop:
    assert stop.code == 0, stop.code
heavy = {"torch", "transformers", "numpy", "pyarrow", "scipy"} & set(sys.modules)
assert not heavy, heavy
"""
    subprocess.run([sys.executable, "-c", script], check=True, capture_output=True)
