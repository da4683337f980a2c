"""How often "not worse by more than 2 points" is said of an edit that loses 3.

`python tests/evaluation/test_kept.py` prints the figures that docs/reading.md sums up.
"""

from __future__ import annotations

import numpy as np
import pytest

from snipbias.evaluation.bootstrap import Draws
from snipbias.evaluation.interval import non_inferior

MARGIN, LOSS, ITEMS = 0.02, 0.03, 6
TEMPLATES = (3, 5, 8, 11, 25)
INSTRUCTIONS = (1, 10)
SAMPLING_ERROR = 0.02  # 2.5 % of 120 worlds: standard error 1.4 points


def losses(kind: str, shape: tuple[int, int, int], rng: np.random.Generator) -> np.ndarray:
    """Mean change of each template's rows under each instruction; -0.03 in the long run."""
    worlds, templates, instructions = shape
    items = (worlds, templates, instructions, ITEMS)
    if kind == "single rows":
        return -(rng.random(items) < LOSS).mean(axis=3)
    if kind == "items":  # under every instruction
        lost = rng.random((worlds, templates, 1, ITEMS)) < LOSS
        return -np.broadcast_to(lost, items).mean(axis=3)
    if kind == "half of a template":
        lost = 0.5 * (rng.random((worlds, templates, 1)) < 2 * LOSS)
        return -np.broadcast_to(lost, shape)
    if kind == "whole templates":
        return -np.broadcast_to(rng.random((worlds, templates, 1)) < LOSS, shape).astype(float)
    # Gains of 5 points hide whole templates of which 8 % are lost.
    each = np.where(rng.random((worlds, templates, 1)) < 0.08 / 1.05, -1.0, 0.05)
    return np.broadcast_to(each, shape)


KINDS = ("single rows", "items", "half of a template", "whole templates", "gains elsewhere")


def said(changes: np.ndarray, sizes: np.ndarray) -> float:
    """Share of the worlds in which the sentence is said."""
    worlds, templates, instructions = changes.shape
    cells = np.indices((templates, instructions)).reshape(2, -1)
    draws = Draws.of(*cells, resamples=400)
    weights = draws.templates * sizes
    totals = weights.sum(axis=1) * draws.instructions.sum(axis=1)
    kept = 0
    for change in changes:
        found = draws.interval((weights @ change * draws.instructions).sum(axis=1) / totals)
        exact = found.with_exact(change.mean(axis=1), sizes, (-1.0, 1.0))
        kept += non_inferior(exact, MARGIN)
    return kept / worlds


def rates(worlds: int, templates: int, instructions: int) -> dict[str, float]:
    """By kind of loss, and where every other template has nine times the rows."""
    rng = np.random.default_rng(templates * 100 + instructions)
    shape = (worlds, templates, instructions)
    found = {k: said(losses(k, shape, rng), np.full(templates, 1.0)) for k in KINDS}
    uneven = np.where(np.arange(templates) % 2, 9.0, 1.0)
    return {**found, "unequal templates": said(losses("whole templates", shape, rng), uneven)}


def test_a_loss_of_3_points_is_hardly_ever_called_none() -> None:
    for templates in TEMPLATES:
        for instructions in INSTRUCTIONS:
            found = rates(20, templates, instructions)
            assert max(found.values()) == 0, (templates, instructions, found)


@pytest.mark.slow
@pytest.mark.parametrize("instructions", INSTRUCTIONS)
def test_it_is_not_even_where_templates_are_enough_to_say_it(instructions: int) -> None:
    for templates in (200, 400):  # with fewer than 184 it cannot be said at all
        found = rates(120, templates, instructions)
        assert max(found.values()) <= 0.025 + SAMPLING_ERROR, (templates, found)


def test_it_can_be_said() -> None:
    for templates, same in ((182, False), (184, True)):
        assert said(np.zeros((1, templates, 1)), np.ones(templates)) == same
    lost = np.zeros((1, 300, 1))
    lost[0, 0] = -1
    assert said(lost, np.ones(300)) == 1


if __name__ == "__main__":
    wide = (*TEMPLATES, 200, 400)
    print("| true loss of 3 points by | instructions |", " | ".join(map(str, wide)), "|")
    print("| --- | ---: |", " ---: |" * len(wide))
    for number in INSTRUCTIONS:
        every = [rates(1000, templates, number) for templates in wide]
        for kind in every[0]:
            print(f"| {kind} | {number} |", " | ".join(f"{100 * e[kind]:.1f}" for e in every), "|")
