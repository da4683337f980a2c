"""Rows with as many templates, items and instructions as asked for, and answers at random."""

from __future__ import annotations

import math

import numpy as np

from snipbias.evaluation.measures import Mean
from snipbias.evaluation.rows import Rows


def crossed_rows(
    templates: int = 5, instructions: int = 6, items: int = 4, seed: int = 0, ties: bool = False
) -> Rows:
    """Item by item under every instruction, half of them ambiguous; the unknown option is first."""
    rng = np.random.default_rng(seed)
    count = templates * items * instructions
    scores = rng.normal(size=(count, 3)) - 9
    return Rows(
        scores=scores.round() if ties else scores,
        gold=np.repeat(np.tile([0, 1], templates * items // 2), instructions),
        unknown=np.zeros(count, dtype=np.int64),
        biased=np.full(count, 2),
        chosen=scores.argmax(axis=1),
        condition=np.repeat(
            np.tile(["ambiguous", "disambiguated"], templates * items // 2), instructions
        ),
        instruction=np.tile(np.arange(instructions), templates * items),
        template=np.repeat([f"t{i}" for i in range(templates)], items * instructions),
    )


def of(values: list[list[float]]) -> tuple[Rows, Mean]:
    """One row a template and instruction, and the mean of such values over them."""
    table = np.array(values)
    rows = crossed_rows(len(values), len(values[0]), items=2).take(
        np.flatnonzero(np.tile(np.repeat([True, False], table.shape[1]), len(values)))
    )
    assert len(rows) == table.size
    return rows, Mean(lambda _: (table.ravel(), np.ones(table.size, bool)), (-math.inf, math.inf))
