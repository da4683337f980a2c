"""What a command line came to and left behind, and a model to call it with."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from snipbias.cli import main

TASK = ["mini:age", "--instructions", "2"]


class Done(NamedTuple):
    """What a command line came to."""

    status: int
    out: str
    err: str


def call(*words: object) -> int:
    """Run a command line in this process, under the program's name."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["snipbias"])
        with pytest.raises(SystemExit) as stop:
            main(list(map(str, words)))
    return stop.value.code if isinstance(stop.value.code, int) else 0


def save(place: Path, family: str = "flan-t5", seed: int = 0) -> Path:
    """A tiny model on the disk."""
    from families import tiny, tokenizer
    from snipbias.models.source import quiet_transformers

    with quiet_transformers():
        tiny(family, seed).model.save_pretrained(place)
        tokenizer().save_pretrained(place)
    return place


def tree(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def strict(text: str) -> dict:
    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    return json.loads(text, parse_constant=refuse)


def assert_refused(done: Done, words: str, status: int = 1) -> None:
    assert done.status == status
    assert done.out == ""
    assert re.fullmatch(r"error: [^\n]+\n", done.err), done.err
    assert "Traceback" not in done.err
    assert words in done.err
