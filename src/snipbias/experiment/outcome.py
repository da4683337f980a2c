"""The result of an experiment: one outcome per method, task and trial."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import pyarrow as pa

from snipbias.base.files import slug
from snipbias.base.words import ORIGINAL
from snipbias.edits.edit import NeuronEdit
from snipbias.edits.provenance import ModelId
from snipbias.evaluation.evaluate import rows_of
from snipbias.evaluation.measured import Measured, measured
from snipbias.evaluation.neutral_text import TextShift
from snipbias.evaluation.rows import Rows
from snipbias.evaluation.stats import holm
from snipbias.evaluation.summary import Trial
from snipbias.experiment.settings import Settings
from snipbias.models.sites import Site

PARTS = ("outcomes", "transfer", "sample_curve", "prompts")  # in the order of the rows


@dataclass(frozen=True)
class Point:
    """One setting that was tried on the development part, with its accuracies there."""

    setting: Mapping[str, float]  # {"n": 30}, {"offset": 1.2}, {"layer": 3, "strength": 2.0} ...
    overall: float | None
    ambiguous: float | None  # None where no row of that kind is there
    disambiguated: float | None
    objective: float  # what was maximised; -inf where the setting is not allowed


@dataclass(frozen=True)
class Cost:
    """The cost of a method: to make it (finding, and choosing on dev) and to answer with it.

    What the method of another outcome has made is not counted.
    """

    seconds: float | None = field(compare=False)  # None where only what never differs was kept
    forward: int  # prompts read to make it; a token that the model writes counts as one
    backward: int  # objectives differentiated to make it, a prompt each
    trained: int  # numbers that were trained
    answering: int  # prompts read on the test part


@dataclass(frozen=True)
class Outcome:
    """The rows and figures of one method on one task.

    `found_on`, `samples` and `prompt` are set outside the main tables alone. Tables are empty, and
    figures None, where nothing was measured.
    """

    method: str
    task: str  # that it is evaluated on
    trial: int | None  # which draw of items it was found on; None where it depends on none
    draw: int  # of a random control; 0 for everything else
    test: pa.Table  # rows on the test part, as `Evaluation` has them, under the method's name
    dev: pa.Table | None = None  # on the development part at the chosen setting
    chosen: Mapping[str, float] = field(default_factory=dict)  # empty also where no edit is best
    curve: tuple[Point, ...] = ()  # everything tried on the development part
    edit: NeuronEdit | None = None  # None for methods that prune nothing, or where no edit is best
    text: TextShift | None = None  # on neutral text
    chat: TextShift | None = None  # on the original's own answers to requests
    retention: Mapping[str, pa.Table] = field(default_factory=dict)  # tasks not to get worse
    elsewhere: Mapping[str, pa.Table] = field(default_factory=dict)  # those of `tasks.elsewhere`
    found_on: str | None = None  # another task that the edit was found on (transfer)
    samples: int | None = None  # another number of items that it was found on (sample curve)
    prompt: str | None = None  # another template that its rows were asked in
    trained: int = 0  # how many numbers were trained for it
    cost: Cost | None = None  # None where it was not noted

    @cached_property
    def rows(self) -> Rows:
        """Its rows on the test part, for the metrics."""
        return rows_of(self.test)

    def renamed(self, method: str) -> Outcome:
        """The same under another method's name: nothing is computed twice."""
        return replace(
            self,
            method=method,
            test=named(self.test, method),
            dev=None if self.dev is None else named(self.dev, method),
            retention={task: named(rows, method) for task, rows in self.retention.items()},
            elsewhere={part: named(rows, method) for part, rows in self.elsewhere.items()},
        )

    @property
    def part(self) -> str:
        """The part of the experiment that its labels say it belongs to: a field of `Experiment`."""
        labels = {"transfer": self.found_on, "sample_curve": self.samples, "prompts": self.prompt}
        return next((part for part, label in labels.items() if label is not None), "outcomes")

    @property
    def edit_place(self) -> Path:
        """Where its edit is kept in the experiment's folder."""
        draw = f"-draw{self.draw}" if self.draw else ""
        place = Path("edits", slug(self.found_on or self.task), f"trial{self.trial}")
        return place / (slug(self.method) + draw)

    @property
    def size(self) -> int:
        """Neurons scaled; those held at their mean are no edit, but as many as were chosen."""
        return len(self.edit) if self.edit else int(self.chosen.get("n", 0))


def named(table: pa.Table, method: str) -> pa.Table:
    """The rows under another method's name."""
    names = pa.array([method] * len(table), pa.string())
    return table.set_column(table.column_names.index("method"), "method", names)


def in_parts(outcomes: Iterable[Outcome]) -> dict[str, tuple[Outcome, ...]]:
    """Outcomes by the part that they belong to: fields of `Experiment`."""
    every = tuple(outcomes)
    return {part: tuple(each for each in every if each.part == part) for part in PARTS}


@dataclass(frozen=True)
class TaskInfo:
    """A task of an experiment, as its tables name it.

    Items and templates are counted by part (find: the pool that items are drawn from), without the
    filler and mismatch rows.
    """

    name: str
    fingerprint: str
    instructions: tuple[str, ...]
    items: Mapping[str, int]
    templates: Mapping[str, int]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Experiment:
    """Everything that the tables and plots are made of."""

    settings: Settings
    model: ModelId
    sites: tuple[Site, ...]  # the model's, in order, for tables of where neurons sit
    tasks: tuple[TaskInfo, ...]
    outcomes: tuple[Outcome, ...]  # per task, every method in every trial (and draw)
    transfer: tuple[Outcome, ...] = ()  # the preset's method's edits on the other tasks
    sample_curve: tuple[Outcome, ...] = ()  # its edits found on other numbers of items
    prompts: tuple[Outcome, ...] = ()  # the original and its edits under other templates

    @cached_property
    def methods(self) -> tuple[str, ...]:
        """The methods that have outcomes, in the order of the settings; the original is first."""
        ran = dict.fromkeys(each.method for each in self.outcomes)
        ordered = dict.fromkeys((ORIGINAL, *self.settings.methods, *ran))
        return tuple(method for method in ordered if method in ran)

    @property
    def all(self) -> tuple[Outcome, ...]:
        """The outcomes of every part."""
        return tuple(outcome for part in PARTS for outcome in getattr(self, part))

    def of(self, task: str, method: str, **labels: str | int | None) -> tuple[Outcome, ...]:
        """The outcomes of a method on a task, by trial and draw.

        Args:
            task: name of the task that was answered.
            method: name of the method.
            labels: `found_on`, `samples` or `prompt` of outcomes outside the main tables.
        """
        main = dict.fromkeys(("found_on", "samples", "prompt"))
        wanted = {"task": task, "method": method, **main, **labels}.items()
        found = (o for o in self.all if all(getattr(o, name) == label for name, label in wanted))
        return tuple(sorted(found, key=lambda each: (each.trial or 0, each.draw)))

    def edits(self, task: str, method: str) -> tuple[NeuronEdit | None, ...]:
        """The edit of each trial (and draw); None where the original was best."""
        return tuple(each.edit for each in self.of(task, method))

    @cached_property
    def measured(self) -> dict[str, dict[str, Measured]]:
        """The figures of every method, by task."""
        figures = {}
        for task in (each.name for each in self.tasks):
            outcomes = {method: self.of(task, method) for method in self.methods}
            trials = {method: _trials(found) for method, found in outcomes.items() if found}
            figures[task] = measured(task, trials)
        return figures

    @property
    def every(self) -> list[Measured]:
        """The same, one after the other."""
        return [each for of_task in self.measured.values() for each in of_task.values()]

    @cached_property
    def p_holm(self) -> dict[tuple[str, str], float | None]:
        """The p-value of each change in accuracy, adjusted over all tasks and methods."""
        adjusted = holm([each.sign_flip("overall") for each in self.every])
        keys = ((each.task, each.method) for each in self.every)
        return dict(zip(keys, adjusted, strict=True))


def _trials(outcomes: Sequence[Outcome]) -> list[Trial]:
    """The answers of one method on one task; a method that prunes nothing has no sizes."""
    prunes = any(
        o.edit is not None or any("n" in point.setting for point in o.curve) for o in outcomes
    )
    return [
        Trial(
            each.rows,
            each.text,
            each.chat,
            retention={task: rows_of(rows) for task, rows in each.retention.items()},
            elsewhere={part: rows_of(rows) for part, rows in each.elsewhere.items()},
            dev=None if each.dev is None else rows_of(each.dev),
            trial=each.trial,
            size=each.size if prunes else None,
        )
        for each in outcomes
    ]
