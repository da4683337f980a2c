"""Batch calibration, averages over orders, and offsets: on paper and against plain loops."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest

from calibrated import KINDS, ByHand, LogP, assert_near, by_hand, measured, one, plain, scores
from families import tiny
from snipbias.evaluation.evaluate import Evaluation, evaluate
from snipbias.evaluation.metrics import accuracy, discrimination, unknown_floor
from snipbias.evaluation.offset_curve import offset_curve
from snipbias.experiment.baselines import calibration as calibrate
from snipbias.experiment.baselines.offset import always_unknown, choose_offset, offset
from snipbias.experiment.choose import balanced
from snipbias.tasks.items import Item, Task
from toys import RAGGED, rows, task


def batch_of(*probabilities: tuple[float, ...], instructions: int = 1) -> tuple[LogP, Task]:
    """Row k under instruction j has these P, in the order of their options; P given by hand."""
    width = len(probabilities) // instructions
    items = tuple(
        Item(str(k), f"row {k}?", tuple(f"{k}{x}" for x in "abcd"[: len(p)]), 0, "", str(k))
        for k, p in enumerate(probabilities[:width])
    )
    texts = tuple(f"say {j}." for j in range(instructions))

    def logprob(prompt: str, option: str) -> float:
        j = next(i for i, text in enumerate(texts) if prompt.startswith(text))
        row = int(option[:-1])
        return math.log(probabilities[j * width + row]["abcd".index(option[-1])])

    return logprob, Task("batch", items, texts)


def test_batch_calibration_on_paper() -> None:
    """Rows (.6, .3, .1) and (.2, .3, .5), the second at a tenth: means (.4, .3, .3)."""
    logprob, asked = batch_of((0.6, 0.3, 0.1), (0.02, 0.03, 0.05))
    _, made = by_hand(logprob, asked)
    found = scores(calibrate.batch_calibration(made))
    for row, ratios in zip(found, [(1.5, 1, 1 / 3), (0.05, 0.1, 1 / 6)], strict=True):
        np.testing.assert_allclose(row, np.log(ratios), atol=1e-12)


def test_batches_are_instructions_and_numbers_of_options() -> None:
    """A batch of one row is its own mean: nothing is left but what all its options share."""
    ones = (0.6, 0.4), (0.2, 0.5, 0.3), (0.1, 0.9), (0.3, 0.3, 0.4)
    logprob, asked = batch_of(*ones, instructions=2)
    _, made = by_hand(logprob, asked)
    assert_near(calibrate.batch_calibration(made), [[0, 0], [0, 0], [0, 0, 0], [0, 0, 0]], 1e-12)


def test_batch_calibration_leaves_no_position_preferred() -> None:
    lm, asked = tiny("llama"), task(8)
    made = measured(lm, asked)
    found = np.stack(scores(calibrate.batch_calibration(made)))
    own = np.stack(made.original.table["logprob"].to_pylist())
    ratio = np.exp(found - np.log(np.exp(own).sum(1, keepdims=True)))
    for j in range(len(asked.instructions)):
        np.testing.assert_allclose(ratio[j :: len(asked.instructions)].mean(0), 1, atol=1e-6)


@pytest.mark.parametrize(("options", "orders"), [("ab", 2), ("abc", 6), ("abcd", 4)])
def test_averaging_over_orders_cancels_what_a_position_is_worth(options: str, orders: int) -> None:
    """log P = worth of the text + worth of its place in the list: the first always wins by it."""
    place = [4.0, -1.0, 2.5, 0.25]
    worth = {"a": -5.0, "b": -4.5, "c": -6.0, "d": -5.5}

    def logprob(prompt: str, option: str) -> float:
        listed = [line[2:] for line in prompt.split("\n") if line.startswith("- ")]
        return worth[option] + place[listed.index(option)]

    lm, made = by_hand(logprob, one(*options))
    assert made.original.table["chosen"].to_pylist() == [0]
    found = calibrate.permutation_averaging(made)
    assert len(set(lm.scored)) == len(lm.scored) == orders - 1  # the given order is measured
    shared = sum(place[: len(options)]) / len(options)
    assert_near(found, [[worth[option] + shared for option in options]], 1e-12)
    assert found.table["chosen"].to_pylist() == [1]


@pytest.mark.parametrize("kind", KINDS)
def test_averages_equal_plain_loops_and_do_not_depend_on_the_order(kind: str) -> None:
    lm, asked = tiny(kind), Task("toy", rows(1), ("say it.",))
    found = scores(calibrate.permutation_averaging(measured(lm, asked)))
    for row, item in zip(found, asked.items, strict=True):
        for option, text in enumerate(item.options):
            total = 0.0
            for listed in itertools.permutations(item.options):
                turned = replace(item, options=listed)
                at = listed.index(text)
                total += plain(lm, "say it.", turned, item.context, item.question, at)
            assert row[option] == pytest.approx(total / 6, abs=2e-4)
    turned = tuple(
        replace(item, options=item.options[::-1], gold=2 - item.gold, unknown=None, biased=None)
        for item in asked.items
    )
    again = scores(calibrate.permutation_averaging(measured(lm, replace(asked, items=turned))))
    for row, other in zip(found, again, strict=True):
        np.testing.assert_allclose(row, other[::-1], atol=2e-4)


def test_always_unknown_is_the_floor() -> None:
    without = replace(rows(7)[-1], unknown=None, id="none")
    asked = replace(task(6), items=(*task(6).items, without))
    made = measured(tiny("llama"), asked)
    found = always_unknown(made).rows("always unknown")
    assert accuracy(found) == unknown_floor(made.original.rows())
    assert 0 < (accuracy(found).overall or 0) < 0.5
    assert discrimination(found) == 0.5
    assert (found.chosen == found.unknown).all()


@pytest.mark.parametrize("kind", ["flan-t5", "llama"])
def test_offsets_reach_every_point_of_the_curve(kind: str) -> None:
    original = evaluate(tiny(kind), task(10))
    curve = offset_curve(original.rows())
    assert curve is not None
    assert len(curve.offsets) > 10
    for i in range(len(curve.offsets)):
        point = curve.point(i)
        found = accuracy(offset(original, point.offset).rows("offset"))
        assert found.overall == pytest.approx(point.overall)
        assert found.ambiguous == pytest.approx(point.ambiguous)
        assert found.disambiguated == pytest.approx(point.disambiguated)


def with_margins(*margins: tuple[str, float]) -> Evaluation:
    """Two options, the second unknown, with these margins of "unknown" by condition."""
    items = tuple(
        Item(str(k), f"{m}?", ("a", "u"), int(c[0] == "a"), "", str(k), c, unknown=1)  # type: ignore[arg-type]
        for k, (c, m) in enumerate(margins)
    )

    def logprob(prompt: str, option: str) -> float:
        margin = float(prompt.split("Question: ")[1].split("?")[0])
        return -10 + (margin if option == "u" else 0)

    return evaluate(ByHand(logprob), Task("margins", items, ("say.",)))  # type: ignore[arg-type]


AMB, DIS = "ambiguous", "disambiguated"


def test_the_offset_is_chosen_by_the_objective() -> None:
    """Margins -1 and -3 ambiguous, -2 and -6 not: "unknown" from offsets 1, 3 and 2, 6 on."""
    original = with_margins((AMB, -1), (AMB, -3), (DIS, -2), (DIS, -6))
    best = choose_offset(original, lambda a: a.overall)
    assert best is not None
    assert (best.offset, best.overall) == (1.5, 0.75)  # as good as 4.5, and nearer to 0
    shifted = with_margins((AMB, 6), (AMB, 4), (DIS, 5), (DIS, 1))
    best = choose_offset(shifted, lambda a: a.overall)
    assert best is not None
    assert (best.offset, best.overall) == (-2.5, 0.75)  # as good as -5.5
    best = choose_offset(original, lambda a: a.ambiguous)
    assert best is not None
    assert (best.offset, best.ambiguous, best.disambiguated) == (4.5, 1, 0.5)
    harmless = choose_offset(original, lambda a: a.ambiguous if a.disambiguated == 1 else -math.inf)
    assert harmless is not None
    assert (harmless.offset, harmless.ambiguous) == (1.5, 0.5)
    never = choose_offset(original, lambda a: -math.inf)
    assert never is not None
    assert never.offset == 0


def test_the_chosen_offset_is_the_best_of_many() -> None:
    drawn = np.random.default_rng(0).normal([-3.0, -4.0], 2.0, (20, 2)).round(1).tolist()
    margins = [pair for both in drawn for pair in zip((AMB, DIS), both, strict=True)]
    original = with_margins(*margins)
    best = choose_offset(original, balanced)
    assert best is not None
    tried = []
    for constant in np.linspace(-20, 20, 802):
        tried.append(balanced(accuracy(offset(original, constant).rows("offset"))))
    assert balanced(best.accuracy) == pytest.approx(max(tried))
    assert len(set(tried)) > 10


def test_there_is_no_offset_without_unknown_options() -> None:
    original = evaluate(tiny("llama"), RAGGED)
    assert choose_offset(original, lambda a: a.overall) is None
    assert_near(offset(original, 3.0), original.table["score"].to_pylist(), 0)
