"""Findings, examples and plots of a report by hand."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import experiments
from row_maker import AMB, Row, build, logs
from snipbias.base.words import ORIGINAL
from snipbias.evaluation.estimate import Estimate
from snipbias.evaluation.evaluate import rows_of
from snipbias.evaluation.measured import measured
from snipbias.evaluation.metrics import ByCondition
from snipbias.evaluation.rows import Rows
from snipbias.evaluation.stats import Interval
from snipbias.evaluation.summary import Trial
from snipbias.evaluation.tradeoff import Spot, tradeoff
from snipbias.evaluation.verdicts import Verdict
from snipbias.report import examples
from snipbias.report.examples import case, changed_examples
from snipbias.report.page import Finding
from snipbias.report.sections import lines, shift_grid
from snipbias.report.size_curve import Bar, by_size
from snipbias.report.texts import Texts
from snipbias.tasks.unanswerable import UNANSWERABLE


def test_examples_by_hand() -> None:
    """P is .6 for the answer and .2 for the rest, so every row moves by .4 or not at all."""
    before = experiments.table(ORIGINAL, experiments.says(experiments.BIASED), templates=2)
    after = experiments.table("edit", experiments.says(experiments.UNKNOWN), templates=2)
    found = changed_examples(before, after, "edit", Texts({}, ()))
    # Ambiguous rows became right. Of the disambiguated ones template 0 had the biased option right,
    # template 1 the other one, which nobody said before or after: its P never moved.
    assert [(e.item, round(e.delta, 6), e.outcome) for e in found] == [
        ("0-disambiguated", -0.4, "became wrong"),
        ("0-ambiguous", 0.4, "became right"),
        ("1-ambiguous", 0.4, "became right"),
    ]
    assert found[0].options == (
        ("option 1", "right, stereotyped", pytest.approx(0.6), pytest.approx(0.2)),
        ("option 2", "", pytest.approx(0.2), pytest.approx(0.2)),
        ("option 3", "unknown", pytest.approx(0.2), pytest.approx(0.6)),
    )
    assert (found[0].before, found[0].after, found[0].text) == ("option 1", "option 3", None)


def test_the_first_screen_by_hand() -> None:
    """The stereotyped person is named before, and "unknown" said after, each with P .6."""
    tables = {
        name: experiments.table(name, experiments.says(answer), templates=2)
        for name, answer in ((ORIGINAL, experiments.BIASED), ("e", experiments.UNKNOWN))
    }
    before, after = map(rows_of, tables.values())
    trials = {
        ORIGINAL: [Trial(before, retention={"kept": after})],
        "e": [Trial(after, size=3), Trial(before, size=3)],
        "LoRA": [Trial(after)],
    }
    kinds = {ORIGINAL: "original", "e": "edit", "LoRA": "rival"}
    first, edit = lines(measured("mini:age", trials), kinds, {"e": ("good", "A gain")})
    assert (first.stereotyped, first.answerable, first.kept, first.number) == (1, 0.5, 0.5, -1)
    assert (edit.stereotyped, edit.answerable, edit.kept, edit.number) == (0.5, 0.25, None, 0)
    assert edit.gold == pytest.approx(((0.6 + 0.2) / 2, (0.2 + 0.4) / 2))
    assert edit.tag == ("good", "A gain")
    shift = shift_grid({"e": [after]})
    assert shift.rows[0] == ("e", "60.0", "20.0", "20.0", "20.0", "60.0", "60.0")
    shown = case(tables, Texts({}, ()))
    assert shown.question.endswith("ambiguous")
    assert [kind for _, kind in shown.options if "unknown" in kind] == ["right, unknown"]
    chosen = {name: shown.options[at][1] for name, at, _ in shown.answers}
    assert chosen == {ORIGINAL: "stereotyped", "e": "right, unknown"}


CHANGE = Interval(0.1, 0.05, 0.15, 0.95, 11, 10, True)


def gained(gain: float) -> Interval:
    return replace(CHANGE, estimate=gain, low=gain - 0.05, high=gain + 0.05)


LOST = gained(-0.3)


def by_hand(
    change: Interval | None,
    gain: Interval | None,
    verdicts: tuple[Verdict, ...] = (),
    p_value: float | None = None,
) -> Any:
    """Figures of an edit that is a gain by plain, filler and mismatch rows, with the given ones."""
    return SimpleNamespace(
        **{"task": "t", "method": "v1", "pruned": "3"},
        before=SimpleNamespace(value=lambda name: Estimate(0.5)),
        value=lambda name: Estimate(0.6),
        change=lambda name: Estimate(0.1, change if name == "overall" else None),
        sign_flip=lambda name: p_value,
        gain=Estimate(0.1, gain),
        apart=dict.fromkeys(UNANSWERABLE, SimpleNamespace(gain=Estimate(0.3, gained(0.3)))),
        by_trial={None: verdicts},
        verdicts=verdicts,
    )


@pytest.mark.parametrize(
    ("change", "gain", "shifted", "alarms", "tag", "said"),
    [
        (CHANGE, 0.08, False, (), "A gain", "this is a gain"),
        (
            CHANGE,
            0.0,
            True,
            (),
            "A shift, not a gain",
            "is a shift and not a gain, with +0.0",
        ),
        (CHANGE, 0.0, False, (), "Perhaps a shift", "may do as well"),
        (CHANGE, None, False, (), "More accurate", "+10.0 points"),
        (
            CHANGE,
            -0.2,
            True,
            (),
            "A shift, not a gain",
            "does better: compared with it, the edit has -20.0 [",
        ),
        (
            CHANGE,
            0.08,
            False,
            ("broken",),
            "Something broke",
            "falls short: compared with it, the edit has +8.0 [",
        ),
        (replace(CHANGE, low=-0.01), 0.08, False, (), "No change shown", "-1.0 to +15.0"),
        (replace(CHANGE, low=-0.2, high=-0.1), 0.0, False, (), "Less accurate", "-20.0 to -10.0"),
        (None, None, False, (), "Not settled", "too few templates"),
    ],
)
def test_a_bad_finding_is_as_plain_as_a_good_one(
    change: Interval | None, gain: float | None, shifted: bool, alarms: Any, tag: str, said: str
) -> None:
    rivals = (("random neurons", 0.4), ("nobody", None))
    verdicts = [Verdict("shift", "is")] * shifted + [Verdict("blind", each) for each in alarms]
    found = by_hand(change, None if gain is None else gained(gain), tuple(verdicts))
    finding = Finding(found, rivals)
    words = " ".join(finding.answers.values())
    assert finding.tag[1] == tag
    assert said in words
    assert "random neurons 40.0" in words
    assert "nobody" not in words
    assert ("this is a gain" in words) == (tag == "A gain")
    if tag == "A gain":  # on plain rows alone it is none
        found.apart = dict.fromkeys(UNANSWERABLE, SimpleNamespace(gain=Estimate(-0.3, LOST)))
        assert finding.tag[1] == "A shift, not a gain"


LESS = replace(CHANGE, estimate=-0.01, low=-0.044, high=-0.0004)


@pytest.mark.parametrize(
    ("change", "p_value", "tag", "said"),
    [
        (LESS, 0.05, "Less accurate", "(95 % interval -4.4 to +0.0)."),
        (LESS, 0.051, "Not settled", "the interval excludes 0, but the p-value"),
        (CHANGE, 1.0, "Not settled", "the p-value by sign flip is 1.000"),
        (replace(LESS, templates=6), 0.03125, "Less accurate", "-1.0 points"),
        (replace(LESS, templates=5), None, "Not settled", "with 5 templates the interval is"),
        (replace(CHANGE, low=-0.1, templates=5), 1.0, "Not settled", "no p-value can be below"),
        (replace(CHANGE, low=-0.1), 1.0, "No change shown", "interval -10.0 to +15.0)."),
    ],
)
def test_what_the_evidence_does_not_carry_is_not_settled(
    change: Interval, p_value: float | None, tag: str, said: str
) -> None:
    finding = Finding(by_hand(change, gained(0.08), p_value=p_value), ())
    words = " ".join(finding.answers.values()).replace("\N{NO-BREAK SPACE}", " ")
    assert finding.tag[1] == tag
    assert said in words
    assert ("Not settled" in words) == (tag == "Not settled")


def test_the_plane_and_the_sizes_by_hand() -> None:
    spots = [
        Spot("original", ByCondition(0.5, 0.1, 0.9), "original"),
        Spot("edit", ByCondition(0.7, 0.6, 0.8), "edit"),
        Spot("nowhere", ByCondition(0.7, None, 0.8), "control"),
    ]
    drawn = tradeoff("p", spots, None)
    assert drawn is not None
    assert [(t["name"], t["x"], t["y"]) for t in drawn.figure["data"]] == [
        ("original", [10.0], [90.0]),
        ("edit", [60.0], [80.0]),
    ]
    assert drawn.table.rows == (("original", "10.0", "90.0"), ("edit", "60.0", "80.0"))
    assert tradeoff("p", spots[2:], None) is None
    nothing = dict.fromkeys(("ambiguous", "disambiguated"), Bar(None))
    steps = [
        (30, {**nothing, "overall": Bar(0.8, 0.7, 0.9)}),
        (3, {**nothing, "overall": Bar(0.6, 0.6, 0.65)}),
    ]
    lines = by_size("p", steps, ByCondition(0.5, None, None), 0.5, "Here.")
    assert lines is not None
    first, level, floor = lines.figure["data"]
    assert (first["x"], first["y"]) == ([3, 30], [60.0, 80.0])
    np.testing.assert_allclose(first["error_y"]["array"], [5, 10])
    np.testing.assert_allclose(first["error_y"]["arrayminus"], [0, 10], atol=1e-9)
    assert (level["y"], floor["y"], floor["name"]) == ([50.0] * 2, [50.0] * 2, "always unknown")
    assert lines.table.rows[1] == ("30", "80.0 [70.0, 90.0]", "-", "-")
    assert by_size("p", steps[:1], ByCondition(0.5, None, None), None, "") is None


def test_the_typical_question_has_the_median_change_of_the_commonest() -> None:
    def rows(*right: float) -> Rows:
        shared = {"gold": 2, "unknown": 2, "biased": 0, "chosen": 0, "condition": AMB}
        return build([Row(logs(0.9 - p, 0.1, p), **shared, instruction=0) for p in right])

    assert examples._typical(rows(0.1, 0.1, 0.1), rows(0.4, 0.2, 0.3)) == 2
