"""One cell of the experiment: a method on one task, in one trial and draw."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import Any, TypeVar

import pyarrow as pa

from snipbias.base.files import slug
from snipbias.base.words import ORIGINAL
from snipbias.edits.given import Intervention
from snipbias.evaluation.evaluate import Evaluation, evaluate
from snipbias.evaluation.neutral_text import Passage, TextShift, chat_answers, text_shifts
from snipbias.evaluation.reading import Reading
from snipbias.experiment.outcome import Cost, Outcome, named
from snipbias.experiment.settings import Settings
from snipbias.experiment.store import Store, place_of
from snipbias.models.batching import BatchSize
from snipbias.models.language_model import LanguageModel, Query
from snipbias.tasks.elsewhere import elsewhere
from snipbias.tasks.items import Balance, Task
from snipbias.tasks.neutral_text import chat_prompts, passages

T = TypeVar("T")
Make = Callable[[], Intervention]
TEXTS = ("text", "chat")


def _asked(lm: LanguageModel, task: Task, batch_size: BatchSize) -> pa.Table:
    return evaluate(lm, task, batch_size=batch_size).table


@dataclass(frozen=True)
class Cell:
    """The place of one method on one task, in one trial and draw."""

    lm: LanguageModel
    settings: Settings
    task: Task  # the whole task; items are drawn from its `find` part
    dev: Task  # what settings are chosen on; it shares no template with `test`
    test: Task  # what is reported, filler and mismatch rows with it
    retention: tuple[Task, ...]  # the tasks that must not get worse, whole
    store: Store
    method: str = ORIGINAL  # the name that the outcome gets
    trial: int | None = None  # None for a method that depends on no draw of items
    draw: int = 0  # of a random control
    samples: int = 10  # number of items that neurons are found on
    batch_size: BatchSize = "auto"
    ask: Callable[[LanguageModel, Task, BatchSize], pa.Table] = _asked  # answers a task

    def of(self, method: str) -> Cell:
        """The cell of another method in the same trial."""
        return replace(self, method=method, draw=0)

    @property
    def unedited(self) -> Cell:
        """The cell of the original model, whose results all trials share."""
        return replace(self.of(ORIGINAL), trial=None, samples=self.settings.samples)

    def key(self, part: str) -> str:
        """Where a part of this method's results is kept."""
        return f"{self._place}/{part}"

    def cost(self, trained: int) -> Cost:
        """The cost of making this method so far, without evaluating it."""
        kept = (f"retention-{slug(task.name)}" for task in self.retention)
        evaluated = {"test", *TEXTS, "answers", "dev", *kept}
        beside = ("test-", "elsewhere-", *(("retention-",) if self.method == ORIGINAL else ()))
        made = self.store.cost(
            self._place, lambda part: part not in evaluated and not part.startswith(beside)
        )
        answering = self.store.cost(self._place, "test".__eq__)["forward"]
        return Cost(made["seconds"], made["forward"], made["backward"], trained, answering)

    @property
    def other_samples(self) -> int | None:
        """The number of items, where it is not the settings'."""
        return None if self.samples == self.settings.samples else self.samples

    @property
    def _place(self) -> str:
        return place_of(self.task.name, self.method, self.trial, self.draw, self.other_samples)

    @property
    def seed(self) -> int:
        """Of this trial's draws."""
        assert self.trial is not None
        return self.settings.seed + self.trial

    def sample(self, balance: Balance = "none") -> Task:
        """The items that this trial's neurons are found on."""
        return self.task.sample(self.samples, self.seed, balance=balance)

    def found(self, find: Callable[..., T], balance: Balance = "none") -> T:
        """The result of a function of the model and these items.

        Its batches are half as large, because it holds gradients or activations.
        """
        half = "auto" if self.batch_size == "auto" else max(1, self.batch_size // 2)
        return find(self.lm, self.sample(balance), batch_size=half)

    @property
    def original(self) -> Evaluation:
        """The unedited model on the test part."""
        return Evaluation(self.unedited.rows("test", self.test), Reading())

    @property
    def original_dev(self) -> Evaluation:
        """The unedited model on the development part."""
        return Evaluation(self.unedited.rows("dev", self.dev), Reading())

    def rows(self, part: str, task: Task, make: Make | None = None) -> pa.Table:
        """Rows of the model under an intervention, computed once.

        Args:
            part: name of the rows in the store.
            make: makes the intervention; None for the model as it is.
        """

        def compute() -> pa.Table:
            with nullcontext() if make is None else make().applied(self.lm):
                return self.ask(self.lm, task, self.batch_size)

        return self.relabelled(part, compute)

    def relabelled(self, part: str, compute: Callable[[], pa.Table]) -> pa.Table:
        """Rows that a method makes by itself, under this method's name."""
        return self.store.rows(self.key(part), lambda: named(compute(), self.method))

    def texts(self, make: Make | None = None) -> dict[str, TextShift]:
        """Figures on neutral text and chat answers, by name; none where the settings say so."""
        texts, requests = (part[: self.settings.texts] for part in (passages(), chat_prompts()))
        if not texts:
            return {}

        def answers() -> list[Any]:
            return [[q.prompt, q.options] for q in chat_answers(self.lm, requests)]

        def sums(part: str) -> list[Passage]:
            along: Any = texts
            if part == "chat":
                found = self.store.value(self.unedited.key("answers"), answers)
                along = [Query(tuple(p), tuple(map(tuple, options))) for p, options in found]
            edits = [] if make is None else [make()]
            return list(text_shifts(self.lm, along, edits)[-1].passages)

        kept = {part: self.store.value(self.key(part), partial(sums, part)) for part in TEXTS}
        return {part: TextShift.of([Passage(*each) for each in kept[part]]) for part in kept}

    def held(self, make: Make | None = None, *, dev: str = "") -> Mapping[str, pa.Table]:
        """Rows on the retention tasks; with `dev`, a setting's name, on what they are chosen by."""
        parts = {task.name: task.dev if dev else task.test for task in self.retention}
        return {
            name: self.rows(f"retention{dev}-{slug(name)}", _limited(part, self.settings), make)
            for name, part in parts.items()
        }

    def elsewhere(self, make: Make | None = None) -> Mapping[str, pa.Table]:
        """Rows on the small tasks that say what a method does elsewhere."""
        items = self.settings.elsewhere
        tasks = _nearby(self.test, items) if items else {}
        return {
            name: self.rows(f"elsewhere-{slug(name)}", task, make) for name, task in tasks.items()
        }

    def outcome(self, make: Make | None = None, **fields: Any) -> Outcome:
        """Evaluate an intervention on the test part, neutral text and the retention tasks."""
        rows, texts = self.rows("test", self.test, make), self.texts(make)
        parts = {"retention": self.held(make), "elsewhere": self.elsewhere(make)}
        return self.report(rows, **texts, **parts, **fields)

    def unchanged(self, **fields: Any) -> Outcome:
        """The outcome of a method for which it was best to change nothing."""
        original = self.unedited.outcome(dev=self.original_dev.table).renamed(self.method)
        place = {name: getattr(self, name) for name in ("trial", "draw")}
        return replace(original, **place, samples=self.other_samples, **fields)

    def report(self, test: pa.Table, **fields: Any) -> Outcome:
        """An outcome under this method's name."""
        place = (self.method, self.task.name, self.trial, self.draw)
        return Outcome(*place, test, samples=self.other_samples, **fields)


# Every cell of a task asks for these, and drawing them takes a tenth of a second or two.
_nearby = lru_cache(maxsize=16)(elsewhere)


@lru_cache(maxsize=32)
def _limited(part: Task, settings: Settings) -> Task:
    asked = part.instructions[: settings.retention_instructions]
    return part.subsample(settings.retention_items).with_instructions(asked)
