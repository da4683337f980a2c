"""Compare edits with the original model and random controls, on held-out templates."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from snipbias.base.errors import SnipbiasError
from snipbias.base.files import write_json
from snipbias.base.table import WIDTH, Grid, Shown, plain_text
from snipbias.base.words import ORIGINAL, plural
from snipbias.edits.card.figures import CARDS
from snipbias.edits.controls import controls_of
from snipbias.edits.edit import NeuronEdit
from snipbias.edits.given import (
    GivenEdit,
    GivenModel,
    GivenTask,
    as_edit,
    as_model,
    as_task,
    as_tasks,
)
from snipbias.edits.provenance import found_otherwise
from snipbias.evaluation import tables
from snipbias.evaluation.cards import cards
from snipbias.evaluation.compared import Compared, HeldOut
from snipbias.evaluation.evaluate import evaluate
from snipbias.evaluation.neutral_text import chat_answers, text_shifts
from snipbias.evaluation.probe import INSIDE, probe
from snipbias.evaluation.reading import Reading
from snipbias.evaluation.retained import MARGIN
from snipbias.evaluation.tradeoff import Spot, tradeoff
from snipbias.models.batching import BatchSize, Progress, Stage
from snipbias.tasks.elsewhere import elsewhere as small_tasks
from snipbias.tasks.items import Task
from snipbias.tasks.neutral_text import chat_prompts, passages
from snipbias.tasks.prompts import DEFAULT
from snipbias.tasks.unanswerable import asked

if TYPE_CHECKING:
    from plotly.graph_objects import Figure


class Comparison(Compared, Shown):
    """Original, edits and controls on held-out rows; printing it shows the table."""

    def save(self, folder: str | Path) -> None:
        """Write what `load` reads, `tables.md`, and what the cards of its edits say."""
        super().save(folder)
        write_json(cards(self), Path(folder) / CARDS)
        (Path(folder) / "tables.md").write_text(tables.comparison_markdown(self), encoding="utf-8")

    def __str__(self) -> str:
        return plain_text(tables.comparison_renderable(self), WIDTH)

    def __repr__(self) -> str:
        methods = ", ".join(self.summaries)
        return f"<Comparison on {self.task.name}, {self.task}: {methods}>"

    def _shown(self) -> Iterator[Grid | str]:
        yield from tables.comparison_grids(self)
        yield from tables.comparison_lines(self)

    def _rows(self) -> Iterator[dict[str, Any]]:
        """One per method."""
        for method, found in self.to_dict()["methods"].items():
            yield {"method": method, **found}

    def spots(self, edits: Sequence[str]) -> list[Spot]:
        """The places of the original, some edits and the controls in the trade-off plot."""
        kinds = {ORIGINAL: "original", **dict.fromkeys(edits, "edit")}
        kinds |= dict.fromkeys(self.controls, "control")
        return [Spot(m, s.accuracy, kinds[m]) for m, s in self.summaries.items() if m in kinds]

    def plot(self) -> Figure:
        """Ambiguous against disambiguated accuracy, with what a constant on "unknown" reaches.

        Raises:
            SnipbiasError: the rows have no condition.
        """
        plane = tradeoff("plane", self.spots(self.edits), self.original.offset_curve)
        if plane is None:
            raise SnipbiasError(
                f"no plot of {self.task.name}: its rows have no condition to compare by."
            )
        return plane.drawn()


def compare(
    lm: GivenModel,
    task: GivenTask,
    *edits: GivenEdit,
    reading: Reading | None = None,
    items: int | None = None,
    controls: int = 1,
    seed: int = 0,
    texts: Sequence[str] | None = None,
    chat: Sequence[str] | None = None,
    retention: Sequence[GivenTask] = (),
    control_rows: bool = True,
    with_probe: bool = False,
    whole: bool = False,
    elsewhere: int = 24,
    margin: float = MARGIN,
    batch_size: BatchSize = "auto",
    progress: Progress = lambda done: None,
    stage: Stage = lambda name, jobs: None,
) -> Comparison:
    """Evaluate the original model, edits and random controls on templates held out from finding.

    Args:
        lm: a model, or what `sb.load` takes.
        task: a task, or what `sb.task` takes. Its `test` part is used, less any template that an
            edit was found on.
        edits: or their folders, or names on the hub.
        items: use at most this many items, spread over the templates.
        controls: draws of each kind of random control (any neurons, the same sites' neurons).
        seed: seed of the first draw of the controls; the next ones count up.
        texts: neutral passages for perplexity and KL divergence; by default the page that ships
            with the package. An empty sequence leaves these figures out.
        chat: requests whose answers should not change; by default those that ship with the
            package, and none where `texts` is empty.
        retention: other tasks whose accuracy should not fall; the controls do not answer them.
        whole: use every template of the task, not only its `test` part: for edits that were found,
            and whose settings were chosen, on other tasks alone.
        control_rows: also ask the filler and mismatch rows of at most 200 pairs; see
            `with_controls`.
        with_probe: also measure, by a probe, what the original model knows inside about which rows
            can be answered; this needs filler and mismatch rows.
        elsewhere: items of each small task that shows side effects elsewhere; 0 leaves these tasks
            out.
        margin: largest acceptable loss; 0.02 is two points of accuracy, two percent of perplexity
            and 0.02 nats per token of KL on neutral text.
        reading: as in `evaluate`.
        batch_size: as in `evaluate`.
        progress: called with the number of prompts just done.
        stage: called with what is about to be done, and with its number of prompts.

    Raises:
        SnipbiasError: the margin is not a share below 1, or nothing is held out.
    """
    if not 0 <= margin < 1:
        raise SnipbiasError(
            f"the margin must be a share below 1, not {margin}: give 0.02 for two points."
        )
    reading = reading or Reading()
    texts = passages() if texts is None else texts
    chat = (chat_prompts() if texts else ()) if chat is None else chat
    lm, task, kept = as_model(lm), as_task(task), as_tasks(retention)
    edits = tuple(distinct(list(map(as_edit, edits))))
    held_out, notes = hold_out(task, edits, whole)
    held_out = held_out.subsample(items)
    rows, lacking = asked(held_out, lm.length) if control_rows else (held_out, ())
    wording = () if task.prompt == DEFAULT else (f"asked in the prompt {task.prompt.name!r}",)
    notes = (*notes, *wording, *lacking, *found_otherwise(edits, task))
    every = distinct([*edits, *controls_of(lm, edits, range(seed, seed + controls))])
    options: dict[str, Any] = {"batch_size": batch_size, "progress": progress, "stage": stage}
    evaluation = evaluate(lm, rows, every, reading=reading, **options)
    if texts:
        stage("neutral text", len(texts) * (1 + len(every)))
        shifts = text_shifts(lm, texts, every, progress=progress)
        evaluation.text = dict(zip(evaluation.methods, shifts, strict=True))
    if chat and edits:
        stage("chat answers", len(chat) * (2 + len(edits)))  # written, and read under each
        answered = chat_answers(lm, chat, progress=progress)
        moved = text_shifts(lm, answered, every[: len(edits)], progress=progress)
        evaluation.chat = dict(zip(evaluation.methods, moved, strict=False))
    evaluation.retention = {
        other.name: evaluate(lm, other, every[: len(edits)], **options) for other in kept
    }
    small = small_tasks(held_out, elsewhere) if elsewhere else {}
    evaluation.elsewhere = {
        name: evaluate(lm, other, every[: len(edits)], **options) for name, other in small.items()
    }
    inside = {}
    if with_probe and len(rows) > len(held_out):
        inside = probe(lm, rows, **options).told[INSIDE]
    elif with_probe:
        notes += ("no probe: it needs filler and mismatch rows",)
    sizes = {ORIGINAL: 0, **{edit.label: len(edit) for edit in every}}
    drawn = tuple(sizes)[1 + len(edits) :]
    fingerprints = {edit.label: edit.fingerprint for edit in every[: len(edits)]}
    about = HeldOut.of(held_out, len(rows) - len(held_out))
    return Comparison(about, evaluation, sizes, drawn, fingerprints, notes, margin, inside)


def hold_out(
    task: Task, edits: Sequence[NeuronEdit], whole: bool = False
) -> tuple[Task, tuple[str, ...]]:
    """The rows to evaluate on: the test part without the templates that an edit was found on.

    Args:
        task: the task; a part of one is taken as it is.
        edits: the edits to evaluate.
        whole: take all rows of a task that no edit was found on.

    Returns:
        The task, and its notes with one on the templates left out.

    Raises:
        SnipbiasError: nothing is held out: all templates were used, or `whole` includes them.
    """
    found = {name for e in edits if e.found_on for name in e.found_on.task.split(" + ")}
    own = f"{task.name}:"  # and "mini" holds the rows of "mini:age"
    if whole and any(own.startswith(f"{n}:") or f"{n}:".startswith(own) for n in found):
        raise SnipbiasError(
            f"an edit was found on {task.name!r} itself: leave --whole off, which would report on "
            "templates that its settings were chosen on."
        )
    test = task.test if task.part == "all" and not whole else task
    seen = {name for e in edits if e.found_on for name in e.found_on.templates}
    leaked = seen & set(test.templates)
    if not leaked:
        return test, task.notes
    if leaked == set(test.templates):
        raise SnipbiasError(
            f"every held-out template of {task.name!r} was used to find an edit: find it on "
            "task.sample(...), or evaluate it on another task."
        )
    left_out = "is left out" if len(leaked) == 1 else "are left out"
    note = f"{plural(len(leaked), 'template')} that an edit was found on {left_out}"
    return test.where(lambda item: item.template not in leaked), (*task.notes, note)


def distinct(edits: Sequence[NeuronEdit]) -> list[NeuronEdit]:
    """The edits under labels that differ."""
    labels = [edit.label for edit in edits]
    return [
        replace(edit, label=f"{edit.label} #{labels[: i + 1].count(edit.label)}")
        if labels.count(edit.label) > 1
        else edit
        for i, edit in enumerate(edits)
    ]
