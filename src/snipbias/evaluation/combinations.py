"""Compare edits with their union and intersection on the held-out rows of every task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from snipbias.base.table import Grid
from snipbias.edits.algebra import INTERSECTION, UNION, combined
from snipbias.edits.edit import NeuronEdit
from snipbias.evaluation.compare import Comparison, compare, distinct
from snipbias.evaluation.tables import comparison_grids
from snipbias.models.language_model import LanguageModel
from snipbias.tasks.items import Task


def compare_combinations(
    lm: LanguageModel,
    tasks: Sequence[Task],
    edits: Sequence[NeuronEdit],
    *,
    texts: Sequence[str] = (),
    retention: Sequence[Task] = (),
    **options: Any,
) -> dict[str, Comparison]:
    """Original, each edit, union and intersection on every task's held-out rows, by task.

    Templates that any of the edits was found on are left out of every task. Neutral text, chat
    answers and retention tasks are the same for every task and are run once.

    Args:
        lm: the model.
        tasks: the tasks.
        edits: the edits.
        texts, retention, options: as `compare` takes them.
    """
    both = [replace(combined(rule, *edits), label=rule) for rule in (UNION, INTERSECTION)]
    every = distinct([*edits, *both] if len(both[1]) else [*edits, both[0]])
    found: dict[str, Comparison] = {}
    for task in tasks:
        of = {"texts": () if found else texts, "retention": () if found else retention}
        found[task.name] = compare(lm, task, *every, controls=0, **of, **options)
        first = next(iter(found.values())).evaluation
        for part in ("text", "chat", "retention"):
            setattr(found[task.name].evaluation, part, getattr(first, part))
    return found


def combination_grids(comparisons: Mapping[str, Comparison]) -> list[Grid]:
    """The tables of a comparison, each with the rows of one task below those of another."""
    by_kind: dict[str, dict[str, Grid]] = {}
    for task, comparison in comparisons.items():
        for grid in comparison_grids(comparison):
            by_kind.setdefault(grid.title, {})[task] = grid
    return [_below_each_other(title, grids) for title, grids in by_kind.items()]


def _below_each_other(title: str, grids: Mapping[str, Grid]) -> Grid:
    header = tuple(dict.fromkeys(name for grid in grids.values() for name in grid.header))
    rows: list[tuple[str, ...]] = []
    for task, grid in grids.items():
        rows.append((task, *[""] * (len(header) - 1)))
        for row in grid.rows:
            cells = dict(zip(grid.header, row, strict=True))
            rows.append(tuple(cells.get(name, "") for name in header))
    return Grid(title, header, tuple(rows), strong=tuple(grids))
