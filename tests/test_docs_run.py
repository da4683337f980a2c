"""Every code block of the README and the documentation runs, or says why it does not."""

from __future__ import annotations

import multiprocessing
import os
import sys
from pathlib import Path

import pytest

import blocks

ROOT = Path(__file__).parent.parent
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
RUN = [d for d in DOCUMENTS if any(map(blocks.runs, blocks.blocks(d)))]
QUICK = ("format", "own")  # by name; the others take their time
WHOLE = "reading"  # by name; the others' commands do less where they do not say how much
LESS = """
[find]
samples = 2
instructions = 2
[learn]
steps = 3
instructions = 2
[evaluate]
instructions = 2
retention_items = 8
elsewhere = 1
no_text = true
[overlap]
no_text = true
"""
# Documents are forked from a process that has loaded torch and computed nothing: neither torch's
# threads nor CUDA outlive a fork.
FORKS = multiprocessing.get_context("forkserver")
LOADED = ["transformers.models.t5.modeling_t5", "peft", "scipy.stats", "snipbias.cli.app"]
LOADED += ["snipbias.method.find", "snipbias.evaluation.compare", "snipbias.report.write"]
FORKS.set_forkserver_preload(LOADED)
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


def _run(document: Path, folder: Path, answers: dict[str, str]) -> tuple[int, str]:
    """Exit status and output of a document's blocks, run in a folder."""
    log = folder.with_suffix(".log")
    process = FORKS.Process(target=_blocks, args=(document, folder, answers, log))
    process.start()
    process.join(1200)  # a command that does not end fails
    process.kill()
    process.join()
    return process.exitcode or 0, log.read_text("utf-8")


def _blocks(document: Path, folder: Path, answers: dict[str, str], log: Path) -> None:
    os.chdir(folder)
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    os.environ.update({**OFFLINE, **answers, "PATH": path})
    for stream in (1, 2):
        os.dup2(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND), stream)
    sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w")
    settings = folder.with_suffix(".toml")
    settings.write_text(LESS)
    blocks.run(document, None if document.stem == WHOLE else settings)


@pytest.mark.parametrize(
    "document",
    [pytest.param(d, id=d.stem, marks=[] if d.stem in QUICK else pytest.mark.slow) for d in RUN],
)
def test_every_block_runs(document, tmp_path, answers):
    status, output = _run(document, tmp_path, answers)
    print(output)
    assert status == 0, output[-3000:]


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
    status, output = _run(page, tmp_path, answers)
    assert status != 0
    assert words in output
