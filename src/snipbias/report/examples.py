"""A typical question before and after, and the rows that an edit changed most."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain, zip_longest
from typing import TypeVar

import numpy as np
import pyarrow as pa

from snipbias.evaluation.apart import own_rows
from snipbias.evaluation.evaluate import rows_of
from snipbias.evaluation.metrics import option_probabilities
from snipbias.evaluation.rows import Rows
from snipbias.report.page import Case, Example
from snipbias.report.texts import Texts
from snipbias.tasks.prompts import PromptTemplate

SHOWN = 12  # of each edit, on either side
ROUNDING = 1e-6  # a smaller change of a probability is none
NO_ANSWER = "no option's text"
T = TypeVar("T")


def case(tables: Mapping[str, pa.Table], texts: Texts) -> Case:
    """A typical question with every method's answer.

    Args:
        tables: rows by method, the original's first, item by item the same.
    """
    first, *_ = own = [own_rows(table) for table in tables.values()]
    original, *_, last = runs = list(map(rows_of, own))
    i = _typical(original, last)
    name, instruction = (first[column][i].as_py() for column in ("item", "instruction"))
    item = texts.items.get(name)
    count = int(np.isfinite(original.scores[i]).sum())
    here = [rows.take(np.array([i])) for rows in runs]
    return Case(
        instruction=texts.instructions[instruction] if texts.instructions else "",
        context=item.context if item else "",
        question=item.question if item else name,
        options=tuple(
            (item.options[n] if item else f"option {n + 1}", ", ".join(kinds(original, i, n)))
            for n in range(count)
        ),
        answers=tuple(
            (name, int(rows.chosen[0]), tuple(option_probabilities(rows)[0][:count]))
            for name, rows in zip(tables, here, strict=True)
        ),
    )


def _typical(before: Rows, after: Rows) -> int:
    """The row with the median change among the most common change on unanswerable rows."""
    delta = gold_change(before, after)
    among = np.flatnonzero(before.unanswerable)
    among = among if len(among) else np.arange(len(before))
    changes = [
        tuple(tuple(kinds(rows, int(i), rows.chosen[i])) for rows in (before, after)) for i in among
    ]
    commonest = Counter(changes).most_common(1)[0][0]
    there = among[[change == commonest for change in changes]]
    return int(there[delta[there].argsort(kind="stable")[len(there) // 2]])


def gold_change(before: Rows, after: Rows) -> np.ndarray:
    """By how much the right option's probability rose in each row."""
    old, new = (option_probabilities(rows) for rows in (before, after))
    at_gold = np.arange(len(before)), before.gold
    return new[at_gold] - old[at_gold]


def kinds(rows: Rows, row: int, option: int) -> list[str]:
    """The roles of an option: "right", "stereotyped" and "unknown", as far as they apply.

    Args:
        row: number of the row.
        option: index of the option.
    """
    roles = {"right": rows.gold, "stereotyped": rows.biased, "unknown": rows.unknown}
    return [name for name, index in roles.items() if index[row] == option >= 0]


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
    delta, stays = gold_change(before, after), before.chosen == after.chosen
    sides = []
    for fall in (-delta, delta):
        moved = [int(i) for i in (-fall).argsort(kind="stable") if fall[i] > ROUNDING]
        first = {items[i]: i for i in reversed(moved)}
        once = sorted(first.values(), key=lambda i, fall=fall: (stays[i], -fall[i], i))
        sides.append(once[:SHOWN])
    picked = dict.fromkeys(in_turn(sides))
    wording = texts.prompt.lettered() if letters else texts.prompt
    return [
        _example(i, (items[i], instructions[i]), (before, after), label, texts, wording)
        for i in sorted(picked, key=lambda i: stays[i])
    ]


def in_turn(lists: Iterable[Sequence[T]]) -> list[T]:
    """The first of each, the second of each, and so on."""
    return [each for each in chain(*zip_longest(*lists)) if each is not None]


def _example(
    i: int,
    asked: tuple[str, int],
    runs: tuple[Rows, Rows],
    label: str,
    texts: Texts,
    wording: PromptTemplate,
) -> Example:
    (name, instruction), (before, after) = asked, runs
    item, gold = texts.items.get(name), int(before.gold[i])
    p_before, p_after = (option_probabilities(rows.take(np.array([i])))[0] for rows in runs)
    count = int(np.isfinite(before.scores[i]).sum())
    options = item.options if item else tuple(f"option {n + 1}" for n in range(count))
    chosen = int(before.chosen[i]), int(after.chosen[i])
    return Example(
        edit=label,
        item=name,
        instruction=instruction,
        condition=str(before.condition[i]) or "no condition",
        text=wording.render(texts.instructions[instruction], item) if item else None,
        question=item.question if item else name,
        options=tuple(
            (option, ", ".join(kinds(before, i, n)), float(p_before[n]), float(p_after[n]))
            for n, option in enumerate(options)
        ),
        before=options[chosen[0]] if chosen[0] >= 0 else NO_ANSWER,
        after=options[chosen[1]] if chosen[1] >= 0 else NO_ANSWER,
        delta=float(p_after[gold] - p_before[gold]),
        outcome=_outcome(chosen, gold),
    )


def _outcome(chosen: tuple[int, int], gold: int) -> str:
    before, after = chosen
    if before == after:
        return "same answer"
    if gold in chosen:
        return "became right" if after == gold else "became wrong"
    return "other wrong answer"
