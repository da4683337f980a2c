"""Draws at random: the same whatever order the rows come in, and balanced where it is asked."""

from __future__ import annotations

import hashlib
import random
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from typing import Generic, TypeVar

T = TypeVar("T")
Levels = tuple[Hashable, ...]


def draw(pool: Iterable[T], n: int | None, seed: int) -> tuple[T, ...]:
    """`n` elements (None: all, shuffled), the same whatever order the pool comes in."""
    ordered = sorted(pool, key=repr)
    return tuple(random.Random(seed).sample(ordered, len(ordered) if n is None else n))


def seed_of(seed: int, name: str) -> int:
    """A seed of the name's own: pools of equal length must not give the same places."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{name}".encode()).digest()[:8], "big")


def balanced(
    strata: Mapping[str, Iterable[T]], factors: Callable[[T], tuple[Levels, Levels]], seed: int
) -> Iterator[T]:
    """All units, one of every stratum in turn, so that each beginning is balanced.

    Each unit is the one that brings the counts of its levels nearest to what the stratum's own
    shares of them let expect, within the stratum and over all drawn so far (minimisation, with the
    strata's shares as the targets); chance decides between equals.

    Args:
        strata: name to units (templates to questions).
        factors: a unit's levels, one per factor: those to balance first, and those to balance
            among units that are alike in the first.
        seed: of the draw.

    Source: Pocock and Simon 1975 (10.2307/2529712), for allocation to the arms of a trial.
    """
    overall: Counter[Hashable] = Counter()
    waiting = [
        _Stratum(draw(strata[name], None, seed_of(seed, name)), factors, overall)
        for name in draw(strata, None, seed)
    ]
    while waiting:
        for stratum in waiting:
            yield stratum.take()
        waiting = [stratum for stratum in waiting if stratum.left]


class _Stratum(Generic[T]):
    """The units of one stratum that are not drawn yet, in random order, by their first levels."""

    def __init__(
        self,
        units: Sequence[T],
        factors: Callable[[T], tuple[Levels, Levels]],
        overall: Counter[Hashable],
    ) -> None:
        self.left: defaultdict[Levels, list[tuple[Levels, T]]] = defaultdict(list)
        seen: Counter[Hashable] = Counter()
        for unit in units:
            first, second = (_numbered(k, levels) for k, levels in enumerate(factors(unit)))
            self.left[first].append((second, unit))
            seen.update(first + second)
        self.shares = {level: count / len(units) for level, count in seen.items()}
        # How often each level was drawn beyond its share, here and in all strata.
        self.excess: tuple[Counter[Hashable], ...] = (Counter(), overall)

    def take(self) -> T:
        for excess in self.excess:
            excess.subtract(self.shares)
        first = min(self.left, key=self._beyond)
        second, unit = min(self.left[first], key=lambda waiting: self._beyond(waiting[0]))
        self.left[first].remove((second, unit))
        if not self.left[first]:
            del self.left[first]
        for excess in self.excess:
            excess.update(first + second)
        return unit

    def _beyond(self, levels: Levels) -> float:
        # A stratum's few units count twice, or the whole would be balanced at their expense.
        here, overall = self.excess
        return sum(2 * here[level] + overall[level] for level in levels)


def _numbered(tier: int, levels: Levels) -> Levels:
    return tuple((tier, factor, level) for factor, level in enumerate(levels))
