"""Whether unanswerable rows are told from answerable ones: theorems and numbers by hand."""

from __future__ import annotations

import numpy as np
import pytest

import snipbias as sb
from snipbias.base.table import plain_text
from snipbias.evaluation import measures, metrics, stats
from snipbias.evaluation.apart import Apart, apart, gain_sentence, gained
from snipbias.evaluation.bootstrap import Draws
from snipbias.evaluation.estimate import NOTHING, Estimate
from snipbias.evaluation.measured import Measured
from snipbias.evaluation.rows import Rows
from snipbias.evaluation.summary import Trial
from snipbias.evaluation.tables import apart_grid
from snipbias.tasks.items import Item
from snipbias.tasks.unanswerable import UNANSWERABLE, with_controls

AMB, DIS, FILL, MIS = "ambiguous", "disambiguated", "filler", "mismatch"


def answers(items: tuple[Item, ...], margins: np.ndarray) -> Rows:
    """Rows of which the right one of the named options is always the higher one, margins given."""
    scores = []
    for item, margin in zip(items, margins, strict=True):
        right = item.gold if item.gold != item.unknown else item.named[0]
        row = [-1.0] * len(item.options)
        row[right], row[item.unknown] = 0.0, margin
        scores.append(row)
    return Rows.of_items(items, scores, probabilities=False)


@pytest.fixture(scope="module")
def items() -> tuple[Item, ...]:
    return with_controls(sb.task("mini").test.subsample(120)).items


@pytest.fixture(scope="module")
def original(items: tuple[Item, ...]) -> Rows:
    """A model that guesses whether a row can be answered."""
    return answers(items, np.random.default_rng(0).normal(size=len(items)))


def test_a_length_detector_is_perfect_on_plain_rows_and_gets_no_gain(items, original):
    length = np.array([len(item.context.split()) for item in items])
    means = [length[[item.condition == c for item in items]].mean() for c in (AMB, DIS)]
    found = apart([answers(items, np.mean(means) - length)], original)
    assert found[AMB].auroc.value > 0.99
    assert found[AMB].twin.value == 1
    assert found[AMB].gain.low > 0.1  # fooled
    for kind in (FILL, MIS):
        assert found[kind].auroc.value == pytest.approx(0.5, abs=0.05)
        assert found[kind].twin.value == pytest.approx(0.5, abs=0.1)
        assert found[kind].gain.value < 0.05
    assert gained(found) != "yes"
    assert not gain_sentence(found).startswith("a gain")


def test_a_model_that_knows_gains_on_all_three_and_a_shift_on_none(items, original):
    knows = answers(items, np.where([item.gold == item.unknown for item in items], 1.0, -1.0))
    found = apart([knows], original)
    assert gained(found) == "yes"
    assert all(each.auroc.value == each.twin.value == 1 for each in found.values())
    assert gain_sentence(found).startswith("a gain and not a shift: +")
    plain = {AMB: found[AMB]}
    assert gained(plain) == "not shown"
    assert "no filler and mismatch rows" in gain_sentence(plain)
    scores = original.scores.copy()
    scores[np.arange(len(items)), original.unknown] += 0.7
    shifted = apart([Rows.from_lists(scores.tolist(), original.gold.tolist(),
        unknown=original.unknown.tolist(), condition=original.condition.tolist(),
        template=original.template.tolist(), probabilities=False)], original)  # fmt: skip
    assert all(each.gain.value <= 1e-9 for each in shifted.values())
    assert gained(shifted) != "yes"


def test_few_templates_settle_nothing(items, original):
    few = np.isin(original.template, np.unique(original.template)[:3])
    there = tuple(item for item, kept in zip(items, few, strict=True) if kept)
    knows = answers(there, np.where([item.gold == item.unknown for item in there], 1.0, -1.0))
    found = apart([knows], original.take(few))
    assert gained(found) == "not shown"
    assert gain_sentence(found).startswith("too few rows to judge whether it is a gain: +")


def test_less_than_a_gain_on_one_kind_is_none(items, original):
    """Intervals of at most a point on mismatch rows rule a gain out, whatever the others say."""
    small, large = (
        Estimate(value, stats.Interval(value, value - 0.01, value + 0.01, 0.95, 20, 1, False))
        for value in (0.0, 0.3)
    )
    found = {AMB: large, FILL: large, MIS: small}
    found = {kind: Apart(Estimate(0.5), Estimate(0.5), gain) for kind, gain in found.items()}
    assert gained(found) == "no"
    assert gain_sentence(found).startswith("no gain: +0.0 [-1.0, +1.0] on mismatch rows")


def test_the_original_has_no_gain_and_the_grid_fits_a_terminal(items, original):
    found = apart([original])
    assert all(each.gain.value is None for each in found.values())
    assert gain_sentence(found) == ""
    methods = ("original", "random in the same layers as v1 n=10")
    measured = {name: Measured("t", name, (Trial(original),)) for name in methods}
    lines = apart_grid("told apart", measured).rich()
    assert max(map(len, plain_text(lines, 100).splitlines())) <= 100
    assert not apart([answers(tuple(i for i in items if i.condition == DIS), np.zeros(
        sum(i.condition == DIS for i in items)))])  # fmt: skip


TWINS = Rows.from_lists(
    # margins of "unknown", which stands last: twin a .5, 2, -1; twin b 1, 1; a third without one
    [[0, -1, 0.5], [0, -1, 2], [0, -1, -1], [0, -1, 1], [0, -1, 1], [0, -1, 9]],
    [2, 0, 2, 2, 0, 2],
    unknown=[2] * 6,
    biased=[0, 0, 1, 1, 0, 0],
    condition=[AMB, DIS, MIS, AMB, DIS, AMB],
    twin=["a", "a", "a", "b", "b", ""],
    probabilities=False,
)


def test_twin_auroc_by_hand():
    assert measures.TWIN_DISCRIMINATION(TWINS) == 0.25  # a lost, b tied; the third has no twin
    assert measures.TWIN_DISCRIMINATION(TWINS.of_kind(MIS)) == 0  # -1 against 2
    assert measures.TWIN_DISCRIMINATION(TWINS.of_kind(FILL)) is None


def test_twins_are_of_one_instruction_and_both_can_be_declined():
    def rows(unknown):
        return Rows.from_lists(
            [[0.0, 1.0], [0.0, 2.0], [0.0, 1.0], [0.0, 0.5]],
            [1, 0, 1, 0],
            unknown=unknown,
            condition=[AMB, DIS, AMB, DIS],
            instruction=[0, 0, 1, 1],
            twin=["a"] * 4,
            probabilities=False,
        )

    assert measures.TWIN_DISCRIMINATION(rows([1, 1, 1, 1])) == 0.5  # lost under 0, won under 1
    assert measures.TWIN_DISCRIMINATION(rows([1, 1, 1, None])) == 0


def test_a_gain_is_there_on_all_three_kinds_or_it_is_none():
    def told(*gains: tuple[float, float, float]) -> str:
        found = {}
        for kind, (value, low, high) in zip(UNANSWERABLE, gains, strict=False):
            interval = stats.Interval(value, low, high, 0.95, 200, 1, resampled_instructions=False)
            found[kind] = Apart(NOTHING, NOTHING, Estimate(value, interval))
        return gained(found)

    sure, none, little, open_ = (
        (0.2, 0.1, 0.3),
        (0.0, -0.02, 0.02),
        (0.03, 0.01, 0.045),
        (0.2, -0.1, 0.5),
    )
    assert told(sure, sure, sure) == "yes"
    assert told(sure, sure) == "not shown"  # mismatch rows are not there
    for place in range(3):
        for other, answer in ((none, "no"), (little, "no"), (open_, "not shown")):
            assert told(*(other if i == place else sure for i in range(3))) == answer
    assert told(open_, none, sure) == "no"


def test_kinds_share_the_weight_of_the_plain_rows():
    """Two kinds, three plain rows and one mismatch row: 1/2 each of the weight of three."""
    assert TWINS.weight.tolist() == [0.5, 1, 1.5, 0.5, 1, 0.5]
    right = metrics.accuracy(TWINS)  # answered: unknown, unknown, 0, unknown, unknown, unknown
    assert right.ambiguous == 1
    assert (right.mismatch, right.filler, right.disambiguated) == (0, None, 0)
    assert right.overall == pytest.approx(1.5 / 5)
    assert right.unanswerable == 0.5
    assert measures.ACCURACY(TWINS) == right.overall
    assert measures.PLAIN_ACCURACY(TWINS) == 3 / 5
    assert metrics.unknown_floor(TWINS).overall == pytest.approx(3 / 5)
    found = metrics.accuracy_by_instruction(TWINS)
    assert found == {0: pytest.approx(right.overall)}


def test_intervals_and_draws_follow_the_weights(items, original):
    for metric, value in (
        (measures.ACCURACY, metrics.accuracy(original).overall),
        (measures.STEREOTYPED, metrics.named_stereotyped(original).overall),
        (measures.NAMED_STEREOTYPED, metrics.named_stereotyped(original).unanswerable),
    ):
        found = stats.interval(metric, [original])
        assert found.estimate == pytest.approx(value)
        assert found.low < value < found.high
        draws = Draws.of(original.template, original.instruction, resamples=1)
        assert metric.over(original, draws)[0] == pytest.approx(value)


def test_how_often_the_stereotyped_is_named_needs_no_condition():
    rows = Rows.from_lists(
        [[0, -1], [0, -1], [-1, 0], [0, -1]], [0] * 4, biased=[0, 1, 1, None], probabilities=False
    )
    assert metrics.named_stereotyped(rows).overall == pytest.approx(2 / 3)
    assert metrics.named_stereotyped(rows).unanswerable is None
    assert measures.STEREOTYPED(rows) == measures.NAMED_STEREOTYPED(rows) == pytest.approx(2 / 3)
