"""Rows by hand and at random, and how their figures are compared."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, fields
from typing import Any

import pytest
from hypothesis import strategies as st

from snipbias.evaluation.metrics import ByCondition
from snipbias.evaluation.offset_curve import (
    OffsetCurve,
    offset_curve,
)
from snipbias.evaluation.rows import Rows
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


def curve_of(rows: list[Row]) -> OffsetCurve:
    curve = offset_curve(build(rows))
    assert curve is not None
    return curve


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


def same(a: Any, b: Any) -> None:
    """Equal up to rounding, through the nested dictionaries of `to_dict`."""
    if isinstance(a, dict):
        assert a.keys() == b.keys()
        for key in a:
            same(a[key], b[key])
    else:
        assert a == (None if b is None else pytest.approx(b, abs=1e-9))
