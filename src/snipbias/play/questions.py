"""Which question is asked: one of a task's rows, or one that the user types."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Literal, get_args

from snipbias.base.errors import SnipbiasError
from snipbias.edits.edit import NeuronEdit
from snipbias.evaluation.compare import hold_out
from snipbias.tasks.items import Item, Task

Condition = Literal["all", "ambiguous", "disambiguated"]
CONDITIONS: tuple[Condition, ...] = get_args(Condition)


def rows(task: Task, condition: Condition = "all", containing: str = "") -> list[Item]:
    """A task's items of one condition in whose context, question or options a text stands.

    Twins, the same question without and with the fact that answers it, stand beside each other.
    """
    wanted = containing.casefold().strip()
    chosen = [
        item
        for item in task.items
        if condition in ("all", item.condition)
        and wanted in "\n".join((item.context, item.question, *item.options)).casefold()
    ]
    first: dict[str, int] = {}
    for place, item in enumerate(chosen):
        first.setdefault(item.twin or item.id, place)
    return sorted(chosen, key=lambda item: first[item.twin or item.id])


def held_out(task: Task, edits: Sequence[NeuronEdit]) -> Task | None:
    """The rows that `evaluate` reports on for these edits; None where there are none."""
    try:
        return hold_out(task, edits)[0]
    except SnipbiasError:
        return None


def first(rows: Sequence[Item]) -> int:
    """The place of the first ambiguous row, the kind that edits are for; 0 where there is none."""
    return next((i for i, item in enumerate(rows) if item.condition == "ambiguous"), 0)


def found_with(item: Item, edits: Collection[NeuronEdit]) -> list[str]:
    """Labels of the edits that were found on rows of this item's template."""
    return [
        edit.label
        for edit in edits
        if edit.found_on is not None and item.template and item.template in edit.found_on.templates
    ]


def own(context: str, question: str, options: Sequence[str]) -> Item:
    """A question that the user typed; its gold means nothing.

    Raises:
        SnipbiasError: the question is empty, an option is, or two are the same.
    """
    if not question.strip():
        raise SnipbiasError("the question is empty: type one.")
    for number, option in enumerate(options, start=1):
        if not option.strip():
            raise SnipbiasError(f"option {number} is empty: give it a text, or remove it.")
    texts = tuple(option.strip() for option in options)
    return Item("your question", question.strip(), texts, 0, context.strip())
