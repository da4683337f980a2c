"""The jobs of an experiment, in order."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import permutations, product
from typing import Any

from snipbias.base.errors import SnipbiasError, require
from snipbias.base.files import refuse_alike, slug
from snipbias.base.machine import package_versions
from snipbias.base.words import ORIGINAL
from snipbias.edits.given import GivenModel, GivenTask, as_model, as_tasks
from snipbias.edits.provenance import ModelId
from snipbias.experiment.cell import Cell
from snipbias.experiment.methods import outcome_of, sizes_of
from snipbias.experiment.outcome import Outcome, named
from snipbias.experiment.settings import CONTROLS, LEARNED, ONCE, Settings
from snipbias.experiment.store import Store
from snipbias.method.recipes import is_recipe, recipe
from snipbias.models.batching import BatchSize
from snipbias.models.language_model import LanguageModel
from snipbias.tasks.items import Task
from snipbias.tasks.neutral_text import chat_prompts, passages, passages_to_protect
from snipbias.tasks.prompts import PromptTemplate, prompt_template
from snipbias.tasks.unanswerable import PAIRS, asked, with_controls

# One method at its place, and what makes its outcome there.
Job = tuple[Cell, Callable[[Cell], Outcome]]
# Versions that a resumed run must share with the run that was killed.
DECISIVE = ("snipbias", "torch", "transformers", "tokenizers", "numpy")


@dataclass(frozen=True)
class Plan:
    """An experiment before it is run."""

    settings: Settings
    grounds: tuple[Cell, ...]  # one for every task, with no method and no trial yet
    prompts: tuple[PromptTemplate, ...] = ()  # the settings' others, under names that differ

    @classmethod
    def of(
        cls,
        lm: GivenModel,
        tasks: GivenTask | Sequence[GivenTask],
        settings: Settings,
        retention: Sequence[GivenTask] | None = None,
        batch_size: BatchSize = "auto",
    ) -> Plan:
        """The plan, with every task read and split; results are kept in memory.

        Args:
            lm: a model, or what `sb.load` takes.
            tasks: tasks, or what `sb.task` takes.
            settings: settings; names of tasks in them are replaced.
            retention: retention tasks; by default those of the settings.
            batch_size: prompts per pass, or `auto`.

        Raises:
            SnipbiasError: a task has too few rows or templates, or there is none.
        """
        lm, whole = as_model(lm), as_tasks(tasks)
        kept = as_tasks(settings.retention if retention is None else retention)
        if not whole:
            raise SnipbiasError("there is no task to run: name at least one.")
        whole = tuple(t.with_instructions(t.instructions[: settings.instructions]) for t in whole)
        if (prompt := settings.prompt) is not None:
            whole, kept = (tuple(t.with_prompt(prompt) for t in part) for part in (whole, kept))
        prompts = tuple(map(prompt_template, settings.prompts))
        names = [prompt.name for prompt in prompts]
        refuse_alike(tuple(names))
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise SnipbiasError(
                f"two of the prompts are called {twice!r}: keep them in files of different names."
            )
        tasks, retention = (tuple(task.name for task in part) for part in (whole, kept))
        settings = replace(settings, tasks=tasks, retention=retention)
        refuse_alike(settings.tasks)
        refuse_alike(settings.retention)
        if {"LoRA", "(IA)3"} & {*settings.methods}:
            require("peft", "a fine-tune by LoRA or (IA)3 needs")
        for task in whole:
            _check_samples(task, settings)
        grounds = [
            Cell(
                lm=lm,
                settings=settings,
                task=task,
                dev=task.dev.subsample(settings.dev_items),
                test=_tested(lm, task, settings),
                retention=kept,
                store=Store(),
                samples=settings.samples,
                batch_size=batch_size,
            )
            for task in whole
        ]
        if not sizes_of(grounds[0]):
            raise SnipbiasError(
                f"{lm.name} has fewer than {min(settings.sizes)} neurons: give smaller sizes."
            )
        return cls(settings, tuple(grounds), prompts)

    def kept_in(self, store: Store) -> Plan:
        """The same plan with its results kept elsewhere, and what they cost."""
        store.passes = lambda: self.lm.passes
        return replace(self, grounds=tuple(replace(g, store=store) for g in self.grounds))

    @property
    def lm(self) -> LanguageModel:
        """The model that everything is done on."""
        return self.grounds[0].lm

    @property
    def identity(self) -> dict[str, Any]:
        """All that decides the results."""
        lm = self.lm
        tasks = [*(ground.task for ground in self.grounds), *self.grounds[0].retention]
        versions = package_versions()
        texts = "\n".join([*passages(), *passages_to_protect(), *chat_prompts()])
        return {
            "settings": self.settings.to_dict(),
            "model": {**asdict(ModelId.of(lm)), "dtype": str(lm.model.dtype), "chat": lm.chat},
            "data": {task.name: task.fingerprint for task in tasks},
            "prompts": [prompt.to_dict() for prompt in self.prompts],
            "text": hashlib.sha256(texts.encode()).hexdigest(),
            "versions": {name: versions[name] for name in DECISIVE if name in versions},
        }

    @property
    def jobs(self) -> list[Job]:
        """Everything to do, task by task: what is done when a run is killed is whole tasks."""
        jobs = [job for ground in self.grounds for job in _jobs(ground, self.prompts)]
        return [*jobs, *_transfer(self.grounds)] if self.settings.transfer else jobs


def _tested(lm: LanguageModel, task: Task, settings: Settings) -> Task:
    """The rows that results are reported on."""
    own = task.test.subsample(settings.items)
    if not settings.control_rows:
        return own
    rows, lacking = asked(own, lm.length)
    return replace(rows, notes=(*rows.notes, *lacking))


def _check_samples(task: Task, settings: Settings) -> None:
    """Refuse samples that cannot be drawn before any work is done."""
    asked = [
        *((m, settings.samples) for m in settings.methods if is_recipe(m)),
        *((settings.method, samples) for samples in settings.sample_sizes),
    ]
    skipped = left_out(task, settings)
    for method, samples in ((m, samples) for m, samples in asked if m not in skipped):
        try:
            task.sample(samples, balance=recipe(method).balance)
        except SnipbiasError as error:
            raise SnipbiasError(f"the method {method!r} cannot run: {error}") from None


def left_out(task: Task, settings: Settings) -> tuple[str, ...]:
    """Methods, other than the preset's own, that need rows of a kind the task does not have."""
    others = [name for name in settings.methods if name != settings.method]
    lacking = {n for n in others if is_recipe(n) and not task.balances(recipe(n).balance)}
    learned = {*others} & {*LEARNED}
    if learned and not _trainable(task):
        lacking |= learned
    return tuple(name for name in others if name in lacking)


def _trainable(task: Task) -> bool:
    """Whether there are rows to train on, and to decide when to stop."""
    try:
        return all(with_controls(part, pairs=PAIRS) for part in (task.find, task.dev))
    except SnipbiasError:
        return False


def _jobs(ground: Cell, prompts: Sequence[PromptTemplate]) -> Iterator[Job]:
    """One task's jobs: the tables, the sample curve, the other prompt templates."""
    settings, skipped = ground.settings, left_out(ground.task, ground.settings)
    for method in (name for name in settings.methods if name not in skipped):
        trials = [None] if method in ONCE else range(settings.trials)
        draws = range(settings.draws if method in CONTROLS else 1)
        for trial, draw in product(trials, draws):
            cell = replace(ground, method=method, trial=trial, draw=draw)
            yield cell, outcome_of
    trials = range(settings.trials)
    own = [replace(ground, method=settings.method, trial=trial) for trial in trials]
    for samples, cell in product(settings.sample_sizes, own):
        yield replace(cell, samples=samples), outcome_of
    # Under the task's own template, the rows are the experiment's own.
    for prompt in (each for each in prompts if each != ground.task.prompt):
        for cell in (replace(ground, method=ORIGINAL), *own):
            yield cell, partial(_under, prompt=prompt)


def _under(cell: Cell, prompt: PromptTemplate) -> Outcome:
    """The original, or the edit found under the task's own template, under another one."""
    edit = outcome_of(cell).edit
    place, make = (cell.unedited, None) if edit is None else (cell, lambda: edit)
    part = f"test-prompt-{slug(prompt.name)}"
    test = place.rows(part, cell.test.with_prompt(prompt), make)
    return cell.report(named(test, cell.method), edit=edit, prompt=prompt.name)


def _transfer(grounds: Sequence[Cell]) -> Iterator[Job]:
    """Each edit of the preset's method on every other task."""
    settings = grounds[0].settings
    for both, trial in product(permutations(grounds, 2), range(settings.trials)):
        source, cell = (replace(each, method=settings.method, trial=trial) for each in both)
        yield cell, partial(_transferred, source=source)


def _transferred(cell: Cell, source: Cell) -> Outcome:
    """The edit found on another task, on this task's test part."""
    other = source.task.name
    found = outcome_of(source)
    if (edit := found.edit) is None:
        return replace(cell.unchanged(), found_on=other)
    test = cell.rows(f"test-from-{slug(other)}", cell.test, lambda: edit)
    return cell.report(test, edit=edit, chosen=found.chosen, found_on=other)
