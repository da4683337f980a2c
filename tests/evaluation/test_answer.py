"""The first screen: short, narrow, and never saying more than the rows can rule out."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from row_maker import AMB, DIS, Row, build, with_margin
from snipbias.evaluation import measures, stats
from snipbias.evaluation.answer import lost_at_most
from snipbias.evaluation.interval import Interval
from snipbias.evaluation.neutral_text import perplexity_cell, ratio_in_words
from snipbias.evaluation.rows import Rows
from snipbias.evaluation.summary import Trial
from snipbias.evaluation.verdicts import Suspicion, verdicts


def rows(right: list[bool], **more: object) -> Rows:
    """One row per template: option 0 of two is right."""
    n = len(right)
    scores = [[0.0, -1.0] if each else [-1.0, 0.0] for each in right]
    chosen = [0 if each else 1 for each in right]
    given = {"unknown": [None] * n, "biased": [None] * n, "condition": [None] * n, **more}
    return Rows.from_lists(
        scores, [0] * n, chosen=chosen, instruction=[0] * n, template=[f"t{i}" for i in range(n)],
        **given,
    )  # fmt: skip


def test_what_so_many_questions_can_rule_out_when_none_is_lost() -> None:
    """1 - .025^(1/n): 3.6 % of 100 templates, 1.8 % of 203."""
    for n, points in ((100, 4), (203, 2)):
        same = [rows([True] * n)]
        assert lost_at_most(stats.interval(measures.ACCURACY, same, same)).startswith(
            f"at most {points} points"
        )


def test_the_leading_number_is_of_unanswerable_rows_and_of_all_where_none_are_marked() -> None:
    condition = ["ambiguous", "ambiguous", "disambiguated", "disambiguated"]
    marked = rows([True, False, False, True], biased=[0] * 4, condition=condition)
    assert (measures.NAMED_STEREOTYPED(marked), measures.ANSWERABLE(marked)) == (0.5, 0.5)
    bare = rows([True, True, True, False], biased=[0] * 4)
    assert (measures.NAMED_STEREOTYPED(bare), measures.ANSWERABLE(bare)) == (0.75, 0.75)
    # Rows of one condition, or without, do not pass for those of the other.
    for condition, found in (("ambiguous", (0.5, None)), ("disambiguated", (None, 0.5))):
        some = [condition, condition, None, None]
        one = rows([True, False, True, True], biased=[0] * 4, condition=some)
        assert (measures.NAMED_STEREOTYPED(one), measures.ANSWERABLE(one)) == found


def test_a_perplexity_beyond_meaning_is_no_figure() -> None:
    assert perplexity_cell(20.0, 10.0) == "20"
    assert ratio_in_words(20.0, 10.0) == "perplexity x 2"
    assert perplexity_cell(1e11, 10.0) == "> 1,000 x"
    assert ratio_in_words(float("inf"), 10.0) == "wrecked"
    assert ratio_in_words(None, 10.0) == ratio_in_words(2e11, 1e11) == "-"
    assert perplexity_cell(2e11, 1e11) == "-"  # the original guesses


def test_an_interval_says_what_it_is_of_and_in_which_unit() -> None:
    found = Interval(0.01, -0.4, 0.375, 0.95, 90, 1, False)
    same = Trial(rows([True, True]))
    for unit, of, words in (
        (" points", " of the difference", "(95 % interval of the difference -40 to 37.5 points)"),
        (" %", "", "(95 % interval -40 to 37.5 %)"),
        ("", " of the ratio", "(95 % interval of the ratio -0.4 to 0.375)"),
    ):
        each = Suspicion("shift", "a shift", 0.0, lambda *_: found, False, unit, of)
        assert f"a shift {words}" in each.judged((same, same)).text


def test_verdicts_say_what_their_intervals_are_of() -> None:
    def trial(*pair: Row) -> Trial:
        made = build([*pair] * 40)
        return Trial(replace(made, template=np.repeat([f"t{i}" for i in range(40)], 2)))

    reads, named = with_margin(-3, DIS), with_margin(-2, AMB)
    misread = replace(reads, scores=[-20, -30, -23], chosen=0)
    before = trial(named, reads)
    for kind, after, of in (
        ("shift", trial(with_margin(2, AMB), with_margin(1, DIS)), "difference"),
        ("reads worse", trial(named, misread), "change"),
        ("blinder", trial(named, with_margin(-1, DIS)), "change"),
    ):
        found = verdicts(after.summary, before.summary, (after, before))
        (said,) = (each.text for each in found if each.kind == kind)
        assert f"(95 % interval of the {of} " in said
        assert said.endswith(" points)") is (kind != "blinder")
