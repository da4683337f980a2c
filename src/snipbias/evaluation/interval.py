"""An interval, and the one rule that says whether it settles a question.

A bootstrap knows only the templates it was given. If none of eleven templates lost anything, every
draw says "no loss", although one template in four may lose. So there is a second bound, for
which clusters (templates, passages, samples) alone count as independent:

    P(sum_i W_i x_i > mu) >= 1 - alpha,    W ~ Dirichlet(1, ..., 1),

where x holds the clusters' means and, besides them, one cluster that was not seen and is as bad as
can be. For values of 0 and 1 this is the bound of Clopper and Pearson. Whatever has to be shown is
shown only if both bounds show it.

Source: Gaffke (2005), "Three test statistics for a nonparametric one-sided hypothesis on the mean
of a nonnegative variable"; no counterexample to its level is known.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from jaxtyping import Float

from snipbias.base.table import percent
from snipbias.base.words import fixed, plural, signed

Answer = Literal["yes", "no", "not shown"]
Ends = tuple[float, float]
DRAWS = 10_000
# With fewer clusters no p-value by sign flip, at least 2 / 2^G, is below .05. Where fewer of them
# differ from the rest, the bootstrap is too short as well.
FEWEST_TEMPLATES = 6


@dataclass(frozen=True)
class Interval:
    """A figure or a difference of two, and where it may be.

    Attributes:
        templates: number of clusters that were drawn.
        instructions: number of instructions.
        resampled_instructions: whether the instructions were drawn as well, so that the interval
            speaks of other wordings too; else it speaks of just these.
        exact: the bounds that hold for clusters of any kind; None where there are none.
        ends: the least and the greatest value that a cluster can have.
        unit: what a cluster is.
    """

    estimate: float
    low: float
    high: float
    level: float
    templates: int
    instructions: int
    resampled_instructions: bool
    exact: Ends | None = None
    ends: Ends | None = None
    unit: str = "template"

    @classmethod
    def from_dict(cls, found: Mapping[str, Any]) -> Interval:
        """Rebuild the record from its JSON form, which has lists for pairs."""
        pairs = {name: tuple(value) for name, value in found.items() if isinstance(value, list)}
        return cls(**{**found, **pairs})

    def __str__(self) -> str:
        return f"{self.estimate:.3g} [{self.low:.3g}, {self.high:.3g}]"

    @property
    def percent(self) -> str:
        """A share in percent: "65.6 [60.1, 71.0]"."""
        return self._shown(fixed)

    @property
    def points(self) -> str:
        """A difference of shares in percent points: "-0.4 [-1.9, +1.0]"."""
        return self._shown(signed)

    def _shown(self, form: Callable[[float, int], str]) -> str:
        estimate, low, high = (form(100 * v, 1) for v in (self.estimate, self.low, self.high))
        return f"{estimate} [{low}, {high}]"

    @property
    def guarded(self) -> Interval:
        """The smallest interval that contains both this one and the exact bounds."""
        if self.exact is None:
            return self
        low, high = self.exact
        return replace(self, low=min(self.low, low), high=max(self.high, high))

    def with_exact(
        self,
        means: Float[np.ndarray, " clusters"],
        sizes: Float[np.ndarray, " clusters"],
        ends: Ends,
        degree: int = 1,
    ) -> Interval:
        """Add exact bounds, and widen to them if few clusters differ from 0, an end or the mean.

        Args:
            means, sizes: the figure and the number of rows of each cluster that has rows.
            ends: least and largest value that a cluster can have.
            degree: 2 for a mean over pairs of rows: an unseen cluster spoils those with others too.
        """
        if not np.isfinite(ends).all():
            return self
        pairs, times = np.unique(np.stack([means, sizes]), axis=1, return_counts=True)
        rng = np.random.default_rng(0)
        sums, weights = np.empty(DRAWS), np.empty(DRAWS)
        for part in np.array_split(np.arange(DRAWS), math.ceil(len(times) / 50)):
            drawn = rng.dirichlet(times, size=len(part)) * pairs[1]
            sums[part], weights[part] = drawn @ pairs[0], drawn.sum(axis=1)
        # The unseen cluster is as large as the largest. Its weight is Beta(1, n) whatever the
        # others' are: evenly spaced quantiles of it.
        seen = ((np.arange(DRAWS) + 0.5) / DRAWS) ** (1 / len(means))
        known = seen * weights
        share = (known / (known + (1 - seen) * sizes.max())) ** degree
        # A mean over pairs moves with the clusters of both rows: twice as far as the mean of one.
        of_seen = degree * (sums / weights) - (degree - 1) * self.estimate
        low, high = (np.clip(share * of_seen + (1 - share) * end, *ends) for end in ends)
        tail = (1 - self.level) / 2
        exact = float(np.quantile(low, tail)), float(np.quantile(high, 1 - tail))
        found = replace(self, exact=exact, ends=ends, templates=len(means))
        differ = min((abs(means - same) > 1e-9).sum() for same in (*ends, 0.0, self.estimate))
        few = differ < min(FEWEST_TEMPLATES, len(means) / 2)
        return found.guarded if few else found


def bracketed(interval: Interval | None, *, sign: bool = False) -> str:
    """The bounds of a share in percent; a dash where there are none."""
    if interval is None:
        return "-"
    return f"[{percent(interval.low, sign=sign)}, {percent(interval.high, sign=sign)}]"


def above(interval: Interval | None, bound: float) -> Answer:
    """Whether a figure is above a bound; with fewer than six clusters, by the exact bounds."""
    if interval is None or (interval.exact is None and interval.templates < FEWEST_TEMPLATES):
        return "not shown"
    sure = interval.guarded if interval.templates < FEWEST_TEMPLATES else interval
    return "yes" if sure.low > bound else "no" if sure.high < bound else "not shown"


def below(interval: Interval | None, bound: float) -> Answer:
    """Whether a figure is below a bound; see `above`."""
    answers: dict[Answer, Answer] = {"yes": "no", "no": "yes", "not shown": "not shown"}
    return answers[above(interval, bound)]


def not_worse(change: Interval | None, margin: float) -> Answer:
    """Whether a difference from the original is no loss of more than the margin: the exact bounds
    must say so as well, since what was not seen may be worse than what was.
    """
    return above(change.guarded, -margin) if change and change.exact else "not shown"


def not_raised(interval: Interval | None, bound: float) -> Answer:
    """Whether a figure that should not rise stays below a bound, as `not_worse`."""
    return below(interval.guarded, bound) if interval and interval.exact else "not shown"


def non_inferior(change: Interval | None, margin: float) -> bool:
    """Whether `not_worse` answers yes."""
    return not_worse(change, margin) == "yes"


def non_inferiority(change: Interval | None, margin: float) -> str:
    """What `not_worse` answers of a difference in accuracy, in words."""
    worse, enough = f"worse by more than {100 * margin:.1f} points", would_do(change, -margin)
    return in_words(worse, not_worse(change, margin), change and change.guarded.points, enough)


def in_words(worse: str, answer: Answer, shown: str | None, enough: str = "") -> str:
    """Whether something got worse, in words.

    Args:
        worse: the sentence to be denied, such as "raised by more than 5 %".
        answer: whether it is denied.
        shown: the interval; None if there is none.
        enough: what `would_do` says.
    """
    verb = {"yes": "not ", "no": "", "not shown": "may be "}[answer]
    lacking = f"; {enough}" if enough and answer == "not shown" else ""
    return f"{verb}{worse}: {shown or 'no interval can be given'}{lacking}"


def would_do(interval: Interval | None, bound: float, *, exact: bool = True) -> str:
    """How many clusters like these would show on which side of a bound a figure lies.

    In words; empty if no number would be enough. The figure's distance c to the bound must exceed
    a / sqrt(n) + b / n: a from the width of the interval, b from the unseen cluster, which weighs
    about -log(alpha) / n, if the exact bounds are asked for.

    Args:
        interval: the figure with its interval, if it has one.
        bound: the bound.
        exact: whether the exact bounds must be on one side too.
    """
    if interval is None:
        return ""
    exact = exact or interval == interval.guarded  # as where few clusters differ
    side = 0 if interval.estimate > bound else 1
    distance = abs(interval.estimate - bound)
    sure, size = interval.guarded if exact else interval, math.sqrt(interval.templates)
    b = 0.0
    if exact and interval.ends is not None:
        b = -math.log((1 - interval.level) / 2) * abs(interval.estimate - interval.ends[side])
    width = abs(interval.estimate - (sure.low, sure.high)[side])
    a = max(0.0, width - b / size**2) * size
    number = ((a + math.sqrt(a**2 + 4 * b * distance)) / (2 * distance)) ** 2 if distance else 0.0
    if not 0 < number < 1e6:
        return ""
    step = 10 ** max(0, math.floor(math.log10(number)) - 1)
    rounded = max(math.ceil(number / step) * step, interval.templates + 1)
    return (
        f"too few {interval.unit}s to judge ({interval.templates}), "
        f"about {plural(rounded, interval.unit)} like these would be enough"
    )
