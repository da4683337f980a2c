"""The playground, served once, and its page in a browser."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

import snipbias as sb
from browser import browser as browser
from families import tiny
from play_page import TEN, Served, root
from snipbias.edits.controls import random_edit


@pytest.fixture(scope="module")
def served(tmp_path_factory) -> Iterator[Served]:
    """The command on the demo model, with two edits, one of other weights and one that fits not."""
    folder = tmp_path_factory.mktemp("play")
    lm, task = sb.load("demo"), sb.task("mini:age")
    scores = sb.attribute(lm, task.sample(10))
    edits = {f"age/n{n}": scores.top(n) for n in (10, 30)}
    strange = replace(scores.top(5), model=replace(edits[TEN].model, weights="0" * 16))
    others = {"other-weights": strange, "other-model": random_edit(tiny("gpt2"), 3)}
    for name, edit in {**edits, **others}.items():
        edit.save(folder / name)
    named = [word for name in (*edits, *others) for word in ("--edit", name)]
    command = [sys.executable, "-m", "snipbias", "play", "demo", *named, "--task", "mini:age"]
    process = subprocess.Popen(
        [*command, "--no-browser", "--port", "0"],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        found = re.search(r"http://127\.0\.0\.1:\d+/\?token=\S+", line)
        assert found, (line, process.stderr and process.stderr.read())
        yield Served(found.group(), process, folder, lm, edits)
    finally:
        process.kill()
        process.communicate()


@pytest.fixture
def page(browser: Any, served: Served) -> Iterator[Any]:
    """The page, open; afterwards nothing was complained of, and no request left."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    context.set_default_timeout(60_000)
    page = context.new_page()
    wrong: list[str] = []
    here = tuple(prefix + root(served).removeprefix("http") for prefix in ("http", "ws"))
    watch: Callable[[Any], None] = lambda asked: (  # noqa: E731
        None if asked.url.startswith((*here, "data:", "blob:")) else wrong.append(asked.url)
    )
    page.on("request", watch)
    page.on("websocket", watch)
    page.on("console", lambda said: wrong.append(said.text) if said.type != "log" else None)
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.goto(served.url)
    page.wait_for_selector("ul.options")
    yield page
    context.close()
    assert not wrong


@pytest.fixture
def scripts(monkeypatch) -> list[str]:
    """What a browser would be told to run."""
    ui = pytest.importorskip("nicegui").ui
    told: list[str] = []
    monkeypatch.setattr(ui, "run_javascript", told.append)
    return told
