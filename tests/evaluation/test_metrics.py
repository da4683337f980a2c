"""Hand-computed numbers, slow references in plain Python, and the theorems the metrics promise."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from crossed import crossed_rows
from snipbias.base.errors import SnipbiasError
from snipbias.evaluation import metrics, summary
from snipbias.evaluation.bootstrap import Draws
from snipbias.evaluation.metrics import ByCondition, Positions
from snipbias.evaluation.offset_curve import (
    OffsetCurve,
    gain_interval,
    gain_over_offset,
    gains_in_draws,
    offset_curve,
)
from snipbias.evaluation.rows import Rows
from snipbias.evaluation.summary import Summary, summarize
from snipbias.evaluation.trial import Trial
from snipbias.evaluation.verdicts import verdicts
from snipbias.tasks.item import Condition

AMB: Condition = "ambiguous"
DIS: Condition = "disambiguated"


@dataclass
class Row:
    """One row as the plain-Python references read it."""

    scores: list[float]
    gold: int
    unknown: int = -1
    biased: int = -1
    chosen: int = 0
    condition: Condition | None = None
    instruction: int = 0

    @property
    def named(self) -> list[int]:
        return [i for i in range(len(self.scores)) if i != self.unknown]

    @property
    def margin(self) -> float:
        return self.scores[self.unknown] - max(self.scores[i] for i in self.named)


def build(rows: list[Row], probabilities: bool = True) -> Rows:
    columns: dict[str, Any] = {
        field.name: [getattr(row, field.name) for row in rows] for field in fields(Row)
    }
    columns["scores"] = [[float(score) for score in row] for row in columns["scores"]]
    return Rows.from_lists(**columns, probabilities=probabilities)


def logs(*probabilities: float) -> list[float]:
    return [math.log(p) for p in probabilities]


# Five rows; the third and the fourth have a total probability of 0.5, the others of 1.
FIVE = [
    Row(logs(0.5, 0.3, 0.2), gold=2, unknown=2, biased=0, chosen=0, condition=AMB, instruction=0),
    Row(logs(0.2, 0.6, 0.2), gold=1, unknown=2, biased=0, chosen=1, condition=DIS, instruction=0),
    Row(logs(0.05, 0.05, 0.4), gold=2, unknown=2, biased=1, chosen=2, condition=AMB, instruction=1),
    Row(logs(0.1, 0.3, 0.1), gold=2, unknown=0, biased=2, chosen=1, condition=DIS, instruction=1),
    Row(logs(0.6, 0.2, 0.2), gold=1, unknown=1, biased=2, chosen=0, condition=AMB, instruction=1),
]


class NearByCondition:
    """`pytest.approx` for three figures; not a `ByCondition`, whose fields are checked floats."""

    def __init__(self, expected: ByCondition) -> None:
        self.parts = {name: near(value) for name, value in asdict(expected).items()}

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ByCondition) and asdict(other) == self.parts

    def __repr__(self) -> str:
        return repr(self.parts)


def near(expected: Any) -> Any:
    """`pytest.approx` for what the metrics return, None staying None."""
    if isinstance(expected, ByCondition):
        return NearByCondition(expected)
    return None if expected is None else pytest.approx(expected, abs=1e-12)


# --- by hand ----------------------------------------------------------------------------------


def test_accuracy_by_hand() -> None:
    # right: rows 1 and 2. All 2 of 5; ambiguous (0, 2, 4) 1 of 3; disambiguated (1, 3) 1 of 2.
    assert metrics.accuracy(build(FIVE)) == near(ByCondition(2 / 5, 1 / 3, 1 / 2))


def test_spread_over_instructions_by_hand() -> None:
    by_instruction = metrics.accuracy_by_instruction(build(FIVE))
    # instruction 0: row 1 of (0, 1); instruction 1: row 2 of (2, 3, 4)
    assert by_instruction == {0: near(1 / 2), 1: near(1 / 3)}
    spread = metrics.spread(by_instruction)
    # mean 5/12, deviations 1/12 and -1/12: std = sqrt(2 * (1/12)^2 / (2 - 1)) = sqrt(2) / 12
    assert (spread.std, spread.min, spread.max) == (
        near(math.sqrt(2) / 12),
        near(1 / 3),
        near(1 / 2),
    )


def test_one_instruction_has_no_standard_deviation() -> None:
    spread = metrics.spread({3: 0.25})
    assert (spread.std, spread.min, spread.max) == (None, 0.25, 0.25)


def test_unknown_rate_and_floor_by_hand() -> None:
    rows = build(FIVE)
    # only row 2 is answered unknown; unknown is gold in rows 0, 2, 4
    assert metrics.unknown_rate(rows) == near(ByCondition(1 / 5, 1 / 3, 0.0))
    assert metrics.unknown_floor(rows) == near(ByCondition(3 / 5, 1.0, 0.0))


def test_no_answer_is_not_the_unknown_option_of_a_row_without_one() -> None:
    # -1 == -1 in row 0, which must not count; row 1 has an unknown option, and no answer either
    rows = build([Row([-1, -2], 0, unknown=-1, chosen=-1), Row([-1, -2], 0, unknown=1, chosen=-1)])
    assert metrics.unknown_rate(rows) == ByCondition(0.0, None, None)
    assert metrics.accuracy(rows).overall == 0.0
    # always unknown is wrong in both, as row 0 has no unknown option to be right with
    assert metrics.unknown_floor(rows) == ByCondition(0.0, None, None)
    assert metrics.unknown_floor(build([Row([-1, -2], 0)])).overall is None


def answered(condition: Condition, chosen: list[int], biased: int = 0) -> list[Row]:
    """Rows with options (0 and 1 named, 2 unknown), gold as the condition wants it."""
    gold = 2 if condition == AMB else 1
    return [
        Row([-1, -1, -1], gold, unknown=2, biased=biased, chosen=c, condition=condition)
        for c in chosen
    ]


def test_s_dis_by_hand() -> None:
    # non-unknown: three answers 0 (biased), one 1; two unknown do not count: 2 * 3/4 - 1
    assert metrics.s_dis(build(answered(DIS, [0, 0, 0, 1, 2, 2]))) == near(0.5)
    assert metrics.s_dis(build(answered(DIS, [1, 1]))) == near(-1.0)


def test_s_amb_by_hand() -> None:
    # accuracy 1/5, direction 2 * 3/4 - 1 = 1/2: (1 - 1/5) / 2
    assert metrics.s_amb(build(answered(AMB, [0, 0, 0, 1, 2]))) == near(0.4)


def test_rows_without_answer_or_biased_option_leave_bias_scores_alone() -> None:
    extra: list[tuple[Condition, list[int]]] = [(AMB, [-1, -1]), (DIS, [-1, -1])]
    more = [row for c, chosen in extra for row in answered(c, chosen)]
    more += answered(AMB, [0, 1, 1], biased=-1) + answered(DIS, [0, 1, 1], biased=-1)
    base = answered(AMB, [0, 0, 0, 1, 2]) + answered(DIS, [0, 0, 0, 1, 2, 2])
    assert metrics.s_amb(build(base + more)) == near(0.4)
    assert metrics.s_dis(build(base + more)) == near(0.5)


def test_bias_scores_are_undefined_and_not_zero_when_nobody_is_named() -> None:
    rows = build(answered(AMB, [2, 2]) + answered(DIS, [2, 2]))
    assert metrics.s_amb(rows) is None
    assert metrics.s_dis(rows) is None


def test_gold_percent_by_hand() -> None:
    rows = build(FIVE)
    # renormalised P(gold) of the rows: .2, .6, .4/.5 = .8, .1/.5 = .2, .2
    # ambiguous (.2 + .8 + .2) / 3 = .4; disambiguated (.6 + .2) / 2 = .4; all 2.0 / 5 = .4
    assert metrics.gold_percent(rows) == near(ByCondition(40.0, 40.0, 40.0))
    # raw: .2, .6, .4, .1, .2: ambiguous .8 / 3, disambiguated .7 / 2, all 1.5 / 5
    assert metrics.gold_percent_raw(rows) == near(ByCondition(30.0, 80 / 3, 35.0))
    assert metrics.gold_probability(rows) == near(ByCondition(0.4, 0.4, 0.4))


def test_biased_and_unknown_probability_by_hand() -> None:
    rows = build(FIVE)
    # P(biased): .5, .2, .05/.5 = .1, .1/.5 = .2, .2: ambiguous .8 / 3, disambiguated .2, all 1.2/5
    assert metrics.biased_probability(rows) == near(ByCondition(0.24, 0.8 / 3, 0.2))
    # P(unknown): .2, .2, .8, .1/.5 = .2, .2: ambiguous 1.2 / 3, disambiguated .2, all 1.6 / 5
    assert metrics.unknown_probability(rows) == near(ByCondition(0.32, 0.4, 0.2))


def test_probability_of_a_missing_option_is_undefined() -> None:
    rows = build([Row(logs(0.5, 0.5), 0, condition=AMB)])
    assert metrics.biased_probability(rows) == ByCondition(None, None, None)
    assert metrics.unknown_probability(rows) == ByCondition(None, None, None)


def test_tiny_probabilities_renormalise() -> None:
    # e^-2000 is 0 in any float; the ratio e^0 : e^-ln 3 is 3 : 1
    rows = build([Row([-2000.0, -2000.0 - math.log(3)], gold=0)])
    assert metrics.gold_probability(rows).overall == pytest.approx(0.75)
    raw = metrics.gold_percent_raw(rows)
    assert raw is not None
    assert raw.overall == 0.0


def test_calibrated_scores_have_no_raw_probability() -> None:
    rows = build([Row([2.0, 2.0], 0)], probabilities=False)
    assert metrics.gold_percent_raw(rows) is None
    assert metrics.gold_percent(rows).overall == near(50.0)
    with pytest.raises(ValueError, match="probabilities=False"):
        build([Row([2.0, 2.0], 0)])


def test_auroc_by_hand() -> None:
    # pairs: 3>2 1, 3>0 1, 2=2 half, 2>0 1, 1<2 0, 1>0 1: 4.5 of 6
    assert metrics.auroc(np.array([3.0, 2, 1]), np.array([2.0, 0])) == near(0.75)
    assert metrics.auroc(np.array([]), np.array([1.0])) is None
    assert metrics.auroc(np.array([1.0]), np.array([])) is None
    for nan in ([math.nan], [1.0]), ([1.0], [math.nan]):
        with pytest.raises(ValueError, match="NaN"):
            metrics.auroc(np.array(nan[0]), np.array(nan[1]))


def with_margin(margin: float, condition: Condition | None, instruction: int = 0) -> Row:
    """Options 0, 1 named, 2 unknown with this margin; 1 is the higher of the named."""
    return Row(
        [-30, -20, -20 + margin],
        gold=2 if condition == AMB else 1,
        unknown=2,
        biased=0,
        chosen=2 if margin > 0 else 1,
        condition=condition,
        instruction=instruction,
    )


def test_discrimination_is_the_mean_within_instructions() -> None:
    rows = build(
        [
            # instruction 0: ambiguous 1, disambiguated 1: a tie, 0.5
            with_margin(1, AMB, 0),
            with_margin(1, DIS, 0),
            # instruction 1: ambiguous -5, -7, disambiguated -6: 1 and 0, 0.5
            with_margin(-5, AMB, 1),
            with_margin(-7, AMB, 1),
            with_margin(-6, DIS, 1),
            # instruction 2: ambiguous 9, disambiguated 8: 1
            with_margin(9, AMB, 2),
            with_margin(8, DIS, 2),
            # instruction 3 has no disambiguated row, and row without condition counts nowhere
            with_margin(-15, AMB, 3),
            with_margin(15, None, 2),
        ]
    )
    assert metrics.discrimination(rows) == near((0.5 + 0.5 + 1) / 3)


def test_discrimination_is_undefined_without_one_of_the_classes() -> None:
    assert metrics.discrimination(build([with_margin(1, AMB), with_margin(2, AMB)])) is None
    assert (
        metrics.discrimination(build([Row([-1, -2], 0, condition=c) for c in (AMB, DIS)])) is None
    )


def test_named_accuracy_by_hand() -> None:
    # row 1 of FIVE: gold .6 over .2, right; row 3: named options 1 (.3) and 2 (.1, gold), wrong
    assert metrics.named_accuracy(build(FIVE)) == near(0.5)
    assert metrics.named_chance(build(FIVE)) == near(0.5)


def test_named_accuracy_ignores_what_is_no_choice_between_names() -> None:
    def dis(scores: list[float], gold: int) -> Row:
        return Row(scores, gold, unknown=2 if len(scores) > 2 else 1, condition=DIS)

    rows = [
        dis([-5, -5, -1], 0),  # a tie of two named options: 1/2
        dis([-3, -4, -1, -3, -3], 0),  # a tie of three among four named: 1/3; chance 1/4
        dis([-3, -4, -1], 1),  # wrong: 0
        dis([-3, -4, -1], 2),  # gold is the unknown option: does not count
        dis([-3, -4], 0),  # one named option only: does not count
        Row([-3, -4, -1], 0, unknown=2, condition=AMB),  # not disambiguated: does not count
    ]
    assert metrics.named_accuracy(build(rows)) == near((1 / 2 + 1 / 3 + 0) / 3)
    assert metrics.named_chance(build(rows)) == near((1 / 2 + 1 / 4 + 1 / 2) / 3)
    assert metrics.named_accuracy(build(rows[3:])) is None
    assert metrics.named_chance(build(rows[3:])) is None


def test_without_unknown_option_all_options_are_named() -> None:
    rows = build([Row([-3, -2, -1], 2, condition=DIS), Row([-1, -2, -3], 2, condition=DIS)])
    assert metrics.named_accuracy(rows) == near(0.5)
    assert metrics.named_chance(rows) == near(1 / 3)


def test_positions_by_hand() -> None:
    rows = build([*FIVE, Row([-1, -2], 0, chosen=-1)])
    # chosen 0, 1, 2, 1, 0, none; gold 2, 1, 2, 2, 1, 0
    assert asdict(metrics.positions(rows)) == {
        "chosen": {"0": near(2 / 6), "1": near(2 / 6), "2": near(1 / 6), "none": near(1 / 6)},
        "gold": {"0": near(1 / 6), "1": near(2 / 6), "2": near(3 / 6), "none": 0.0},
    }
    assert metrics.unmatched_rate(rows) == near(1 / 6)


# --- the offset curve -------------------------------------------------------------------------

# Margins: ambiguous 2, -1, -3; disambiguated -2, -4 (the first answered right when named, the
# second wrong, gold being option 0 there).
CURVE_ROWS = [
    with_margin(2, AMB),
    with_margin(-1, AMB),
    with_margin(-3, AMB),
    with_margin(-2, DIS),
    replace(with_margin(-4, DIS), gold=0),
]


def curve_of(rows: list[Row]) -> OffsetCurve:
    curve = offset_curve(build(rows))
    assert curve is not None
    return curve


def test_offset_curve_by_hand() -> None:
    curve = curve_of(CURVE_ROWS)
    # breakpoints c = -m: -2, 1, 2, 3, 4; six stretches, from never to always unknown
    # unknown answered in rows with m of  -   2     +-1   +-2   +-3  +-4
    assert curve.ambiguous.tolist() == near([0, 1 / 3, 2 / 3, 2 / 3, 1, 1])
    assert curve.disambiguated.tolist() == near([1 / 2, 1 / 2, 1 / 2, 0, 0, 0])
    assert curve.overall.tolist() == near([1 / 5, 2 / 5, 3 / 5, 2 / 5, 3 / 5, 3 / 5])
    # middles of the stretches, one beyond either end, and 0 for the one that holds it (-2 to 1)
    assert curve.offsets.tolist() == near([-3, 0, 1.5, 2.5, 3.5, 5])
    # three points share the best overall accuracy: the smallest offset is taken
    assert asdict(curve.best) == near(
        {"offset": 1.5, "ambiguous": 2 / 3, "disambiguated": 1 / 2, "overall": 3 / 5}
    )


def test_best_point_is_the_one_nearest_to_no_offset() -> None:
    same, ends = np.array([0.5, 0.5, 0.5]), np.array([0.0, 0.5, 1.0])
    assert OffsetCurve(np.array([-5.0, 1.0, 9.0]), ends, ends[::-1], same).best.offset == 1.0


def test_gain_over_offset_by_hand() -> None:
    curve = curve_of(CURVE_ROWS)
    # ambiguous accuracy >= 2/3 is had at best with disambiguated accuracy 1/2
    assert gain_over_offset((2 / 3, 1.0), curve) == near(0.5)
    assert gain_over_offset((2 / 3, 0.25), curve) == near(-0.25)
    assert gain_over_offset((0.1, 0.5), curve) == near(0.0)
    # ambiguous accuracy above 2/3 costs all disambiguated accuracy
    assert gain_over_offset((0.7, 0.25), curve) == near(0.25)


def test_gain_where_no_offset_reaches_the_ambiguous_accuracy() -> None:
    # the ambiguous row's gold is named but not the highest: no offset gets it right
    curve = curve_of([replace(with_margin(1, AMB), gold=0), with_margin(-1, DIS)])
    assert curve.ambiguous.max() == 0
    assert gain_over_offset((0.5, 0.3), curve) == near(0.3)


def test_offset_curve_is_undefined_without_its_ingredients() -> None:
    assert offset_curve(build([with_margin(1, AMB)])) is None
    assert offset_curve(build([with_margin(1, DIS)])) is None
    assert offset_curve(build([Row([-1, -2], 0, condition=c) for c in (AMB, DIS)])) is None


def test_rows_without_unknown_keep_their_answer_on_the_curve() -> None:
    right, wrong = Row([-1, -2], 0, condition=DIS), Row([-2, -1], 0, condition=DIS)
    curve = curve_of([with_margin(1, AMB), right, wrong])
    assert curve.disambiguated.tolist() == near([0.5, 0.5])
    assert curve.overall.tolist() == near([1 / 3, 2 / 3])


def test_thinned_curve_keeps_the_ends_and_only_real_points() -> None:
    rng = np.random.default_rng(0)
    curve = curve_of([with_margin(m, AMB if i % 2 else DIS) for i, m in enumerate(rng.random(50))])
    thin = curve.thinned(7)
    assert len(thin.offsets) == 7
    assert (thin.offsets[0], thin.offsets[-1]) == (curve.offsets[0], curve.offsets[-1])
    points = set(
        zip(curve.offsets, curve.ambiguous, curve.disambiguated, curve.overall, strict=True)
    )
    assert points.issuperset(
        zip(thin.offsets, thin.ambiguous, thin.disambiguated, thin.overall, strict=True)
    )
    assert len(curve.thinned(500).offsets) == len(curve.offsets) == 51


# --- slow references on random data -----------------------------------------------------------


@st.composite
def random_rows(draw: st.DrawFn) -> list[Row]:
    """Ragged rows with many ties: scores are halves, labels may be missing."""
    rows = []
    for _ in range(draw(st.integers(1, 12))):
        n = draw(st.integers(2, 4))
        unknown = draw(st.integers(-1, n - 1))
        rows.append(
            Row(
                scores=[-draw(st.integers(0, 8)) / 2 for _ in range(n)],
                gold=draw(st.integers(0, n - 1)),
                unknown=unknown,
                biased=draw(st.sampled_from([-1, *(i for i in range(n) if i != unknown)])),
                chosen=draw(st.integers(-1, n - 1)),
                condition=draw(st.sampled_from([AMB, DIS, AMB, DIS, None])),
                instruction=draw(st.integers(0, 2)),
            )
        )
    return rows


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


# --- theorems ---------------------------------------------------------------------------------


def same(a: Any, b: Any) -> None:
    """Equal up to rounding, through the nested dictionaries of `to_dict`."""
    if isinstance(a, dict):
        assert a.keys() == b.keys()
        for key in a:
            same(a[key], b[key])
    else:
        assert a == (None if b is None else pytest.approx(b, abs=1e-9))


@given(random_rows(), st.randoms(use_true_random=False))
def test_the_order_of_rows_does_not_matter(rows: list[Row], random: Any) -> None:
    shuffled = list(rows)
    random.shuffle(shuffled)
    same(summarize(build(rows)).to_dict(), summarize(build(shuffled)).to_dict())


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
    a, b = summarize(fast).to_dict(), summarize(padded).to_dict()
    for histogram in ("chosen", "gold"):  # which has two more, empty positions
        b["positions"][histogram] = {
            k: b["positions"][histogram][k] for k in a["positions"]["gold"]
        }
    same(a, b)


# --- rows -------------------------------------------------------------------------------------


def test_from_lists_pads_and_fills_in() -> None:
    rows = Rows.from_lists([[-1.0, -2.0], [-3.0, -1.0, -1.0]], [0, 1], unknown=[None, 2])
    assert rows.scores.tolist() == [[-1.0, -2.0, -math.inf], [-3.0, -1.0, -1.0]]
    assert rows.scores.dtype == np.float64
    assert rows.chosen.tolist() == [0, 1]  # the first of equals
    assert rows.unknown.tolist() == [-1, 2]
    assert rows.biased.tolist() == [-1, -1]
    assert rows.named.tolist() == [[True, True, False], [True, True, False]]
    assert not rows.ambiguous.any()
    assert not rows.disambiguated.any()
    assert len(rows) == 2


@pytest.mark.parametrize("index", [np.array([4, 0, 0]), np.arange(5) % 2 == 0])
def test_take_keeps_rows_whole(index: np.ndarray) -> None:
    taken = build(FIVE).take(index)
    expected = build([FIVE[i] for i in np.arange(5)[index]])
    for field in fields(Rows):
        assert np.array_equal(getattr(taken, field.name), getattr(expected, field.name))


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_scores_that_are_no_numbers_are_refused(bad: float) -> None:
    with pytest.raises(SnipbiasError, match=r"row 1 .*no finite number"):
        Rows.from_lists([[-1.0, -2.0], [-1.0, bad]], [0, 0])


def test_nan_and_holes_in_a_matrix_are_refused() -> None:
    good = build([FIVE[0], FIVE[1]])
    with pytest.raises(SnipbiasError, match=r"1 of 2 rows .*no finite number"):
        replace(good, scores=np.array([[-1.0, -1, -1], [-1, -1, np.nan]]))
    with pytest.raises(SnipbiasError, match="row 1 does not start with two options"):
        replace(good, scores=np.array([[-1.0, -1, -1], [-1, -np.inf, -1]]))
    with pytest.raises(SnipbiasError, match="row 0 does not start with two options"):
        Rows.from_lists([[-1.0]], [0])
    with pytest.raises(SnipbiasError, match="no rows"):
        Rows.from_lists([], [])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"gold": [2, 3]}, "row 1 has gold = 3, but its options are numbered 0 to 2"),
        ({"gold": [-1, 0]}, "row 0 has gold = -1"),
        ({"unknown": [0, -2]}, "row 1 has unknown = -2"),
        ({"biased": [3, 0]}, "row 0 has biased = 3"),
        ({"chosen": [0, 3]}, "row 1 has chosen = 3"),
        ({"unknown": [0, 1], "biased": [1, 1]}, "row 1 has one option as both"),
    ],
)
def test_labels_are_checked(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Rows.from_lists(**{"scores": [[-1.0, -2.0, -3.0]] * 2, "gold": [0, 0], **change})


def test_conditions_are_checked() -> None:
    with pytest.raises(ValueError, match="condition 'ambig': use ambiguous, disambiguated"):
        replace(build(FIVE[:2]), condition=np.array(["ambiguous", "ambig"]))


@pytest.mark.parametrize("name", ["gold", "unknown", "biased", "chosen", "instruction"])
def test_labels_for_other_than_all_rows_are_refused(name: str) -> None:
    # ValueError is ours; under jaxtyping's import hook its own TypeError comes first
    with pytest.raises((ValueError, TypeError), match=name):
        Rows.from_lists(**{"scores": [[-1.0, -2.0]] * 2, "gold": [0, 0], name: [0]})


# --- summary and verdicts ---------------------------------------------------------------------


def test_summary_counts() -> None:
    rows = replace(
        build([*FIVE, replace(FIVE[0], biased=-1), Row([-1, -2], 0)]),
        template=np.array(["a", "a", "b", "b", "b", "c", "c"]),
    )
    s = summarize(rows, perplexity=12.5, kl_per_token=0.1)
    assert (s.rows, s.templates, s.instructions) == (7, 3, 2)
    assert s.unresolved == 1  # the row without a condition has nothing to resolve
    assert (s.perplexity, s.kl_per_token) == (12.5, 0.1)


@given(random_rows())
def test_summary_is_json_without_nan(rows: list[Row]) -> None:
    s = replace(summarize(build(rows)), perplexity=math.inf, kl_per_token=math.nan)
    text = json.dumps(s.to_dict(), allow_nan=False)
    back = json.loads(text)
    assert set(back) == {field.name for field in fields(Summary)}
    assert back["perplexity"] is None
    assert back["kl_per_token"] is None
    same(back, s.to_dict())


def test_summary_dict_thins_the_curve() -> None:
    rows = [with_margin(-m / 100, AMB if m % 2 else DIS) for m in range(400)]
    s = summarize(build(rows))
    assert s.offset_curve is not None
    assert len(s.offset_curve.offsets) == 401
    assert {len(column) for column in s.to_dict()["offset_curve"].values()} == {201}


def test_summary_dict_holds_the_metrics() -> None:
    d = summarize(build(FIVE)).to_dict()
    plain = {"overall": 0.4, "ambiguous": 1 / 3, "disambiguated": 0.5}
    assert d["accuracy"] == near({**plain, "filler": None, "mismatch": None})
    assert d["gold_percent_raw"]["overall"] == near(30.0)
    assert d["accuracy_by_instruction"] == near({"0": 0.5, "1": 1 / 3})
    assert d["unknown_floor"]["ambiguous"] == 1.0
    assert d["unknown_rate"]["overall"] == near(0.2)
    assert d["biased_probability"]["overall"] == near(0.24)
    assert d["unknown_probability"]["overall"] == near(0.32)
    assert d["s_dis"] == near(-1.0)  # rows 1 and 3 name somebody, never the biased option
    assert d["s_amb"] == near(0.0)  # row 0 biased, row 4 not
    assert d["offset_best"]["overall"] == max(d["offset_curve"]["overall"])


def healthy(shift: float = 0.0, **measured: float) -> Summary:
    """A model that reads: 20 rows a condition, AUROC and named accuracy 1, positions as gold's."""
    rows = []
    for i in range(40):
        ambiguous, unknown = i % 2 == 0, i % 3
        gold = unknown if ambiguous else (unknown + 1) % 3
        scores = [-6.0, -6.0, -6.0]
        scores[(unknown + 1) % 3] = -4.0
        scores[unknown] = (-3.0 if ambiguous else -8.0) + shift
        rows.append(Row(scores, gold, unknown, (unknown + 2) % 3, scores.index(max(scores))))
        rows[-1].condition = AMB if ambiguous else DIS
    return summarize(build(rows, probabilities=False), **measured)


def test_a_healthy_model_gets_no_verdict() -> None:
    original = healthy(perplexity=20.0)
    assert (original.discrimination, original.named_accuracy) == (1.0, 1.0)
    assert verdicts(original) == ()
    assert verdicts(healthy(perplexity=25.0, kl_per_token=0.2), original) == ()


STATES: list[tuple[dict[str, Any], dict[str, Any], str]] = [
    # at the bound: nothing said; beyond it: said
    ({"discrimination": 0.55}, {"discrimination": 0.54}, "(AUROC 0.54, chance 0.50)"),
    (
        {"named_accuracy": 0.55, "named_chance": 0.5},
        {"named_accuracy": 0.54, "named_chance": 0.5},
        "(named accuracy 54%, chance 50%)",
    ),
    (
        {"named_accuracy": 0.40, "named_chance": 0.25},
        {"named_accuracy": 0.29, "named_chance": 0.25},
        "chance 25%",
    ),
    ({"unmatched_rate": 0.1}, {"unmatched_rate": 0.12}, "gives no option's text in 12% of rows"),
    ({"kl_per_token": math.log(2)}, {"kl_per_token": 0.7}, "differently by 0.70 nats per token"),
    ({"perplexity": 1e9}, {"perplexity": math.nan}, "not finite"),
    ({"kl_per_token": 0.0}, {"kl_per_token": math.inf}, "not finite"),
    (
        {"positions": Positions({"0": 0.05, "1": 0.9, "none": 0.05}, {"0": 0.5, "1": 0.5})},
        {"positions": Positions({"0": 0.05, "1": 0.95, "none": 0.0}, {"0": 0.5, "1": 0.5})},
        "answers option 2 in 95% of rows, where 50% have it as gold",
    ),
    (  # gold stands there just as often: no collapse
        {"positions": Positions({"0": 1.0, "none": 0.0}, {"0": 0.95, "none": 0.0})},
        {"positions": Positions({"0": 1.0, "none": 0.0}, {"0": 0.85, "none": 0.0})},
        "answers option 1 in 100% of rows",
    ),
    (
        {"unknown_rate": ByCondition(0.9, 1.0, 0.8), "unknown_floor": ByCondition(0.5, 1.0, 0.0)},
        {"unknown_rate": ByCondition(0.95, 1.0, 0.9), "unknown_floor": ByCondition(0.5, 1.0, 0.0)},
        "answers unknown in 95% of rows, where 50% have it as gold",
    ),
    (
        {"unknown_rate": ByCondition(1.0, 1.0, None), "unknown_floor": ByCondition(1.0, 1.0, None)},
        {"unknown_rate": ByCondition(1.0, 1.0, None), "unknown_floor": ByCondition(0.8, 1.0, None)},
        "answers unknown in 100% of rows",
    ),
]


@pytest.mark.parametrize(("fine", "broken", "words"), STATES)
def test_states(fine: dict[str, Any], broken: dict[str, Any], words: str) -> None:
    assert verdicts(replace(healthy(), **fine)) == ()
    (said,) = verdicts(replace(healthy(), **broken))
    assert words in str(said)
    # the same in the original: the edit did not break it
    (also,) = verdicts(replace(healthy(), **broken), replace(healthy(), **broken))
    assert (also.inherited, said.inherited) == (True, False)
    assert str(also) == f"{said}, as before the edit"


CHANGES: list[tuple[dict[str, Any], dict[str, Any], dict[str, Any], str]] = [
    ({"perplexity": 20.0}, {"perplexity": 40.0}, {"perplexity": 41.0}, "rose from 20 to 41"),
    ({"discrimination": 0.95}, {"discrimination": 0.86}, {"discrimination": 0.84}, "0.95 to 0.84"),
    ({"named_accuracy": 0.95}, {"named_accuracy": 0.86}, {"named_accuracy": 0.84}, "0.95 to 0.84"),
]


@pytest.mark.parametrize(("before", "fine", "broken", "words"), CHANGES)
def test_changes(
    before: dict[str, Any], fine: dict[str, Any], broken: dict[str, Any], words: str
) -> None:
    original = replace(healthy(), **before)
    assert verdicts(replace(healthy(), **fine), original) == ()
    (said,) = verdicts(replace(healthy(), **broken), original)
    assert words in str(said)
    assert verdicts(replace(healthy(), **broken)) == ()


def test_a_perplexity_that_is_not_finite_is_said_once() -> None:
    said = verdicts(replace(healthy(), perplexity=math.inf), replace(healthy(), perplexity=20.0))
    assert tuple(map(str, said)) == ("has a perplexity or KL on neutral text that is not finite",)
    # and an original without a finite one has no ratio
    assert (
        verdicts(replace(healthy(), perplexity=9.0), replace(healthy(), perplexity=math.nan)) == ()
    )


def test_a_model_that_was_never_taught_text_is_not_judged_by_its_perplexity() -> None:
    original = replace(healthy(), perplexity=50_001.0)
    assert verdicts(replace(healthy(), perplexity=1e9), original) == ()


def test_no_answer_is_not_a_position() -> None:
    mute = Positions({"0": 0.05, "none": 0.95}, {"0": 1.0, "none": 0.0})
    assert verdicts(replace(healthy(), positions=mute)) == ()


def test_undefined_figures_say_nothing() -> None:
    neutral = summarize(build([Row([-1, -2, -3], i % 3, chosen=i % 3) for i in range(9)]))
    assert neutral.discrimination is None
    assert neutral.offset_curve is None
    assert verdicts(neutral, neutral) == ()


def test_a_shift_is_told_from_a_gain() -> None:
    # biased original: every ambiguous row is answered with a name; the right offset mends it all
    original = healthy(shift=-2.0)
    assert original.accuracy == ByCondition(0.5, 0.0, 1.0)
    half = ByCondition(0.65, 0.5, 0.8)  # an offset reaches (1, 1): the edit is 0.2 inside
    assert summary.gain(replace(original, accuracy=half), original) == near(-0.2)
    (said,) = verdicts(replace(original, accuracy=half), original)
    assert said.kind == "shift"
    assert said.text.startswith("a shift and not a gain")
    assert said.text.endswith("has 100% disambiguated accuracy and this has 80%")
    on_the_curve = ByCondition(1.0, 1.0, 1.0 + 1e-12)
    (said,) = verdicts(replace(original, accuracy=on_the_curve), original)
    assert said.kind == "shift"
    # no rise in ambiguous accuracy: nothing that an offset would explain
    same_amb = ByCondition(0.4, 0.0, 0.8)
    assert verdicts(replace(original, accuracy=same_amb), original) == ()
    # a rise within the noise neither
    a_little = ByCondition(0.5, 0.05, 0.8)
    assert verdicts(replace(original, accuracy=a_little), original) == ()
    # a rise that no offset reaches: a gain
    flat = OffsetCurve(*(np.array(v) for v in ([-1.0, 1.0], [0.0, 1.0], [1.0, 0.0], [0.5, 0.5])))
    assert verdicts(replace(original, accuracy=half), replace(original, offset_curve=flat)) == ()
    assert summary.gain(original, replace(original, offset_curve=None)) is None


def test_a_suspicion_of_few_rows_is_no_verdict() -> None:
    """The same share of wrong rows: of three templates too few to judge, of forty a verdict."""
    for templates, settled in ((3, False), (40, True)):
        rows = [Row([-4.0, -1.0, -2.0], i % 2, -1, -1, 1) for i in range(4 * templates)]
        mute = replace(build(rows), template=np.repeat(np.arange(templates), 4).astype(str))
        (said,) = verdicts(summarize(mute), evidence=(Trial(mute), Trial(mute)))
        assert (said.kind, said.settled) == ("position", settled)
        assert said.interval is not None
        assert ("too few templates to judge (3), some " in said.text) is not settled


def test_the_gain_over_an_offset_is_drawn_with_its_curve() -> None:
    rng = np.random.default_rng(3)
    rows = crossed_rows(templates=9, instructions=6, items=4, seed=1)
    edit = replace(rows, scores=rows.scores + rng.normal(size=rows.scores.shape))
    edit = replace(edit, chosen=edit.scores.argmax(axis=1))
    found = gain_interval([edit], rows)
    draws = Draws.of(rows.template, rows.instruction, resamples=30)

    def gain_in(draw: int) -> float:
        now, before = draws.take(edit, draw), draws.take(rows, draw)
        point = metrics.accuracy(now)
        return gain_over_offset((point.ambiguous, point.disambiguated), offset_curve(before))

    by_hand = np.array([gain_in(draw) for draw in range(len(draws.templates))])
    np.testing.assert_allclose(gains_in_draws(edit, rows, draws), by_hand, atol=1e-9)
    assert found.estimate == near(by_hand[0])
    assert found.low < found.estimate < found.high
