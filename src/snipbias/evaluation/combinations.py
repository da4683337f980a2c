"""Compare edits with their union and intersection on the held-out rows of every task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from snipbias.base.table import Grid
from snipbias.edits.algebra import INTERSECTION, UNION, intersection, union
from snipbias.edits.edit import NeuronEdit
from snipbias.evaluation.compare import Comparison, compare, distinct
from snipbias.evaluation.evaluate import Evaluation
from snipbias.evaluation.retained import MARGIN
from snipbias.evaluation.tables import comparison_grids
from snipbias.models.batching import BatchSize, Progress, Stage
from snipbias.models.language_model import LanguageModel
from snipbias.tasks.items import Task


def _with_combinations(edits: Sequence[NeuronEdit]) -> list[NeuronEdit]:
    """The edits, their union, and their intersection unless it holds no neuron."""
    both = [replace(union(*edits), label=UNION)]
    shared = intersection(*edits)
    if len(shared):
        both.append(replace(shared, label=INTERSECTION))
    return distinct([*edits, *both])


def compare_combinations(
    lm: LanguageModel,
    tasks: Sequence[Task],
    edits: Sequence[NeuronEdit],
    *,
    items: int | None = None,
    texts: Sequence[str] = (),
    retention: Sequence[Task] = (),
    margin: float = MARGIN,
    batch_size: BatchSize = "auto",
    progress: Progress = lambda done: None,
    stage: Stage = lambda name, jobs: None,
) -> dict[str, Comparison]:
    """Original, each edit, union and intersection on every task's held-out rows, by task.

    Templates that any of the edits was found on are left out of every task. Neutral text, chat
    answers and retention tasks are the same for every task and are run once.

    Args:
        progress: called with the number of prompts just done.
        stage: called with what is about to be done, and with its number of prompts.
    """
    every = _with_combinations(edits)
    found: dict[str, Comparison] = {}
    whole: Evaluation | None = None
    for task in tasks:
        comparison = compare(
            lm,
            task,
            *every,
            items=items,
            controls=0,
            texts=texts if whole is None else (),
            retention=retention if whole is None else (),
            margin=margin,
            batch_size=batch_size,
            progress=progress,
            stage=stage,
        )
        if whole is None:
            whole = comparison.evaluation
        comparison.evaluation.text = whole.text
        comparison.evaluation.chat = whole.chat
        comparison.evaluation.retention = whole.retention
        found[task.name] = comparison
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
