"""Tables of one task, of one method, and of the runs beside the experiment itself."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from statistics import mean, stdev

import pyarrow as pa

from snipbias.base.table import Grid, number, p_value, percent
from snipbias.base.words import ORIGINAL
from snipbias.evaluation import measures, stats
from snipbias.evaluation.apart import apart_grid
from snipbias.evaluation.estimate import difference, estimate, points
from snipbias.evaluation.evaluate import rows_of
from snipbias.evaluation.measured import Measured
from snipbias.evaluation.neutral_text import perplexity_cell
from snipbias.experiment.outcome import Experiment, neurons_of
from snipbias.experiment.tables.grids import interval, parts
from snipbias.experiment.tables.verdict import checks, judged
from snipbias.models.places import count_places, modules_order

CONDITIONS = ("ambiguous", "filler", "mismatch", "disambiguated")
DIFFERENCES = ("stereotyped", "overall", "ambiguous", "disambiguated")


def task_grids(experiment: Experiment, task: str) -> Iterator[Grid]:
    """One task in detail: answers, differences to the original, what else changed."""
    here = experiment.measured[task]
    strong = (experiment.settings.method,)
    yield Grid(
        f"{task}: answers (%)",
        (
            *("method", "n", "stereotyped", "acc.", "± trials", "ambig.", "filler", "mismatch"),
            *("disambig.", "right person", "unknown"),
        ),
        tuple((method, *_answers(each)) for method, each in here.items()),
        strong,
    ).without_empty_columns()
    told = {method: each.apart for method, each in here.items() if each.apart}
    if told:
        grid = apart_grid(told, strong)
        yield replace(grid, title=f"{task}: {grid.title[0].lower()}{grid.title[1:]}")
    compared = {method: each for method, each in here.items() if each.before}
    if not compared:
        return
    yield Grid(
        f"{task}: difference to the original (points) [95 % CI]",
        ("method", "stereotyped", "accuracy", "ambiguous", "disambiguated"),
        tuple(
            (method, *(points(each.change(name)) for name in DIFFERENCES))
            for method, each in compared.items()
        ),
        strong,
    ).without_empty_columns()
    kept = list(dict.fromkeys(name for each in compared.values() for name in each.retention))
    yield Grid(
        f"{task}: spread of accuracy (points), p-values",
        ("method", "± trials", "± draws", "± instr.", "dev acc.", "p", "p Holm", "McNemar"),
        tuple((method, *_spread(each, experiment)) for method, each in here.items()),
        strong,
    ).without_empty_columns()
    yield Grid(
        f"{task}: neutral text, retention (points) [95 % CI]",
        ("method", "perplexity", "KL", *kept),
        tuple((method, *_side(each, kept, experiment)) for method, each in here.items()),
        strong,
    ).without_empty_columns()


def verdict_grids(experiment: Experiment) -> Iterator[Grid]:
    """Every question about each method that is judged, answered by its interval."""
    margin = f"{100 * experiment.settings.margin:g}"
    for method in judged(experiment):
        by_task = checks(experiment, method)
        names = list(dict.fromkeys(c.question for asked in by_task.values() for c in asked))
        answers = {
            (task, c.question): f"{c.answer}: {c.shown}"
            for task, asked in by_task.items()
            for c in asked
        }
        for part in parts(list(by_task)):
            yield Grid(
                f"Verdict on {method}, by 95 % CI ('not shown' is not 'no'; beats: more accurate, "
                f"points; kept: not worse by more than {margin} points or {margin} %)",
                (method, *part),
                tuple((name, *(answers.get((task, name), "") for task in part)) for name in names),
            )


def prompts_grid(experiment: Experiment) -> Iterator[Grid]:
    """Accuracy under every prompt template, before and after; then mean and spread over them.

    The mean's interval takes these templates as fixed; those of the rows and the instructions are
    drawn as everywhere.
    """
    method = experiment.settings.method
    wordings = [None, *dict.fromkeys(o.prompt for o in experiment.prompts)]
    if len(wordings) == 1:
        return

    def tables(task: str, method: str, prompt: str | None) -> list[pa.Table]:
        if prompt is None:
            return [o.test for o in experiment.of(task, method)]
        same = (task, method, prompt)
        return [o.test for o in experiment.prompts if (o.task, o.method, o.prompt) == same]

    def cells(task: str) -> list[str]:
        shown, runs = [], []
        for prompt in wordings:
            pair = [tables(task, each, prompt) for each in (ORIGINAL, method)]
            runs += [pair] if all(pair) else []
            shown.append(_before_and_after(*pair) if all(pair) else "")
        sides = list(zip(*runs, strict=True))
        pooled = [list(map(pa.concat_tables, zip(*side, strict=True))) for side in sides]
        spreads = [list(map(_mean_accuracy, side)) for side in sides]
        return [*shown, _before_and_after(*pooled, *spreads)]

    labels = [prompt or "the task's own" for prompt in wordings]
    columns = {task.name: cells(task.name) for task in experiment.tasks}
    for part in parts(list(columns)):
        rows = zip([*labels, "mean ± std"], *(columns[task] for task in part), strict=True)
        yield Grid(
            f"Accuracy (%) by prompt template: original -> {method}, difference (points) [95 % CI]",
            ("prompt template", *part),
            tuple(rows),
        )


def _mean_accuracy(tables: Sequence[pa.Table]) -> float:
    return mean(measures.ACCURACY(rows) or 0.0 for rows in map(rows_of, tables))


def _before_and_after(
    before: Sequence[pa.Table],
    after: Sequence[pa.Table],
    *spreads: Sequence[float],
) -> str:
    """Accuracy of both and their difference; with accuracies by prompt template, their std too."""
    sides = [percent(_mean_accuracy(tables)) for tables in (before, after)]
    for i, values in enumerate(spreads):
        sides[i] += f" ± {percent(stdev(values))}" if len(values) > 1 else ""
    change = difference(measures.ACCURACY, list(map(rows_of, after)), list(map(rows_of, before)))
    return f"{' -> '.join(sides)}, {points(change)}"


def transfer_grid(experiment: Experiment) -> Iterator[Grid]:
    """v2: neurons found on one task and evaluated on another; accuracy less the original's."""
    if not experiment.transfer:
        return
    method = experiment.settings.method
    names = [task.name for task in experiment.tasks]

    def cell(found_on: str, task: str) -> str:
        others = [
            o.test
            for o in experiment.transfer
            if (o.found_on, o.task, o.method) == (found_on, task, method)
        ]
        same = [o.test for o in experiment.of(task, method)]
        tables = same if found_on == task else others
        before = [o.rows for o in experiment.of(task, ORIGINAL)]
        if not tables or not before:
            return ""
        return points(difference(measures.ACCURACY, [rows_of(t) for t in tables], before))

    for part in parts(names):
        yield Grid(
            f"Transfer of {method}: accuracy less the original's (points) [95 % CI]",
            ("found on / evaluated on", *part),
            tuple((found_on, *(cell(found_on, task) for task in part)) for found_on in names),
        )


def samples_grid(experiment: Experiment) -> Iterator[Grid]:
    """v2: accuracy by the number of items that the neurons were found on."""
    if not experiment.sample_curve:
        return
    settings = experiment.settings
    names = [task.name for task in experiment.tasks]
    sizes = sorted({settings.samples, *(o.samples for o in experiment.sample_curve if o.samples)})

    def cell(samples: int, task: str) -> str:
        found = (
            experiment.of(task, settings.method)
            if samples == settings.samples
            else [o for o in experiment.sample_curve if (o.samples, o.task) == (samples, task)]
        )
        rows = [o.rows for o in found]
        if not rows:
            return ""
        spread = stats.spread_over_trials(measures.ACCURACY, rows)
        said = interval(estimate(measures.ACCURACY, rows))
        return said if spread is None else f"{said} ± {percent(spread)}"

    for part in parts(names):
        yield Grid(
            f"Accuracy (%) of {settings.method} by number of samples [95 % CI] ± std over trials",
            ("samples", *part),
            tuple((str(size), *(cell(size, task) for task in part)) for size in sizes),
        )


def places_grids(experiment: Experiment) -> Iterator[Grid]:
    """Where the pruned neurons sit: a table a stack, the mean over all tasks and trials."""
    method = experiment.settings.method
    edits = [e for task in experiment.tasks for e in experiment.edits(task.name, method)]
    if not any(edits):
        return
    counts = count_places(experiment.sites, neurons_of(edits))
    for side in dict.fromkeys(place.side for place in counts):
        here = {(p.layer, p.module): count for p, count in counts.items() if p.side == side}
        modules = sorted({module for _, module in here}, key=modules_order)
        yield Grid(
            f"Where the neurons of {method} sit, {side} (mean over tasks and trials)",
            ("layer", *modules, "all"),
            tuple(
                (
                    str(layer),
                    *(_count(here.get((layer, module))) for module in modules),
                    _count(sum(count for (at, _), count in here.items() if at == layer)),
                )
                for layer in sorted({layer for layer, _ in here})
            ),
        )


def _answers(each: Measured) -> tuple[str, ...]:
    return (
        f"{mean(each.sizes):.1f}".removesuffix(".0") if each.sizes else "",
        percent(each.value("stereotyped").value),
        percent(each.value("overall").value),
        _blank(each.std_trials),
        *(percent(each.value(name).value) for name in CONDITIONS),
        percent(each.named_accuracy),
        percent(each.unknown_rate),
    )


def _spread(each: Measured, experiment: Experiment) -> tuple[str, ...]:
    holm = experiment.p_holm[each.task, each.method]
    spreads = (each.std_trials, each.std_draws, each.std_instructions, each.dev)
    return (
        *map(_blank, spreads),
        *map(p_value, (each.sign_flip("overall"), holm, each.mcnemar())),
    )


def _side(each: Measured, kept: Sequence[str], experiment: Experiment) -> tuple[str, ...]:
    margin = experiment.settings.margin
    text, ratio = each.text, each.perplexity_ratio.value or 1.0
    retention = []
    for name in kept:
        change = each.retention.get(name)
        if change is None:
            retention.append("")
        else:
            fine = stats.non_inferior(change.interval, margin)
            retention.append(f"{points(change)} {'kept' if fine else '?'}")
    return (
        perplexity_cell(text.perplexity, text.perplexity / ratio) if text else "",
        number(text.kl_per_token) if text else "",
        *retention,
    )


def _blank(value: float | None) -> str:
    return "" if value is None else percent(value)


def _count(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:.1f}" if value else "."
