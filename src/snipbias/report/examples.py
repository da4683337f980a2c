"""The rows that an edit changed most, for better and for worse."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain, zip_longest
from typing import TypeVar

import numpy as np
import pyarrow as pa

from snipbias.evaluation.apart import own_rows
from snipbias.evaluation.evaluate import rows_of
from snipbias.evaluation.metrics import option_probabilities
from snipbias.evaluation.rows import Rows
from snipbias.report.first_screen import gold_change, kinds
from snipbias.report.page import Example
from snipbias.report.texts import Texts
from snipbias.tasks.prompts import PromptTemplate

SHOWN = 12  # of each edit, on either side
ROUNDING = 1e-6  # a smaller change of a probability is none
NO_ANSWER = "no option's text"
T = TypeVar("T")


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
        _example(i, items[i], instructions[i], before, after, label, texts, wording)
        for i in sorted(picked, key=lambda i: stays[i])
    ]


def in_turn(lists: Iterable[Sequence[T]]) -> list[T]:
    """The first of each, the second of each, and so on."""
    return [each for each in chain(*zip_longest(*lists)) if each is not None]


def _example(
    i: int,
    name: str,
    instruction: int,
    before: Rows,
    after: Rows,
    label: str,
    texts: Texts,
    wording: PromptTemplate,
) -> Example:
    item = texts.items.get(name)
    gold = int(before.gold[i])
    p_before, p_after = (
        option_probabilities(rows.take(np.array([i])))[0] for rows in (before, after)
    )
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
