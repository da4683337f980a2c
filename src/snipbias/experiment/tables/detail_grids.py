"""Tables of one task, of one method, and of the further runs of an experiment."""

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
from snipbias.evaluation.neutral_text import kl_interval, perplexity_cell
from snipbias.evaluation.tables import answers_grid
from snipbias.evaluation.trial import Trial
from snipbias.experiment.outcome import Experiment, neurons_of
from snipbias.experiment.tables.grids import interval, side_by_side
from snipbias.experiment.tables.verdict import checks, judged
from snipbias.models.places import count_places, modules_order

DIFFERENCES = ("stereotyped", "overall", "ambiguous", "disambiguated")


def task_grids(experiment: Experiment, task: str) -> Iterator[Grid]:
    """One task in detail: answers, differences to the original, what else changed."""
    here = experiment.measured[task]
    strong = (experiment.settings.method,)
    yield answers_grid(f"{task}: answers (%)", here, strong)
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
        ("method", "perplexity", "KL", "chat KL", *kept),
        tuple((method, *_side(each, kept, experiment)) for method, each in here.items()),
        strong,
    ).without_empty_columns()


def verdict_grids(experiment: Experiment) -> Iterator[Grid]:
    """Every question about each method that is judged, answered by its interval."""
    margin = f"{100 * experiment.settings.margin:g}"
    for method in judged(experiment):
        by_task = {
            task: {c.question: f"{c.answer}: {c.shown}" for c in asked}
            for task, asked in checks(experiment, method).items()
        }
        names = list(dict.fromkeys(name for answers in by_task.values() for name in answers))
        yield from side_by_side(
            f"Verdict on {method}, by 95 % CI ('not shown' is not 'no'; beats: more accurate, "
            f"points; kept: not worse by more than {margin} points or {margin} %)",
            method,
            names,
            {task: [found.get(name, "") for name in names] for task, found in by_task.items()},
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

    def cells(task: str) -> list[str]:
        shown, runs = [], []
        for prompt in wordings:
            pair = [
                [o.test for o in experiment.of(task, each, prompt=prompt)]
                for each in (ORIGINAL, method)
            ]
            runs += [pair] if all(pair) else []
            shown.append(_before_and_after(*pair) if all(pair) else "")
        sides = list(zip(*runs, strict=True))
        pooled = [list(map(pa.concat_tables, zip(*side, strict=True))) for side in sides]
        spreads = [list(map(_mean_accuracy, side)) for side in sides]
        return [*shown, _before_and_after(*pooled, *spreads)]

    yield from side_by_side(
        f"Accuracy (%) by prompt template: original -> {method}, difference (points) [95 % CI]",
        "prompt template",
        [*(prompt or "the task's own" for prompt in wordings), "mean ± std"],
        {task.name: cells(task.name) for task in experiment.tasks},
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
    method, names = experiment.settings.method, list(experiment.measured)

    def cell(found_on: str, task: str) -> str:
        there = experiment.of(task, method, found_on=None if found_on == task else found_on)
        before = experiment.measured[task].get(ORIGINAL)
        if not there or before is None:
            return ""
        return points(difference(measures.ACCURACY, [o.rows for o in there], before.rows))

    if experiment.transfer:
        yield from side_by_side(
            f"Transfer of {method}: accuracy minus the original's (points) [95 % CI]",
            "found on / evaluated on",
            names,
            {task: [cell(found_on, task) for found_on in names] for task in names},
        )


def samples_grid(experiment: Experiment) -> Iterator[Grid]:
    """v2: accuracy by the number of items that the neurons were found on."""
    method, usual = experiment.settings.method, experiment.settings.samples
    sizes = sorted({usual, *(o.samples for o in experiment.sample_curve if o.samples)})

    def cell(samples: int, task: str) -> str:
        found = experiment.of(task, method, samples=None if samples == usual else samples)
        if not found:
            return ""
        rows = [outcome.rows for outcome in found]
        spread = stats.spread_over_trials(measures.ACCURACY, rows)
        said = interval(estimate(measures.ACCURACY, rows))
        return said if spread is None else f"{said} ± {percent(spread)}"

    if experiment.sample_curve:
        yield from side_by_side(
            f"Accuracy (%) of {method} by number of samples [95 % CI] ± std over trials",
            "samples",
            list(map(str, sizes)),
            {t: [cell(size, t) for size in sizes] for t in experiment.measured},
        )


def places_grids(experiment: Experiment) -> Iterator[Grid]:
    """Where the pruned neurons sit: one table per stack, mean over all tasks and trials."""
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


def _spread(each: Measured, experiment: Experiment) -> tuple[str, ...]:
    holm = experiment.p_holm[each.task, each.method]
    spreads = (each.std_trials, each.std_draws, each.std_instructions, each.dev)
    return (
        *("" if spread is None else percent(spread) for spread in spreads),
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
        _chat_kl(each.trials),
        *retention,
    )


def _chat_kl(trials: Sequence[Trial]) -> str:
    """KL per token of answers to requests in the first trial that has them, with its interval."""
    chat = next((trial.chat for trial in trials if trial.chat), None)
    found = chat and kl_interval(chat)
    return str(found.guarded) if found else number(chat.kl_per_token) if chat else ""


def _count(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:.1f}" if value else "."
