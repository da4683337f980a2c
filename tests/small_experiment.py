"""A small experiment on a tiny model."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from families import tiny
from snipbias.experiment.outcome import Experiment, Outcome
from snipbias.experiment.run import reproduce
from snipbias.experiment.settings import ORIGINAL, Settings, preset
from snipbias.tasks.items import Task
from toys import task

TOY = task(10)
TOY2 = Task("toy:two", task(9).items, task(9).instructions)
KEPT = Task("kept", task(6).items, ("say it.",))
SETTINGS = preset(
    "v2",
    methods=(
        *(ORIGINAL, "v2", "v1", "gap", "v2 no weight", "random", "layer-matched random"),
        *("steering", "CC", "offset", "always unknown"),
    ),
    control_rows=False,
    elsewhere=2,
    samples=4,
    trials=2,
    draws=2,
    sizes=(3, 20),
    refine=1,
    layers=2,
    strengths=(1.0, 4.0),
    texts=2,
    sample_sizes=(2,),
    retention_items=4,
)
SMALL = replace(
    SETTINGS,
    methods=(ORIGINAL, "v2", "random", "steering", "CC", "offset"),
    trials=1,
    draws=1,
    layers=1,
    strengths=(1.0,),
    transfer=False,
    sample_sizes=(),
    prompts=(),
    texts=1,
    refine=0,
)


def run(settings: Settings, folder: Path | None = None, tasks=(TOY,), **options) -> Experiment:
    return reproduce(
        tiny("flan-t5"), list(tasks), settings, retention=[KEPT], folder=folder, **options
    )


def places(outcomes: tuple[Outcome, ...], task_name: str, method: str) -> list[Outcome]:
    return [o for o in outcomes if (o.task, o.method) == (task_name, method)]
