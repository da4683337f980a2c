"""`mini:skills`: neutral questions with options, whose answers an edit must keep.

Reading (who has, what, where), opposites, kinds of things, numbers, places in a list and the odd
one out. Rows are drawn from templates. A third of them, chosen by a hash of their words in any
order, is held out from the demo model's training; published rows come from that third only.
"""

from __future__ import annotations

import hashlib
import json
import random
import re
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

from snipbias.base.files import shipped
from snipbias.tasks.items import Item

ROWS_PER_TEMPLATE = 22
KINDS = {
    "animal": "an animal",
    "food": "a kind of food",
    "color": "a color",
    "furniture": "a piece of furniture",
    "vehicle": "a vehicle",
}
Draw = Callable[[random.Random], tuple[str, str, list[str]]]


@cache
def load() -> dict[str, Any]:
    """The words, word pairs and sentences that rows are made from, and ten instructions."""
    return json.loads(shipped("mini", "skills.json"))


INSTRUCTIONS: tuple[str, ...] = tuple(load()["instructions"])


@cache
def items() -> tuple[Item, ...]:
    """The published rows: the same number per template, without duplicates."""
    rows = []
    for template in templates():
        rng = random.Random(template)
        found: dict[tuple[str, str, frozenset[str]], Item] = {}
        while len(found) < ROWS_PER_TEMPLATE:
            item = draw(template, rng, published=True, name=f"{template}/{len(found) + 1:02}")
            found.setdefault((item.context, item.question, frozenset(item.options)), item)
        rows += found.values()
    return tuple(rows)


def draw(template: str, rng: random.Random, *, published: bool, name: str = "") -> Item:
    """Draw one row of a template.

    Args:
        template: name of the template.
        rng: source of randomness, advanced by the draw.
        published: draw from the published third of all rows, or from the rest, for training.
        name: id of the row; the template's name by default.
    """
    while True:
        context, question, options = templates()[template](rng)
        if _held_out(context, question, options) == published:
            answer, *_ = options
            rng.shuffle(options)
            return Item(
                id=name or template,
                context=context,
                question=question,
                options=tuple(options),
                gold=options.index(answer),
                template=template,
            )


@cache
def templates() -> dict[str, Draw]:
    """Generators of (context, question, options with the answer first), by template."""
    found: dict[str, Draw] = {name: _reading(spec) for name, spec in load()["reading"].items()}
    found |= {
        f"opposite-{i}": _opposite(question)
        for i, question in enumerate(
            (
                "Which word is the opposite of {}?",
                "What is the opposite of {}?",
                "Something is not {}. What is it?",
            ),
            start=1,
        )
    }
    found |= {
        f"kind-{i}": _kind(kind, f"Which word is {words}?")
        for i, (kind, words) in enumerate(KINDS.items(), start=1)
    }
    found |= {
        "number-1": _number("Which number is larger?", 2, max),
        "number-2": _number("Which number is smaller?", 2, min),
        "number-3": _number("Which number is the largest?", 3, max),
        "number-4": _number("Which number is the smallest?", 3, min),
        "list-1": _place_in_list("Which word comes first?", 0),
        "list-2": _place_in_list("Which word comes second?", 1),
        "list-3": _place_in_list("Which word comes last?", 2),
        "odd-1": _odd_one_out("Which word does not belong with the others?"),
        "odd-2": _odd_one_out("Which word is the odd one out?"),
    }
    return found


def _reading(spec: dict[str, Any]) -> Draw:
    """Two clauses in the order of the pattern, and a question about one of them."""
    slots = sorted(set(re.findall(r"\{(\w+)\}", json.dumps(spec))))

    def of(rng: random.Random) -> tuple[str, str, list[str]]:
        drawn = {
            kind: rng.sample(load()["words"][kind], 3)
            for kind in dict.fromkeys(slot[:-1] for slot in slots)  # in the same order every time
        }
        words = {slot: drawn[slot[:-1]][int(slot[-1])] for slot in slots}
        asked = words
        if rng.random() < 0.5:  # ask about the second clause: swap what 0 and 1 stand for
            asked = {slot: words.get(_swapped(slot), word) for slot, word in words.items()}
        options = [option.format(**asked) for option in spec["options"]]
        return spec["context"].format(**words), spec["question"].format(**asked), options

    return of


def _swapped(slot: str) -> str:
    return slot[:-1] + {"0": "1", "1": "0"}.get(slot[-1], slot[-1])


def _opposite(question: str) -> Draw:
    def of(rng: random.Random) -> tuple[str, str, list[str]]:
        asked, *others = rng.sample(load()["opposites"], 3)
        word, answer = rng.sample(asked, 2)
        return "", question.format(word), [answer, *(rng.choice(pair) for pair in others)]

    return of


def _kind(kind: str, question: str) -> Draw:
    def of(rng: random.Random) -> tuple[str, str, list[str]]:
        words = load()["words"]
        others = rng.sample([other for other in KINDS if other != kind], 2)
        options = [rng.choice(words[k]) for k in (kind, *others)]
        return "", question, options

    return of


def _number(question: str, n: int, best: Callable[[Sequence[int]], int]) -> Draw:
    def of(rng: random.Random) -> tuple[str, str, list[str]]:
        names = load()["words"]["number"]
        drawn = rng.sample(range(len(names)), n)
        answer = best(drawn)
        return "", question, [names[i] for i in (answer, *(i for i in drawn if i != answer))]

    return of


def _place_in_list(question: str, place: int) -> Draw:
    def of(rng: random.Random) -> tuple[str, str, list[str]]:
        words = rng.sample(load()["words"]["thing"], 3)
        rest = [word for word in words if word != words[place]]
        return ", ".join(words) + ".", question, [words[place], *rest]

    return of


def _odd_one_out(question: str) -> Draw:
    def of(rng: random.Random) -> tuple[str, str, list[str]]:
        common, odd = rng.sample(list(KINDS), 2)
        words = load()["words"]
        return "", question, [rng.choice(words[odd]), *rng.sample(words[common], 3)]

    return of


def _held_out(context: str, question: str, options: Sequence[str]) -> bool:
    """Whether the row is in the published third, which depends on its words but not their order."""
    words = sorted(set(re.findall(r"\w+", " ".join((context, question, *options)).lower())))
    return int(hashlib.sha256(" ".join(words).encode()).hexdigest(), 16) % 3 == 0
