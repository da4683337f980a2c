"""Which rows an edit changed most, for better and for worse."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from snipbias.base.words import ORIGINAL
from snipbias.evaluation.apart import own_rows
from snipbias.evaluation.evaluate import rows_of
from snipbias.evaluation.metrics import option_probabilities
from snipbias.evaluation.rows import Rows
from snipbias.report.page import Example
from snipbias.report.texts import Texts

SHOWN = 12  # of each edit, on either side
ROUNDING = 1e-6  # a smaller change of a probability is none
NO_ANSWER = "no option's text"


def changed_examples(
    original: pa.Table, edited: pa.Table, label: str, texts: Texts, *, letters: bool = False
) -> tuple[Example, ...]:
    """The rows whose right option lost most probability and those where it gained most.

    Each item once, under the instruction where it changed most, so that ten wordings of one row
    do not fill the list. The worst come first.

    Args:
        original, edited: rows of the two, item by item the same.
        letters: whether the prompt listed the options as A, B, C.
    """
    original, edited = own_rows(original), own_rows(edited)
    before, after = rows_of(original), rows_of(edited)
    labels = original.select(["item", "instruction"]).to_pydict()
    old, new = (option_probabilities(rows) for rows in (before, after))
    at_gold = np.arange(len(before)), before.gold
    delta = new[at_gold] - old[at_gold]
    picked = []
    for order, keep in ((delta.argsort(kind="stable"), _fell), ((-delta).argsort(), _rose)):
        seen: set[str] = set()
        for i in map(int, order):
            item = labels["item"][i]
            if len(seen) == SHOWN or not keep(delta[i]):
                break
            if item not in seen:
                seen.add(item)
                picked.append(i)
    return tuple(
        _example(
            i, labels["item"][i], labels["instruction"][i], before, after, label, texts, letters
        )
        for i in sorted(set(picked), key=lambda i: (delta[i], i))
    )


def _fell(delta: float) -> bool:
    return delta < -ROUNDING


def _rose(delta: float) -> bool:
    return delta > ROUNDING


def _example(
    i: int,
    name: str,
    instruction: int,
    before: Rows,
    after: Rows,
    label: str,
    texts: Texts,
    letters: bool,
) -> Example:
    item = texts.items.get(name)
    gold = int(before.gold[i])
    p_before, p_after = (
        option_probabilities(rows.take(np.array([i])))[0] for rows in (before, after)
    )
    count = int(np.isfinite(before.scores[i]).sum())
    options = item.options if item else tuple(f"option {n + 1}" for n in range(count))
    prompt = None
    if item is not None:
        wording = texts.prompt.lettered() if letters else texts.prompt
        prompt = wording.render(texts.instructions[instruction], item)
    chosen = int(before.chosen[i]), int(after.chosen[i])
    return Example(
        edit=label,
        item=name,
        instruction=instruction,
        condition=str(before.condition[i]) or "no condition",
        text=prompt,
        question=item.question if item else name,
        options=tuple(
            (option, ", ".join(_kinds(before, i, n)), float(p_before[n]), float(p_after[n]))
            for n, option in enumerate(options)
        ),
        before=options[chosen[0]] if chosen[0] >= 0 else NO_ANSWER,
        after=options[chosen[1]] if chosen[1] >= 0 else NO_ANSWER,
        delta=float(p_after[gold] - p_before[gold]),
        outcome=_outcome(chosen, gold),
    )


def _kinds(rows: Rows, i: int, option: int) -> Iterator[str]:
    """The role of an option; the gold one is called "right"."""
    for name, index in (("right", rows.gold), ("biased", rows.biased), ("unknown", rows.unknown)):
        if index[i] == option:
            yield name


def _outcome(chosen: tuple[int, int], gold: int) -> str:
    before, after = chosen
    if before == after:
        return "same answer"
    if gold in chosen:
        return "became right" if after == gold else "became wrong"
    return "other wrong answer"


def by_edit(table: pa.Table, labels: list[str], texts: Texts, *, letters: bool) -> list[Example]:
    """The changed examples of each of several edits, from one table with all methods' rows."""

    def of(method: str) -> pa.Table:
        return table.filter(pc.equal(table["method"], method))  # type: ignore[attr-defined]

    original = of(ORIGINAL)
    return [
        example
        for label in labels
        for example in changed_examples(original, of(label), label, texts, letters=letters)
    ]
