"""One model behind one lock, since edits put their hooks on the model itself."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from threading import Lock

from snipbias.base.errors import SnipbiasError
from snipbias.edits.controls import random_edit
from snipbias.edits.edit import NeuronEdit
from snipbias.edits.provenance import found_otherwise
from snipbias.models.language_model import LanguageModel
from snipbias.models.sites import Neuron
from snipbias.play import questions
from snipbias.play.answers import Answer, EditSetting, Firing, Question, answer, firings, together
from snipbias.tasks.items import Item, Task

KEPT = 64  # answers of the original model to keep
# Limits of the search for a row to open on: rows tried, and seconds.
TRIED, SECONDS = 8, 0.5


@dataclass(frozen=True)
class Result:
    """Both answers to one question."""

    question: Question
    prompt: str
    original: Answer
    edited: Answer | None  # None if the edits change nothing
    random: Answer | None  # with as many random neurons scaled in the same way, if asked for
    firings: tuple[Firing, ...]  # of every neuron of the active edits, also if it is off
    off: frozenset[Neuron]  # neurons switched off singly

    @property
    def answers(self) -> dict[str, Answer]:
        """The answers that there are, by name."""
        every = {"original": self.original, "edited": self.edited, "random": self.random}
        return {name: answer for name, answer in every.items() if answer is not None}


class Session:
    """The model, edits with different labels, and at least one task; shared by all tabs.

    Attributes:
        notes: label -> whether the edit fits the model, and remarks.
        opening: the row of the first task that the page opens on.
    """

    def __init__(
        self, lm: LanguageModel, edits: Sequence[NeuronEdit], tasks: Sequence[Task]
    ) -> None:
        self.lm, self.edits, self.tasks = lm, edits, tasks
        self._lock = Lock()
        self._original = lru_cache(KEPT)(partial(answer, lm))
        self.notes = {edit.label: self._note(edit) for edit in edits}
        self.opening = self._telling()

    def ask(
        self,
        question: Question,
        switches: Sequence[EditSetting],
        is_stale: Callable[[], bool] = lambda: False,
        control: int | None = None,
    ) -> Result | None:
        """Both answers, once it is this request's turn; None if it is stale by then.

        Args:
            question: the question.
            switches: the active edits.
            is_stale: whether nobody waits for the answer any more.
            control: seed of the random neurons to compare with; None for no comparison.

        Raises:
            SnipbiasError: the prompt is too long.
        """
        if not question.instruction.strip():
            raise SnipbiasError("the instruction is empty: type one.")
        with self._lock:
            if is_stale():
                return None
            original = self._original(question)
            edit = together(self.lm, switches)
            edited = None if edit is None else answer(self.lm, question, edit)
            drawn, fired = None, ()
            if edit is not None and control is not None:
                other = random_edit(self.lm, len(edit), control, list(edit.by_neuron.values()))
                drawn = answer(self.lm, question, other)
            if listed := together(self.lm, [replace(each, off=frozenset()) for each in switches]):
                fired = tuple(firings(self.lm, question, listed, original.chosen))
        off = frozenset(neuron for switch in switches for neuron in switch.off)
        text = self.lm.prompt_text(question.prompt.render(question.instruction, question.item))
        return Result(question, text, original, edited, drawn, fired, off)

    def _note(self, edit: NeuronEdit) -> tuple[bool, str]:
        """Whether an edit fits the model, and remarks."""
        fits, said = True, []
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            try:
                edit.check(self.lm)
            except SnipbiasError as error:
                fits, said = False, [str(error)]
        said += [str(warning.message) for warning in told]
        said += [f"{text}." for text in found_otherwise([edit], self.tasks[0])]
        return fits, " ".join(said)

    def _telling(self) -> Item:
        """A row that shows at once what an edit does.

        An ambiguous held-out row; among the first few, one whose answer the first edit changes.
        """
        task = self.tasks[0]
        rows = questions.rows(questions.held_out(task, self.edits) or task)
        plain = rows[questions.first(rows)]
        edit = next(iter(self.edits), None)
        if edit is None or not self.notes[edit.label][0]:
            return plain
        end = time.monotonic() + SECONDS
        try:
            for item in [row for row in rows if row.condition == plain.condition][:TRIED]:
                question = Question(item, task.instructions[0], prompt=task.prompt)
                answers = [answer(self.lm, question, e, writes=False) for e in (None, edit)]
                if answers[0].chosen != answers[1].chosen:
                    return item
                if time.monotonic() > end:
                    break
        except SnipbiasError:  # the prompt is too long, as the page will say
            pass
        return plain
