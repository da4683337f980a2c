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

EVERY = 60.0  # seconds between two lines of progress in a file


class Run:
    """What a command needs while it runs: a record, a folder and progress.

    Args:
        command: the command.
        folder: where its results go, if they do.
        effective: settings for the record that are not as the options give them.
    """

    new: Path  # the folder to fill, which becomes `folder` once the run is whole

    def __init__(self, command: Any, folder: Path = Path(), /, **effective: Any) -> None:
        self.record = RunRecord(command.name, sys.argv[1:], {**vars(command), **effective})
        self.folder = folder
        self.command = command

    def load(self, model: str) -> sb.LanguageModel:
        """Load a model as the options say, and record its identity."""
        from snipbias.edits.provenance import ModelId

        options = self.command.given(*o.LOADING)
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

    def task(self, name: str, **asked: Any) -> sb.Task:
        """Read a task, and record its fingerprint.

        Args:
            name: name of the task, as on the command line.
            asked: options on how to read it; without any, all of the command's apply.
        """
        asked = asked or self.command.given(*o.READING)
        read = partial(
            sb.task,
            name,
            data_dir=asked.get("data_dir"),
            instructions=asked.get("instruction") or None,
            columns=columns(asked.get("column")),
            prompt=asked.get("prompt") or "list",
        )
        task = workers().main_first(read)  # which may download it
        if (number := asked.get("instructions")) is not None:
            task = task.with_instructions(task.instructions[:number])
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
    def progress(self, label: str, total: int | None) -> Iterator[dict[str, Any]]:
        """Show a bar on a terminal, or print a line per minute into a file.

        Gives the arguments of a function that works on prompts and reports its progress.
        """
        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn() if total is not None else TextColumn(""),
            TimeRemainingColumn(),
        )
        console, told = Console(stderr=True), time.monotonic()
        shown = workers().is_main and not self.command.quiet
        drawn = shown and console.is_terminal
        with Progress(*columns, console=console, transient=True, disable=not drawn) as bars:
            bar = bars.add_task(label, total=total)

            def stage(name: str, jobs: int) -> None:
                bars.reset(bar, total=jobs, description=f"{label}: {name}")

            def advance(done: int) -> None:
                nonlocal told
                bars.update(bar, advance=done)
                now, task = time.monotonic(), bars.tasks[bar]
                if shown and not drawn and task.total and now - told >= EVERY:
                    told, spent = now, (task.elapsed or 0) / 60
                    left = spent * (task.total - task.completed) / max(task.completed, 1)
                    so_far = f"{task.description}: {task.completed:.0f} of {task.total:.0f}"
                    minutes = f"({spent:.0f} min, about {left:.0f} left)"
                    print(so_far, minutes, file=sys.stderr, flush=True)

            yield {"progress": advance, "stage": stage, **self.command.given("batch_size")}


def show(command: Any, result: Mapping[str, Any], *parts: RenderableType, then: str = "") -> None:
    """Print one JSON object, or the parts one below the other; only the main process prints.

    Args:
        command: the command, whose `as_json` decides.
        result: the object.
        parts: tables, and plain text.
        then: the next commands, each printed on one unbroken line so that it can be copied.
    """
    if not workers().is_main:
        return
    if command.as_json:
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
def run(command: o.Writing, /, **effective: Any) -> Iterator[Run]:
    """A run with a folder to fill, which gets its name only if the run succeeds."""
    name = f"{datetime.now():%Y%m%d-%H%M%S}-{command.name}"
    this = Run(command, command.out or Path("snipbias-runs") / name, **effective)
    may = {"overwrite": command.overwrite}
    workers().from_main(partial(refuse_existing, this.folder, **may))  # before the work
    if not workers().is_main:  # the others' files are thrown away
        with tempfile.TemporaryDirectory() as scratch:
            this.new = Path(scratch)
            yield this
        return
    with atomic_folder(this.folder, **may) as this.new:
        yield this
        this.record.write(this.new)
        config.write(this.new, command)


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
    """Parse `ours=yours` pairs into {our column: their column}.

    Raises:
        SnipbiasError: a pair has no "=".
    """
    if not pairs:
        return None
    for pair in pairs:
        if "=" not in pair:
            raise SnipbiasError(f"--column {pair!r} names only one column: write ours=yours.")
    return dict(pair.split("=", 1) for pair in pairs)
