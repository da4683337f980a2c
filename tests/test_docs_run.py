"""Every code block of the README and the documentation runs, or says why it does not."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import blocks

ROOT = Path(__file__).parent.parent
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
RUN = [d for d in DOCUMENTS if any(map(blocks.runs, blocks.blocks(d)))]
QUICK = ("format", "own")  # by name; the others take their time
OFFLINE = {"HF_HUB_OFFLINE": "1", "SNIPBIAS_OFFLINE": "1", "OMP_NUM_THREADS": "1"}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.stem)
def test_each_block_is_run_or_says_why_not(document):
    for block in blocks.blocks(document):
        place = f"{document.name}:{block.line}"
        assert block.language in blocks.LANGUAGES + blocks.SHOWN, f"{place}: which language?"
        if block.reason is not None:
            assert block.language in blocks.LANGUAGES, f"{place}: only shown, and needs no reason"


def test_markers_stand_before_blocks():
    marked = sum(document.read_text("utf-8").count("<!-- not run") for document in DOCUMENTS)
    every = [block for document in DOCUMENTS for block in blocks.blocks(document)]
    left = [block.reason for block in every if block.reason]
    print(f"{sum(map(blocks.runs, every))} blocks run, {len(left)} do not: {', '.join(left)}")
    assert len(left) == marked


def test_unmarked_and_marked_blocks_are_told_apart(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(
        "```python\na = 1\n```\n\ntext\n\n<!-- not run: needs the hub -->\n```sh\nb\n```\n"
        "<!-- not run: slow -->\n\n```sh\nc\n```\n\n```text\nd\n```\n"
    )
    found = [(b.language, b.code, b.line, b.reason) for b in blocks.blocks(page)]
    assert found == [
        ("python", "a = 1\n", 2, None),
        ("sh", "b\n", 9, "needs the hub"),
        ("sh", "c\n", 14, "slow"),
        ("text", "d\n", 18, None),
    ]


def test_commands_that_need_no_shell():
    code = "snipbias find demo \\\n  mini:age --n 3   # some\nsnipbias show 'a b'\n"
    assert blocks.commands(code) == [["find", "demo", "mini:age", "--n", "3"], ["show", "a b"]]
    assert blocks.commands("snipbias show a > b\n") is None
    assert blocks.commands("cd a\n") is None


@pytest.fixture(scope="module")
def answers(tmp_path_factory) -> dict[str, str]:
    """Documents ask much the same: what one of them asked is kept for the others."""
    return {"SNIPBIAS_ANSWERS": "on", "SNIPBIAS_CACHE": str(tmp_path_factory.mktemp("answers"))}


def _run(document: Path, folder: Path, answers: dict[str, str]) -> subprocess.CompletedProcess[str]:
    program = Path(blocks.__file__)
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    return subprocess.run(
        [sys.executable, str(program), str(document)],
        cwd=folder,
        env={**os.environ, **OFFLINE, **answers, "PATH": path},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=1200,  # a command that does not end fails
    )


@pytest.mark.parametrize(
    "document",
    [pytest.param(d, id=d.stem, marks=[] if d.stem in QUICK else pytest.mark.slow) for d in RUN],
)
def test_every_block_runs(document, tmp_path, answers):
    done = _run(document, tmp_path, answers)
    print(done.stdout)
    assert done.returncode == 0, done.stdout[-3000:]


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("```python\nx = 1\n```\n```python\nassert x == 2\n```\n", "page.md:5 failed"),
        ("```sh\nsnipbias nothing\n```\n", "exit status 2"),
        ("```sh\nfalse\ntrue\n```\n", "exit status 1"),
    ],
)
def test_a_block_that_fails_is_named(code, words, tmp_path, answers):
    page = tmp_path / "page.md"
    page.write_text(code)
    done = _run(page, tmp_path, answers)
    assert done.returncode != 0
    assert words in done.stdout
