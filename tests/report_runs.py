"""Small real runs of every command that a report is made of, and a report as it is read."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from families import tiny
from snipbias.cli import main
from snipbias.experiment.settings import PRESETS
from snipbias.models.source import quiet_transformers

ALL = ("found", "evaluated", "demo", "reproduced")
KEPT = [
    {"id": f"k{i}", "question": f"Which is {i}?", "options": [str(i), "none"], "gold": 0}
    for i in range(3)
]
REPRODUCE = [
    *("--task", "mini:age", "--instructions", "2", "--samples", "2"),
    *("--methods", "random,CC,offset", "--trials", "2", "--draws", "1", "--sizes", "2,5"),
    *("--items", "22", "--dev-items", "10", "--refine", "0"),
    *("--retention", "mini:skills", "--retention-items", "8", "--elsewhere", "2"),
]


def make(place: Path) -> None:
    """Write the runs of `ALL` into a folder; kept.jsonl and text.txt lie beside them."""
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
            *("--retention", "mini:skills", "--retention", "kept.jsonl", "--retention-items", "8"),
            *("--text", "text.txt", "--elsewhere", "2", "--out", "evaluated"),
        )
        small = {"tasks": ("mini:ses",), "samples": 2, "trials": 1, "sizes": (10, 30)}
        limits = {"items": 12, "dev_items": 12, "retention_items": 4, "elsewhere": 1, "texts": 1}
        less = {"prompts": (), "control_rows": False}  # `reproduced` has both
        patch.setitem(PRESETS, "demo", replace(PRESETS["demo"], **small, **limits, **less))
        call("demo", "--out", "demo", "--quiet")
        lm = tiny("flan-t5")
        with quiet_transformers():
            lm.model.save_pretrained("tiny")
            lm.tokenizer.save_pretrained("tiny")
        call("reproduce", "tiny", *REPRODUCE, "--quiet", "--out", "reproduced")


class Read(HTMLParser):
    """The page's tags, its tables by caption, and its text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.tables: dict[str, list[list[str]]] = {}
        self.text = ""
        self._rows: list[list[str]] = []
        self._caption = ""
        self._into: str | None = None
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag == "table":
            self._rows, self._caption = [], ""
        elif tag == "tr":
            self._rows.append([])
        elif tag in ("th", "td"):
            self._rows[-1].append("")
        if tag in ("caption", "th", "td", "script", "style"):
            self._into = tag

    def handle_endtag(self, tag: str) -> None:
        if tag == self._into:
            self._into = None
        if tag == "table":
            self.tables[self._caption] = self._rows

    def handle_data(self, data: str) -> None:
        if self._into == "caption":
            self._caption += data
        elif self._into in ("th", "td"):
            self._rows[-1][-1] += data
        if self._into not in ("script", "style"):
            self.text += data


def call(*words: str) -> None:
    """A command line that must go well, in this process."""
    out = sys.stdout
    try:
        with open(os.devnull, "w") as sys.stdout, pytest.raises(SystemExit) as stop:
            main(list(words))
    finally:
        sys.stdout = out
    assert stop.value.code == 0, words
