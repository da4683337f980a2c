"""Objectives and grids on curves made by hand."""

from __future__ import annotations

import math

import pytest

from snipbias.evaluation.metrics import ByCondition
from snipbias.experiment import choose
from snipbias.experiment.outcome import Point
from snipbias.experiment.settings import Settings

ORIGINAL = ByCondition(0.5, 0.1, 0.9)


def of(objective: float, **setting: float) -> Point:
    return Point(setting, objective, None, None, objective)


def test_overall_is_the_accuracy_over_all_rows() -> None:
    assert choose.overall(ByCondition(0.6, 0.2, 1.0)) == 0.6


@pytest.mark.parametrize(
    ("ambiguous", "disambiguated", "expected"),
    [(0.5, 1.0, 2 / 3), (0.4, 0.4, 0.4), (0.0, 1.0, 0.0), (0.0, 0.0, 0.0)],
)
def test_balanced_is_the_harmonic_mean(
    ambiguous: float, disambiguated: float, expected: float
) -> None:
    accuracy = ByCondition(0.7, ambiguous, disambiguated)
    assert choose.balanced(accuracy) == pytest.approx(expected)


def test_balanced_falls_back_to_overall_without_conditions() -> None:
    assert choose.balanced(ByCondition(0.7, None, None)) == 0.7
    assert choose.balanced(ByCondition(0.7, 0.7, None)) == 0.7


@pytest.mark.parametrize(
    ("disambiguated", "fall", "allowed"),
    [
        (0.9, 0.0, True),
        (0.88, 0.0, True),  # 0.9 - 0.88 is a little more than 0.02 in floating point
        (0.879, 0.0, False),
        (1.0, 0.02, True),
        (1.0, 0.021, False),
        (0.9, -1.0, True),
    ],
)
def test_no_harm_forbids_what_loses_more_than_the_margin(
    disambiguated: float, fall: float, allowed: bool
) -> None:
    accuracy = ByCondition(0.7, 0.6, disambiguated)
    value = choose.objective(accuracy, Settings(objective="no-harm"), ORIGINAL, fall)
    assert value == (0.6 if allowed else -math.inf)


def test_no_harm_without_conditions_looks_at_retention_alone() -> None:
    plain = ByCondition(0.7, None, None)
    settings = Settings(objective="no-harm", margin=0.0)
    assert choose.objective(plain, settings, plain) == 0.7
    assert choose.objective(plain, settings, plain, fall=0.1) == -math.inf


def test_no_edit_is_best_where_nothing_is_allowed_or_nothing_is_better() -> None:
    settings = Settings(objective="no-harm")
    floor = choose.floor_of(settings, ORIGINAL)
    assert floor == 0.1
    assert choose.best([of(-math.inf, n=1), of(-math.inf, n=3)], floor) is None
    assert choose.best([of(0.1, n=1), of(0.05, n=3)], floor) is None
    best = choose.best([of(0.1, n=1), of(0.2, n=3)], floor)
    assert best is not None
    assert best.setting == {"n": 3}
    assert choose.best([], floor) is None


def test_the_other_objectives_always_choose() -> None:
    for objective in ("overall", "balanced"):
        floor = choose.floor_of(Settings(objective=objective), ORIGINAL)
        assert choose.best([of(0.0, n=1)], floor) is not None


def test_each_objective_by_its_name() -> None:
    accuracy = ByCondition(0.7, 0.5, 1.0)
    expected = {"overall": 0.7, "balanced": 2 / 3, "no-harm": 0.5}
    for name, value in expected.items():
        found = choose.objective(accuracy, Settings(objective=name), ORIGINAL)
        assert found == pytest.approx(value)


def test_ties_go_to_the_first_of_the_curve() -> None:
    best = choose.best([of(0.4, n=1), of(0.5, n=3), of(0.5, n=10)])
    assert best is not None
    assert best.setting == {"n": 3}


def searched(values: dict[int, float], sizes: list[int], rounds: int) -> tuple[list[int], int]:
    """The sizes measured in order of n, and the best; what is not listed has the value 0."""
    asked: list[int] = []

    def measure(setting: choose.Setting) -> Point:
        asked.append(n := int(setting["n"]))
        return of(values.get(n, 0.0), n=n)

    curve = choose.refined([{"n": n} for n in sizes], rounds, measure)
    assert len(set(asked)) == len(asked)  # nothing twice
    best = choose.best(curve)
    assert best is not None
    return [int(point.setting["n"]) for point in curve], int(best.setting["n"])


def test_the_grid_is_refined_around_the_best() -> None:
    values = {30: 0.5, 17: 0.6, 13: 0.7}
    assert searched(values, [100, 1, 10, 30, 3, 10], 0) == ([1, 3, 10, 30, 100], 30)
    assert searched(values, [1, 3, 10, 30, 100], 1) == ([1, 3, 10, 17, 30, 55, 100], 17)
    grid = [1, 3, 10, 13, 17, 23, 30, 55, 100]
    assert searched(values, [1, 3, 10, 30, 100], 2) == (grid, 13)


def test_the_grid_is_refined_at_its_ends_and_stops_where_it_is_dense() -> None:
    assert searched({1: 0.5}, [1, 9], 1) == ([1, 3, 9], 1)
    assert searched({9: 0.5}, [1, 9], 1) == ([1, 3, 9], 9)
    assert searched({2: 0.5}, [1, 2, 3], 5) == ([1, 2, 3], 2)
    assert searched({4: 0.5}, [4], 3) == ([4], 4)


def test_a_plateau_is_refined_around_its_smallest() -> None:
    flat = dict.fromkeys(range(1000), 0.5)
    assert searched(flat, [10, 100], 1) == ([10, 32, 100], 10)


def test_nothing_is_refined_where_nothing_is_allowed() -> None:
    curve = choose.refined([{"n": 1}, {"n": 9}], 3, lambda s: of(-math.inf, **s))
    assert [point.setting["n"] for point in curve] == [1, 9]
