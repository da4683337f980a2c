"""One run of a command: its record, its folder, its progress bars, and what it prints."""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.segment import Segment
from rich.text import Text

import snipbias as sb
from snipbias.base.errors import InterruptError, SnipbiasError
from snipbias.base.files import atomic_folder, refuse_existing
from snipbias.base.markdown import printable
from snipbias.base.parallel import workers
from snipbias.base.record import RunRecord
from snipbias.cli import config
from snipbias.cli import options as o


class Advance:
    """A progress callback: call it with the number of prompts just done."""

    EVERY = 60.0  # seconds between two lines

    def __init__(self, bars: Progress, label: str, total: int | None, *, lines: bool) -> None:
        self._bars, self._label, self._lines = bars, label, lines
        self._bar = bars.add_task(label, total=total)
        self._started = self._told = time.monotonic()

    def stage(self, name: str, jobs: int) -> None:
        """Restart the bar for the next stage, which has this many jobs."""
        self._started = time.monotonic()
        self._bars.reset(self._bar, total=jobs, description=f"{self._label}: {name}")

    def __call__(self, done: int) -> None:
        self._bars.update(self._bar, advance=done)
        now, bar = time.monotonic(), self._bars.tasks[self._bar]
        if self._lines and bar.total and now - self._told >= self.EVERY:
            self._told = now
            spent = (now - self._started) / 60
            left = spent * (bar.total - bar.completed) / max(bar.completed, 1)
            done_so_far = f"{bar.description}: {bar.completed:.0f} of {bar.total:.0f}"
            minutes = f"({spent:.0f} min, about {left:.0f} left)"
            print(done_so_far, minutes, file=sys.stderr, flush=True)


class Run:
    """What every command needs: a record, a folder, progress and output; made by `run`.

    Args:
        options: the command.
        folder: where its results go.
        effective: settings for the record that are not as the options give them.
    """

    def __init__(self, options: Any, folder: Path, /, **effective: Any) -> None:
        self.record = RunRecord(options.name, sys.argv[1:], {**vars(options), **effective})
        self.folder = folder
        self._options = options

    def load(self, model: str, options: Mapping[str, Any]) -> sb.LanguageModel:
        """Load a model and record its identity."""
        from snipbias.edits.provenance import ModelId

        with self.progress(f"loading {Path(model).name}", None):
            lm = sb.load(model, **options)
        self.record.models[model] = {
            **asdict(ModelId.of(lm)),
            "dtype": "mixed" if options.get("dtype") == "mixed" else str(lm.model.dtype),
            "device": str(lm.device),
            "chat": lm.chat,
        }
        self.record.lap("load")
        return lm

    def task(
        self,
        name: str,
        *,
        data_dir: Path | None = None,
        instruction: list[str] | None = None,
        instructions: int | None = None,
        prompt: str | None = None,
        column: list[str] | None = None,
    ) -> sb.Task:
        """Read a task and record its fingerprint.

        Args:
            name: name of the task, as on the command line.
            data_dir: folder of its files, if not the default.
            instruction: instructions that replace the task's own.
            instructions: how many to use; None for all.
            prompt: prompt template; None for the default.
            column: `ours=theirs` pairs.
        """
        read = partial(
            sb.task,
            name,
            data_dir=data_dir,
            instructions=instruction or None,
            columns=columns(column),
            prompt=prompt or "list",
        )
        task = workers().main_first(read)  # which may download it
        if instructions is not None:
            task = task.with_instructions(task.instructions[:instructions])
        self.record.data[name] = {
            "fingerprint": task.fingerprint,
            "source": task.source,
            "items": len(task),
            "instructions": list(task.instructions),
            "prompt": task.prompt.spec,
            "notes": list(task.notes),
        }
        return task

    @contextmanager
    def progress(self, label: str, total: int | None) -> Iterator[Advance]:
        """Show a bar on a terminal, or print a line per minute into a file."""
        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn() if total is not None else TextColumn(""),
            TimeRemainingColumn(),
        )
        console = Console(stderr=True)
        shown = not self._options.quiet and workers().is_main
        bar = shown and console.is_terminal
        with Progress(*columns, console=console, transient=True, disable=not bar) as bars:
            yield Advance(bars, label, total, lines=shown and not bar)

    def show(self, result: Mapping[str, Any], *parts: RenderableType, then: str = "") -> None:
        """Print the result: JSON for machines; tables and the next commands for people."""
        show(result, *parts, as_json=self._options.as_json, then=then)


def show(result: Mapping[str, Any], *parts: RenderableType, as_json: bool, then: str = "") -> None:
    """Print one JSON object, or the parts one below the other; only the main process prints.

    Args:
        parts: tables, and plain text.
        then: the next commands, each printed on one unbroken line so that it can be copied.
    """
    if not workers().is_main:
        return
    if as_json:
        print(json.dumps(result, indent=1, default=str))
        return
    screen = _Screen(width=None if sys.stdout.isatty() or "COLUMNS" in os.environ else 118)
    for part in parts:
        screen.print(Text(part) if isinstance(part, str) else part)
    for number, line in enumerate(then.splitlines()):
        named = Text.assemble((" " * 9 if number else "next     ", "dim"), (line, "bold"))
        screen.print(named, soft_wrap=True)


class _Screen(Console):
    """Strip control characters, so that a label cannot send escape codes to the terminal."""

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        for segment in super().render(renderable, options):
            lines = segment.text.split("\n")
            yield segment._replace(text="\n".join(map(printable, lines)))


@contextmanager
def run(options: o.Writing, /, **effective: Any) -> Iterator[tuple[Run, Path]]:
    """A run and a folder to fill, which gets its name only if the run succeeds."""
    name = f"{datetime.now():%Y%m%d-%H%M%S}-{options.name}"
    folder = options.out or Path("snipbias-runs") / name
    this = Run(options, folder, **effective)
    # Before the work, not after it.
    workers().from_main(partial(refuse_existing, folder, overwrite=options.overwrite))
    if not workers().is_main:  # the others' files are thrown away
        with tempfile.TemporaryDirectory() as scratch:
            yield this, Path(scratch)
        return
    with atomic_folder(folder, overwrite=options.overwrite) as new:
        yield this, new
        this.record.write(new)
        config.write(new, options)


@contextmanager
def kept_in(folder: Path | None) -> Iterator[None]:
    """Make an interrupt say where the finished work is kept.

    Raises:
        InterruptError: the user interrupted, and `folder` exists.
    """
    try:
        yield
    except KeyboardInterrupt:
        if folder is None or not folder.exists():
            raise
        raise InterruptError(
            f"finished work is kept in {folder}; run the same command again to resume."
        ) from None


def columns(pairs: list[str] | None) -> dict[str, str] | None:
    """Parse `ours=theirs` pairs into {our column: their column}.

    Raises:
        SnipbiasError: a pair has no "=".
    """
    if not pairs:
        return None
    for pair in pairs:
        if "=" not in pair:
            raise SnipbiasError(f"--column {pair!r} names only one column: write ours=theirs.")
    return dict(pair.split("=", 1) for pair in pairs)
