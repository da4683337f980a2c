"""The offset control: one constant added to the score of "unknown", with no neuron touched."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from snipbias.evaluation.bootstrap import Draws
from snipbias.evaluation.interval import Interval
from snipbias.evaluation.margin import named_credit, unknown_margin
from snipbias.evaluation.measures import AMBIGUOUS_ACCURACY, DISAMBIGUATED_ACCURACY, ByCondition
from snipbias.evaluation.rows import Rows

# Accuracies are sums of credits divided by counts: two equal ones may differ in the last bits.
ROUNDING = 1e-9


@dataclass(frozen=True)
class OffsetPoint:
    """Accuracies reached with one constant added to the unknown option's score."""

    offset: float
    ambiguous: float
    disambiguated: float
    overall: float

    @property
    def accuracy(self) -> ByCondition:
        """The accuracies alone."""
        return ByCondition(self.overall, self.ambiguous, self.disambiguated)


@dataclass(frozen=True, eq=False)
class OffsetCurve:
    """All (ambiguous, disambiguated) accuracies that a constant on the unknown option can reach.

    Points go from "never unknown" (lowest offset) to "always unknown". Accuracy only changes where
    the offset passes some row's margin, so there is one point for each stretch between two such
    breakpoints; `offsets` holds a value inside the stretch.
    """

    offsets: Float[np.ndarray, " points"]
    ambiguous: Float[np.ndarray, " points"]
    disambiguated: Float[np.ndarray, " points"]
    overall: Float[np.ndarray, " points"]

    @property
    def best(self) -> OffsetPoint:
        """Highest overall accuracy; among equals the one with the smallest offset."""
        equals = np.flatnonzero(self.overall >= self.overall.max() - ROUNDING)
        return self.point(int(equals[np.abs(self.offsets[equals]).argmin()]))

    def thinned(self, points: int = 201) -> OffsetCurve:
        """At most `points` points, evenly picked with both ends: enough to draw, not to compare."""
        last = len(self.offsets) - 1
        keep = np.unique(np.linspace(0, last, min(points, last + 1)).round().astype(np.int64))
        return OffsetCurve(*(column[keep] for column in vars(self).values()))

    def point(self, i: int) -> OffsetPoint:
        """The i-th, counted from "never unknown"."""
        return OffsetPoint(*(float(column[i]) for column in vars(self).values()))


def offset_curve(rows: Rows) -> OffsetCurve | None:
    """The curve by its breakpoints, exact: c is the offset, m the unknown margin of a row.

    A row answers "unknown" where m + c > 0, else with its highest named option. It answers from the
    scores, whatever `chosen` says. Rows with m + c = 0 are ties that no point decides: they lie on
    a breakpoint and the points on its two sides. Rows without an unknown option keep their answer.
    None if no row has an unknown option or one of the conditions has no row.
    """
    if not (rows.unknown >= 0).any() or not rows.ambiguous.any() or not rows.disambiguated.any():
        return None
    margin = unknown_margin(rows)
    # Descending: the k-th point has moved the rows of the k highest distinct margins to "unknown".
    steps = np.unique(margin[np.isfinite(margin)])[::-1]
    step_of = np.searchsorted(-steps, -margin)
    named = named_credit(rows)
    change = (rows.gold == rows.unknown) - named

    def reached(part: np.ndarray) -> Float[np.ndarray, " points"]:
        """Accuracy after 0, 1, ... breakpoints; rows at step `len(steps)` never change."""
        moved = np.bincount(step_of, weights=change * part, minlength=len(steps) + 1)[: len(steps)]
        return ((named * part).sum() + np.append(0.0, np.cumsum(moved))) / part.sum()

    return OffsetCurve(
        _inside(-steps), *map(reached, (rows.ambiguous, rows.disambiguated, rows.weight))
    )


def gain_over_offset(edit_point: tuple[float, float], original_curve: OffsetCurve) -> float:
    """How far an edit's (ambiguous, disambiguated) accuracy lies outside the original's curve.

    Its disambiguated accuracy minus the best one that an offset reaches with an ambiguous accuracy
    at least as high. Negative: inside, an offset does better than the edit; 0: on the curve;
    positive: the edit gained what no offset can. If no offset reaches the ambiguous accuracy, the
    offsets count as 0.

    The curve has one constant for all instructions, and an edit may shift each instruction by
    another: read the gain together with `discrimination`, which no shift of an instruction changes.
    """
    ambiguous, disambiguated = edit_point
    as_good = original_curve.ambiguous >= ambiguous - ROUNDING
    best = original_curve.disambiguated[as_good].max(initial=0.0)
    return float(disambiguated - best)


def gain_interval(trials: Sequence[Rows], original: Rows) -> Interval | None:
    """The interval of the mean gain of trials, the curve being drawn anew with the rows.

    Templates are drawn, crossed with the instructions; the exact bounds take the offset as given.
    None where a gain is undefined, or the trials have other rows than the original.
    """
    curve = offset_curve(original)
    if curve is None or any(len(rows) != len(original) for rows in trials):
        return None
    draws = Draws.of(original.template, original.instruction)
    gains = [gains_in_draws(rows, original, draws) for rows in trials]
    found = draws.interval(np.mean(gains, axis=0), bounds=(-1.0, 1.0))
    if found is None:
        return None
    beside = np.mean([_beside_offset(rows, original, curve) for rows in trials], axis=0)
    counted = original.disambiguated.astype(float)
    sums, sizes = (draws.cells(part).sum(axis=1) for part in (beside * counted, counted))
    there = sizes > 0
    return found.with_exact(sums[there] / sizes[there], sizes[there], (-1.0, 1.0))


def _beside_offset(rows: Rows, original: Rows, curve: OffsetCurve) -> Float[np.ndarray, " rows"]:
    """Per row, whether the edit is right less whether the matching offset is."""
    right = (rows.chosen == rows.gold).astype(float)
    reached = AMBIGUOUS_ACCURACY(rows) or 0.0
    as_good = np.flatnonzero(curve.ambiguous >= reached - ROUNDING)
    if not len(as_good):
        return right
    offset = curve.offsets[as_good[curve.disambiguated[as_good].argmax()]]
    says_unknown = unknown_margin(original) + offset > 0
    return right - np.where(says_unknown, original.gold == original.unknown, named_credit(original))


def gains_in_draws(rows: Rows, original: Rows, draws: Draws) -> Float[np.ndarray, " draws"]:
    """The gain over the offset curve in each draw; NaN where a condition has no row.

    Args:
        rows, original: the edit's rows, and the original model's.
        draws: which rows each draw has.
    """
    reached = AMBIGUOUS_ACCURACY.over(rows, draws)
    margin, named = unknown_margin(original), named_credit(original)
    order = np.argsort(-margin, kind="stable")
    ordered = margin[order]
    last = np.flatnonzero(np.isfinite(ordered) & (ordered != np.append(ordered[1:], -np.inf)))
    change = ((original.gold == original.unknown) - named)[order]
    best = np.empty(len(draws.templates))
    for part in np.array_split(np.arange(len(draws.templates)), 1 + len(draws.templates) // 100):
        often = draws.templates[part][:, draws.template]
        often = often * draws.instructions[part][:, draws.instruction]
        curves = []
        for counted in (original.ambiguous, original.disambiguated):
            start = (often * (named * counted)).sum(axis=1, keepdims=True)
            steps = np.cumsum(often[:, order] * (change * counted[order]), axis=1)[:, last]
            total = (often * counted).sum(axis=1, keepdims=True)
            curve = np.concatenate([start, start + steps], axis=1)
            curves.append(np.divide(curve, total, out=np.full_like(curve, np.nan), where=total > 0))
        as_good = curves[0] >= reached[part, None] - ROUNDING
        best[part] = np.where(as_good, curves[1], 0.0).max(axis=1)
    gain = DISAMBIGUATED_ACCURACY.over(rows, draws) - best
    return np.where(np.isnan(reached), np.nan, gain)


def _inside(breakpoints: Float[np.ndarray, " steps"]) -> Float[np.ndarray, " points"]:
    """One value between each pair of breakpoints, and one nat beyond either end.

    The stretch that holds 0 is represented by 0: the scores as they are.
    """
    low = np.concatenate([[-np.inf], breakpoints])
    high = np.concatenate([breakpoints, [np.inf]])
    middle = (breakpoints[:-1] + breakpoints[1:]) / 2
    inside = np.concatenate([[breakpoints[0] - 1], middle, [breakpoints[-1] + 1]])
    return np.where((low < 0) & (high > 0), 0.0, inside)
