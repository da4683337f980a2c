"""A figure with its interval: the mean of a metric over trials, or how two methods differ in it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import mean
from typing import Any

from snipbias.base.words import signed
from snipbias.evaluation import stats
from snipbias.evaluation.measures import Metric
from snipbias.evaluation.rows import Rows


@dataclass(frozen=True)
class Estimate:
    """A figure, and its 95 % interval where there are templates enough for one."""

    value: float | None
    interval: stats.Interval | None = None

    @classmethod
    def from_dict(cls, found: Mapping[str, Any]) -> Estimate:
        """Rebuild the record from its JSON form."""
        interval = found["interval"]
        return cls(found["value"], interval and stats.Interval.from_dict(interval))

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


def estimate(metric: Metric, runs: Sequence[Rows], minus: Sequence[Rows] | None = None) -> Estimate:
    """Mean of the metric over trials with its interval, or its paired difference to another's.

    Args:
        metric: the figure.
        runs: rows of each trial.
        minus: the same rows as another method answers them; its figure is subtracted.
    """
    value = average(metric, runs)
    if minus is None:
        return Estimate(value, stats.interval(metric, runs))
    before = average(metric, minus)
    if value is None or before is None:
        return NOTHING
    return Estimate(value - before, stats.interval(metric, runs, minus))


def average(metric: Metric, runs: Sequence[Rows]) -> float | None:
    """Mean over trials; None where it is undefined in one of them."""
    return mean_of(metric(rows) for rows in runs)


def mean_of(values: Iterable[float | None]) -> float | None:
    """The mean; None where one is None or there are none."""
    known = list(values)
    return mean(v for v in known if v is not None) if known and None not in known else None


def points(estimate: Estimate) -> str:
    """A difference of shares in percent points with its interval; a dash where undefined."""
    return shown(estimate, lambda value: signed(100 * value, 1))


def shown(estimate: Estimate, form: Callable[[float], str]) -> str:
    """A figure with its interval in brackets; a dash where it is undefined."""
    if estimate.value is None:
        return "-"
    if estimate.low is None or estimate.high is None:
        return f"{form(estimate.value)} (no interval)"
    return f"{form(estimate.value)} [{form(estimate.low)}, {form(estimate.high)}]"
