"""The referee's tables: all methods on one task, side by side, with their costs."""

from __future__ import annotations

from collections.abc import Iterator
from statistics import mean

from snipbias.base.table import Grid
from snipbias.evaluation.elsewhere import elsewhere_grid
from snipbias.evaluation.estimate import estimate, shown
from snipbias.evaluation.measured import Measured
from snipbias.evaluation.measures import Mean, Valued
from snipbias.evaluation.rows import Rows
from snipbias.experiment.outcome import Experiment, Outcome
from snipbias.experiment.tables.grids import interval
from snipbias.experiment.tables.verdict import kept

ANSWERS = ("method", "stereotyped", "bias", "disambig.", "AUROC", "AUROC filler")
COSTS = (
    *("method", "AUROC mismatch", "kept", "read to make", "differentiated", "trained"),
    *("read an answer", "seconds"),
)


def _bias(rows: Rows) -> Valued:
    """+1 the biased option, -1 another name: the mean is `metrics.s_amb`, unknown being right."""
    other = (rows.chosen != rows.biased) & (rows.chosen != rows.unknown)
    counted = rows.ambiguous & (rows.biased >= 0) & (rows.chosen >= 0)
    return (rows.chosen == rows.biased).astype(float) - other, counted


BIAS = Mean(_bias, (-1.0, 1.0))


def referee_grids(experiment: Experiment, *, seconds: bool = False) -> Iterator[Grid]:
    """Two tables per task; only with `seconds` are they not the same each time."""
    for task in experiment.tasks:
        answers, costs = [], []
        for method, each in experiment.measured[task.name].items():
            if not each.rows[0].ambiguous.any():
                continue
            told = [
                shown(each.value(f"discrimination{kind}"), "{:.2f}".format)
                for kind in ("", " filler", " mismatch")
            ]
            bias = shown(estimate(BIAS, each.rows), "{:.2f}".format)
            named, right = (interval(each.value(n)) for n in ("stereotyped", "disambiguated"))
            answers.append((method, named, bias, right, *told[:2]))
            cost = _cost(experiment.of(task.name, method), len(each.rows[0]))
            costs.append((method, told[2], _kept(each, experiment.settings.margin), *cost))
        if answers:
            end = None if seconds else -1
            yield Grid(f"Referee, {task.name} [95 % CI]", ANSWERS, tuple(answers))
            title = f"Referee, {task.name}: what each costs"
            yield Grid(title, COSTS[:end], tuple(row[:end] for row in costs))


def _kept(each: Measured, margin: float) -> str:
    """Whether retention and neutral text are within the margin: yes, no, or not told (?)."""
    asked = [*each.retention, "perplexity"]
    answers = {check.answer for check in kept(each, margin) if check.name in asked}
    return "no" if "no" in answers else "?" if "not shown" in answers else "yes" if answers else ""


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
    """The side effects of every method, one table per task."""
    for task in experiment.tasks:
        found = experiment.measured[task.name].items()
        if methods := {method: each.elsewhere for method, each in found if each.elsewhere}:
            strong = (experiment.settings.method,)
            yield elsewhere_grid(f"{task.name}: elsewhere", methods, strong)
