"""The metrics against slow references in plain Python, and the theorems they promise."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from hypothesis import assume, given
from hypothesis import strategies as st

from row_maker import (
    AMB,
    DIS,
    Row,
    build,
    curve_of,
    near,
    random_rows,
    same,
)
from snipbias.evaluation import metrics
from snipbias.evaluation.metrics import ByCondition
from snipbias.evaluation.offset_curve import (
    gain_over_offset,
    offset_curve,
)
from snipbias.evaluation.summary import Trial
from snipbias.tasks.item import Condition


def mean(values: list[float]) -> float | None:
    return sum(values) / len(values) if values else None


def by_condition(rows: list[Row], value: Callable[[Row], float | None]) -> ByCondition:
    """Mean of the values that are not None, over all and by condition."""

    def part(keep: Callable[[Row], bool]) -> float | None:
        return mean([v for row in rows if keep(row) and (v := value(row)) is not None])

    return ByCondition(
        part(lambda row: True),
        part(lambda row: row.condition == AMB),
        part(lambda row: row.condition == DIS),
    )


def slow_probability(row: Row, index: int) -> float | None:
    return None if index < 0 else math.exp(row.scores[index]) / sum(map(math.exp, row.scores))


def slow_bias(rows: list[Row], condition: Condition) -> float | None:
    counted = [r for r in rows if r.condition == condition and r.biased >= 0 and r.chosen >= 0]
    non_unknown = [r for r in counted if r.chosen != r.unknown]
    if not non_unknown:
        return None
    direction = 2 * sum(r.chosen == r.biased for r in non_unknown) / len(non_unknown) - 1
    if condition == DIS:
        return direction
    return (1 - sum(r.chosen == r.gold for r in counted) / len(counted)) * direction


def slow_auroc(positive: list[float], negative: list[float]) -> float | None:
    return mean([(p > n) + (p == n) / 2 for p in positive for n in negative])


def slow_discrimination(rows: list[Row]) -> float | None:
    each = []
    for instruction in range(3):
        here = [r for r in rows if r.unknown >= 0 and r.instruction == instruction]
        each.append(
            slow_auroc(
                [r.margin for r in here if r.condition == AMB],
                [r.margin for r in here if r.condition == DIS],
            )
        )
    return mean([value for value in each if value is not None])


def slow_credit(row: Row, offset: float = 0.0, with_unknown: bool = False) -> float:
    """1 over the number of highest options where gold is one of them."""
    allowed = range(len(row.scores)) if with_unknown else row.named
    scores = {i: row.scores[i] + offset * (i == row.unknown) for i in allowed}
    top = [i for i in allowed if scores[i] == max(scores.values())]
    return (row.gold in top) / len(top)


def slow_named(rows: list[Row]) -> tuple[float | None, float | None]:
    asked = [r for r in rows if r.condition == DIS and r.gold != r.unknown and len(r.named) > 1]
    return mean([slow_credit(r) for r in asked]), mean([1 / len(r.named) for r in asked])


def slow_curve(rows: list[Row], offsets: list[float]) -> list[ByCondition]:
    """Accuracy at each offset by answering every row anew."""
    return [by_condition(rows, lambda row, c=c: slow_credit(row, c, True)) for c in offsets]


@given(random_rows())
def test_metrics_equal_slow_references(rows: list[Row]) -> None:
    fast = build(rows)
    assert metrics.accuracy(fast) == near(by_condition(rows, lambda r: r.chosen == r.gold))
    assert metrics.unknown_rate(fast) == near(
        by_condition(rows, lambda r: None if r.unknown < 0 else r.chosen == r.unknown)
    )
    assert metrics.gold_probability(fast) == near(
        by_condition(rows, lambda r: slow_probability(r, r.gold))
    )
    assert metrics.biased_probability(fast) == near(
        by_condition(rows, lambda r: slow_probability(r, r.biased))
    )
    assert metrics.unknown_probability(fast) == near(
        by_condition(rows, lambda r: slow_probability(r, r.unknown))
    )
    assert metrics.gold_percent_raw(fast) == near(
        by_condition(rows, lambda r: 100 * math.exp(r.scores[r.gold]))
    )
    assert metrics.s_dis(fast) == near(slow_bias(rows, DIS))
    assert metrics.s_amb(fast) == near(slow_bias(rows, AMB))
    assert metrics.discrimination(fast) == near(slow_discrimination(rows))
    assert (metrics.named_accuracy(fast), metrics.named_chance(fast)) == tuple(
        map(near, slow_named(rows))
    )


@given(random_rows())
def test_unknown_floor_equals_a_model_that_always_says_unknown(rows: list[Row]) -> None:
    floor = metrics.unknown_floor(build(rows))
    always = by_condition(rows, lambda r: r.gold == r.unknown)
    has_one = by_condition(rows, lambda r: r.unknown >= 0)
    for name in ("overall", "ambiguous", "disambiguated"):
        assert getattr(floor, name) == near(
            getattr(always, name) if getattr(has_one, name) else None
        )


@given(random_rows())
def test_offset_curve_equals_answering_anew(rows: list[Row]) -> None:
    conditions = {r.condition for r in rows}
    margins = sorted({r.margin for r in rows if r.unknown >= 0}, reverse=True)
    assume(margins and {AMB, DIS} <= conditions)
    curve = curve_of(rows)
    # scores are halves: a quarter beyond a breakpoint lies inside the next stretch
    offsets = [-margins[0] - 0.25, *(0.25 - m for m in margins)]
    for at in (offsets, curve.offsets.tolist()):
        expected = slow_curve(rows, at)
        assert curve.overall.tolist() == near([point.overall for point in expected])
        assert curve.ambiguous.tolist() == near([point.ambiguous for point in expected])
        assert curve.disambiguated.tolist() == near([point.disambiguated for point in expected])
    assert curve.best.overall == near(
        max(point.overall or 0 for point in slow_curve(rows, offsets))
    )


@given(random_rows(), st.tuples(st.floats(0, 1), st.floats(0, 1)))
def test_gain_equals_a_search_over_the_curve(rows: list[Row], edit: tuple[float, float]) -> None:
    curve = offset_curve(build(rows))
    assume(curve is not None)
    assert curve is not None
    best = 0.0
    for amb, dis in zip(curve.ambiguous, curve.disambiguated, strict=True):
        if amb >= edit[0] - 1e-9:
            best = max(best, float(dis))
    assert gain_over_offset(edit, curve) == near(edit[1] - best)


@given(random_rows(), st.randoms(use_true_random=False))
def test_the_order_of_rows_does_not_matter(rows: list[Row], random: Any) -> None:
    shuffled = list(rows)
    random.shuffle(shuffled)
    same(Trial(build(rows)).summary.to_dict(), Trial(build(shuffled)).summary.to_dict())


@given(random_rows(), st.lists(st.integers(-9, 9), min_size=3, max_size=3))
def test_no_shift_of_an_instruction_changes_discrimination(
    rows: list[Row], shift: list[int]
) -> None:
    shifted = [
        replace(
            r,
            scores=[s + shift[r.instruction] * (i == r.unknown) for i, s in enumerate(r.scores)],
        )
        for r in rows
    ]
    before, after = build(rows, probabilities=False), build(shifted, probabilities=False)
    assert metrics.discrimination(after) == near(metrics.discrimination(before))
    assert metrics.named_accuracy(after) == near(metrics.named_accuracy(before))


@given(random_rows(), st.integers(-9, 9))
def test_a_shift_gains_nothing_over_the_offset_curve(rows: list[Row], shift: int) -> None:
    # scores are halves, so a quarter more leaves no tie with the unknown option
    def answers(r: Row, c: float) -> Row:
        scores = [s + c * (i == r.unknown) + 1e-6 * i for i, s in enumerate(r.scores)]
        return replace(r, scores=scores, chosen=scores.index(max(scores)))

    original = [answers(r, 0.0) for r in rows]
    curve = offset_curve(build(original, probabilities=False))
    assume(curve is not None)
    assert curve is not None
    point = metrics.accuracy(build([answers(r, shift + 0.25) for r in rows], probabilities=False))
    assert point.ambiguous is not None
    assert point.disambiguated is not None
    assert gain_over_offset((point.ambiguous, point.disambiguated), curve) <= 1e-9


@given(random_rows())
def test_padding_and_a_constant_per_row_change_nothing(rows: list[Row]) -> None:
    fast = build(rows, probabilities=False)
    padded = replace(
        fast,
        scores=np.hstack([fast.scores - 3.0, np.full((len(rows), 2), -np.inf)]),
    )
    a, b = Trial(fast).summary.to_dict(), Trial(padded).summary.to_dict()
    for histogram in ("chosen", "gold"):  # which has two more, empty positions
        b["positions"][histogram] = {
            k: b["positions"][histogram][k] for k in a["positions"]["gold"]
        }
    same(a, b)
