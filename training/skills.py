"""The generator of `mini:skills`: neutral questions with options, drawn from templates.

A third of all rows, chosen by a hash of their words in any order, is held out from the demo model's
training. `published` draws from that third only; the package ships its rows.
"""

from __future__ import annotations

import hashlib
import json
import random
import re
from collections.abc import Callable, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

from snipbias.tasks import task
from snipbias.tasks.items import Item

ROWS_PER_TEMPLATE = 22
KINDS = {
    "animal": "an animal",
    "food": "a kind of food",
    "color": "a color",
    "furniture": "a piece of furniture",
    "vehicle": "a vehicle",
}
Row = tuple[str, str, list[str]]  # context, question, options with the answer first
Draw = Callable[[random.Random], Row]
INSTRUCTIONS = task("mini:skills").instructions


@cache
def load() -> dict[str, Any]:
    """The words, word pairs and sentences that rows are made from."""
    return json.loads(Path(__file__).with_suffix(".json").read_text(encoding="utf-8"))


def published() -> tuple[Item, ...]:
    """The rows that the package ships: the same number per template, without duplicates."""
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
            answer = options[0]
            rng.shuffle(options)
            gold = options.index(answer)
            return Item(name or template, question, tuple(options), gold, context, template)


@cache
def templates() -> dict[str, Draw]:
    """Generators of rows, by template."""
    found: dict[str, Draw] = {
        name: partial(_reading, spec) for name, spec in load()["reading"].items()
    }
    return found | {
        "opposite-1": partial(_opposite, "Which word is the opposite of {}?"),
        "opposite-2": partial(_opposite, "What is the opposite of {}?"),
        "opposite-3": partial(_opposite, "Something is not {}. What is it?"),
        **{f"kind-{i}": partial(_kind, kind) for i, kind in enumerate(KINDS, start=1)},
        "number-1": partial(_number, "Which number is larger?", 2, max),
        "number-2": partial(_number, "Which number is smaller?", 2, min),
        "number-3": partial(_number, "Which number is the largest?", 3, max),
        "number-4": partial(_number, "Which number is the smallest?", 3, min),
        "list-1": partial(_place_in_list, "Which word comes first?", 0),
        "list-2": partial(_place_in_list, "Which word comes second?", 1),
        "list-3": partial(_place_in_list, "Which word comes last?", 2),
        "odd-1": partial(_odd_one_out, "Which word does not belong with the others?"),
        "odd-2": partial(_odd_one_out, "Which word is the odd one out?"),
    }


def _reading(spec: dict[str, Any], rng: random.Random) -> Row:
    """Two clauses in the order of the pattern, and a question about one of them."""
    slots = sorted(set(re.findall(r"\{(\w+)\}", json.dumps(spec))))
    kinds = dict.fromkeys(slot[:-1] for slot in slots)  # in the same order every time
    drawn = {kind: rng.sample(load()["words"][kind], 3) for kind in kinds}
    words = {slot: drawn[slot[:-1]][int(slot[-1])] for slot in slots}
    asked = words
    if rng.random() < 0.5:  # ask about the second clause: swap what 0 and 1 stand for
        swapped = str.maketrans("01", "10")
        asked = {slot: words.get(slot.translate(swapped), word) for slot, word in words.items()}
    options = [option.format(**asked) for option in spec["options"]]
    return spec["context"].format(**words), spec["question"].format(**asked), options


def _opposite(question: str, rng: random.Random) -> Row:
    asked, *others = rng.sample(load()["opposites"], 3)
    word, answer = rng.sample(asked, 2)
    return "", question.format(word), [answer, *(rng.choice(pair) for pair in others)]


def _kind(kind: str, rng: random.Random) -> Row:
    others = rng.sample([other for other in KINDS if other != kind], 2)
    options = [rng.choice(load()["words"][k]) for k in (kind, *others)]
    return "", f"Which word is {KINDS[kind]}?", options


def _number(question: str, n: int, best: Callable[[list[int]], int], rng: random.Random) -> Row:
    names = load()["words"]["number"]
    drawn = rng.sample(range(len(names)), n)
    answer = best(drawn)
    return "", question, [names[i] for i in (answer, *(i for i in drawn if i != answer))]


def _place_in_list(question: str, place: int, rng: random.Random) -> Row:
    words = rng.sample(load()["words"]["thing"], 3)
    rest = [word for word in words if word != words[place]]
    return ", ".join(words) + ".", question, [words[place], *rest]


def _odd_one_out(question: str, rng: random.Random) -> Row:
    common, odd = rng.sample(list(KINDS), 2)
    words = load()["words"]
    return "", question, [rng.choice(words[odd]), *rng.sample(words[common], 3)]


def _held_out(context: str, question: str, options: Sequence[str]) -> bool:
    """Whether the row is in the published third, which depends on its words but not their order."""
    words = sorted(set(re.findall(r"\w+", " ".join((context, question, *options)).lower())))
    return int(hashlib.sha256(" ".join(words).encode()).hexdigest(), 16) % 3 == 0
