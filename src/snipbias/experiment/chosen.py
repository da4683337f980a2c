"""An intervention at the setting that is best on the development part."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from functools import cache
from typing import Any

from snipbias.edits.edit import NeuronEdit
from snipbias.edits.interventions import Intervention
from snipbias.evaluation.evaluate import accuracy
from snipbias.experiment import choose
from snipbias.experiment.cell import (
    Bench,
    Make,
)
from snipbias.experiment.outcome import Outcome, Point

Setting = Mapping[str, float]


def chosen(
    bench: Bench,
    make: Callable[[Setting], Intervention],
    search: Callable[[Callable[[Setting], Point]], Iterable[Point]],
) -> Outcome:
    """The outcome of an intervention at the setting that is best on the development part."""
    before = accuracy(bench.original_dev.table)

    def dev_rows(setting: Setting) -> Any:
        return bench.rows(f"dev-{in_short(setting)}", bench.dev, lambda: make(setting))

    def measure(setting: Setting) -> Point:
        fall = _fall(bench, setting, lambda: make(setting))
        objective = choose.objective_of(bench.settings, before, fall)
        return choose.point(dict(setting), accuracy(dev_rows(setting)), objective)

    stored = bench.store.value(bench.key("curve"), lambda: list(map(asdict, search(measure))))
    curve = tuple(Point(**point) for point in stored)
    best = choose.best(curve, choose.floor_of(bench.settings, before))
    if best is None:
        return bench.unchanged(curve=curve)
    intervention = cache(lambda: make(best.setting))
    edit = intervention() if "n" in best.setting else None
    return bench.outcome(
        intervention,
        dev=dev_rows(best.setting),
        chosen=best.setting,
        curve=curve,
        edit=edit if isinstance(edit, NeuronEdit) else None,
    )


def _fall(bench: Bench, setting: Setting, make: Make) -> float:
    """The largest loss of accuracy on a retention task; only no-harm asks for it."""
    if bench.settings.objective != "no-harm":
        return 0.0
    now = bench.held(make, dev=f"-{in_short(setting)}")
    before = bench.unedited.held(dev="-dev")
    changes = (
        (accuracy(before[name]).overall or 0.0) - (accuracy(now[name]).overall or 0.0)
        for name in now
    )
    return max(changes, default=0.0)


def in_short(setting: Setting) -> str:
    """A setting as part of a file's name: as many digits as tell it from any other."""
    return "-".join(f"{name}{value:.15g}" for name, value in setting.items())
