"""Tables of one task, of one method, and of the further runs of an experiment."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from statistics import stdev

import pyarrow as pa

from snipbias.base.table import Grid, number, p_value, percent
from snipbias.base.words import ORIGINAL
from snipbias.evaluation import measures, stats
from snipbias.evaluation.estimate import average, estimate, points
from snipbias.evaluation.evaluate import rows_of
from snipbias.evaluation.measured import Measured
from snipbias.evaluation.neutral_text import kl_interval, perplexity_cell
from snipbias.evaluation.rows import Rows
from snipbias.evaluation.tables import Columns, answers_grid, apart_grid, columns_grid
from snipbias.experiment.outcome import Experiment
from snipbias.experiment.tables.grids import interval, side_by_side
from snipbias.experiment.tables.verdict import checks, judged
from snipbias.models.places import count_places, modules_order

DIFFERENCES: Columns = {
    "accuracy" if name == "overall" else name: lambda each, name=name: points(each.change(name))
    for name in ("stereotyped", "overall", "ambiguous", "disambiguated")
}


def task_grids(experiment: Experiment, task: str) -> Iterator[Grid]:
    """One task in detail: answers, differences to the original, what else changed."""
    here = experiment.measured[task]
    strong = (experiment.settings.method,)
    yield answers_grid(f"{task}: answers (%)", here, strong)
    title = f"{task}: tells unanswerable rows from answerable ones [95 % CI]"
    if (told := apart_grid(title, here, strong)).rows:
        yield told
    compared = {method: each for method, each in here.items() if each.before}
    if not compared:
        return
    kept = dict.fromkeys(name for each in compared.values() for name in each.retention)
    for title, found, columns in (
        ("difference to the original (points) [95 % CI]", compared, DIFFERENCES),
        ("spread of accuracy (points), p-values", here, _spread(experiment)),
        ("neutral text, retention (points) [95 % CI]", here, _side(experiment, kept)),
    ):
        yield columns_grid(f"{task}: {title}", found, columns, strong).without_empty_columns()


def verdict_grids(experiment: Experiment) -> Iterator[Grid]:
    """Every question about each method that is judged, answered by its interval."""
    margin = f"{100 * experiment.settings.margin:g}"
    for method in judged(experiment):
        title = (
            f"Verdict on {method}, by 95 % CI ('not shown' is not 'no'; beats: more accurate, "
            f"points; kept: not worse by more than {margin} points or {margin} %)"
        )
        asked = checks(experiment, method)
        names = list(dict.fromkeys(check.question for task in asked.values() for check in task))
        columns = {}
        for task, found in asked.items():
            cells = {check.question: f"{check.answer}: {check.shown}" for check in found}
            columns[task] = [cells.get(name, "") for name in names]
        yield from side_by_side(title, method, names, columns)


def prompts_grid(experiment: Experiment) -> Iterator[Grid]:
    """Accuracy under every prompt template, before and after; then mean and spread over them.

    The mean's interval takes these templates as fixed; those of the rows and the instructions are
    drawn as everywhere.
    """
    method = experiment.settings.method
    wordings = [None, *dict.fromkeys(o.prompt for o in experiment.prompts)]
    if len(wordings) == 1:
        return

    def cells(task: str) -> list[str]:
        shown, runs = [], []
        for prompt in wordings:
            both = [experiment.of(task, each, prompt=prompt) for each in (ORIGINAL, method)]
            rows = [[outcome.rows for outcome in found] for found in both]
            shown.append(_before_and_after(rows[0], rows[1]) if all(both) else "")
            runs += [both] if all(both) else []
        pooled, spreads = [], []
        for side in zip(*runs, strict=True):  # by prompt template, the outcomes of every trial
            same = ([outcome.test for outcome in trial] for trial in zip(*side, strict=True))
            pooled.append([rows_of(pa.concat_tables(tables)) for tables in same])
            of_each = (average(measures.ACCURACY, [o.rows for o in found]) for found in side)
            spreads.append([accuracy or 0.0 for accuracy in of_each])
        return [*shown, _before_and_after(*pooled, *spreads)]

    title = f"Accuracy (%) by prompt template: original -> {method}, difference (points) [95 % CI]"
    names = [*(prompt or "the task's own" for prompt in wordings), "mean ± std"]
    columns = {task.name: cells(task.name) for task in experiment.tasks}
    yield from side_by_side(title, "prompt template", names, columns)


def _before_and_after(
    before: Sequence[Rows], after: Sequence[Rows], *spreads: Sequence[float]
) -> str:
    """Accuracy of both and their difference; with accuracies by prompt template, their std too."""
    sides = [percent(average(measures.ACCURACY, runs)) for runs in (before, after)]
    for i, values in enumerate(spreads):
        sides[i] += f" ± {percent(stdev(values))}" if len(values) > 1 else ""
    return f"{' -> '.join(sides)}, {points(estimate(measures.ACCURACY, after, before))}"


def transfer_grid(experiment: Experiment) -> Iterator[Grid]:
    """v2: neurons found on one task and evaluated on another; accuracy less the original's."""
    if not experiment.transfer:
        return
    method, names = experiment.settings.method, list(experiment.measured)

    def cell(found_on: str, task: str) -> str:
        there = experiment.of(task, method, found_on=None if found_on == task else found_on)
        before = experiment.measured[task].get(ORIGINAL)
        if not there or before is None:
            return ""
        return points(estimate(measures.ACCURACY, [o.rows for o in there], before.rows))

    title = f"Transfer of {method}: accuracy minus the original's (points) [95 % CI]"
    cells = {task: [cell(found_on, task) for found_on in names] for task in names}
    yield from side_by_side(title, "found on / evaluated on", names, cells)


def samples_grid(experiment: Experiment) -> Iterator[Grid]:
    """v2: accuracy by the number of items that the neurons were found on."""
    if not experiment.sample_curve:
        return
    method, usual = experiment.settings.method, experiment.settings.samples
    sizes = sorted({usual, *(o.samples for o in experiment.sample_curve if o.samples)})

    def cell(samples: int, task: str) -> str:
        found = experiment.of(task, method, samples=None if samples == usual else samples)
        if not found:
            return ""
        rows = [outcome.rows for outcome in found]
        spread = stats.spread(list(map(measures.ACCURACY, rows)))
        said = interval(estimate(measures.ACCURACY, rows))
        return said if spread is None else f"{said} ± {percent(spread)}"

    title = f"Accuracy (%) of {method} by number of samples [95 % CI] ± std over trials"
    cells = {task: [cell(size, task) for size in sizes] for task in experiment.measured}
    yield from side_by_side(title, "samples", list(map(str, sizes)), cells)


def places_grids(experiment: Experiment) -> Iterator[Grid]:
    """Where the pruned neurons sit: one table per stack, mean over all tasks and trials."""
    method = experiment.settings.method
    edits = [o.edit for task in experiment.tasks for o in experiment.of(task.name, method)]
    if not any(edits):
        return
    counts = count_places(experiment.sites, [edit.neurons if edit else [] for edit in edits])
    for side in dict.fromkeys(place.side for place in counts):
        here = {(p.layer, p.module): count for p, count in counts.items() if p.side == side}
        modules = sorted({module for _, module in here}, key=modules_order)
        rows = []
        for layer in sorted({layer for layer, _ in here}):
            found = [here.get((layer, module)) for module in modules]
            rows.append((str(layer), *map(_count, (*found, sum(n or 0 for n in found)))))
        title = f"Where the neurons of {method} sit, {side} (mean over tasks and trials)"
        yield Grid(title, ("layer", *modules, "all"), tuple(rows))


def _spread(experiment: Experiment) -> Columns:
    def share(value: float | None) -> str:
        return "" if value is None else percent(value)

    return {
        "± trials": lambda each: share(each.std_trials),
        "± draws": lambda each: share(each.std_draws),
        "± instr.": lambda each: share(each.std_instructions),
        "dev acc.": lambda each: share(each.dev),
        "p": lambda each: p_value(each.sign_flip("overall")),
        "p Holm": lambda each: p_value(experiment.p_holm[each.task, each.method]),
        "McNemar": lambda each: p_value(each.mcnemar()),
    }


def _side(experiment: Experiment, kept: Iterable[str]) -> Columns:
    def perplexity(each: Measured) -> str:
        before = each.before.text if each.before else each.text
        text = each.text
        return perplexity_cell(text.perplexity, before and before.perplexity) if text else ""

    def chat(each: Measured) -> str:
        """KL per token of answers to requests in the first trial that has them."""
        shift = next((trial.chat for trial in each.trials if trial.chat), None)
        found = shift and kl_interval(shift)
        return str(found.guarded) if found else number(shift.kl_per_token) if shift else ""

    def retention(name: str, each: Measured) -> str:
        change = each.retention.get(name)
        if change is None:
            return ""
        fine = stats.non_inferior(change.interval, experiment.settings.margin)
        return f"{points(change)} {'kept' if fine else '?'}"

    return {
        "perplexity": perplexity,
        "KL": lambda each: number(each.text.kl_per_token) if each.text else "",
        "chat KL": chat,
        **{name: partial(retention, name) for name in kept},
    }


def _count(value: float | None) -> str:
    return "" if value is None else f"{value:.1f}" if value else "."
