"""Rows with as many templates, items and instructions as asked for, and answers at random."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from snipbias.evaluation.bootstrap import Draws
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


def taken(draws: Draws, rows: Rows, draw: int) -> Rows:
    """The rows of one draw; a template drawn twice is two templates, instructions likewise."""
    often = draws.templates[draw].astype(int)[draws.template]
    again = draws.instructions[draw].astype(int)[draws.instruction]
    times = often * again
    index = np.repeat(np.arange(len(rows)), times)
    copy = np.arange(len(index)) - np.repeat(np.cumsum(times) - times, times)
    instruction = draws.instruction[index] + copy % again[index] * draws.instructions.shape[1]
    template = draws.template[index] + copy // again[index] * draws.templates.shape[1]
    return replace(rows.take(index), template=template.astype(str), instruction=instruction)


@dataclass(frozen=True)
class Slow:
    """A plain function of rows as a metric: it is computed from the rows of every draw."""

    figure: Callable[[Rows], float | None]
    bounds: tuple[float, float] = (-math.inf, math.inf)
    degree = 1

    def __call__(self, rows: Rows) -> float | None:
        return self.figure(rows)

    def values(self, rows: Rows) -> tuple[np.ndarray, np.ndarray]:
        """What a figure that can be anything has in a row is not asked for."""
        return np.zeros(len(rows)), np.ones(len(rows))

    def over(self, rows: Rows, draws: Draws) -> np.ndarray:
        every = (self.figure(taken(draws, rows, draw)) for draw in range(len(draws.templates)))
        return np.array([np.nan if value is None else value for value in every])
