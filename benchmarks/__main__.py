"""`python -m benchmarks --json FILE`: the table of docs/speed.md."""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from benchmarks import evaluate, find, memory, precision, processes, startup
from benchmarks.measure import Spread
from benchmarks.workloads import MODELS, place_of, workload


@dataclass(frozen=True)
class Figure:
    """One line of the table.

    Attributes:
        part: the key in the JSON file.
        model: what was measured, empty where it is no model.
        spread: ratios, or seconds.
        target: what it should be.
        note: what belongs beside the figure.
    """

    part: str
    model: str
    spread: Spread
    target: str
    note: str = ""


@dataclass(frozen=True)
class Size:
    """How much work one repetition does."""

    items: int
    batch_size: int
    repeats: int
    threads: int


def finding(model: str, size: Size, against: str, key: str, target: str) -> list[Figure]:
    """`find` against the floor, the straightforward schedule or captum."""
    work = workload(model, size.items)
    spread = find.run(work, batch_size=size.batch_size, repeats=size.repeats, against=against)
    return [Figure(key, model, spread, target)]


def evaluating(model: str, size: Size, against: str, key: str, target: str) -> list[Figure]:
    """`evaluate` against the harness or plain batches, which must give the same numbers."""
    work = workload(model, size.items)
    spread, difference = evaluate.run(
        work, batch_size=size.batch_size, repeats=size.repeats, against=against
    )
    return [Figure(key, model, spread, target, f"log P differs by {difference:.1g} at most")]


def remembering(model: str, size: Size) -> list[Figure]:
    """Peak memory of the process, and what comes on top of the model."""
    whole, added = memory.run(
        model, items=size.items, batch_size=size.batch_size, repeats=size.repeats
    )
    note = f"x {added.median:.2f} without the model itself"
    return [Figure("memory_over_floor", model, whole, "<= 1.3", note)]


def growing(size: Size) -> list[Figure]:
    """Peak memory on a thousand items over that on ten, on the model that ships."""
    ratio = memory.growth("demo", few=10, many=1000, batch_size=size.batch_size)
    return [Figure("memory_1000_over_10_items", "demo", Spread.of([ratio]), "about 1")]


def sharing_work(model: str, size: Size) -> list[Figure]:
    """Two processes against one, and against what the machine allows."""
    speedup, ceiling = processes.run(model, batch_size=size.batch_size, repeats=size.repeats)
    note = f"{ceiling.median:.2f} for two runs that share nothing"
    return [Figure("two_processes_speedup", model, speedup, ">= 1.7", note)]


def starting(size: Size) -> list[Figure]:
    """The command line and the import."""
    shown, imported = startup.run(max(5, size.repeats))
    return [
        Figure("cli_help_seconds", "", shown, "< 0.5"),
        Figure("import_seconds", "", imported, "", "and torch is not loaded"),
    ]


def narrowing(model: str) -> list[Figure]:
    """What bfloat16 loses: neurons in common with float32, and points of accuracy."""
    with tempfile.TemporaryDirectory() as folder:
        place = place_of(model, Path(folder))
        found = precision.run(place, samples=5, instructions=2, items=24, draws=3)
    overlap = Spread(**found["top50_overlap"])
    lost = Spread.of([found["accuracy_difference"]])
    return [
        Figure("bfloat16_top50_overlap", model, overlap, "", "share of float32's top 50"),
        Figure("bfloat16_accuracy_difference", model, lost, "", f"points, {found['rows']} rows"),
    ]


Part = Callable[[Sequence[str], Size], list[Figure]]


def _each(part: Callable[..., list[Figure]], *arguments: Any) -> Part:
    """A part that is measured on every model."""

    def measure(models: Sequence[str], size: Size) -> list[Figure]:
        return [figure for model in models for figure in part(model, size, *arguments)]

    return measure


PARTS: dict[str, Part] = {
    "floor": _each(finding, "floor", "find_over_floor", "<= 1.25"),
    "schedule": _each(finding, "schedule", "schedule_over_find", ">= 2.5"),
    "captum": _each(finding, "captum", "captum_over_find", "> 1"),
    "lm_eval": _each(evaluating, "lm_eval", "lm_eval_over_evaluate", ">= 2.5 (decoder-only)"),
    "plain": _each(evaluating, "plain", "plain_over_evaluate", ">= 1"),
    "memory": _each(remembering),
    "growth": lambda models, size: growing(size),
    "processes": _each(sharing_work),
    "precision": lambda models, size: [f for model in models for f in narrowing(model)],
    "startup": lambda models, size: starting(size),
}


def main(argv: Sequence[str] | None = None) -> None:
    """Measure the parts asked for, print the table, write the JSON file."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--json", type=Path, help="write the figures here too")
    parser.add_argument("--parts", default=",".join(PARTS), help=f"some of {', '.join(PARTS)}")
    parser.add_argument("--models", default=",".join(MODELS), help="also demo, or a model of yours")
    parser.add_argument("--items", type=int, default=8, help="items, of three options each")
    parser.add_argument("--batch-size", type=int, default=8, help="rows of a pass, for everyone")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    asked = parser.parse_args(argv)
    unknown = set(asked.parts.split(",")) - set(PARTS)
    if unknown:
        parser.error(f"there is no part {', '.join(sorted(unknown))}: choose of {', '.join(PARTS)}")
    torch.set_num_threads(asked.threads)
    size = Size(asked.items, asked.batch_size, asked.repeats, asked.threads)
    figures: list[Figure] = []
    for part in asked.parts.split(","):
        figures += PARTS[part](asked.models.split(","), size)
        print(f"{part}: measured", file=sys.stderr)
        if asked.json:  # as far as it has got: a later part may fail
            text = json.dumps(_record(figures, size), indent=1) + "\n"
            asked.json.write_text(text, encoding="utf-8")
    console = Console()
    Console(width=None if console.is_terminal else 118).print(_table(figures, size))


def _table(figures: Sequence[Figure], size: Size) -> Table:
    table = Table(
        title=f"{size.items} items, batches of {size.batch_size}, {size.repeats} repetitions, "
        f"{size.threads} threads (memory and processes: one)"
    )
    for column in ("figure", "model", "min", "median", "max", "target", ""):
        table.add_column(column, justify="right" if column in ("min", "median", "max") else "left")
    for figure in figures:
        spread = figure.spread
        numbers = (f"{value:.2f}" for value in (spread.min, spread.median, spread.max))
        table.add_row(figure.part, figure.model, *numbers, figure.target, figure.note)
    return table


def _record(figures: Sequence[Figure], size: Size) -> dict[str, Any]:
    """Each key with min, median and max of its first model, and with those of every model."""
    record: dict[str, Any] = {"size": asdict(size), "torch": torch.__version__}
    for figure in figures:
        spread = asdict(figure.spread)
        entry = record.setdefault(figure.part, {**spread, "model": figure.model, "models": {}})
        entry["models"][figure.model] = {**spread, "target": figure.target, "note": figure.note}
    return record


if __name__ == "__main__":
    main()
