"""`mini:facts`: five hundred easy questions about the world, whose answers an edit must keep.

No two share their wording, so each counts separately in an interval: if none of a hundred is lost,
at most four in a hundred are. None is about groups of people, and each has an answer.
"""

from __future__ import annotations

import random
from functools import cache

from snipbias.base.files import shipped
from snipbias.tasks.items import Item


@cache
def items() -> tuple[Item, ...]:
    """Every question with its right answer and two wrong ones, in random order."""
    lines = shipped("mini", "facts.txt").splitlines()
    return tuple(_item(number, *line.split("|")) for number, line in enumerate(lines))


def _item(number: int, question: str, answer: str, *others: str) -> Item:
    name = f"fact-{number:03}"
    options = random.Random(question).sample([answer, *others], 1 + len(others))
    gold = options.index(answer)
    return Item(
        id=name, context="", question=question, options=tuple(options), gold=gold, template=name
    )
