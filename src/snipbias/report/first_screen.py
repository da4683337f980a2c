"""The first screen: three numbers per method, and one typical question before and after."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa

from snipbias.base.table import Grid, percent
from snipbias.base.words import ORIGINAL
from snipbias.evaluation import measures, metrics
from snipbias.evaluation.answer import answerable, named
from snipbias.evaluation.apart import own_rows
from snipbias.evaluation.estimate import average, mean_of
from snipbias.evaluation.evaluate import rows_of
from snipbias.evaluation.measured import Measured
from snipbias.evaluation.rows import Rows
from snipbias.report.page import Case, Line
from snipbias.report.texts import Texts

GOLD = (measures.AMBIGUOUS_GOLD_PROBABILITY, measures.DISAMBIGUATED_GOLD_PROBABILITY)


def lines(
    methods: Mapping[str, Measured], kinds: Mapping[str, str], tags: Mapping[str, tuple[str, str]]
) -> tuple[Line, ...]:
    """The first screen's table, a line per method but for rivals; edits are numbered for colours.

    Args:
        kinds: of the methods that are shown.
        tags: tone and words of their findings.
    """
    edits = [name for name, kind in kinds.items() if kind == "edit"]
    task = next(iter(methods[ORIGINAL].trials[0].retention), "")

    return tuple(
        Line(
            name,
            kind,
            methods[name].pruned,
            edits.index(name) if name in edits else -1,
            stereotyped=named(methods[name]),
            answerable=answerable(methods[name]),
            kept=average(measures.ACCURACY, methods[name].kept(task)),
            gold=tuple(average(metric, methods[name].rows) for metric in GOLD),
            tag=tags.get(name, ("", "")),
        )
        for name, kind in kinds.items()
        if kind != "rival"
    )


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
        item=name,
        instruction=texts.instructions[instruction] if texts.instructions else "",
        context=item.context if item else "",
        question=item.question if item else name,
        options=tuple(
            (item.options[n] if item else f"option {n + 1}", ", ".join(kinds(original, i, n)))
            for n in range(count)
        ),
        answers=tuple(
            (name, int(rows.chosen[0]), tuple(metrics.option_probabilities(rows)[0][:count]))
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
    old, new = (metrics.option_probabilities(rows) for rows in (before, after))
    at_gold = np.arange(len(before)), before.gold
    return new[at_gold] - old[at_gold]


def kinds(rows: Rows, row: int, option: int) -> list[str]:
    """The roles of an option: "right", "stereotyped" and "unknown", as far as they apply.

    Args:
        rows: the rows.
        row: number of the row.
        option: index of the option.
    """
    roles = {"right": rows.gold, "stereotyped": rows.biased, "unknown": rows.unknown}
    return [name for name, index in roles.items() if index[row] == option >= 0]


def shift_grid(methods: Mapping[str, Sequence[Rows]]) -> Grid:
    """Mean probability of the right option (the paper's Table 2) and of the other two kinds."""
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
                    percent(mean_of(getattr(metric(rows), condition) for rows in runs))
                    for metric in probabilities.values()
                    for condition in conditions.values()
                ),
            )
            for name, runs in methods.items()
        ),
    ).without_empty_columns()
