"""The record of a comparison: its answers, the figures computed from them, and its folder."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from snipbias.base.files import write_json
from snipbias.base.words import ORIGINAL, RANDOM, control_kind, held_out
from snipbias.edits.edit import NeuronEdit
from snipbias.edits.run_folder import read_edits
from snipbias.evaluation.apart import gain_sentence, gained, knowledge_sentence
from snipbias.evaluation.estimate import Estimate
from snipbias.evaluation.evaluate import Evaluation
from snipbias.evaluation.measured import Measured, measured
from snipbias.evaluation.measures import ACCURACY
from snipbias.evaluation.neutral_text import Passage, TextShift
from snipbias.evaluation.reading import Reading
from snipbias.evaluation.retained import MARGIN, Retained, retained, stereotyped
from snipbias.evaluation.summary import Summary, plain
from snipbias.evaluation.verdicts import Verdict
from snipbias.tasks.items import Task

if TYPE_CHECKING:
    from typing_extensions import Self

SUMMARY, ROWS = "summary.json", "rows.parquet"
RETENTION, ELSEWHERE = "retention.parquet", "elsewhere.parquet"
TEXTS = {"text": "text.json", "chat": "chat.json"}
FILES = (ROWS, RETENTION, ELSEWHERE, *TEXTS.values())


@dataclass(frozen=True)
class HeldOut:
    """The rows that methods were compared on.

    Attributes:
        part: of the task, "test" or "all".
        items, templates, instructions: how many there are.
        control_rows: filler and mismatch rows asked in addition to the items.
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
        neurons: number of neurons that each method scales.
        controls: which methods are controls.
        fingerprints: of the edits, by method.
        margin: how much of what should be kept may be lost; `retained` says in what.
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

    @cached_property
    def measured(self) -> dict[str, Measured]:
        """Every method's figures, with intervals."""
        trials = self.evaluation.trials.items()
        sized = {method: [replace(trial, size=self.neurons[method])] for method, trial in trials}
        return measured(self.task.name, sized)

    @property
    def summaries(self) -> dict[str, Summary]:
        """Every figure of every method."""
        return {method: each.trials[0].summary for method, each in self.measured.items()}

    @property
    def original(self) -> Summary:
        """The unedited model's figures."""
        return self.summaries[ORIGINAL]

    @property
    def edits(self) -> tuple[str, ...]:
        """The methods that are neither the original nor a control."""
        return tuple(m for m in self.neurons if m != ORIGINAL and m not in self.controls)

    @property
    def random(self) -> tuple[str, ...]:
        """The controls that are drawn from the whole model."""
        return tuple(m for m in self.controls if control_kind(m) == RANDOM)

    def controls_of(self, edit: str) -> tuple[str, ...]:
        """An edit's own controls: from its layers, or of its size."""
        own = [m for m in self.controls if m.split(", draw ")[0].endswith(f" as {edit}")]
        own += [m for m in self.random if self.neurons[m] == self.neurons[edit]]
        return tuple(name for name in self.controls if name in own)

    def said(self, method: str) -> tuple[str, ...]:
        """An edit's effect in words: on the stereotype, whether it is a gain, what was known."""
        found = self.measured[method]
        if found.before is None:
            return ()
        known = knowledge_sentence(self.inside, found.before.apart, found.apart)
        return tuple(filter(None, (stereotyped(found), gain_sentence(found.apart), known)))

    def retained(self, method: str) -> tuple[Retained, ...]:
        """Whether a method kept retention tasks and neutral text within the margin."""
        return tuple(retained(self.measured[method], self.margin))

    def verdicts(self, method: str) -> tuple[Verdict, ...]:
        """Faults of a method's model, shown or suspected."""
        return self.measured[method].verdicts

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
            "methods": {method: plain(self._method(method)) for method in self.measured},
        }

    def _method(self, method: str) -> dict[str, Any]:
        found = self.measured[method]
        summary, kept = found.trials[0].summary, found.trials[0].retention
        return {
            "named_stereotyped": summary.named_stereotyped,
            "neurons": self.neurons[method],
            "control": method in self.controls,
            "fingerprint": self.fingerprints.get(method),
            "said": list(self.said(method)),
            "gain": gained(found.apart),
            "apart": found.apart,
            "gain_over_offset": found.gain.value,
            "gain_interval": found.gain.interval,
            "verdicts": list(found.verdicts),
            "elsewhere": found.elsewhere,
            "retention": {
                task: ACCURACY(kept[task]) if task in kept else None
                for task in self.evaluation.retention
            },
            "retained": list(self.retained(method)) if found.before else [],
            "changes": found.changes(),
            **vars(summary),
        }

    def save(self, folder: str | Path) -> None:
        """Write rows as Parquet, every figure and the sums of every neutral passage as JSON."""
        folder = Path(folder)
        for file in FILES:  # of an earlier comparison, which may have had more
            (folder / file).unlink(missing_ok=True)
        self.evaluation.save(folder / ROWS)
        _write(self.evaluation.retention, folder / RETENTION)
        _write(self.evaluation.elsewhere, folder / ELSEWHERE)
        for kind, file in TEXTS.items():
            if shifts := getattr(self.evaluation, kind):
                sums = {method: shift.passages for method, shift in shifts.items()}
                (folder / file).write_text(json.dumps(sums) + "\n", encoding="utf-8")
        files = {file: _hash(folder / file) for file in FILES if (folder / file).is_file()}
        write_json({**self.to_dict(), "files": files}, folder / SUMMARY)

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """Read a comparison that `save` wrote; its figures are computed anew from the rows.

        Raises:
            FileNotFoundError, KeyError, ValueError: a file is missing or damaged.
        """
        folder = Path(folder)
        found = json.loads((folder / SUMMARY).read_text(encoding="utf-8"))
        for file, known in found.get("files", {}).items():  # none in folders of 0.1
            if _hash(folder / file) != known:
                raise ValueError(f"{file} is not the one that {SUMMARY} was written with")
        reading = Reading(**found["reading"])
        evaluation = Evaluation(pq.read_table(folder / ROWS), reading)
        for kind, file in TEXTS.items():
            if (folder / file).is_file():
                sums = json.loads((folder / file).read_text(encoding="utf-8"))
                shifts = {m: TextShift.of([Passage(*p) for p in sums[m]]) for m in sums}
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

    def edits_in(self, folder: str | Path) -> list[NeuronEdit]:
        """The edits that its folder holds.

        Raises:
            ValueError: they are not those that were compared.
        """
        edits = read_edits(Path(folder))
        if {edit.fingerprint for edit in edits} != {self.fingerprints[edit] for edit in self.edits}:
            raise ValueError("its edits are not those that were compared")
        return edits


def _hash(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _write(answers: Mapping[str, Evaluation], path: Path) -> None:
    """Write the rows of several tasks with a column that names the task, if there are any."""
    tables = {task: each.table for task, each in answers.items()}
    named = [t.add_column(0, "task", pa.array([task] * len(t))) for task, t in tables.items()]
    if named:
        pq.write_table(pa.concat_tables(named), path)


def _read(path: Path) -> dict[str, Evaluation]:
    if not path.is_file():
        return {}
    rows = pq.read_table(path)
    tasks = rows["task"].unique().to_pylist()
    same = {task: pc.equal(rows["task"], task) for task in tasks}  # type: ignore[attr-defined]
    return {t: Evaluation(rows.filter(same[t]).drop_columns("task"), Reading()) for t in tasks}
