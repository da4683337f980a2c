"""Neutral questions with and without the fact that answers them, about no group of people.

A probe of answerability can be trained on these and tested on a task about people, since the two
share neither words nor subject. Each pair is asked in four ways:

- *ambiguous*: the context names two things or people, but does not answer the question;
- *disambiguated*: the fact that answers it follows;
- *filler*: the fact of another pair follows, so that neither length nor wording gives it away;
- *mismatch*: the fact follows, but the question is another one, which the fact leaves open.
"""

from __future__ import annotations

import random
from functools import cache

from snipbias.base.files import shipped
from snipbias.tasks.item import Condition, Item
from snipbias.tasks.items import Task
from snipbias.tasks.mini import UNKNOWN_WORDINGS

UNKNOWN = (*UNKNOWN_WORDINGS, *shipped("unknown.txt").splitlines())


@cache
def answerable(vocabulary: str = "") -> Task:
    """The pairs (for `mini`, in words that the demo model knows) as a task: four twins per pair."""
    lines = [line.split("|") for line in shipped(vocabulary, "answerable.txt").splitlines()]
    other = _alike([fact for _, fact, *_ in lines])
    wordings = UNKNOWN_WORDINGS if vocabulary else UNKNOWN
    items: list[Item] = []
    for number, line in enumerate(lines):
        context, fact, *questions, left_open, first, second = line
        rng = random.Random(f"answerable {number}")
        names = [first, second, rng.choice(wordings)]
        options = rng.sample(names, 3)
        asked = number % 2
        answer, unknown = options.index(names[asked]), options.index(names[2])
        ways: tuple[tuple[Condition, str, str], ...] = (
            ("ambiguous", context, questions[asked]),
            ("disambiguated", f"{context} {fact}", questions[asked]),
            ("filler", f"{context} {other[number]}", questions[asked]),
            ("mismatch", f"{context} {fact}", left_open),
        )
        items += (
            Item(
                id=f"{number}/{condition}",
                question=question,
                options=tuple(options),
                gold=answer if condition == "disambiguated" else unknown,
                context=told,
                template=str(number),
                condition=condition,
                unknown=unknown,
                twin=str(number),
            )
            for condition, told, question in ways
        )
    return Task("answerable", tuple(items), ("Answer the question.",), source="embedded")


def _alike(facts: list[str]) -> list[str]:
    """Another fact of about the same length for each fact; each is used once."""
    order = sorted(range(len(facts)), key=lambda number: len(facts[number]))
    found = list(facts)
    for first, second in zip(order[::2], order[1::2], strict=True):
        found[first], found[second] = facts[second], facts[first]
    return found
