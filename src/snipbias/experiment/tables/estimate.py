"""A figure with its interval: the mean of a metric over trials, or how two methods differ in it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from statistics import mean

from snipbias.evaluation import stats
from snipbias.evaluation.measures import Metric
from snipbias.evaluation.rows import Rows


@dataclass(frozen=True)
class Estimate:
    """A figure, and its 95 % interval where there are templates enough for one."""

    value: float | None
    interval: stats.Interval | None = None

    @property
    def low(self) -> float | None:
        """Lower bound of the interval."""
        return self.interval.low if self.interval else None

    @property
    def high(self) -> float | None:
        """Upper bound of the interval."""
        return self.interval.high if self.interval else None

    @property
    def guarded(self) -> Estimate:
        """With the interval that the exact bounds are in as well."""
        return replace(self, interval=self.interval and self.interval.guarded)


NOTHING = Estimate(None)


def estimate(metric: Metric, runs: Sequence[Rows]) -> Estimate:
    """Mean of the metric over trials, with its interval."""
    return Estimate(average(metric, runs), stats.interval(metric, runs))


def difference(metric: Metric, runs: Sequence[Rows], others: Sequence[Rows]) -> Estimate:
    """How much more `runs` have than `others`, paired row by row."""
    value, before = average(metric, runs), average(metric, others)
    if value is None or before is None:
        return NOTHING
    return Estimate(value - before, stats.difference(metric, runs, others))


def average(metric: Metric, runs: Sequence[Rows]) -> float | None:
    """Mean over trials; None where it is undefined in one of them."""
    return mean_of(metric(rows) for rows in runs)


def mean_of(values: Iterable[float | None]) -> float | None:
    """The mean; None where one is None or there are none."""
    known = list(values)
    return mean(v for v in known if v is not None) if known and None not in known else None
