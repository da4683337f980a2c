"""Which question is asked: one of a task's rows, or one that the user types."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import replace
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


def own(
    context: str,
    question: str,
    options: Sequence[str],
    gold: int | None = None,
    biased: int | None = None,
) -> Item:
    """A question that the user typed; without `gold` the item's means nothing.

    Raises:
        SnipbiasError: the question is empty, an option is, or two are the same.
    """
    if not question.strip():
        raise SnipbiasError("the question is empty: type one.")
    for number, option in enumerate(options, start=1):
        if not option.strip():
            raise SnipbiasError(f"option {number} is empty: give it a text, or remove it.")
    texts = tuple(option.strip() for option in options)
    marks = {"gold": gold or 0, "biased": biased}
    return Item("your question", question.strip(), options=texts, context=context.strip(), **marks)


def swapped(item: Item) -> Item:
    """The question with its two people exchanged in context and question.

    The options stay where they are; a right answer that is one of the two becomes the other.

    Raises:
        SnipbiasError: not two of the options are named in the text.
    """
    text = f"{item.context} {item.question}".casefold()
    names = [_name(option) for option in item.options]
    two = [i for i, name in enumerate(names) if re.search(rf"\b{re.escape(name)}\b", text)][:2]
    if len(two) < 2:
        raise SnipbiasError(
            "there are no two people to swap: name two of the options in the context or question."
        )
    one, other = two
    exchange = {names[one]: names[other], names[other]: names[one]}
    longest = sorted(map(re.escape, exchange), key=len, reverse=True)
    either = re.compile(rf"\b({'|'.join(longest)})\b", re.IGNORECASE)

    def turn(text: str) -> str:
        return either.sub(lambda found: _like(found[0], exchange[found[0].casefold()]), text)

    gold = {one: other, other: one}.get(item.gold, item.gold)
    return replace(item, context=turn(item.context), question=turn(item.question), gold=gold)


def _name(option: str) -> str:
    """An option without its article."""
    return re.sub(r"^(the|an?) ", "", option.strip().casefold())


def _like(model: str, name: str) -> str:
    """A name with capitals where the one that it replaces had them."""
    return name.title() if model[:1].isupper() else name
