"""Simulated data of known truth: how often an interval holds it, and a p-value is below 0.05.

Answers are right or wrong by chance, with effects of the template, the instruction, the template
under the instruction, and the item, on the logit scale; a second method shares them and adds its
own. All thousand data sets of a case go through the draws together.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from numpy.polynomial.hermite_e import hermegauss
from scipy.special import expit

from snipbias.evaluation.bootstrap import Draws
from snipbias.evaluation.measures import ACCURACY
from snipbias.evaluation.rows import Rows
from snipbias.evaluation.stats import Interval, interval, sign_flip

SETS = 1000
ITEMS = 6
# Standard deviations of the effects of template, instruction, cell and item.
SHARED = (0.8, 0.4, 0.5, 0.7)
OWN = (1.0, 0.3, 0.4, 0.5)
WEAK = (0.1, 0.05, 0.3, 0.0)
MEAN, GAIN = 0.3, 0.3


@dataclass(frozen=True)
class Case:
    templates: int
    instructions: int
    paired: bool
    fixed: bool
    own: tuple[float, ...] = OWN

    def wordings(self, size: float, rng: np.random.Generator) -> np.ndarray:
        """Effects of the instructions: drawn anew for each set, or the same two in all."""
        if self.fixed:
            return np.broadcast_to(
                np.linspace(-size, size, self.instructions), (SETS, self.instructions)
            )
        return size * rng.normal(size=(SETS, self.instructions))


CASES = [
    Case(templates, instructions, paired, fixed)
    for templates in (12, 40)
    for instructions, fixed in ((10, False), (2, True))
    for paired in (False, True)
]


def effects(case: Case, sizes: tuple[float, ...], rng: np.random.Generator) -> np.ndarray:
    """Logits of sets x templates x instructions x items."""
    template, instruction, cell, item = sizes
    shape = (SETS, case.templates)
    return (
        template * rng.normal(size=(*shape, 1, 1))
        + case.wordings(instruction, rng)[:, None, :, None]
        + cell * rng.normal(size=(*shape, case.instructions, 1))
        + item * rng.normal(size=(*shape, 1, ITEMS))
    )


def answers(case: Case, gain: float = GAIN) -> tuple[np.ndarray, np.ndarray]:
    """Right or wrong, by both methods."""
    rng = np.random.default_rng(case.templates * 100 + case.instructions)
    shared = MEAN + effects(case, SHARED, rng)
    own = gain + effects(case, case.own, rng)
    return (
        rng.random(shared.shape) < expit(shared),
        rng.random(shared.shape) < expit(shared + own),
    )


def truth(case: Case) -> float:
    """The mean over all templates there might be, and all instructions if these are drawn."""

    def accuracy(mean: float, sizes: list[tuple[float, ...]]) -> float:
        each = [s for s, *_ in sizes] + [s for _, _, *rest in sizes for s in rest]
        wordings = [s for _, s, *_ in sizes]
        shifts = np.zeros(1)
        if case.fixed:
            shifts = np.linspace(-sum(wordings), sum(wordings), case.instructions)
        else:
            each += wordings
        points, weights = hermegauss(60)
        logits = mean + shifts[:, None] + np.linalg.norm(each) * points
        return float((expit(logits) @ weights / weights.sum()).mean())

    before = accuracy(MEAN, [SHARED])
    return accuracy(MEAN + GAIN, [SHARED, case.own]) - before if case.paired else before


def labels(case: Case) -> tuple[np.ndarray, np.ndarray]:
    """Template and instruction of each cell."""
    each = np.indices((case.templates, case.instructions))
    return each[0].ravel(), each[1].ravel()


def intervals(case: Case, values: np.ndarray) -> list[Interval]:
    """One for each set, by the steps that `interval` takes."""
    draws = Draws.of(*labels(case), resamples=600)
    by_template = np.tensordot(values.mean(axis=3), draws.templates, (1, 1))
    figures = (by_template * draws.instructions.T).sum(axis=1).T
    figures /= (draws.templates.sum(1) * draws.instructions.sum(1))[:, None]
    return [draws.interval(column) for column in figures.T]


def coverage(case: Case, found: list[Interval]) -> float:
    return float(np.mean([each.low <= truth(case) <= each.high for each in found]))


@pytest.mark.parametrize("case", CASES, ids=str)
def test_an_interval_of_95_percent_covers_and_the_naive_one_does_not(case: Case) -> None:
    before, after = answers(case)
    values = after.astype(float) - before if case.paired else before.astype(float)
    found = intervals(case, values)
    assert 0.93 <= coverage(case, found) <= 0.97
    assert all(each.resampled_instructions is not case.fixed for each in found)

    rows = values.reshape(SETS, -1)
    half = 1.96 * rows.std(axis=1, ddof=1) / np.sqrt(rows.shape[1])
    naive = np.abs(rows.mean(axis=1) - truth(case)) <= half
    assert np.mean(naive) < 0.85


def test_an_interval_is_no_longer_than_it_must_be() -> None:
    # Hardly any clustering: draws of both ways are as wide as if the noise were there three times.
    case = Case(40, 10, paired=True, fixed=False, own=WEAK)
    before, after = answers(case)
    assert 0.93 <= coverage(case, intervals(case, after.astype(float) - before)) <= 0.97


def test_rare_losses_are_covered() -> None:
    """Losses of .4 points, row by row or item by item: few templates differ, or none does."""
    for templates, instructions in ((8, 10), (8, 1), (25, 10)):
        draws = Draws.of(*np.indices((templates, instructions)).reshape(2, -1), resamples=300)
        for together in (False, True):
            rng = np.random.default_rng(7)
            covered, bare = [], []
            for _ in range(300):
                shape = (templates, 1 if together else instructions, ITEMS)
                lost = np.broadcast_to(
                    rng.random(shape) < 0.004, (templates, instructions, ITEMS)
                ).mean(axis=2)
                sums = ((draws.templates @ -lost) * draws.instructions).sum(axis=1)
                found = draws.interval(
                    sums / (draws.templates.sum(axis=1) * draws.instructions.sum(axis=1))
                )
                bare.append(found.low <= -0.004 <= found.high)
                exact = found.with_exact(-lost.mean(axis=1), np.ones(templates), (-1.0, 1.0))
                covered.append(exact.low <= -0.004 <= exact.high)
            assert np.mean(covered) >= 0.94, (templates, instructions, together)
            assert np.mean(bare) <= np.mean(covered)


def test_the_simulation_goes_the_way_of_the_interval() -> None:
    case = CASES[0]
    right = answers(case)[0][0]
    template, instruction = (np.repeat(label, ITEMS) for label in labels(case))
    count = right.size
    rows = Rows.from_lists(
        np.full((count, 2), -1.0).tolist(),
        [0] * count,
        chosen=np.where(right.ravel(), 0, 1).tolist(),
        template=[f"{i:02}" for i in template],
        instruction=instruction.tolist(),
    )
    draws = Draws.of(*labels(case), resamples=600)
    totals = draws.totals(right.mean(axis=2))
    ours = draws.interval(totals / (draws.templates.sum(1) * draws.instructions.sum(1)))
    theirs = interval(ACCURACY, [rows], resamples=600)
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=1e-12)


def test_the_sign_flip_errs_in_5_percent() -> None:
    # The methods differ by template and cell, in either direction as often.
    case = Case(10, 4, paired=True, fixed=True)
    rng = np.random.default_rng(5)
    shared = MEAN + effects(case, SHARED, rng)
    first, second = (
        rng.random(shared.shape) < expit(shared + effects(case, (0.4, 0.0, 0.3, 0.0), rng))
        for _ in range(2)
    )
    templates = np.repeat(np.arange(10), 4 * ITEMS)
    below = [
        sign_flip(a.ravel(), b.ravel(), templates) <= 0.05
        for a, b in zip(first, second, strict=True)
    ]
    assert 0.03 <= np.mean(below) <= 0.07
