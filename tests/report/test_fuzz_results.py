"""Damaged results are one sentence, and kill -9 leaves the old ones or the new, never half."""

from __future__ import annotations

import contextlib
import copy
import io
import json
import os
import random
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import strategies as st

import fuzz
import snipbias as sb
from snipbias.base.record import RunRecord
from snipbias.cli import main
from snipbias.method.scores import Scores
from snipbias.report.write import write_report

FIND = "find demo mini:age --n 3 --samples 1 --instructions 1 --quiet --out"
REPRODUCE = (
    "reproduce demo --task mini:age --methods v1 --trials 1 --items 2 --dev-items 2 --samples 1 "
    "--sizes 3 --refine 0 --instructions 1 --no-retention --no-text --no-transfer --quiet "
    "--elsewhere 1"
)


def run(*words: str) -> None:
    quiet = contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO())
    with quiet[0], quiet[1], pytest.raises(SystemExit) as stop:
        main([*words])
    assert not stop.value.code


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """An edit, and a folder of what each kind of run writes."""
    here = tmp_path_factory.mktemp("made")
    run(*FIND.split(), str(here / "edit"))
    evaluate = ["--items", "4", "--instructions", "1", "--no-text", "--no-retention", "--quiet"]
    evaluate += ["--elsewhere", "1"]
    edit = ["--edit", str(here / "edit")]
    run("evaluate", "demo", "mini:age", *evaluate, *edit, "--out", str(here / "evaluated"))
    run(*REPRODUCE.split(), "--out", str(here / "reproduced"))
    return here


def damaged(whole: Any) -> st.SearchStrategy[bytes]:
    """A JSON document with one value replaced or left out, or with its bytes cut or changed."""
    paths: list[tuple[Any, ...]] = []

    def walk(value: Any, path: tuple[Any, ...]) -> None:
        paths.append(path)
        if isinstance(value, dict | list):
            items = value.items() if isinstance(value, dict) else enumerate(value[:3])
            for key, inner in items:
                walk(inner, (*path, key))

    def replaced(where: tuple[tuple[Any, ...], Any]) -> bytes:
        path, new = where
        document = [copy.deepcopy(whole)]
        place: Any = document
        for key in (0, *path[:-1]) if path else ():
            place = place[key]
        place[path[-1] if path else 0] = new
        return json.dumps(document[0]).encode("utf-8", "surrogatepass")

    walk(whole, ())
    text = json.dumps(whole).encode()
    cut = st.integers(0, len(text)).map(lambda n: text[:n])
    odd = st.tuples(st.integers(0, len(text)), st.binary(max_size=3)).map(
        lambda change: text[: change[0]] + change[1] + text[change[0] + 1 :]
    )
    return st.tuples(st.sampled_from(paths), fuzz.values).map(replaced) | cut | odd


@fuzz.amounts(4)
def test_damaged_edits(examples: int, made: Path, tmp_path: Path) -> None:
    whole = json.loads((made / "edit" / "edit.json").read_text())

    def load(content: bytes) -> None:
        (tmp_path / "edit.json").write_bytes(content)
        sb.NeuronEdit.load(tmp_path)

    fuzz.attack(load, damaged(whole), examples)


@fuzz.amounts(4)
def test_damaged_scores(examples: int, tmp_path: Path) -> None:
    lm, task = sb.load("demo"), sb.task("mini:age")
    drawn = task.with_instructions(task.instructions[:1]).sample(1, 0)
    path = tmp_path / "s.safetensors"
    sb.attribute(lm, drawn, method=sb.Method.v1()).save(path)
    whole = path.read_bytes()
    length = int.from_bytes(whole[:8], "little")

    def load(header: bytes) -> None:
        path.write_bytes(len(header).to_bytes(8, "little") + header + whole[8 + length :])
        Scores.load(path, lm.sites)

    header = json.loads(whole[8 : 8 + length])
    described = json.loads(header["__metadata__"]["snipbias"])

    def relabelled(described: bytes) -> bytes:
        metadata = {"snipbias": described.decode("utf-8", "replace")}
        return json.dumps({**header, "__metadata__": metadata}).encode()

    fuzz.attack(load, damaged(header) | damaged(described).map(relabelled), examples)


@pytest.mark.parametrize(
    "file", ["edit/run.json", "evaluated/run.json", "evaluated/summary.json", "edit/sites.json"]
)
@fuzz.amounts(100)
def test_damaged_results(examples: int, file: str, made: Path, tmp_path: Path) -> None:
    folder = tmp_path / file.split("/")[0]
    shutil.copytree(made / folder.name, folder)
    whole = json.loads((made / file).read_text())

    def read(content: bytes) -> None:
        (tmp_path / file).write_bytes(content)
        RunRecord.read(folder)
        write_report([folder], tmp_path / "r.html", texts=False, overwrite=True)

    fuzz.attack(read, damaged(whole), min(examples, 25 if examples > fuzz.QUICK else 6))


# -- kill -9 ---------------------------------------------------------------------------------------

COMMANDS = {
    "find": FIND,
    "evaluate": "evaluate demo mini:age --edit {edit} --items 2 --instructions 1 --no-text "
    "--no-retention --quiet --elsewhere 1 --out",
    "apply": "apply demo {edit} --quiet --out",
    "export": "export {edit} --quiet --out",
    "reproduce": REPRODUCE + " --out",
}


TIMED = (".json", ".jsonl")


def contents(folder: Path) -> dict[str, bytes]:
    """Every file; of records, in which times stand, only that they are there."""
    return {
        str(path.relative_to(folder)): b"" if path.suffix in TIMED else path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and "parts" not in path.parts and ".partial" not in str(path)
    }


def killed(words: list[str], seconds: float) -> None:
    """Run the command in a child, and kill it after so long."""
    child = os.fork()
    if child == 0:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 1)
        os.dup2(nowhere, 2)
        with contextlib.suppress(BaseException):
            main(words)
        os._exit(0)
    time.sleep(seconds)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)


@pytest.mark.parametrize(
    "moments", [pytest.param(2, marks=pytest.mark.slow), pytest.param(20, marks=pytest.mark.fuzz)]
)
@pytest.mark.parametrize("command", COMMANDS)
def test_killed_at_any_moment(command: str, moments: int, made: Path, tmp_path: Path) -> None:
    words = COMMANDS[command].format(edit=made / "edit").split()
    out = tmp_path / "out"
    again = [*words, str(out), *([] if command == "reproduce" else ["--overwrite"])]
    started = time.monotonic()
    run(*again)
    lasts = time.monotonic() - started
    whole = contents(out)
    rng = random.Random(command)
    for number in range(moments):
        # The old one stays for every other moment; a finished experiment has nothing left to do.
        new = number % 2 == 0 or command == "reproduce"
        if new:
            shutil.rmtree(out)
        killed(again, rng.random() * lasts)
        if command != "reproduce" and out.exists():
            assert contents(out) == whole
        assert new or out.exists()
        run(*again)
        assert contents(out) == whole, number
        assert [path.name for path in tmp_path.iterdir()] == ["out"]
        assert not list(out.rglob(".*"))
