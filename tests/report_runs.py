"""Small real runs of every command that a report is made of, made once."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from families import tiny
from snipbias.cli import main
from snipbias.experiment.settings import PRESETS
from snipbias.models.source import quiet_transformers

_MADE: list[Path] = []
KEPT = [
    {"id": f"k{i}", "question": f"Which is {i}?", "options": [str(i), "none"], "gold": 0}
    for i in range(3)
]
REPRODUCE = [
    *(
        "--task",
        "mini:age",
        "--instructions",
        "2",
        "--samples",
        "2",
        "--methods",
        "random,CC,offset",
    ),
    *("--trials", "2", "--draws", "1", "--items", "22", "--dev-items", "10", "--sizes", "2,5"),
    *("--refine", "0", "--retention", "mini:skills", "--retention-items", "8", "--elsewhere", "2"),
]


@pytest.fixture(scope="session")
def runs(tmp_path_factory) -> Iterator[Path]:
    """A folder with the runs `found`, `evaluated`, `demo` and `reproduced`; one is in it."""
    if _MADE:  # for another test file: each imports a fixture of its own
        yield _MADE[0]
        return
    place = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        patch.setattr(sys, "argv", ["snipbias"])
        patch.setattr("snipbias.evaluation.compare.chat_prompts", lambda: ("Name a tree.", "Hi!"))
        Path("kept.jsonl").write_text("".join(json.dumps(row) + "\n" for row in KEPT))
        Path("text.txt").write_text("It rained all day.\n\nThe train was late.\n")
        two = ("--instructions", "2", "--quiet")
        call("find", "demo", "mini:age", "--n", "3,30", *two, "--out", "found")
        edits = ("--edit", "found/n3", "--edit", "found/n30")
        call(
            *("evaluate", "demo", "mini:age", *edits, "--items", "22", *two),
            *("--retention", "mini:skills", "--retention", "kept.jsonl", "--retention-items", "24"),
            *("--text", "text.txt", "--elsewhere", "4", "--out", "evaluated"),
        )
        small = {"tasks": ("mini:ses",), "samples": 4, "trials": 2, "sizes": (10, 30)}
        limits = {"items": 22, "dev_items": 22, "retention_items": 8, "elsewhere": 2, "texts": 2}
        patch.setitem(PRESETS, "demo", replace(PRESETS["demo"], **small, **limits))
        call("demo", "--out", "demo", "--quiet")
        lm = tiny("flan-t5")
        with quiet_transformers():
            lm.model.save_pretrained("tiny")
            lm.tokenizer.save_pretrained("tiny")
        call("reproduce", "tiny", *REPRODUCE, "--quiet", "--out", "reproduced")
        _MADE.append(place)
        yield place


def call(*words: str) -> None:
    """A command line that must go well, in this process."""
    out = sys.stdout
    try:
        with open(os.devnull, "w") as sys.stdout, pytest.raises(SystemExit) as stop:
            main(list(words))
    finally:
        sys.stdout = out
    assert stop.value.code == 0, words
