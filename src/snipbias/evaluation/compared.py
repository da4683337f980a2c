"""A comparison as a record: the answers, every figure made of them, and its folder on disk."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from snipbias.base.words import ORIGINAL, held_out
from snipbias.evaluation.apart import (
    Apart,
    apart,
    gain_sentence,
    gained,
    knowledge_sentence,
)
from snipbias.evaluation.changes import (
    MARGIN,
    Change,
    Retained,
    accuracy_changes,
    retained,
    stereotyped_sentence,
)
from snipbias.evaluation.elsewhere import OWN, elsewhere_figures
from snipbias.evaluation.estimate import NOTHING, Estimate
from snipbias.evaluation.evaluate import Evaluation
from snipbias.evaluation.interval import Interval
from snipbias.evaluation.neutral_text import Passage, TextShift
from snipbias.evaluation.reading import Reading
from snipbias.evaluation.rows import Rows
from snipbias.evaluation.summary import Summary, plain
from snipbias.evaluation.verdicts import Evidence, Verdict, verdicts
from snipbias.tasks.items import Task

if TYPE_CHECKING:
    from typing_extensions import Self

SUMMARY, ROWS = "summary.json", "rows.parquet"
RETENTION, ELSEWHERE = "retention.parquet", "elsewhere.parquet"
TEXTS = {"text": "text.json", "chat": "chat.json"}


@dataclass(frozen=True)
class HeldOut:
    """The rows that methods were compared on.

    Attributes:
        part: of the task, "test" or "all".
        items, templates, instructions: how many there are.
        control_rows: filler and mismatch rows asked beside the items.
        prompt: the template that they were asked in, as `PromptTemplate.spec` has it.
    """

    name: str
    part: str
    items: int
    templates: int
    instructions: int
    fingerprint: str
    prompt: Any
    control_rows: int = 0

    @classmethod
    def of(cls, task: Task, control_rows: int = 0) -> HeldOut:
        """The record of a task."""
        counts = (len(task), len(task.templates), len(task.instructions))
        return cls(task.name, task.part, *counts, task.fingerprint, task.prompt.spec, control_rows)

    def __str__(self) -> str:
        beside = f", {self.control_rows} filler and mismatch rows" if self.control_rows else ""
        return held_out(self.items, self.templates, self.instructions) + beside


@dataclass(frozen=True)
class Compared:
    """Original, edits and controls on held-out rows. Every figure is computed from the rows.

    Attributes:
        task: the held-out rows it was made on.
        evaluation: rows, figures on neutral text and chat answers, rows of the retention tasks.
        neurons: number of neurons that each method scales.
        controls: which methods are controls.
        fingerprints: of the edits, by method.
        margin: how much of what should be kept may be lost; `changes.retained` says in what.
        inside: where it was measured, how well a probe inside the original tells each kind of
            unanswerable rows from answerable ones (AUROC).
    """

    task: HeldOut
    evaluation: Evaluation
    neurons: dict[str, int]
    controls: tuple[str, ...]
    fingerprints: dict[str, str]
    notes: tuple[str, ...] = ()
    margin: float = MARGIN
    inside: dict[str, Estimate] = field(default_factory=dict)

    @property
    def summaries(self) -> dict[str, Summary]:
        """Every figure of every method."""
        return self.evaluation.summaries

    @property
    def original(self) -> Summary:
        """The unedited model's figures."""
        return self.summaries[ORIGINAL]

    @property
    def edits(self) -> tuple[str, ...]:
        """The methods that are neither the original nor a control."""
        return tuple(m for m in self.neurons if m != ORIGINAL and m not in self.controls)

    @cached_property
    def changes(self) -> dict[str, dict[str, Change]]:
        """Every method's accuracy and its difference to the original's, with intervals."""
        return accuracy_changes(self.evaluation)

    @property
    def retention(self) -> dict[str, dict[str, float | None]]:
        """Accuracy of every method on each task that should stay as it was, by task."""
        return {
            task: {name: each.accuracy.overall for name, each in answers.summaries.items()}
            for task, answers in self.evaluation.retention.items()
        }

    def elsewhere(self, method: str) -> dict[str, list[Rows]]:
        """A method's rows on its own task and on the small ones beside it, by part."""
        others = self.evaluation.elsewhere
        if method in self.controls or not others:
            return {}
        own = {OWN: [self.evaluation.rows(method)]}
        return {**own, **{part: [answers.rows(method)] for part, answers in others.items()}}

    def retained(self, method: str) -> tuple[Retained, ...]:
        """Whether a method kept retention tasks and neutral text within the margin."""
        return retained(self.evaluation, method, self.margin)

    @cached_property
    def apart(self) -> dict[str, dict[str, Apart]]:
        """By method and kind: how unanswerable rows are told from answerable ones."""
        rows = self.evaluation.rows
        original = rows(ORIGINAL)
        return {m: apart([rows(m)], None if m == ORIGINAL else original) for m in self.summaries}

    def said(self, method: str) -> tuple[str, ...]:
        """An edit's effect in words: on the stereotype, whether it is a gain, what was known."""
        if method == ORIGINAL:
            return ()
        found = self.apart[method]
        sentences = (
            stereotyped_sentence(self.changes[method]),
            gain_sentence(found),
            knowledge_sentence(self.inside, self.apart[ORIGINAL], found),
        )
        return tuple(filter(None, sentences))

    def gain_over_offset(self, method: str, kind: str = "ambiguous") -> float | None:
        """How far a method lies outside the curve that a constant on 'unknown' reaches."""
        return self._gain(method, kind).value

    def gain_interval(self, method: str, kind: str = "ambiguous") -> Interval | None:
        """Where the same may be, by draws of templates and instructions."""
        return self._gain(method, kind).interval

    def _gain(self, method: str, kind: str) -> Estimate:
        found = self.apart[method].get(kind)
        return found.gain if found else NOTHING

    def verdicts(self, method: str) -> tuple[Verdict, ...]:
        """Faults of a method's model, shown or suspected."""
        return self._verdicts[method]

    @cached_property
    def _verdicts(self) -> dict[str, tuple[Verdict, ...]]:
        rows, text, chat = self.evaluation.rows, self.evaluation.text, self.evaluation.chat
        return {
            method: verdicts(
                summary,
                None if method == ORIGINAL else self.original,
                Evidence(
                    *(rows(method), rows(ORIGINAL)),
                    *(text.get(method), text.get(ORIGINAL), chat.get(method)),
                ),
            )
            for method, summary in self.summaries.items()
        }

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        task = asdict(self.task)
        return {
            "task": task.pop("name"),
            **task,
            "reading": asdict(self.evaluation.reading),
            "notes": list(self.notes),
            "margin": self.margin,
            "inside": plain(self.inside),
            "methods": {method: self._method(method) for method in self.summaries},
        }

    def _method(self, method: str) -> dict[str, Any]:
        return {
            "named_stereotyped": plain(self.summaries[method].named_stereotyped),
            "neurons": self.neurons[method],
            "control": method in self.controls,
            "fingerprint": self.fingerprints.get(method),
            "said": list(self.said(method)),
            "gain": gained(self.apart[method]),
            "apart": {kind: plain(each) for kind, each in self.apart[method].items()},
            "gain_over_offset": self.gain_over_offset(method),
            "gain_interval": plain(self.gain_interval(method)),
            "verdicts": [plain(verdict) for verdict in self.verdicts(method)],
            "elsewhere": plain(elsewhere_figures(self.elsewhere(method))),
            "retention": {task: each.get(method) for task, each in self.retention.items()},
            "retained": [plain(part) for part in self.retained(method)]
            if method != ORIGINAL
            else [],
            "changes": {part: plain(change) for part, change in self.changes[method].items()},
            **self.summaries[method].to_dict(),
        }

    def save(self, folder: str | Path) -> None:
        """Write rows as Parquet, every figure and the sums of every neutral passage as JSON."""
        folder = Path(folder)
        self.evaluation.save(folder / ROWS)
        _write(self.evaluation.retention, folder / RETENTION)
        _write(self.evaluation.elsewhere, folder / ELSEWHERE)
        for kind, file in TEXTS.items():
            if shifts := getattr(self.evaluation, kind):
                sums = {method: shift.passages for method, shift in shifts.items()}
                (folder / file).write_text(json.dumps(sums) + "\n", encoding="utf-8")
        summary = json.dumps(self.to_dict(), indent=1)
        (folder / SUMMARY).write_text(summary + "\n", encoding="utf-8")

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """Read a comparison that `save` wrote; its figures are computed anew from the rows.

        Raises:
            FileNotFoundError, KeyError, ValueError: a file is missing or damaged.
        """
        folder = Path(folder)
        found = json.loads((folder / SUMMARY).read_text(encoding="utf-8"))
        reading = Reading(**found["reading"])
        evaluation = Evaluation(pq.read_table(folder / ROWS), reading)
        for kind, file in TEXTS.items():
            if (folder / file).is_file():
                sums = json.loads((folder / file).read_text(encoding="utf-8"))
                shifts = {
                    method: TextShift.of([Passage(*passage) for passage in passages])
                    for method, passages in sums.items()
                }
                setattr(evaluation, kind, shifts)
        evaluation.retention = _read(folder / RETENTION)
        evaluation.elsewhere = _read(folder / ELSEWHERE)
        methods, fields = found["methods"], HeldOut.__dataclass_fields__
        return cls(
            HeldOut(**{"name": found["task"], **{n: found[n] for n in fields if n in found}}),
            evaluation,
            {name: method["neurons"] for name, method in methods.items()},
            tuple(name for name, method in methods.items() if method["control"]),
            {n: m["fingerprint"] for n, m in methods.items() if m["fingerprint"]},
            tuple(found["notes"]),
            found["margin"],
            {kind: Estimate.from_dict(each) for kind, each in found.get("inside", {}).items()},
        )


def _write(answers: Mapping[str, Evaluation], path: Path) -> None:
    """Rows of several tasks, with a column that names each; nothing where there is none."""
    named = [
        each.table.add_column(0, "task", pa.array([task] * len(each.table)))
        for task, each in answers.items()
    ]
    if named:
        pq.write_table(pa.concat_tables(named), path)


def _read(path: Path) -> dict[str, Evaluation]:
    if not path.is_file():
        return {}
    rows = pq.read_table(path)

    def of(task: str) -> pa.Table:
        return rows.filter(pc.equal(rows["task"], task)).drop_columns("task")  # type: ignore[attr-defined]

    return {task: Evaluation(of(task), Reading()) for task in rows["task"].unique().to_pylist()}
