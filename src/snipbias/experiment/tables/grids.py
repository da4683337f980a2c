"""The experiment's tables, for reading: in a terminal and in Markdown."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from statistics import mean

from snipbias.base.table import Grid, percent
from snipbias.evaluation.estimate import Estimate, shown
from snipbias.experiment.outcome import Experiment
from snipbias.experiment.settings import ABLATIONS, CONTROLS
from snipbias.experiment.tables import published

PER_TABLE = 3  # tasks side by side, so that a terminal of 118 columns holds them


def table_1(experiment: Experiment) -> Iterator[Grid]:
    """Methods x datasets: accuracy on the data's own rows, with the published figure."""

    def cells(task: str, method: str) -> tuple[str, str]:
        found = published.accuracy(
            experiment.model.name, task, method, published.version_of(experiment.settings.method)
        )
        return interval(experiment.measured[task][method].value("plain")), _published(found)

    yield from _methods_by_tasks("Table 1: accuracy (%) [95 % CI]", experiment, cells)


def table_2(experiment: Experiment) -> Iterator[Grid]:
    """Gold probability in percent, ambiguous / disambiguated, with the published figures."""

    def cells(task: str, method: str) -> tuple[str, str]:
        each = experiment.measured[task][method]
        parts = [each.value(f"gold {part}").value for part in ("ambiguous", "disambiguated")]
        found = published.gold_percent(experiment.model.name, task, method)
        ours = "-" if None in parts else " / ".join(map(percent, parts))
        if found is None:
            return ours, ""
        figure, source = found
        return ours, _bracketed(f"{figure.ambiguous:.1f} / {figure.disambiguated:.1f}", source)

    title = "Table 2: gold probability (%), ambiguous / disambiguated"
    yield from _methods_by_tasks(title, experiment, cells)


def spread_grid(experiment: Experiment) -> Iterator[Grid]:
    """v2: standard deviation of accuracy over instructions, in points."""

    def cells(task: str, method: str) -> tuple[str, str]:
        found = published.spread(experiment.model.name, task, method)
        std = experiment.measured[task][method].std_instructions
        return "-" if std is None else f"{100 * std:.2f}", _published(found)

    if any(each.std_instructions is not None for each in experiment.every):
        title = "Spread over instructions: standard deviation of accuracy (points)"
        yield from _methods_by_tasks(title, experiment, cells)


def neurons_grid(experiment: Experiment) -> Iterator[Grid]:
    """Neurons pruned in each trial, and as a share of the whole model."""

    def cells(task: str, method: str) -> tuple[str, str]:
        sizes = experiment.measured[task][method].sizes
        if not sizes or method in CONTROLS:
            return "", ""
        found = published.neurons(experiment.model.name, task, method)
        share = mean(sizes) / experiment.model.neurons
        said = f"{'/'.join(map(str, sizes))} ({100 * share:.3f} %)"
        return said, _bracketed(f"{found.value:.0f}", found.source) if found else ""

    title = "Neurons pruned, by trial (mean share of all neurons)"
    for grid in _methods_by_tasks(title, experiment, cells):
        rows = tuple(row for row in grid.rows if any(row[1:]))
        if rows:
            yield replace(grid, rows=rows)


def ablation_grid(experiment: Experiment) -> Iterator[Grid]:
    """v2 less one of its parts at a time, and random neurons."""
    if not {*ABLATIONS} & {*experiment.methods}:
        return
    some = tuple(m for m in ("v2", *ABLATIONS, "random") if m in experiment.methods)

    def cells(task: str, method: str) -> tuple[str, str]:
        found = published.accuracy(experiment.model.name, task, method, "v2")
        return interval(experiment.measured[task][method].value("plain")), _published(found)

    for grid in _methods_by_tasks("Ablation: accuracy (%) [95 % CI]", experiment, cells, some):
        yield replace(grid, strong=("v2",))


def interval(estimate: Estimate) -> str:
    """A share in percent with its interval."""
    return shown(estimate, lambda value: f"{100 * value:.1f}")


def side_by_side(
    title: str, corner: str, names: Sequence[str], columns: Mapping[str, Sequence[str]]
) -> Iterator[Grid]:
    """A row per name and a column per task, at most `PER_TABLE` of these in one table.

    Args:
        title: heading of each table.
        corner: heading of the first column.
        names: names of the rows.
        columns: task -> one cell per name.
    """
    for tasks in _parts(list(columns)):
        rows = zip(names, *(columns[task] for task in tasks), strict=True)
        yield Grid(title, (corner, *tasks), tuple(rows))


def _parts(tasks: Sequence[str]) -> list[Sequence[str]]:
    """The tasks, as many at a time as stand side by side."""
    return [tasks[start : start + PER_TABLE] for start in range(0, len(tasks), PER_TABLE)]


def _methods_by_tasks(
    title: str,
    experiment: Experiment,
    cells: Callable[[str, str], tuple[str, str]],
    among: Sequence[str] | None = None,
) -> Iterator[Grid]:
    """A row per method and a column per task, with one for published figures if there are any."""
    found = experiment.measured
    for part in _parts(list(found)):
        columns: list[list[str]] = []
        header = ["method"]
        ran = among or experiment.methods
        methods = [m for m in ran if any(m in found[task] for task in part)]
        for task in part:
            pairs = [cells(task, m) if m in found[task] else ("", "") for m in methods]
            ours, theirs = map(list, zip(*pairs, strict=True))
            columns.append(ours)
            header.append(task)
            if any(theirs):
                columns.append(theirs)
                own = not all(cell.startswith("(") for cell in theirs if cell)
                header.append("published" if own else "(Flan-T5-base)")
        rows = tuple((m, *row) for m, *row in zip(methods, *columns, strict=True))
        yield Grid(title, tuple(header), rows, (experiment.settings.method,))


def _published(found: published.Published | None) -> str:
    return "" if found is None else _bracketed(f"{found.value:.2f}", found.source)


def _bracketed(text: str, source: str) -> str:
    """In brackets what was published of another model."""
    return f"({text})" if source.endswith(published.ORIENTATION) else text
