"""Random draws that do not depend on the order of the rows, balanced on request."""

from __future__ import annotations

import hashlib
import random
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from typing import Generic, TypeVar

T = TypeVar("T")
Levels = tuple[Hashable, ...]


def draw(pool: Iterable[T], n: int | None, seed: int) -> tuple[T, ...]:
    """Draw elements without replacement, whatever the order of the pool.

    Args:
        pool: elements with different `repr`.
        n: how many, at most the pool's size; None for all, shuffled.
        seed: seed of the draw.
    """
    ordered = sorted(pool, key=repr)
    return tuple(random.Random(seed).sample(ordered, len(ordered) if n is None else n))


def seed_of(seed: int, name: str) -> int:
    """A seed per name, so that pools of equal length do not give the same places."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{name}".encode()).digest()[:8], "big")


def balanced(
    strata: Mapping[str, Iterable[T]], factors: Callable[[T], tuple[Levels, Levels]], seed: int
) -> Iterator[T]:
    """Yield all units, one from each stratum in turn, so that every prefix is balanced.

    The next unit is the one that brings the counts of its levels closest to what the stratum's own
    shares predict, within the stratum and over everything drawn so far (minimisation, with the
    strata's shares as targets). Ties are broken at random.

    Args:
        strata: name -> units (template -> questions).
        factors: a unit's levels, one per factor: those to balance first, and those to balance
            among units that agree on the first.
        seed: seed of the draw.

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
    """The undrawn units of one stratum, in random order, by their first levels."""

    def __init__(
        self,
        units: Sequence[T],
        factors: Callable[[T], tuple[Levels, Levels]],
        overall: Counter[Hashable],
    ) -> None:
        self.left: defaultdict[Levels, list[tuple[Levels, T]]] = defaultdict(list)
        seen: Counter[Hashable] = Counter()
        for unit in units:
            first, second = (
                tuple((tier, factor, level) for factor, level in enumerate(levels))
                for tier, levels in enumerate(factors(unit))
            )
            self.left[first].append((second, unit))
            seen.update(first + second)
        self.shares = {level: count / len(units) for level, count in seen.items()}
        # How often each level was drawn beyond its share, in this stratum and in all.
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
        # A stratum counts twice, or it would be sacrificed for the balance of the whole.
        here, overall = self.excess
        return sum(2 * here[level] + overall[level] for level in levels)
