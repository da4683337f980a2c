"""The experiment's tables, for reading: in a terminal and in Markdown."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from statistics import mean

from snipbias.base.table import Grid, percent
from snipbias.evaluation.estimate import Estimate, estimate, shown
from snipbias.evaluation.measured import Measured
from snipbias.evaluation.measures import Mean, Valued
from snipbias.evaluation.rows import Rows
from snipbias.evaluation.tables import Columns, columns_grid, elsewhere_grid
from snipbias.experiment.outcome import Experiment
from snipbias.experiment.settings import ABLATIONS, CONTROLS
from snipbias.experiment.tables import published
from snipbias.experiment.tables.published import Version
from snipbias.experiment.tables.verdict import kept

COSTS = ("prompts read", "gradients", "trained", "per answer", "seconds")
PER_TABLE = 3  # tasks side by side, so that a terminal of 118 columns holds them


def table_1(experiment: Experiment) -> Iterator[Grid]:
    """Methods x datasets: accuracy on the data's own rows, with the published figure."""
    version = published.version_of(experiment.settings.method)
    title = "Table 1: accuracy (%) [95 % CI]"
    yield from _methods_by_tasks(title, experiment, _plain, "accuracy", version=version)


def _plain(each: Measured) -> str:
    return interval(each.value("plain"))


def table_2(experiment: Experiment) -> Iterator[Grid]:
    """Gold probability in percent, ambiguous / disambiguated, with the published figures."""

    def cell(each: Measured) -> str:
        parts = [each.value(f"gold {part}").value for part in ("ambiguous", "disambiguated")]
        return "-" if None in parts else " / ".join(map(percent, parts))

    title = "Table 2: gold probability (%), ambiguous / disambiguated"
    yield from _methods_by_tasks(title, experiment, cell, "gold probability", "{:.1f}")


def spread_grid(experiment: Experiment) -> Iterator[Grid]:
    """v2: standard deviation of accuracy over instructions, in points."""

    def cell(each: Measured) -> str:
        return "-" if each.std_instructions is None else f"{100 * each.std_instructions:.2f}"

    if any(each.std_instructions is not None for each in experiment.every):
        title = "Spread over instructions: standard deviation of accuracy (points)"
        yield from _methods_by_tasks(title, experiment, cell, "spread")


def neurons_grid(experiment: Experiment) -> Iterator[Grid]:
    """Neurons pruned in each trial, and as a share of the whole model."""

    def cell(each: Measured) -> str:
        if not each.sizes or each.method in CONTROLS:
            return ""
        share = mean(each.sizes) / experiment.model.neurons
        return f"{'/'.join(map(str, each.sizes))} ({100 * share:.3f} %)"

    title = "Neurons pruned, by trial (mean share of all neurons)"
    for grid in _methods_by_tasks(title, experiment, cell, "neurons", "{:.0f}"):
        rows = tuple(row for row in grid.rows if any(row[1:]))
        if rows:
            yield replace(grid, rows=rows)


def ablation_grid(experiment: Experiment) -> Iterator[Grid]:
    """v2 less one of its parts at a time, and random neurons."""
    if not {*ABLATIONS} & {*experiment.methods}:
        return
    some = tuple(m for m in ("v2", *ABLATIONS, "random") if m in experiment.methods)
    title, of_v2 = "Ablation: accuracy (%) [95 % CI]", {"version": "v2", "among": some}
    for grid in _methods_by_tasks(title, experiment, _plain, "accuracy", **of_v2):
        yield replace(grid, strong=("v2",))


def interval(estimate: Estimate) -> str:
    """A share in percent with its interval."""
    return shown(estimate, lambda value: f"{100 * value:.1f}")


def side_by_side(
    title: str, corner: str, names: Sequence[str], columns: Mapping[str, Sequence[str]]
) -> Iterator[Grid]:
    """A row per name and a column per task, at most `PER_TABLE` of these in one table.

    Args:
        corner: heading of the first column.
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
    cell: Callable[[Measured], str],
    figure: str,
    form: str = "{:.2f}",
    *,
    version: Version = "v1",
    among: Sequence[str] = (),
) -> Iterator[Grid]:
    """A row per method and a column per task, with one for published figures if there are any.

    Args:
        cell: what we measured.
        figure, form, version: which published figure stands beside it where it is not empty.
        among: the methods; empty for all.
    """
    model = experiment.model.name
    for part in _parts(list(experiment.measured)):
        columns: list[list[str]] = []
        header = ["method"]
        here = {task: experiment.measured[task] for task in part}
        methods = [
            m for m in among or experiment.methods if any(m in found for found in here.values())
        ]
        for task, found in here.items():
            ours = [cell(found[m]) if m in found else "" for m in methods]
            known = (published.published(figure, model, task, m, version) for m in methods)
            both = zip(known, ours, strict=True)
            theirs = [_published(them, form) if us else "" for them, us in both]
            columns.append(ours)
            header.append(task)
            if any(theirs):
                columns.append(theirs)
                own = not all(each.startswith("(") for each in theirs if each)
                header.append("published" if own else "(Flan-T5-base)")
        rows = tuple((m, *row) for m, *row in zip(methods, *columns, strict=True))
        yield Grid(title, tuple(header), rows, (experiment.settings.method,))


def _published(found: published.Published | None, form: str) -> str:
    """A published figure, in brackets if it is another model's."""
    if found is None:
        return ""
    text = " / ".join(map(form.format, found.values))
    return f"({text})" if found.source.endswith(published.ORIENTATION) else text


def _bias(rows: Rows) -> Valued:
    """+1 the biased option, -1 another name: the mean is `metrics.s_amb`, unknown being right."""
    other = (rows.chosen != rows.biased) & (rows.chosen != rows.unknown)
    counted = rows.ambiguous & (rows.biased >= 0) & (rows.chosen >= 0)
    return (rows.chosen == rows.biased).astype(float) - other, counted


BIAS = Mean(_bias, (-1.0, 1.0))


def _shown(name: str) -> Callable[[Measured], str]:
    """A figure with two decimals and its interval."""
    return lambda each: shown(each.value(name), "{:.2f}".format)


ANSWERS: Columns = {
    "stereotyped": lambda each: interval(each.value("stereotyped")),
    "bias": lambda each: shown(estimate(BIAS, each.rows), "{:.2f}".format),
    "disambig.": lambda each: interval(each.value("disambiguated")),
    "AUROC": _shown("discrimination"),
    "AUROC filler": _shown("discrimination filler"),
}


def referee_grids(experiment: Experiment, *, seconds: bool = False) -> Iterator[Grid]:
    """Two tables per task, the same each time unless `seconds` are shown."""
    costs: Columns = {
        "AUROC mismatch": _shown("discrimination mismatch"),
        "kept": lambda each: _kept(each, experiment.settings.margin),
    }
    for column in COSTS if seconds else COSTS[:-1]:
        costs[column] = lambda each, column=column: _cost(experiment, each).get(column, "")
    for task, every in experiment.measured.items():
        found = {method: each for method, each in every.items() if each.rows[0].ambiguous.any()}
        if found:
            yield columns_grid(f"Referee, {task} [95 % CI]", found, ANSWERS)
            yield columns_grid(f"Referee, {task}: what each costs", found, costs)


def _kept(each: Measured, margin: float) -> str:
    """Whether retention and neutral text are within the margin: yes, no, or not told (?)."""
    asked = [*each.retention, "perplexity"]
    answers = {check.answer for check in kept(each, margin) if check.name in asked}
    return "no" if "no" in answers else "?" if "not shown" in answers else "yes" if answers else ""


def _cost(experiment: Experiment, each: Measured) -> dict[str, str]:
    """Prompts read and gradients taken to make it, mean over trials; and prompts per answer."""
    outcomes = experiment.of(each.task, each.method)
    costs = [outcome.cost for outcome in outcomes if outcome.cost is not None]
    if not costs:
        return {}
    seconds = [cost.seconds for cost in costs if cost.seconds is not None]
    answering = mean(cost.answering for cost in costs) / len(each.rows[0])
    shown = (
        f"{mean(cost.forward for cost in costs):.0f}",
        f"{mean(cost.backward for cost in costs):.0f}",
        f"{max(cost.trained for cost in costs)}",
        f"{answering:.1f}" if answering else "",
        f"{mean(seconds):.1f}" if seconds else "",
    )
    return dict(zip(COSTS, shown, strict=True))


def elsewhere_grids(experiment: Experiment) -> Iterator[Grid]:
    """The side effects of every method, one table per task."""
    for task, found in experiment.measured.items():
        grid = elsewhere_grid(f"{task}: elsewhere", found, (experiment.settings.method,))
        if grid.rows:
            yield grid
