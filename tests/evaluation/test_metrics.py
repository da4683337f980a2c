"""The metrics against hand-computed numbers."""

from __future__ import annotations

import math
from dataclasses import asdict

import numpy as np
import pytest

from row_maker import (
    AMB,
    DIS,
    FIVE,
    Row,
    build,
    logs,
    near,
    with_margin,
)
from snipbias.evaluation import metrics
from snipbias.evaluation.metrics import ByCondition
from snipbias.tasks.item import Condition


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
