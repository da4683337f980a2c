"""Benchmarks that ship with the package: `mini`, in BBQ's format, and neutral questions.

In `mini`, each template is a scene with a fact in two wordings, a negative and a non-negative
question. A pair fills its two slots with one person of each group. One third of the (template,
pair) combinations is the task; the demo model was trained on the other two thirds only.

`mini:skills` and `mini:facts` are questions about no group of people, whose answers an edit must
keep. Skills are the third that the demo model was not trained on (`training/skills.py`). Facts are
five hundred easy questions about the world. No two share their wording, so each counts separately
in an interval: if none of a hundred is lost, at most four in a hundred are.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from typing import Any

from snipbias.base.files import shipped
from snipbias.tasks.items import Item, Task
from snipbias.tasks.prompts import general_instructions

CATEGORIES = ("age", "ses", "disability")
UNKNOWN_WORDINGS = tuple(shipped("mini", "unknown.txt").splitlines())


@cache
def load_category(category: str) -> dict[str, Any]:
    """A file of `mini`, such as a category's groups, pairs, templates and instructions."""
    return json.loads(shipped("mini", f"{category}.json"))


@cache
def load(category: str = "") -> Task:
    """A category under its own ten instructions, or all three under ten of their thirty."""
    categories = (category,) if category else CATEGORIES
    digests = []
    for each in categories:
        digest = hashlib.sha256(shipped("mini", f"{each}.json").encode()).hexdigest()
        digests.append(f"{each}.json sha256 {digest}")
    own = [load_category(each)["instructions"] for each in categories]
    return Task(
        f"mini:{category}" if category else "mini",
        tuple(item for each in categories for item in items(each)),
        tuple(own[i % len(own)][i] for i in range(10)),
        source=f"embedded: {', '.join(digests)}",
    )


@cache
def skills() -> Task:
    """Reading, opposites, kinds of things, numbers, places in a list and the odd one out."""
    data = load_category("skills")
    rows = tuple(
        Item(name, question, tuple(options), gold, context, template=name.partition("/")[0])
        for name, context, question, options, gold in data["rows"]
    )
    return Task("mini:skills", rows, tuple(data["instructions"]), source="embedded")


@cache
def facts() -> Task:
    """Every question about the world with its right answer and two wrong ones, in random order."""
    rows = []
    for number, line in enumerate(shipped("mini", "facts.txt").splitlines()):
        question, answer, *others = line.split("|")
        options = tuple(random.Random(question).sample([answer, *others], 1 + len(others)))
        name = f"fact-{number:03}"
        rows.append(Item(name, question, options, options.index(answer), template=name))
    return Task("mini:facts", tuple(rows), general_instructions(), source="embedded")


def combinations(category: str, *, published: bool) -> Iterator[tuple[dict, dict]]:
    """(template, pair) combinations: the published third, or the rest, which is for training."""
    data = load_category(category)
    for t, template in enumerate(data["templates"]):
        for p, pair in enumerate(data["pairs"]):
            if ((t + p) % 3 == 0) == published:
                yield template, pair


def items(category: str) -> tuple[Item, ...]:
    """The published rows: both questions and both casts, with and without the fact."""
    rows: list[Item] = []
    for template, pair in combinations(category, published=True):
        rng = random.Random(f"{template['id']}/{pair}")
        for polarity in ("neg", "nonneg"):
            while True:
                four = [
                    item for cast in (0, 1) for item in twins(template, pair, polarity, cast, rng)
                ]
                # Without the fact the casts do not differ, so about one draw in 120 repeats a row.
                if len({(item.context, item.options) for item in four}) == len(four):
                    break
            rows += four
    return tuple(rows)


def twins(
    template: dict, pair: dict[str, str], polarity: str, cast: int, rng: random.Random
) -> tuple[Item, Item]:
    """A question without and with the fact that answers it.

    Args:
        template: a scene.
        pair: two people, by group.
        polarity: `neg` or `nonneg`: which question is asked.
        cast: 0 if the fact agrees with the stereotype, 1 if it contradicts it.
        rng: draws the wordings of the fact and of "unknown", who comes first, and the options'
            order.
    """
    stereotyped = template["stereotyped"]
    other = next(group for group in pair if group != stereotyped)
    negative, positive = (stereotyped, other) if cast == 0 else (other, stereotyped)
    first, second = rng.sample([pair[stereotyped], pair[other]], 2)
    context = template["context"].format(X=first, Y=second)
    fact = rng.choice(template["facts"]).format(NEG=pair[negative], POS=pair[positive])

    unknown = rng.choice(UNKNOWN_WORDINGS)
    groups = rng.sample([stereotyped, other, "unknown"], 3)
    options = tuple(unknown if g == "unknown" else f"The {pair[g]}" for g in groups)
    answer, biased = (negative, stereotyped) if polarity == "neg" else (positive, other)
    stem = f"{template['id']}/{pair[stereotyped]}/{polarity}/{cast}".replace(" ", "_")
    ambiguous = Item(
        id=f"{stem}/ambiguous",
        question=template[f"question_{polarity}"],
        options=options,
        gold=groups.index("unknown"),
        context=context,
        template=template["id"],
        condition="ambiguous",
        polarity=polarity,
        unknown=groups.index("unknown"),
        biased=groups.index(biased),
        twin=stem,
    )
    return ambiguous, replace(
        ambiguous,
        id=f"{stem}/disambiguated",
        gold=groups.index(answer),
        context=f"{context} {fact}",
        condition="disambiguated",
    )
