"""The first screen: three numbers per method, and one typical question before and after."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from snipbias.base.plot import average
from snipbias.base.table import Grid, percent
from snipbias.evaluation import measures, metrics
from snipbias.evaluation.rows import Rows
from snipbias.report.page import Case, Line
from snipbias.report.texts import Texts


@dataclass(frozen=True)
class Answers:
    """What a method answered: the rows of each trial, and those of the first retention task.

    Attributes:
        neurons: that it scales, in words.
        kind: "original", "edit", "control" or "floor".
    """

    neurons: str
    kind: str
    rows: Sequence[Rows]
    kept: Sequence[Rows] = ()


def lines(methods: Mapping[str, Answers], tags: Mapping[str, tuple[str, str]]) -> tuple[Line, ...]:
    """The first screen's table, a line per method; edits are numbered for their colours."""
    edits = [name for name, found in methods.items() if found.kind == "edit"]
    return tuple(
        Line(
            name,
            found.kind,
            found.neurons,
            edits.index(name) if name in edits else -1,
            stereotyped=average([measures.NAMED_STEREOTYPED(rows) for rows in found.rows]),
            answerable=average([_answerable(rows) for rows in found.rows]),
            kept=average([measures.ACCURACY(rows) for rows in found.kept]),
            gold=tuple(average([metric(rows) for rows in found.rows]) for metric in _GOLD),
            tag=tags.get(name, ("", "")),
        )
        for name, found in methods.items()
    )


_GOLD = (measures.AMBIGUOUS_GOLD_PROBABILITY, measures.DISAMBIGUATED_GOLD_PROBABILITY)


def _answerable(rows: Rows) -> float | None:
    """Of rows without conditions, how many of all are right."""
    found = measures.DISAMBIGUATED_ACCURACY(rows)
    return measures.ACCURACY(rows) if found is None else found


def case(
    methods: Mapping[str, Rows], items: Sequence[str], instructions: Sequence[int], texts: Texts
) -> Case:
    """A typical question with every method's answer.

    Args:
        methods: rows by method, the original's first, item by item the same.
        items, instructions: of these rows.
    """
    original, *_, last = methods.values()
    i = typical(original, last)
    item = texts.items.get(items[i])
    count = int(np.isfinite(original.scores[i]).sum())
    here = np.array([i])
    each = {name: rows.take(here) for name, rows in methods.items()}
    return Case(
        item=items[i],
        instruction=texts.instructions[instructions[i]] if texts.instructions else "",
        context=item.context if item else "",
        question=item.question if item else items[i],
        options=tuple(
            (item.options[n] if item else f"option {n + 1}", ", ".join(kinds(original, i, n)))
            for n in range(count)
        ),
        answers=tuple(
            (name, int(rows.chosen[0]), tuple(metrics.option_probabilities(rows)[0][:count]))
            for name, rows in each.items()
        ),
    )


def typical(before: Rows, after: Rows) -> int:
    """Of the commonest change of answer where nobody can be known, the row of the median change."""
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
    old, new = (metrics.option_probabilities(rows) for rows in (before, after))
    at_gold = np.arange(len(before)), before.gold
    return new[at_gold] - old[at_gold]


def kinds(rows: Rows, i: int, option: int) -> list[str]:
    """What an option is; "right" for the gold one, which readers know by that name."""
    roles = {"right": rows.gold, "stereotyped": rows.biased, "unknown": rows.unknown}
    return [name for name, index in roles.items() if index[i] == option >= 0]


def shift_grid(methods: Mapping[str, Sequence[Rows]]) -> Grid:
    """Where the probability went: the paper's Table 2, and the other two kinds of option."""
    probabilities = {
        "right": metrics.gold_probability,
        "stereotyped": metrics.biased_probability,
        "unknown": metrics.unknown_probability,
    }
    conditions = {"ambig.": "ambiguous", "disambig.": "disambiguated"}
    return Grid(
        "Mean probability of an option, of all options of its row (%)",
        ("method", *(f"{kind}, {short}" for kind in probabilities for short in conditions)),
        tuple(
            (
                name,
                *(
                    percent(average([getattr(metric(rows), condition) for rows in runs]))
                    for metric in probabilities.values()
                    for condition in conditions.values()
                ),
            )
            for name, runs in methods.items()
        ),
    ).without_empty_columns()
