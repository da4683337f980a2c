"""Rows: what is padded, kept whole and refused."""

from __future__ import annotations

import math
from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest

from row_maker import (
    FIVE,
    build,
)
from snipbias.base.errors import SnipbiasError
from snipbias.evaluation.rows import Rows


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
