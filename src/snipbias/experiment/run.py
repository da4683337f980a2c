"""The whole experiment: every method on every task, in every trial, resumable."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from snipbias.base.parallel import workers
from snipbias.edits.given import GivenModel, GivenTask
from snipbias.edits.provenance import ModelId
from snipbias.experiment.cell import Cell
from snipbias.experiment.outcome import TaskInfo, in_parts
from snipbias.experiment.plan import Plan, left_out
from snipbias.experiment.results import Results
from snipbias.experiment.settings import Settings, preset
from snipbias.experiment.store import Store
from snipbias.models.batching import BatchSize, Progress, Stage
from snipbias.tasks.unanswerable import is_control

NO_CONDITIONS = "no row is ambiguous or disambiguated: settings are chosen by overall accuracy"


def reproduce(
    lm: GivenModel,
    tasks: GivenTask | Sequence[GivenTask],
    settings: Settings | str | None = None,
    *,
    retention: Sequence[GivenTask] | None = None,
    folder: str | Path | None = None,
    overwrite: bool = False,
    write: Callable[[Results, Path], None] | None = None,
    batch_size: BatchSize = "auto",
    progress: Progress = lambda done: None,
    stage: Stage = lambda name, jobs: None,
) -> Results:
    """Run every method of the settings on every task, in every trial.

    Args:
        lm: a model, or a name that `sb.load` takes.
        tasks: one or more whole tasks, or what `sb.task` takes; they take the place of those in
            the settings.
        settings: or the name of a preset; `v1` if not given.
        retention: the tasks that must not get worse, if the names in the settings are not enough.
        folder: where finished work is kept, and resumed from; None keeps nothing.
        overwrite: replace another experiment in the folder, once this one is finished. The same
            experiment is resumed in any case.
        write: adds files to the folder that the experiment is kept in (its second argument),
            before it replaces another one.
        batch_size: prompts per pass (attributions take half as many), or `auto`. It changes no
            result.
        progress: called with 1 whenever a method is done on one task in one trial.
        stage: called once, with the number of these.

    Raises:
        SnipbiasError: the folder is in use, or holds another experiment or something else.
    """
    given = settings if isinstance(settings, Settings) else preset(settings or "v1")
    plan = Plan.of(lm, tasks, given, retention, batch_size)
    with Store.open(folder, plan.identity, overwrite=overwrite) as store:
        plan = plan.kept_in(store)
        jobs, done = plan.jobs, []
        stage("methods", len(jobs))
        for cell, do in jobs:
            outcome = do(cell)
            done.append(replace(outcome, cost=cell.cost(outcome.trained)))
            progress(1)
        found, model = tuple(map(_info, plan.grounds)), ModelId.of(plan.lm)
        results = Results(plan.settings, model, plan.lm.sites, found, **in_parts(done))
        if write is not None and store.folder is not None:
            workers().from_main(partial(write, results, store.folder))
    return results


def _info(ground: Cell) -> TaskInfo:
    task, notes = ground.task, [*ground.test.notes]
    if all(item.condition is None for item in task.items):
        notes.append(NO_CONDITIONS)
    if skipped := left_out(task, ground.settings):
        notes.append(f"{', '.join(skipped)} left out: too few ambiguous and disambiguated pairs")
    parts = {"find": task.find, "dev": ground.dev, "test": ground.test}
    own = {
        name: sum(not is_control(item.condition) for item in part.items)
        for name, part in parts.items()
    }
    return TaskInfo(
        name=task.name,
        fingerprint=task.fingerprint,
        instructions=task.instructions,
        items=own,
        templates={name: len(part.templates) for name, part in parts.items()},
        notes=tuple(notes),
    )
