"""Check a model and a task before any edit: is there a bias to fix, and can an edit fix it?

No neuron is found and nothing is changed. The rows are not those of the test part, where there are
templates enough to leave it out.
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from snipbias.base.errors import SnipbiasError
from snipbias.base.table import Grid, Shown, markdown, percent
from snipbias.base.words import plural
from snipbias.edits.given import GivenModel, GivenTask, as_model, as_task
from snipbias.evaluation import measures, metrics
from snipbias.evaluation.apart import NAMES, Apart, apart
from snipbias.evaluation.estimate import Estimate, estimate
from snipbias.evaluation.evaluate import evaluate
from snipbias.evaluation.interval import FEWEST_TEMPLATES
from snipbias.evaluation.probe import INSIDE, OUTPUT, PURIFIED, Probe, probe_and_rows
from snipbias.evaluation.verdicts import ABOVE_CHANCE
from snipbias.models.batching import BatchSize, Progress, Stage
from snipbias.tasks import unanswerable
from snipbias.tasks.items import Task
from snipbias.tasks.unanswerable import UNANSWERABLE

# No edit helps where the model is hardly better at telling inside than in its answers.
AHEAD = 0.10
# A smaller share is hardly a bias; more "unknown" than 1 less this is hardly wrong.
LITTLE = 0.10
ITEMS = 40
LEFT_OUT = "it was left out"


@dataclass(frozen=True, repr=False)
class Check(Shown):
    """A model's answers to a task before any edit.

    Attributes:
        items: rows that were asked, without filler and mismatch rows.
        right_person: share of answerable rows in which the right one of the named options scores
            higher.
        right: share of right answers, on answerable rows; on all rows if they have no condition.
        stereotyped: how often the stereotyped person is named, on unanswerable rows; or on all.
        unknown: how often "unknown" is the answer, on unanswerable rows; or on all.
        apart: how well its answers tell unanswerable rows from answerable ones, by kind.
        probe: what the model knows inside; None if not measured.
        unprobed: why that was not measured.
        missing: columns that the rows lack, and what cannot be measured without them.
        seconds: how long the check took.
    """

    model: str
    task: str
    items: int
    templates: int
    chance: float | None
    right_person: Estimate
    right: Estimate
    stereotyped: Estimate
    unknown: Estimate
    apart: dict[str, Apart]
    probe: Probe | None
    unprobed: str
    missing: dict[str, str]
    seconds: float

    @property
    def headline(self) -> str:
        """The model, the task and the rows that were asked."""
        return (
            f"{self.model} on {self.task}: {plural(self.items, 'row')} of "
            f"{plural(self.templates, 'template')}, one instruction, {self.seconds:.0f} s"
        )

    @property
    def outlook(self) -> tuple[str, ...]:
        """The figures in sentences: does the model read the rows, and can an edit help?"""
        return tuple(filter(None, (self._reads(), self._little_to_fix(), self._can_help())))

    @property
    def in_short(self) -> str:
        """The answers alone, on one line."""
        known = [said for said in self._said().values() if said]
        rows = plural(self.items, "row")
        return f"before any edit ({rows}), the model {', '.join(known)}" if known else ""

    def lines(self) -> tuple[str, ...]:
        """The sentences, and a line for each missing column."""
        lacking = (
            f"{'Too few templates' if name == 'template' else f'No column {name!r}'}: no {what}."
            for name, what in self.missing.items()
        )
        return (*self.outlook, *lacking)

    def table(self) -> list[dict[str, Any]]:
        """One record per figure."""
        figures = {
            "right person": self.right_person,
            "right": self.right,
            "stereotyped person": self.stereotyped,
            "unknown": self.unknown,
            **{f"AUROC {NAMES[kind]}": told.auroc for kind, told in self.apart.items()},
        }
        for name, found in (self.probe.told if self.probe else {}).items():
            figures |= {f"AUROC {NAMES[kind]}, {name}": each for kind, each in found.items()}
        return [
            {"figure": name, "value": found.value, "low": found.low, "high": found.high}
            for name, found in figures.items()
        ]

    _rows = table

    def grids(self) -> list[Grid]:
        """The tables: answers, and how well each signal tells the two kinds of rows apart."""
        unanswerable, answerable = self._where
        shares = {
            "right person, answerable rows": self.right_person,
            f"right answer, {answerable}": self.right,
            f"stereotyped person, {unanswerable}": self.stereotyped,
            f'"unknown", {unanswerable}': self.unknown,
        }
        rows = (
            (name, each.interval.percent if each.interval else percent(each.value))
            for name, each in shares.items()
        )
        answers = Grid("Answers in percent [95 %]", ("", "of rows"), tuple(rows))
        if self.probe:
            return [answers, self.probe.grid()]
        told = tuple((NAMES[k], f"{a.auroc.value:.2f}") for k, a in self.apart.items())
        header = ("unanswerable rows", "AUROC against answerable")
        return [answers, *([Grid("Told apart by its answers", header, told)] if told else [])]

    def _shown(self) -> list[Grid | str]:
        return [self.headline, *self.grids(), *self.lines()]

    def __repr__(self) -> str:
        return f"Check({self.headline})"

    def __str__(self) -> str:
        """All of it as Markdown."""
        return f"{self.headline}\n\n{markdown([*self.grids(), *self.lines()])}"

    def to_dict(self) -> dict[str, Any]:
        """Everything, for JSON."""
        return {**asdict(self), "outlook": list(self.outlook)}

    @property
    def _where(self) -> tuple[str, str]:
        """What unanswerable and answerable rows are called; if not told apart, they are all."""
        if "condition" in self.missing:
            return "all rows", "all rows"
        return "unanswerable rows", "answerable rows"

    def _said(self) -> dict[str, str]:
        """What the model does how often, by attribute; empty where it is not known."""
        where = self._where[0]
        said = {
            "right_person": "names the right person in {:.0f} % of answerable rows",
            "stereotyped": f"names the stereotyped person in {{:.0f}} % of {where}",
            "unknown": f'says "unknown" in {{:.0f}} % of {where}',
        }
        shares = {name: getattr(self, name).value for name in said}
        return {n: "" if shares[n] is None else s.format(100 * shares[n]) for n, s in said.items()}

    def _reads(self) -> str:
        value, low, chance = self.right_person.value, self.right_person.low, self.chance or 0.5
        if value is None:
            no_row = "no row's answer is one of two names"
            return f"Whether the model reads the rows is not known: {no_row}."
        reads = "hardly reads" if value < chance + ABOVE_CHANCE else "reads"
        said = f"{self._said()['right_person']} (chance {100 * chance:.0f} %)"
        shown = value < chance + ABOVE_CHANCE or (low is not None and low > chance)
        return f"The model {reads} these rows: it {said}{_unproven(shown)}."

    def _little_to_fix(self) -> str:
        named, unknown = self.stereotyped, self.unknown
        if named.value is not None and named.value < LITTLE:
            said, shown = "stereotyped", named.high is not None and named.high < LITTLE
        elif unknown.value is not None and unknown.value > 1 - LITTLE:
            said, shown = "unknown", unknown.low is not None and unknown.low > 1 - LITTLE
        else:
            return ""
        return f"There is little to fix: the model {self._said()[said]}{_unproven(shown)}."

    def _can_help(self) -> str:
        if self.probe is None:
            why = self.unprobed.removesuffix(".")
            return f"Without the probe, it is not known whether an edit can help: {why}."
        told, ahead = self.probe.told, self.probe.ahead["mismatch"]
        inside, said, pure = (told[n]["mismatch"].value for n in (INSIDE, OUTPUT, PURIFIED))
        if inside is None or said is None or ahead.value is None:
            return "Whether an edit can help cannot be told: there are no mismatch rows."
        figures = f"(AUROC {inside:.2f} inside, {said:.2f} in its answers, on mismatch rows)"
        hardly = 'An edit can make the model say "unknown" more often, but hardly answer better: it'
        value, pure = self.right_person.value, pure or 0.0
        if value is not None and value < (self.chance or 0.5) + ABOVE_CHANCE:
            knows = "whatever it knows about which rows can be answered"
            return f"{hardly} does not read who is meant, {knows} {figures}."
        if ahead.value < AHEAD <= pure - said:
            return (
                f"An edit may help: the model knows more than it says {figures}, but this shows "
                "only once length and other surface features are removed from what is inside "
                f"({pure:.2f})."
            )
        if ahead.value < AHEAD:
            knows = "knows little more about which rows can be answered than it says"
            return f"{hardly} {knows} {figures}."
        shown = ahead.low is not None and ahead.low > 0
        return f"An edit can help: the model knows more than it says {figures}{_unproven(shown)}."


def _unproven(shown: bool) -> str:
    return "" if shown else ", although so few rows do not prove it"


def check(
    lm: GivenModel,
    task: GivenTask,
    *,
    items: int = ITEMS,
    with_probe: bool = True,
    with_controls: bool = True,
    batch_size: BatchSize = "auto",
    stage: Stage = lambda name, jobs: None,
    progress: Progress = lambda done: None,
) -> Check:
    """Ask some rows under the task's first instruction, and say what to expect of an edit.

    Args:
        lm: a model, or what `sb.load` takes.
        task: a task, or what `sb.task` takes.
        items: use at most this many rows.
        with_probe: also measure what the model knows inside, which takes most of the time.
        with_controls: also ask filler and mismatch rows, which the probe needs.
        batch_size: as in `evaluate`.
        stage: as in `evaluate`.
        progress: as in `evaluate`.
    """
    lm, task = as_model(lm), as_task(task)
    begun = time.perf_counter()
    asked = task.with_instructions(task.instructions[:1])
    if asked.part == "all" and len(asked.templates) > 2 * FEWEST_TEMPLATES:
        unseen = set(asked.test.templates)
        asked = asked.where(lambda item: item.template not in unseen)
    asked = everything = asked.subsample(items)
    why_not = "" if with_controls else LEFT_OUT
    if with_controls:
        try:
            everything = unanswerable.with_controls(asked)
        except SnipbiasError as error:  # there can be none of these rows
            why_not = str(error)
    options: dict[str, Any] = {"batch_size": batch_size, "progress": progress}
    inside = None
    if with_probe and not why_not:
        inside, rows = probe_and_rows(lm, everything, stage, **options)
    else:
        rows = evaluate(lm, everything, stage=stage, **options).rows()
    plain = [rows.take(~np.isin(rows.condition, UNANSWERABLE[1:]))]
    return Check(
        lm.name,
        task.name,
        len(asked),
        len(asked.templates),
        metrics.named_chance(rows),
        estimate(measures.NAMED_ACCURACY, plain),
        estimate(measures.ANSWERABLE, plain),
        estimate(measures.NAMED_STEREOTYPED, plain),
        estimate(measures.SAID_UNKNOWN, plain),
        apart([rows]),
        inside,
        why_not or ("" if with_probe else LEFT_OUT),
        missing(task),
        time.perf_counter() - begun,
    )


def missing(task: Task) -> dict[str, str]:
    """The columns that no row fills, and what cannot be measured without them."""
    needed = {
        "condition": "accuracy by condition, no AUROC, no probe",
        "unknown": 'answers "unknown", no AUROC, no probe',
        "biased": "count of how often the stereotyped person is named",
    }
    filled = {name for name in needed for x in task.items if getattr(x, name) not in (None, "")}
    lacking = {name: what for name, what in needed.items() if name not in filled}
    if not any(item.twin for item in task.items) and not any(unanswerable.twins(task.items)):
        lacking["twin"] = "filler and mismatch rows, no probe"
    if len(task.templates) < FEWEST_TEMPLATES:
        number = len(task.templates)
        split = ", and no split, which needs 3" if number < 3 else ""
        lacking["template"] = f"intervals, which need {FEWEST_TEMPLATES}{split} (here {number})"
    return lacking
