"""P-values, and how intervals and differences are said."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest

from crossed import crossed_rows, of
from snipbias.base.words import fixed, signed
from snipbias.evaluation import measures, stats, tables
from snipbias.evaluation.estimate import Estimate
from snipbias.evaluation.interval import above
from snipbias.evaluation.measured import Measured
from snipbias.evaluation.measures import ACCURACY, Mean
from snipbias.evaluation.retained import retained
from snipbias.evaluation.stats import Interval
from snipbias.evaluation.summary import Trial


def test_sign_flip_by_hand() -> None:
    # Differences of templates 3, 2, 1: 2 of the 8 exchanges are as far from 0 as 6.
    a, b = np.array([2.0, 1, 2, 1]), np.array([0.0, 0, 0, 0])
    assert stats.sign_flip(a, b, np.array(["x", "x", "y", "z"])) == 2 / 8
    # 3, -2, 1 sums to 2: reached or passed by 6, 4, 2, 2 (twice) of the 8, on either side.
    a, b = np.array([3.0, 0, 1]), np.array([0.0, 2, 0])
    sums = [sum(s * d for s, d in zip(signs, (3, -2, 1), strict=True)) for signs in FLIPS_OF_THREE]
    assert stats.sign_flip(a, b, np.arange(3)) == sum(abs(s) >= 2 for s in sums) / 8
    assert stats.sign_flip(a, a, np.arange(3)) == 1
    assert stats.sign_flip(a, b, np.zeros(3)) == 1  # one template: nothing to exchange


FLIPS_OF_THREE = list(itertools.product((1, -1), repeat=3))


def test_sign_flip_exchanges_whole_templates() -> None:
    # 200 rows that all agree are one template each of the eight, and so p is 2 / 2^8 at best.
    a, b = np.ones(200), np.zeros(200)
    assert stats.sign_flip(a, b, np.arange(200) % 8) == 2 / 2**8
    many = stats.sign_flip(a, b, np.arange(200) % 40)
    assert many == pytest.approx(2 / (stats.FLIPS + 1))


def test_sign_flip_of_a_metric_takes_the_rows_that_count() -> None:
    a, b, c = (crossed_rows(templates=8, seed=s) for s in (3, 4, 5))
    here = a.ambiguous
    rights = [(rows.chosen == rows.gold)[here].astype(float) for rows in (a, b, c)]
    wanted = stats.sign_flip((rights[0] + rights[1]) / 2, rights[2], a.template[here])
    assert stats.sign_flip_of(measures.AMBIGUOUS_ACCURACY, [a, b], [c]) == wanted
    assert 0 < wanted < 1
    nothing = replace(a, condition=np.full(len(a), ""))
    assert stats.sign_flip_of(measures.AMBIGUOUS_ACCURACY, [nothing], [nothing]) is None
    answered = Mean(lambda rows: (rows.chosen == rows.gold, rows.chosen != rows.unknown))
    assert stats.sign_flip_of(answered, [a], [b]) is None


def test_mcnemar_by_hand() -> None:
    right_a = np.array([True] * 6 + [False] * 1 + [True] * 9)
    right_b = np.array([False] * 6 + [True] * 1 + [True] * 9)
    assert stats.mcnemar(right_a, right_b) == pytest.approx(2 * (1 + 7) / 2**7)
    assert stats.mcnemar(right_a, right_a) == 1


def test_holm_by_hand() -> None:
    assert stats.holm([0.01, None, 0.04, 0.03]) == pytest.approx([0.03, None, 0.06, 0.06])
    assert stats.holm([0.5, 0.6]) == [1, 1]
    assert stats.holm([None]) == [None]
    assert stats.holm([]) == []
    assert stats.holm([0.02]) == [0.02]


@pytest.mark.filterwarnings("ignore:Mean of empty slice", "ignore:invalid value")
def test_a_difference_to_nothing_is_no_figure_by_itself() -> None:
    assert stats.interval(ACCURACY, [crossed_rows()], []) is None


def test_a_difference_and_its_sentence_have_the_names_of_earlier_versions() -> None:
    before, after = crossed_rows(seed=1), crossed_rows(seed=2)
    change = stats.difference(ACCURACY, [after], [before], level=0.9, seed=2)
    assert change == stats.interval(ACCURACY, [after], [before], level=0.9, seed=2)
    assert change is not None
    said = stats.non_inferiority(change, 0.02)
    assert said.startswith("may be worse by more than 2.0 points: ")
    assert change.guarded.points in said


def test_spreads_have_their_ddof() -> None:
    rows, _ = of([[0.0, 1.0, 5.0], [2.0, 1.0, 3.0]])
    table = np.array([[0.0, 1.0, 5.0], [2.0, 1.0, 3.0]])
    by_row = dict(zip(map(tuple, rows.scores.tolist()), table.ravel(), strict=True))
    figure = lambda part: float(np.mean([by_row[tuple(s)] for s in part.scores.tolist()]))  # noqa: E731
    wanted = pytest.approx(np.std([1, 1, 4], ddof=1))
    assert stats.spread_over_instructions(figure, rows) == stats.spread([1.0, 1.0, 4.0]) == wanted
    assert stats.spread([1.0]) is stats.spread([1.0, 2.0, None]) is None
    one, other = crossed_rows(instructions=1), crossed_rows()
    assert stats.spread_over_instructions(ACCURACY, one) is None
    nothing = replace(other, condition=np.full(len(other), ""))
    assert stats.spread_over_instructions(measures.AMBIGUOUS_ACCURACY, nothing) is None


def said(change: Interval | None, margin: float) -> str:
    """What is said of a task that should not get worse."""
    kept = Measured("t", "v1", (Trial(crossed_rows()),))
    kept.__dict__["retention"] = {"skills": Estimate(0.0, change)}
    (found,) = retained(kept, margin)
    return found.sentence


def test_non_inferiority_is_said_in_full() -> None:
    found = Interval(-0.004, -0.015, 0.01, 0.95, 400, 10, True, (-0.019, 0.004), (-1.0, 1.0))
    assert stats.non_inferior(found, 0.02)
    assert not stats.non_inferior(replace(found, exact=None), 0.02)
    assert said(found, 0.02) == "not worse by more than 2.0 points: -0.4 [-1.9, +1.0]"
    assert not stats.non_inferior(found, 0.019)
    assert said(found, 0.015) == (
        "may be worse by more than 1.5 points: -0.4 [-1.9, +1.0]; "
        "too few templates to judge (400), about 600 templates like these would be enough"
    )
    five, six = (Interval(0.9, 0.8, 1.0, 0.95, n, 10, True) for n in (5, 6))
    assert [above(each, 0.5) for each in (None, five, six)] == ["not shown", "not shown", "yes"]
    assert above(replace(five, exact=(0.6, 1.0)), 0.5) == "yes"
    assert above(replace(five, exact=(0.4, 1.0)), 0.5) == "not shown"
    assert not stats.non_inferior(None, 0.02)
    assert "no interval" in said(None, 0.02)


def test_what_rounds_to_zero_has_no_minus() -> None:
    assert [fixed(x, 1) for x in (-0.04, -0.0, -0.06)] == ["0.0", "0.0", "-0.1"]
    assert [signed(x, 1) for x in (-0.04, -0.0, 0.04)] == ["+0.0"] * 3
    none = Interval(-0.01, -0.044, -0.0004, 0.95, 5, 10, True)
    assert none.points == "-1.0 [-4.4, +0.0]"
    assert replace(none, estimate=0.0, low=-0.0).percent == "0.0 [0.0, 0.0]"
    assert [tables.percent(-0.0004), tables.percent(-0.0004, sign=True)] == ["0.0", "+0.0"]
    assert [tables.number(-0.004), tables.number(-0.004, sign=True)] == ["0.00", "+0.00"]


def test_the_fewest_templates_are_those_that_can_be_significant() -> None:
    def smallest(templates: int) -> float:
        return stats.sign_flip(np.ones(templates), np.zeros(templates), np.arange(templates))

    assert smallest(stats.FEWEST_TEMPLATES) <= stats.SIGNIFICANT
    assert smallest(stats.FEWEST_TEMPLATES - 1) > stats.SIGNIFICANT


def test_intervals_print_themselves() -> None:
    found = Interval(0.042, 0.011, 0.0743, 0.95, 12, 10, True)
    assert found.points == "+4.2 [+1.1, +7.4]"
    assert found.percent == "4.2 [1.1, 7.4]"
    assert str(found) == "0.042 [0.011, 0.0743]"
