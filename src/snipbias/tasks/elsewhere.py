"""Rows that show an edit's side effects, made from a task's own rows and related categories.

- *names*: the task's rows with given names instead of groups. A model that fails here cannot read
  the rows; one that fails only on the task's own rows is biased.
- *others*: the other categories of the same data set.
- *groups differ*: questions that the groups themselves answer ("Who is older?").
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from dataclasses import replace

from snipbias.tasks import bbq, fetch, mini
from snipbias.tasks.items import Item, Task

NAMES, OTHERS, DIFFER = "names", "other categories", "groups differ"
# Gender-neutral names; for mini, occupations that the demo model knows and no group implies.
GIVEN = ("Alex", "Sam", "Robin", "Kim", "Chris", "Jamie", "Terry", "Casey", "Morgan", "Lee")
PERSONS = ("painter", "singer", "dancer", "actor", "writer", "sailor", "tailor", "guard")
DIFFERING = mini.load_category("differ")
DETERMINER = r"\b(?:the|an|a|this|that|my|his|her|their) "


def elsewhere(task: Task, items: int = 24) -> dict[str, Task]:
    """Small tasks that go with a task, by name; those that cannot be made are left out.

    Args:
        task: its held-out part (`task.test`), from which the rows with names are made.
        items: the most items per small task, all under the task's first instruction.
    """
    whole = {NAMES: name_only(task), OTHERS: _others(task), DIFFER: _differ(task)}
    return {
        name: found.subsample(items).with_instructions(task.instructions[:1])
        for name, found in whole.items()
        if found is not None
    }


def name_only(task: Task) -> Task | None:
    """The rows with both people renamed in context, question and options; None if there are none.

    A row is left out unless its context calls both people what the options call them. `biased`
    still marks the place of the stereotyped person, so that the same share can be computed.
    """
    pool = PERSONS if task.name.startswith("mini") else GIVEN
    rows = tuple(row for item in task.items if (row := _renamed(item, pool)) is not None)
    return replace(task._with_items(rows), name=f"{task.name}, names") if rows else None


def _renamed(item: Item, pool: tuple[str, ...]) -> Item | None:
    if item.unknown is None or len(item.named) != 2:
        return None
    said = (item.options[i].strip().removesuffix(".") for i in item.named)
    people = [re.sub(f"^{DETERMINER}", "", option, flags=re.I) for option in said]
    for person in people:  # the context must use these words, and always for one person
        word = rf"\b{re.escape(person)}\b"
        singular = re.findall(DETERMINER + word, item.context, re.I)
        if not 0 < len(singular) == len(re.findall(word, item.context, re.I)):
            return None
    # Twins get the same names, even if one of them is left out.
    names = random.Random(f"names {item.twin or item.id}").sample(pool, 2)
    # The longer first: "older man" holds "man".
    pairs = sorted(zip(people, names, strict=True), key=lambda pair: -len(pair[0]))

    def told(text: str) -> str:
        for person, name in pairs:
            before = f"(?:{DETERMINER})?" if name[0].isupper() else ""
            text = re.sub(rf"{before}\b{re.escape(person)}\b(?: of mine)?", name, text, flags=re.I)
        return text

    options = tuple(o if i == item.unknown else told(o) for i, o in enumerate(item.options))
    context, question = told(item.context), told(item.question)
    return replace(item, id=f"{item.id}/names", context=context, question=question, options=options)


def _others(task: Task) -> Task | None:
    """Test rows of the other mini categories, or of the BBQ categories on this machine."""
    own = _category_of(task)
    if own in mini.CATEGORIES:
        found = [mini.load(category) for category in mini.CATEGORIES if category != own]
    else:
        there = (c for c in bbq.CATEGORIES if own and c != own and fetch.is_there(c))
        found = [bbq.load(category) for category in there]
    rows = tuple(item for other in found for item in other.test.items)
    return Task(OTHERS, rows, task.instructions, prompt=task.prompt) if rows else None


def _differ(task: Task) -> Task:
    own = _category_of(task) or ""
    counterpart = bbq.MINI.get(own, own)
    categories = [counterpart] if counterpart in mini.CATEGORIES else mini.CATEGORIES
    rows = tuple(row for category in categories for row in differing(category))
    return Task(DIFFER, rows, task.instructions, prompt=task.prompt)


def differing(category: str) -> Iterator[Item]:
    """Questions of a mini category that are answered by what the people are called."""
    for name, template, context, question, options, gold, unknown in DIFFERING[category]:
        yield Item(name, question, tuple(options), gold, context, template, unknown=unknown)


def _category_of(task: Task) -> str | None:
    """The category of mini or BBQ in a task's name, if any."""
    kind, _, category = task.name.partition(":")
    known = {"mini": mini.CATEGORIES, "bbq": bbq.CATEGORIES}.get(kind, ())
    return category if category in known else None
