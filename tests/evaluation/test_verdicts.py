"""The summary of a run and the verdicts on it."""

from __future__ import annotations

import json
import math
from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given

from crossed import crossed_rows, taken
from row_maker import (
    AMB,
    DIS,
    FIVE,
    Row,
    build,
    near,
    random_rows,
    same,
    with_margin,
)
from snipbias.evaluation import metrics
from snipbias.evaluation.bootstrap import Draws
from snipbias.evaluation.metrics import ByCondition, Positions
from snipbias.evaluation.neutral_text import Passage, TextShift
from snipbias.evaluation.offset_curve import (
    OffsetCurve,
    gain_interval,
    gain_over_offset,
    gains_in_draws,
    offset_curve,
)
from snipbias.evaluation.rows import Rows
from snipbias.evaluation.summary import Summary, Trial
from snipbias.evaluation.verdicts import Verdict, alarms, doubts, verdicts


def test_summary_counts() -> None:
    rows = replace(
        build([*FIVE, replace(FIVE[0], biased=-1), Row([-1, -2], 0)]),
        template=np.array(["a", "a", "b", "b", "b", "c", "c"]),
    )
    s = replace(Trial(rows).summary, perplexity=12.5, kl_per_token=0.1)
    assert (s.rows, s.templates, s.instructions) == (7, 3, 2)
    assert s.unresolved == 1  # the row without a condition has nothing to resolve
    assert (s.perplexity, s.kl_per_token) == (12.5, 0.1)


@given(random_rows())
def test_summary_is_json_without_nan(rows: list[Row]) -> None:
    s = replace(Trial(build(rows)).summary, perplexity=math.inf, kl_per_token=math.nan)
    text = json.dumps(s.to_dict(), allow_nan=False)
    back = json.loads(text)
    assert set(back) == {field.name for field in fields(Summary)}
    assert back["perplexity"] is None
    assert back["kl_per_token"] is None
    same(back, s.to_dict())


def test_summary_dict_thins_the_curve() -> None:
    rows = [with_margin(-m / 100, AMB if m % 2 else DIS) for m in range(400)]
    s = Trial(build(rows)).summary
    assert s.offset_curve is not None
    assert len(s.offset_curve.offsets) == 401
    assert {len(column) for column in s.to_dict()["offset_curve"].values()} == {201}


def test_summary_dict_holds_the_metrics() -> None:
    d = Trial(build(FIVE)).summary.to_dict()
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
    return replace(Trial(build(rows, probabilities=False)).summary, **measured)


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
    (
        {"unmatched_rate": 0.1},
        {"unmatched_rate": 0.12},
        "writes text that matches no option in 12% of rows",
    ),
    ({"kl_per_token": math.log(2)}, {"kl_per_token": 0.7}, "differently by 0.70 nats per token"),
    ({"perplexity": 1e9}, {"perplexity": math.nan}, "not finite"),
    ({"kl_per_token": 0.0}, {"kl_per_token": math.inf}, "not finite"),
    (
        {"positions": Positions({"0": 0.05, "1": 0.9, "none": 0.05}, {"0": 0.5, "1": 0.5})},
        {"positions": Positions({"0": 0.05, "1": 0.95, "none": 0.0}, {"0": 0.5, "1": 0.5})},
        "answers option 2 in 95% of rows, although it is right in 50%",
    ),
    (  # gold stands there just as often: no collapse
        {"positions": Positions({"0": 1.0, "none": 0.0}, {"0": 0.95, "none": 0.0})},
        {"positions": Positions({"0": 1.0, "none": 0.0}, {"0": 0.85, "none": 0.0})},
        "answers option 1 in 100% of rows",
    ),
    (
        {"unknown_rate": ByCondition(0.9, 1.0, 0.8), "unknown_floor": ByCondition(0.5, 1.0, 0.0)},
        {"unknown_rate": ByCondition(0.95, 1.0, 0.9), "unknown_floor": ByCondition(0.5, 1.0, 0.0)},
        "answers 'unknown' in 95% of rows, although it is right in 50%",
    ),
    (
        {"unknown_rate": ByCondition(1.0, 1.0, None), "unknown_floor": ByCondition(1.0, 1.0, None)},
        {"unknown_rate": ByCondition(1.0, 1.0, None), "unknown_floor": ByCondition(0.8, 1.0, None)},
        "answers 'unknown' in 100% of rows",
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
    ({"named_accuracy": 0.95}, {"named_accuracy": 0.86}, {"named_accuracy": 0.84}, "95% to 84%"),
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
    neutral = Trial(build([Row([-1, -2, -3], i % 3, chosen=i % 3) for i in range(9)])).summary
    assert neutral.discrimination is None
    assert neutral.offset_curve is None
    assert verdicts(neutral, neutral) == ()


def test_a_shift_is_told_from_a_gain() -> None:
    # biased original: every ambiguous row is answered with a name; the right offset mends it all
    original = healthy(shift=-2.0)
    assert original.accuracy == ByCondition(0.5, 0.0, 1.0)
    half = ByCondition(0.65, 0.5, 0.8)  # an offset reaches (1, 1): the edit is 0.2 inside
    assert gain_over_offset((0.5, 0.8), original.offset_curve) == near(-0.2)
    (said,) = verdicts(replace(original, accuracy=half), original)
    assert said.kind == "shift"
    assert said.text.startswith("a shift and not a gain")
    assert said.text.endswith(
        "it gets 80% of answerable rows right, and just adding a constant to 'unknown' gets 100% "
        "at the same ambiguous accuracy"
    )
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
    assert verdicts(replace(original, accuracy=half), replace(original, offset_curve=None)) == ()


def test_a_suspicion_of_few_rows_is_no_verdict() -> None:
    """The same share of wrong rows: of three templates too few to judge, of forty a verdict."""
    for templates, settled in ((3, False), (40, True)):
        rows = [Row([-4.0, -1.0, -2.0], i % 2, -1, -1, 1) for i in range(4 * templates)]
        mute = replace(build(rows), template=np.repeat(np.arange(templates), 4).astype(str))
        (said,) = verdicts(Trial(mute).summary, trials=(Trial(mute), Trial(mute)))
        assert (said.kind, said.settled) == ("position", settled)
        assert said.interval is not None
        assert ("; too few templates to judge (3), about " in said.text) is not settled


def test_an_answer_that_moved_is_judged_by_its_own_passages() -> None:
    """Not by those of neutral text, which did not move."""
    rows = crossed_rows()
    still, moved = (TextShift.of([Passage(10, 20.0, 10 * kl)] * 8) for kl in (0.0, 0.9))
    trial, before = Trial(rows, text=still, chat=moved), Trial(rows, text=still, chat=still)
    found = verdicts(trial.summary, before.summary, (trial, before))
    (said,) = (each for each in found if each.kind == "chat")
    assert said.interval is not None
    assert said.interval.estimate == pytest.approx(0.9)


def test_the_gain_over_an_offset_is_drawn_with_its_curve() -> None:
    rng = np.random.default_rng(3)
    rows = crossed_rows(templates=9, instructions=6, items=4, seed=1)
    edit = replace(rows, scores=rows.scores + rng.normal(size=rows.scores.shape))
    edit = replace(edit, chosen=edit.scores.argmax(axis=1))
    found = gain_interval([edit], rows)
    draws = Draws.of(rows.template, rows.instruction, resamples=30)

    def gain_in(draw: int) -> float:
        now, before = taken(draws, edit, draw), taken(draws, rows, draw)
        point = metrics.accuracy(now)
        return gain_over_offset((point.ambiguous, point.disambiguated), offset_curve(before))

    by_hand = np.array([gain_in(draw) for draw in range(len(draws.templates))])
    np.testing.assert_allclose(gains_in_draws(edit, rows, draws), by_hand, atol=1e-9)
    assert found.estimate == near(by_hand[0])
    assert found.low < found.estimate < found.high


def test_where_no_offset_reaches_as_far_all_that_is_right_is_gained() -> None:
    """Ambiguous rows whose answer is a person whom the original never prefers, at no constant."""
    labels = {"unknown": [1] * 16, "condition": ["ambiguous", "disambiguated"] * 8}
    labels |= {"template": [f"t{n // 2}" for n in range(16)]}
    original, edit = (
        Rows.from_lists(scores * 8, [0] * 16, **labels, probabilities=False)
        for scores in ([[0.0, -1.0, 1.0], [1.0, -1.0, 0.0]], [[1.0, -1.0, 0.0]] * 2)
    )
    found = gain_interval([edit], original)
    assert found.estimate == 1
    assert found.exact[1] == 1
    assert found.exact[0] > 0.2
    assert gain_interval([edit.take(edit.ambiguous)], original) is None  # of other rows
    plain = replace(original, condition=np.array([""] * 16))
    assert gain_interval([edit], plain) is None


def test_no_edit_is_blamed_for_what_the_original_does_too():
    each = [
        Verdict("blind", "x", inherited=i, settled=s) for i in (False, True) for s in (False, True)
    ]
    assert [(v.inherited, v.settled) for v in alarms(each)] == [(False, True)]
    assert [(v.inherited, v.settled) for v in doubts(each)] == [(False, False)]
