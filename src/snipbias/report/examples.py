"""A typical question before and after, and the rows that an edit changed most."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain, zip_longest
from typing import TypeVar

import numpy as np
import pyarrow as pa
from jaxtyping import Float

from snipbias.evaluation.apart import own_rows
from snipbias.evaluation.evaluate import rows_of
from snipbias.evaluation.metrics import option_probabilities
from snipbias.evaluation.rows import Rows
from snipbias.report.page import Case, Example
from snipbias.report.texts import Texts

SHOWN = 12  # of each edit, on either side
ROUNDING = 1e-6  # a smaller change of a probability is none
NO_ANSWER = "no option's text"
T = TypeVar("T")


def case(tables: Mapping[str, pa.Table], texts: Texts) -> Case:
    """A typical question with every method's answer.

    Args:
        tables: rows by method, the original's first, item by item the same.
    """
    own = {name: own_rows(table) for name, table in tables.items()}
    runs = {name: rows_of(table) for name, table in own.items()}
    original, *_, last = runs.values()
    i = _typical(original, last)
    first = next(iter(own.values()))
    name, instruction = (first[column][i].as_py() for column in ("item", "instruction"))
    item = texts.items.get(name)
    options = _options(original, i, texts, name)
    return Case(
        instruction=texts.instructions[instruction] if texts.instructions else "",
        context=item.context if item else "",
        question=item.question if item else name,
        options=tuple((text, _kind(original, i, n)) for n, text in enumerate(options)),
        answers=tuple(
            (name, int(rows.chosen[i]), tuple(option_probabilities(rows)[i][: len(options)]))
            for name, rows in runs.items()
        ),
    )


def _typical(before: Rows, after: Rows) -> int:
    """The row with the median change among the most common change on unanswerable rows."""
    delta = _risen(before, after)
    among = np.flatnonzero(before.unanswerable)
    among = among if len(among) else np.arange(len(before))
    changes = [
        tuple(_kind(rows, int(i), rows.chosen[i]) for rows in (before, after)) for i in among
    ]
    commonest = Counter(changes).most_common(1)[0][0]
    there = among[[change == commonest for change in changes]]
    return int(there[delta[there].argsort(kind="stable")[len(there) // 2]])


def _risen(before: Rows, after: Rows) -> Float[np.ndarray, " rows"]:
    """By how much the right option's probability rose in each row."""
    old, new = (option_probabilities(rows) for rows in (before, after))
    at_gold = np.arange(len(before)), before.gold
    return new[at_gold] - old[at_gold]


def _options(rows: Rows, row: int, texts: Texts, item: str) -> Sequence[str]:
    """The options of a row, by their numbers where the texts are not to be had."""
    if item in texts.items:
        return texts.items[item].options
    return [f"option {n + 1}" for n in range(int(np.isfinite(rows.scores[row]).sum()))]


def _kind(rows: Rows, row: int, option: int) -> str:
    """The roles of an option: "right", "stereotyped" and "unknown", as far as they apply."""
    roles = {"right": rows.gold, "stereotyped": rows.biased, "unknown": rows.unknown}
    return ", ".join(name for name, index in roles.items() if index[row] == option >= 0)


def changed_examples(
    original: pa.Table, edited: pa.Table, label: str, texts: Texts, *, letters: bool = False
) -> list[Example]:
    """The rows whose right option lost most probability and those where it gained most, in turn.

    Each item once, under the instruction where it changed most, so that ten wordings of one row
    do not fill the list. Rows whose answer changed come first.

    Args:
        original, edited: rows of the two, item by item the same.
        letters: whether the prompt listed the options as A, B, C.
    """
    original, edited = own_rows(original), own_rows(edited)
    before, after = rows_of(original), rows_of(edited)
    items, instructions = (original[name].to_pylist() for name in ("item", "instruction"))
    delta, stays = _risen(before, after), before.chosen == after.chosen
    sides = []
    for fall in (-delta, delta):
        moved = [int(i) for i in (-fall).argsort(kind="stable") if fall[i] > ROUNDING]
        first = {items[i]: i for i in reversed(moved)}
        once = sorted(first.values(), key=lambda i, fall=fall: (stays[i], -fall[i], i))
        sides.append(once[:SHOWN])
    old, new = option_probabilities(before), option_probabilities(after)
    wording = texts.prompt.lettered() if letters else texts.prompt
    found = []
    for i in sorted(dict.fromkeys(in_turn(sides)), key=lambda i: stays[i]):
        name, item = items[i], texts.items.get(items[i])
        options = _options(before, i, texts, name)
        chosen = int(before.chosen[i]), int(after.chosen[i])
        said = [options[answer] if answer >= 0 else NO_ANSWER for answer in chosen]
        instruction = instructions[i]
        example = Example(
            edit=label,
            item=name,
            instruction=instruction,
            condition=str(before.condition[i]) or "no condition",
            text=wording.render(texts.instructions[instruction], item) if item else None,
            question=item.question if item else name,
            options=tuple(
                (text, _kind(before, i, n), float(old[i, n]), float(new[i, n]))
                for n, text in enumerate(options)
            ),
            before=said[0],
            after=said[1],
            delta=float(delta[i]),
            outcome=_outcome(chosen, int(before.gold[i])),
        )
        found.append(example)
    return found


def in_turn(lists: Iterable[Sequence[T]]) -> list[T]:
    """The first of each, the second of each, and so on."""
    return [each for each in chain(*zip_longest(*lists)) if each is not None]


def _outcome(chosen: tuple[int, int], gold: int) -> str:
    before, after = chosen
    if before == after:
        return "same answer"
    if gold in chosen:
        return "became right" if after == gold else "became wrong"
    return "other wrong answer"
