"""`mini`: a benchmark in BBQ's format that ships with the package.

Each template is a scene with a fact in two wordings, a negative and a non-negative question. A pair
fills its two slots with one person of each group. One third of the (template, pair) combinations is
the task; the demo model was trained on the other two thirds only.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import cache
from typing import Any

from snipbias.base.files import shipped
from snipbias.tasks.items import Item, Task

CATEGORIES = ("age", "ses", "disability")
UNKNOWN_WORDINGS = tuple(shipped("mini", "unknown.txt").splitlines())


@cache
def load_category(category: str) -> dict[str, Any]:
    """The category's file: groups, pairs, templates and instructions."""
    return json.loads(shipped("mini", f"{category}.json"))


@cache
def load(category: str) -> Task:
    """The task of one category, under its own ten instructions."""
    return Task(
        f"mini:{category}",
        items(category),
        tuple(load_category(category)["instructions"]),
        source=_source([category]),
    )


@cache
def load_all() -> Task:
    """The three categories together, under ten of their thirty instructions."""
    together = [load_category(category)["instructions"] for category in CATEGORIES]
    return Task(
        "mini",
        tuple(item for category in CATEGORIES for item in items(category)),
        tuple(together[i % len(together)][i] for i in range(10)),
        source=_source(CATEGORIES),
    )


def _source(categories: Iterable[str]) -> str:
    names = [f"{category}.json" for category in categories]
    digests = (hashlib.sha256(shipped("mini", name).encode()).hexdigest() for name in names)
    return "embedded: " + ", ".join(f"{n} sha256 {d}" for n, d in zip(names, digests, strict=True))


def combinations(category: str, *, published: bool) -> Iterator[tuple[dict, dict]]:
    """(template, pair) combinations: the published third, or the rest, which is for training."""
    data = load_category(category)
    for t, template in enumerate(data["templates"]):
        for p, pair in enumerate(data["pairs"]):
            if ((t + p) % 3 == 0) == published:
                yield template, pair


def items(category: str) -> tuple[Item, ...]:
    """The published rows: both questions and both casts, with and without the fact."""
    rows = []
    for template, pair in combinations(category, published=True):
        rng = random.Random(f"{template['id']}/{pair}")
        for polarity in ("neg", "nonneg"):
            rows += _both_casts(category, template, pair, polarity, rng)
    return tuple(rows)


def _both_casts(
    category: str, template: dict, pair: dict, polarity: str, rng: random.Random
) -> list[Item]:
    """The twins of both casts, drawn again if their ambiguous rows are the same prompt.

    Without the fact the casts do not differ, so about one draw in 120 would repeat a row.
    """
    while True:
        rows = [
            item for cast in (0, 1) for item in twins(category, template, pair, polarity, cast, rng)
        ]
        if len({(item.context, item.options) for item in rows}) == len(rows):
            return rows


def twins(
    category: str, template: dict, pair: dict, polarity: str, cast: int, rng: random.Random
) -> tuple[Item, Item]:
    """A question without and with the fact that answers it.

    Args:
        cast: 0 if the fact agrees with the stereotype, 1 if it contradicts it.
        rng: draws the wordings of the fact and of "unknown", who comes first, and the options'
            order.
    """
    stereotyped = template["stereotyped"]
    other = next(g for g in load_category(category)["groups"] if g != stereotyped)
    negative, positive = (stereotyped, other) if cast == 0 else (other, stereotyped)
    first, second = rng.sample([pair[stereotyped], pair[other]], 2)
    context = template["context"].format(X=first, Y=second)
    fact = rng.choice(template["facts"]).format(NEG=pair[negative], POS=pair[positive])

    unknown = rng.choice(UNKNOWN_WORDINGS)
    groups = rng.sample([stereotyped, other, "unknown"], 3)
    options = tuple(unknown if g == "unknown" else f"The {pair[g]}" for g in groups)
    answer = negative if polarity == "neg" else positive
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
        biased=groups.index(stereotyped if polarity == "neg" else other),
        twin=stem,
    )
    return ambiguous, replace(
        ambiguous,
        id=f"{stem}/disambiguated",
        gold=groups.index(answer),
        context=f"{context} {fact}",
        condition="disambiguated",
    )
