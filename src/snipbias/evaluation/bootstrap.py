"""Cluster bootstrap of rows that are crossed: templates one way, instructions the other.

Rows of one template are siblings, and so are rows of one instruction. A draw takes templates with
replacement and, independently, instructions with replacement; a row counts as often as its template
times as often as its instruction (pigeonhole bootstrap, Owen 2007). These draws are too wide, since
they count the noise of a cell three times, and too narrow where clusters are few. So the two
percentiles are stretched about the estimate to the width of the two-way variance

    V = V(templates) + V(instructions) - V(cells)

and of Student's t with Satterthwaite's degrees of freedom. The first two terms are jackknifed; the
third follows from them and from the variance of the draws. With one way only, this is the expanded
percentile interval of Hesterberg (2015), on the scale of the figure.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Float, Int, Shaped
from scipy.special import ndtri, stdtrit  # scipy.stats has both too, and takes long to load

from snipbias.evaluation.interval import Interval

# So few instructions say too little about others: they are taken as the ones that matter.
FIXED_INSTRUCTIONS = 5


@dataclass(frozen=True, eq=False)
class Draws:
    """How often each draw has each template and each instruction.

    Draw 0 is the rows as they are; then come the resamples, then the rows without one template
    each, then (where instructions are drawn too) without one instruction each.

    Attributes:
        template, instruction: number of each row's, from 0.
        templates, instructions: how often each draw has each.
        resamples: how many draws are resamples.
        crossed: whether instructions are drawn, rather than taken as fixed.
    """

    template: Int[np.ndarray, " rows"]
    instruction: Int[np.ndarray, " rows"]
    templates: Float[np.ndarray, "draws templates"]
    instructions: Float[np.ndarray, "draws instructions"]
    resamples: int
    crossed: bool

    @classmethod
    def of(
        cls,
        template: Shaped[np.ndarray, " rows"],
        instruction: Shaped[np.ndarray, " rows"],
        *,
        resamples: int = 2000,
        seed: int = 0,
    ) -> Draws:
        """Draw templates, and instructions if there are enough of them.

        Args:
            template, instruction: of each row.
            resamples: number of draws with replacement.
            seed: one seed gives the same draws.
        """
        names, template = np.unique(template, return_inverse=True)
        wordings, instruction = np.unique(instruction, return_inverse=True)
        crossed = len(wordings) >= FIXED_INSTRUCTIONS
        counts = _counts(len(names), len(wordings), crossed, resamples, seed)
        return cls(template, instruction, *counts, resamples, crossed)

    def cells(
        self, values: Shaped[np.ndarray, " rows"]
    ) -> Float[np.ndarray, "templates instructions"]:
        """Sum of the values of each template under each instruction."""
        shape = (self.templates.shape[1], self.instructions.shape[1])
        cell = self.template * shape[1] + self.instruction
        return np.bincount(cell, weights=values, minlength=shape[0] * shape[1]).reshape(shape)

    def totals(
        self, cells: Float[np.ndarray, "templates instructions"]
    ) -> Float[np.ndarray, " draws"]:
        """Sum over the rows of each draw."""
        return ((self.templates @ cells) * self.instructions).sum(axis=1)

    def interval(
        self,
        figures: Float[np.ndarray, " draws"],
        level: float = 0.95,
        *,
        bounds: tuple[float, float] = (-np.inf, np.inf),
    ) -> Interval | None:
        """The interval of a figure, of which each draw's value is given (NaN: undefined).

        None with fewer than two templates, or where a single template or instruction decides
        whether the figure is defined at all.

        Args:
            figures: the values; the first is that of the rows as they are.
            level: confidence level.
            bounds: least and largest possible value, where the interval is cut off.
        """
        sizes = (self.templates.shape[1], self.instructions.shape[1])
        estimate, drawn = float(figures[0]), figures[1 : 1 + self.resamples]
        without = np.split(figures[1 + self.resamples :], [sizes[0]])
        if sizes[0] < 2 or not np.isfinite([estimate, *without[0], *without[1]]).all():
            return None
        drawn = drawn[np.isfinite(drawn)]
        ends = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])
        # The jackknife: the variance of a figure from its values without one cluster each.
        ways = [(len(w), float(w.var() * (len(w) - 1))) for w in without if len(w)]
        stretch = _stretch(float(drawn.var(ddof=1)), ways, level)
        low, high = np.clip(estimate + stretch * (ends - estimate), *bounds)
        return Interval(estimate, float(low), float(high), level, *sizes, self.crossed)


@lru_cache(maxsize=16)
def _counts(
    templates: int, instructions: int, crossed: bool, resamples: int, seed: int
) -> tuple[Float[np.ndarray, "draws templates"], Float[np.ndarray, "draws instructions"]]:
    rng = np.random.default_rng(seed)
    drawn = rng.multinomial(templates, np.ones(templates) / templates, size=resamples)
    of_templates = np.vstack([np.ones(templates), drawn, 1 - np.eye(templates)])
    of_instructions = np.ones((len(of_templates), instructions))
    if crossed:
        shares = np.ones(instructions) / instructions
        of_instructions[1 : 1 + resamples] = rng.multinomial(instructions, shares, size=resamples)
        of_templates = np.vstack([of_templates, np.ones((instructions, templates))])
        of_instructions = np.vstack([of_instructions, 1 - np.eye(instructions)])
    return of_templates, of_instructions


def _stretch(drawn: float, ways: list[tuple[int, float]], level: float) -> float:
    """The factor by which to widen or narrow the draws' percentiles about the estimate.

    Args:
        drawn: variance of the draws.
        ways: number of clusters and jackknifed variance, for templates and for instructions.
    """
    sum_of_ways = sum(variance for _, variance in ways)
    if drawn <= 0 or sum_of_ways <= 0:
        return 1.0
    variance = sum_of_ways
    if len(ways) == 2:
        (_, first), (_, second) = ways
        shrink, other = (1 - 1 / clusters for clusters, _ in ways)
        cells = (drawn - shrink * first - other * second) / (shrink * other)
        # An estimate of the third term may be off by more than there is: never below either way.
        variance = min(max(sum_of_ways - cells, first, second), sum_of_ways)
    freedom = sum_of_ways**2 / sum(v**2 / (clusters - 1) for clusters, v in ways)
    quantile = stdtrit(freedom, (1 + level) / 2) / ndtri((1 + level) / 2)
    return float(quantile * np.sqrt(variance / drawn))
