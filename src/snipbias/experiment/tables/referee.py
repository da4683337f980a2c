"""The referee's table: every method of one task beside the others, with what it costs."""

from __future__ import annotations

from collections.abc import Iterator
from statistics import mean

import numpy as np

from snipbias.base.table import Grid
from snipbias.evaluation import measures
from snipbias.evaluation.elsewhere import OWN, elsewhere_grid
from snipbias.evaluation.estimate import Estimate, estimate
from snipbias.evaluation.evaluate import rows_of
from snipbias.evaluation.measures import Mean, Valued
from snipbias.evaluation.rows import Rows
from snipbias.experiment.outcome import Experiment, Outcome, methods_of, outcomes_of
from snipbias.experiment.tables.figures import All, Figures
from snipbias.experiment.tables.verdict import shown

HEADER = (
    *(
        "method",
        "stereotyped",
        "bias",
        "disambig.",
        "AUROC",
        "AUROC filler",
        "AUROC mismatch",
        "kept",
    ),
    *("read to make", "differentiated", "trained", "read an answer", "seconds"),
)


def _bias(rows: Rows) -> Valued:
    """+1 the biased option, -1 another name: the mean is `metrics.s_amb`, unknown being right."""
    other = (rows.chosen != rows.biased) & (rows.chosen != rows.unknown)
    counted = rows.ambiguous & (rows.biased >= 0) & (rows.chosen >= 0)
    return (rows.chosen == rows.biased).astype(float) - other, counted


BIAS = Mean(_bias, (-1.0, 1.0))


def referee_grids(experiment: Experiment, figures: All, *, seconds: bool = False) -> Iterator[Grid]:
    """Two tables per task; only with `seconds` are they not the same each time."""
    for task in experiment.tasks:
        rows = []
        for method in methods_of(experiment):
            outcomes = outcomes_of(experiment, task.name, method)
            if not outcomes or not np.isin(rows_of(outcomes[0].test).condition, "ambiguous").any():
                continue
            each = figures[task.name, method]
            tests = [rows_of(outcome.test) for outcome in outcomes]
            answers = (
                _percent(estimate(measures.NAMED_STEREOTYPED, tests)),
                shown(estimate(BIAS, tests), lambda value: f"{value:.2f}"),
                _percent(estimate(measures.DISAMBIGUATED_ACCURACY, tests)),
                *(
                    shown(each.values[f"discrimination{kind}"], lambda value: f"{value:.2f}")
                    for kind in ("", " filler", " mismatch")
                ),
            )
            cost = _cost(outcomes, len(tests[0]))
            rows.append((method, *answers, _kept(each, experiment.settings.margin), *cost))
        if rows:
            end = None if seconds else -1
            yield Grid(
                f"Referee, {task.name} [95 % CI]", HEADER[:6], tuple(row[:6] for row in rows)
            )
            yield Grid(
                f"Referee, {task.name}: what each costs",
                (HEADER[0], *HEADER[6:end]),
                tuple((row[0], *row[6:end]) for row in rows),
            )


def _percent(found: Estimate) -> str:
    return shown(found, lambda value: f"{100 * value:.1f}")


def _kept(each: Figures, margin: float) -> str:
    """Whether retention and neutral text are within the margin: yes, no, or not told (?)."""
    ratio = each.perplexity_ratio
    losses = [(-c.high, -c.low) for c in each.retention.values() if c.low is not None]  # type: ignore[operator]
    losses += [(ratio.low - 1, ratio.high - 1)] if ratio.low is not None else []  # type: ignore[operator]
    if not losses:
        return ""
    if any(low > margin for low, _ in losses):
        return "no"
    return "yes" if all(high <= margin for _, high in losses) else "?"


def _cost(outcomes: tuple[Outcome, ...], rows: int) -> tuple[str, ...]:
    """Prompts read and objectives differentiated to make it, mean over trials; and by an answer."""
    costs = [outcome.cost for outcome in outcomes if outcome.cost is not None]
    if not costs:
        return ("",) * 5
    seconds = [cost.seconds for cost in costs if cost.seconds is not None]
    answering = mean(cost.answering for cost in costs) / rows
    return (
        *(f"{mean(getattr(cost, name) for cost in costs):.0f}" for name in ("forward", "backward")),
        f"{max(cost.trained for cost in costs)}",
        f"{answering:.1f}" if answering else "",
        f"{mean(seconds):.1f}" if seconds else "",
    )


def elsewhere_grids(experiment: Experiment) -> Iterator[Grid]:
    """What every method does elsewhere, a table a task."""
    for task in experiment.tasks:
        methods: dict[str, dict[str, list[Rows]]] = {}
        for method in methods_of(experiment):
            outcomes = outcomes_of(experiment, task.name, method)
            if not outcomes or not outcomes[0].elsewhere:
                continue
            runs = {OWN: [rows_of(outcome.test) for outcome in outcomes]}
            for part in outcomes[0].elsewhere:
                runs[part] = [rows_of(outcome.elsewhere[part]) for outcome in outcomes]
            methods[method] = runs
        if methods:
            strong = (experiment.settings.method,)
            yield elsewhere_grid(f"{task.name}: elsewhere", methods, strong)
