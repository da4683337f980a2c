"""Choose a setting on the development part: the objective and the grid.

An objective is a number to maximise, made of accuracies. The smallest of equals is taken, and the
whole curve is kept, so that a reader sees what else would have been chosen.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from itertools import pairwise

import pyarrow as pa

from snipbias.edits.edit import NeuronEdit
from snipbias.edits.given import Intervention
from snipbias.evaluation.evaluate import accuracy
from snipbias.evaluation.metrics import ByCondition
from snipbias.experiment.cell import Cell
from snipbias.experiment.outcome import Outcome, Point
from snipbias.experiment.settings import Settings

Setting = Mapping[str, float]
Measure = Callable[[Setting], Point]
FORBIDDEN = -math.inf
# Shares are counts divided by counts: a margin of 0.02 must allow 0.90 where 0.92 was.
ROUNDING = 1e-9


def overall(accuracy: ByCondition) -> float:
    """Accuracy over all rows: the paper's."""
    return accuracy.overall or 0.0


def balanced(accuracy: ByCondition) -> float:
    """Harmonic mean of ambiguous and disambiguated accuracy; overall accuracy without conditions.

    Half the rows reward "unknown", so that overall accuracy may rise while one kind is given up;
    the harmonic mean is at most twice the lower of the two.
    """
    parts = (accuracy.ambiguous, accuracy.disambiguated)
    if parts[0] is None or parts[1] is None:
        return overall(accuracy)
    return 2 * parts[0] * parts[1] / (parts[0] + parts[1]) if all(parts) else 0.0


def objective(
    accuracy: ByCondition, settings: Settings, original: ByCondition, fall: float = 0.0
) -> float:
    """The number that is maximised.

    Under no-harm, it is ambiguous accuracy, and -inf where anything else falls by more than the
    margin.

    Args:
        accuracy: accuracy of a setting on the development part.
        original: the unedited model's accuracy on the same rows.
        fall: the largest loss of accuracy on a retention task.
    """
    if settings.objective != "no-harm":
        return balanced(accuracy) if settings.objective == "balanced" else overall(accuracy)
    before, now = original.disambiguated, accuracy.disambiguated
    if before is not None and now is not None:
        fall = max(fall, before - now)
    if fall > settings.margin + ROUNDING:
        return FORBIDDEN
    return overall(accuracy) if accuracy.ambiguous is None else accuracy.ambiguous


def floor_of(settings: Settings, original: ByCondition) -> float:
    """The objective that a setting must exceed: under no-harm, that of no edit at all."""
    if settings.objective != "no-harm":
        return FORBIDDEN
    return objective(original, settings, original)


def best(curve: Iterable[Point], floor: float = FORBIDDEN) -> Point | None:
    """The first of the points with the highest objective; None where none exceeds the floor."""
    allowed = [tried for tried in curve if tried.objective > floor]
    return max(allowed, key=lambda tried: tried.objective, default=None)


def refined(tried: Iterable[Setting], rounds: int, measure: Measure) -> tuple[Point, ...]:
    """The curve over numbers of neurons, refined around its best.

    Args:
        tried: settings that differ by `n`, the number of neurons, alone.
        rounds: rounds of refinement, each halfway (as ratios go) between the best number and its
            neighbours.
        measure: measures one setting.
    """
    settings = {int(setting["n"]): setting for setting in tried}
    curve = {n: measure(settings[n]) for n in sorted(settings)}
    for _ in range(rounds):
        numbers = sorted(curve)
        top = best(curve[n] for n in numbers)
        if top is None:
            break
        place = numbers.index(int(top.setting["n"]))
        near = numbers[max(0, place - 1) : place + 2]
        middles = (round(math.sqrt(low * high)) for low, high in pairwise(near))
        curve |= {n: measure({**top.setting, "n": n}) for n in middles if n not in curve}
    return tuple(curve[n] for n in sorted(curve))


@dataclass(frozen=True)
class Family:
    """Interventions that differ by a setting."""

    tried: Sequence[Setting]  # in the order in which ties are settled
    at: Callable[[Setting], Intervention]


def fitted(cell: Cell, fit: Callable[[Cell], Family]) -> Outcome:
    """The outcome of what is fitted on the trial's items, at the best of its settings."""
    family = cache(lambda: fit(cell))
    return chosen(cell, lambda s: family().at(s), lambda measure: map(measure, family().tried))


def chosen(
    cell: Cell,
    make: Callable[[Setting], Intervention],
    search: Callable[[Measure], Iterable[Point]],
) -> Outcome:
    """The outcome of an intervention at the setting that is best on the development part.

    Args:
        make: makes the intervention of a setting.
        search: measures settings with the function it is given, and returns the points.
    """
    before = accuracy(cell.original_dev.table)

    def dev_rows(setting: Setting) -> pa.Table:
        return cell.rows(f"dev-{in_short(setting)}", cell.dev, lambda: make(setting))

    def fall(setting: Setting) -> float:
        """The largest loss of accuracy on a retention task; only no-harm asks for it."""
        if cell.settings.objective != "no-harm":
            return 0.0
        now = cell.held(lambda: make(setting), dev=f"-{in_short(setting)}")
        was = cell.unedited.held(dev="-dev")
        return max(
            (overall(accuracy(was[name])) - overall(accuracy(now[name])) for name in now),
            default=0.0,
        )

    def measure(setting: Setting) -> Point:
        lost, now = fall(setting), accuracy(dev_rows(setting))
        goal = objective(now, cell.settings, before, lost)
        return Point(dict(setting), now.overall, now.ambiguous, now.disambiguated, goal)

    stored = cell.store.value(cell.key("curve"), lambda: list(map(asdict, search(measure))))
    curve = tuple(Point(**point) for point in stored)
    picked = best(curve, floor_of(cell.settings, before))
    if picked is None:
        return cell.unchanged(curve=curve)
    intervention = cache(lambda: make(picked.setting))
    edit = intervention() if "n" in picked.setting else None
    return cell.outcome(
        intervention,
        dev=dev_rows(picked.setting),
        chosen=picked.setting,
        curve=curve,
        edit=edit if isinstance(edit, NeuronEdit) else None,
        trained=getattr(intervention(), "parameters", 0),
    )


def in_short(setting: Setting) -> str:
    """A setting as part of a file's name: as many digits as tell it from any other."""
    return "-".join(f"{name}{value:.15g}" for name, value in setting.items())
