"""Intervals, paired differences and p-values.

Every function takes trials: the rows of one method on the same items and instructions in the same
order, one `Rows` per draw of the items that the edit was found on. The figure is the mean over the
trials, which are not resampled.

Coverage of the 95 % intervals in simulations (`test_coverage.py`: binary answers with effects
of template, instruction, cell and item): 93 to 97 % for means and paired differences with 12 to 40
templates and ten crossed or two fixed instructions; 91 to 93 % with eight templates or fewer. Where
few templates differ, the exact bounds of `interval` take over: 97 % or more.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import numpy as np
from jaxtyping import Bool, Float, Shaped

from snipbias.base.errors import SnipbiasError
from snipbias.base.words import plural
from snipbias.evaluation.bootstrap import Draws
from snipbias.evaluation.interval import FEWEST_TEMPLATES, Interval
from snipbias.evaluation.interval import non_inferior as non_inferior
from snipbias.evaluation.interval import non_inferiority as non_inferiority
from snipbias.evaluation.measures import Mean, Metric
from snipbias.evaluation.rows import Rows

Trials = Sequence[Rows]
RESAMPLES = 2000
FLIPS = 9999
SIGNIFICANT = 0.05


def interval(
    metric: Metric,
    trials: Trials,
    minus: Trials | None = None,
    *,
    level: float = 0.95,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Interval | None:
    """The interval of a method's figure, or of its paired difference to another's.

    Cluster bootstrap over templates and instructions; fewer than five instructions are taken as
    fixed. Both methods are taken from the same draws, so that what makes a template hard for both
    cancels.

    Args:
        metric: the figure, averaged over trials.
        trials: rows of each trial, the same but for the answers.
        minus: the same rows as the other method answers them.
        level: confidence level.
        resamples: number of draws.
        seed: seed of the draws.

    Returns:
        None where the figure is undefined or rests on one template, which says nothing of others.

    Raises:
        SnipbiasError: the trials have different rows.
    """
    _check_aligned([*trials, *(minus or ())])
    rows = trials[0]
    draws = Draws.of(rows.template, rows.instruction, resamples=resamples, seed=seed)
    low, high = metric.bounds
    figures, clusters = _drawn(metric, trials, draws)
    if minus is not None:
        others, before = _drawn(metric, minus, draws)
        figures, low, high = figures - others, low - high, high - low
        same = np.array_equal(clusters[1], before[1])
        clusters = (clusters[0] - before[0], clusters[1]) if same else None
    found = draws.interval(figures, level, bounds=(low, high))
    return found.with_exact(*clusters, (low, high), metric.degree) if found and clusters else found


difference = interval  # its name before `minus`: scripts of earlier versions use it


def _drawn(
    metric: Metric, trials: Trials, draws: Draws
) -> tuple[Float[np.ndarray, " draws"], tuple[np.ndarray, np.ndarray]]:
    """The mean figure of trials in each draw; also each template's, and how much it weighs."""
    figures = np.mean([metric.over(rows, draws) for rows in trials], axis=0)
    valued = [metric.values(rows) for rows in trials]
    weighed = [np.where(weight > 0, values, 0.0) * weight for values, weight in valued]
    sums, sizes = (
        np.mean([draws.cells(part).sum(axis=1) for part in parts], axis=0)
        for parts in (weighed, [weight for _, weight in valued])
    )
    there = sizes > 0
    return figures, (sums[there] / sizes[there], sizes[there])


def sign_flip(
    values_a: Shaped[np.ndarray, " rows"],
    values_b: Shaped[np.ndarray, " rows"],
    templates: Shaped[np.ndarray, " rows"],
    *,
    seed: int = 0,
) -> float:
    """Two-sided p-value of the paired difference of two means, by flipping signs of templates.

    If the methods were alike, all rows of a template together might as well have had their answers
    exchanged. All 2^G exchanges are tried with up to 13 templates, else 9,999 random ones. The
    instructions are taken as they are. The smallest p-value is 2 / 2^G: with five templates or
    fewer, none is below 0.05.

    Args:
        values_a: values of one method.
        values_b: values of the other in the same rows.
        templates: template of each row.
        seed: seed of the random exchanges.
    """
    _, cluster = np.unique(templates, return_inverse=True)
    sums = np.bincount(cluster, weights=np.asarray(values_a, float) - np.asarray(values_b, float))
    if len(sums) < 2:
        return 1.0
    from scipy.stats import permutation_test

    result = permutation_test(
        (sums,),
        np.sum,
        permutation_type="samples",
        vectorized=True,
        n_resamples=FLIPS,
        rng=np.random.default_rng(seed),
    )
    return float(result.pvalue)


def sign_flip_of(metric: Mean, trials_a: Trials, trials_b: Trials) -> float | None:
    """`sign_flip` of a mean over rows, each row's value being its mean over the trials.

    None where no row counts, or where it depends on the answers which rows do.

    Args:
        metric: the mean.
        trials_a, trials_b: as `trials` and `minus` of `interval`.
    """
    _check_aligned([*trials_a, *trials_b])
    valued = [metric.values(rows) for rows in (*trials_a, *trials_b)]
    counted = valued[0][1]
    if not counted.any() or any((counted != other).any() for _, other in valued):
        return None
    there = counted > 0
    a, b = (
        np.mean([values[there] for values, _ in part], axis=0) * counted[there]
        for part in (valued[: len(trials_a)], valued[len(trials_a) :])
    )
    return sign_flip(a, b, trials_a[0].template[there])


def mcnemar(right_a: Bool[np.ndarray, " rows"], right_b: Bool[np.ndarray, " rows"]) -> float:
    """Exact McNemar test of two methods' right answers: two-sided p-value.

    It takes every row for independent of all others. Rows of a template and of an instruction are
    not, so this p-value is too small; it is given with `sign_flip` because others report it.
    """
    only_a, only_b = int((right_a & ~right_b).sum()), int((right_b & ~right_a).sum())
    if only_a + only_b == 0:
        return 1.0
    from scipy.stats import binomtest

    return float(binomtest(only_a, only_a + only_b, 0.5).pvalue)


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """P-values adjusted for their number by Holm's step-down method; None stays None.

    Those at most 0.05 hold all together with a chance of error of at most 0.05.
    """
    known = sorted((p, i) for i, p in enumerate(p_values) if p is not None)
    adjusted: list[float | None] = [None] * len(p_values)
    highest = 0.0
    for rank, (p, i) in enumerate(known):
        adjusted[i] = highest = max(highest, min(1.0, p * (len(known) - rank)))
    return adjusted


def unsettled(change: Interval | None, p_value: float | None) -> str:
    """Why no conclusion can be drawn from a change, in words; empty if one can.

    An interval of few templates is short, so it alone does not show a change: the p-value by sign
    flip has to agree. One that includes 0 needs no p-value.
    """
    if change is None:
        return "too few templates for an interval"
    if change.templates < FEWEST_TEMPLATES:
        few = plural(change.templates, "template")
        return f"with {few} the interval is too short, and no p-value can be below {SIGNIFICANT:g}"
    if not change.low <= 0 <= change.high and p_value is not None and p_value > SIGNIFICANT:
        return f"the interval excludes 0, but the p-value by sign flip is {p_value:.3f}"
    return ""


def spread_over_instructions(metric: Metric, rows: Rows) -> float | None:
    """Standard deviation (ddof = 1) of a figure over instructions; None with one."""
    return spread([metric(rows.take(rows.instruction == i)) for i in np.unique(rows.instruction)])


def _check_aligned(trials: Trials) -> None:
    first, *others = trials
    for other, name in product(others, ("template", "instruction", "condition", "gold")):
        if not np.array_equal(getattr(first, name), getattr(other, name)):
            raise SnipbiasError(
                "the methods to compare were evaluated on different rows: evaluate them on the "
                "same task."
            )


def spread(values: Sequence[float | None]) -> float | None:
    """Standard deviation (ddof = 1); None where a value is undefined or there is only one."""
    known = [value for value in values if value is not None]
    if len(known) < 2 or len(known) < len(values):
        return None
    return float(np.std(known, ddof=1))
