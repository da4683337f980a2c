"""The offset curve and the gain over it, by hand."""

from __future__ import annotations

import json
from dataclasses import asdict, replace

import numpy as np

from row_maker import (
    AMB,
    DIS,
    Row,
    build,
    curve_of,
    near,
    with_margin,
)
from snipbias.evaluation.interval import Interval
from snipbias.evaluation.offset_curve import (
    OffsetCurve,
    gain_interval,
    gain_over_offset,
    offset_curve,
)

# Margins: ambiguous 2, -1, -3; disambiguated -2, -4 (the first answered right when named, the
# second wrong, gold being option 0 there).
CURVE_ROWS = [
    with_margin(2, AMB),
    with_margin(-1, AMB),
    with_margin(-3, AMB),
    with_margin(-2, DIS),
    replace(with_margin(-4, DIS), gold=0),
]


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


def test_an_edit_that_changes_nothing_gains_nothing_where_no_ambiguous_row_was_right() -> None:
    """The offset beside it is none either, and not the one that makes all of them right."""
    rows = replace(
        build([with_margin(-2, AMB), with_margin(-1, DIS)] * 6),
        template=np.repeat([f"t{i}" for i in range(6)], 2),
    )
    found = gain_interval([rows], rows)
    assert found is not None
    assert found.exact is not None
    assert found.exact[0] < 0 < found.exact[1]
    # JSON has no pairs, only lists.
    assert Interval.from_dict(json.loads(json.dumps(asdict(found)))) == found
