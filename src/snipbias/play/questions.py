"""Questions to ask: a task's rows, or what the user types."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Literal

from snipbias.base.errors import SnipbiasError
from snipbias.edits.edit import NeuronEdit
from snipbias.evaluation.compare import hold_out
from snipbias.tasks.items import Item, Task

Condition = Literal["all", "ambiguous", "disambiguated"]


def rows(task: Task, condition: Condition = "all", containing: str = "") -> list[Item]:
    """A task's items, with twins (a question with and without its answer) next to each other.

    Args:
        task: the task.
        condition: only items of this condition; "all" for every one.
        containing: only items whose context, question or options contain this text, in any case.
    """
    wanted = containing.casefold().strip()
    groups: dict[str, list[Item]] = {}
    for item in task.items:
        text = "\n".join((item.context, item.question, *item.options)).casefold()
        if condition in ("all", item.condition) and wanted in text:
            groups.setdefault(item.twin or item.id, []).append(item)
    return [item for twins in groups.values() for item in twins]


def held_out(task: Task, edits: Sequence[NeuronEdit]) -> Task | None:
    """The rows that `evaluate` reports on for these edits; None if there are none."""
    try:
        return hold_out(task, edits)[0]
    except SnipbiasError:
        return None


def first(rows: Sequence[Item]) -> int:
    """Index of the first ambiguous row, the kind that edits are for; 0 if there is none."""
    return next((i for i, item in enumerate(rows) if item.condition == "ambiguous"), 0)


def found_with(item: Item, edits: Collection[NeuronEdit]) -> list[str]:
    """Labels of the edits found on rows of this item's template."""
    seen = {edit.label: edit.found_on.templates for edit in edits if edit.found_on}
    return [
        label for label, templates in seen.items() if item.template and item.template in templates
    ]


def own(
    context: str,
    question: str,
    options: Sequence[str],
    gold: int | None = None,
    biased: int | None = None,
) -> Item:
    """An item made from what the user typed.

    Args:
        context, question, options: its texts; the context may be empty.
        gold: index of the right option; None counts as the first, and must not be shown.
        biased: index of the option that the stereotype names, if any.

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
    """The item with its two people swapped in context and question.

    The options keep their order; if one of the two is the right answer, the other becomes it.

    Raises:
        SnipbiasError: the text does not name two of the options.
    """
    names = [_name(option) for option in item.options]
    longest = sorted(map(re.escape, names), key=len, reverse=True)  # "old man" before "man"
    any_name = re.compile(rf"\b({'|'.join(longest)})\b", re.IGNORECASE)
    said = set(map(str.casefold, any_name.findall(f"{item.context} {item.question}")))
    two = [i for i, name in enumerate(names) if name in said][:2]
    if len(two) < 2:
        raise SnipbiasError(
            "there are no two people to swap: name two options in the context or question."
        )
    one, other = two
    exchange = {names[one]: names[other], names[other]: names[one]}

    def turned(found: re.Match[str]) -> str:
        other = exchange.get(found[0].casefold())
        if other is None:
            return found[0]
        return other.title() if found[0][:1].isupper() else other

    context, question = (any_name.sub(turned, text) for text in (item.context, item.question))
    gold = {one: other, other: one}.get(item.gold, item.gold)
    return replace(item, context=context, question=question, gold=gold)


def _name(option: str) -> str:
    """An option without its article and full stop."""
    return re.sub(r"^(the|an?) ", "", option.strip().removesuffix(".").casefold())
