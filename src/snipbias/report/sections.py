"""The section of one task, whichever run measured it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from snipbias.base.files import slug
from snipbias.base.table import Grid, percent
from snipbias.base.words import ORIGINAL
from snipbias.evaluation import measures
from snipbias.evaluation.estimate import average
from snipbias.evaluation.measured import Measured
from snipbias.evaluation.rows import Rows
from snipbias.evaluation.verdicts import forewarned
from snipbias.report.examples import case, changed_examples, in_turn
from snipbias.report.page import Finding, Line, Section
from snipbias.report.texts import Texts

PROBABILITIES = {
    f"{kind}, {short}": metric.of(condition)
    for kind, metric in (
        ("right", measures.GOLD_PROBABILITY),
        ("stereotyped", measures.BIASED_PROBABILITY),
        ("unknown", measures.UNKNOWN_PROBABILITY),
    )
    for short, condition in (("ambig.", "ambiguous"), ("disambig.", "disambiguated"))
}
GOLD = [PROBABILITIES["right, ambig."], PROBABILITIES["right, disambig."]]


def section(
    found: Mapping[str, Measured],
    kinds: Mapping[str, str],
    tables: Mapping[str, pa.Table],
    texts: Texts,
    *,
    grids: Sequence[Grid],
    more: Sequence[Grid] = (),
    notes: Sequence[str] = (),
    findings: tuple[Finding, ...],
    letters: bool = False,
    **rest: Any,
) -> Section:
    """The section of one task.

    Args:
        kinds: of the methods that it shows: "original", "edit", "control", "floor" or "rival".
        tables: rows of the original and of every edit (or trial) that examples are taken from.
        grids, more: tables before and after the one of probabilities.
        letters: whether the prompt listed the options as A, B, C.
        rest: other fields of the section.
    """
    original, *edited = tables
    task = found[ORIGINAL].task
    changed = (
        changed_examples(tables[original], tables[name], name, texts, letters=letters)
        for name in edited
    )
    return Section(
        name=slug(task),
        title=task,
        findings=findings,
        lines=lines(found, kinds, {each.found.method: each.tag for each in findings}),
        kept=next(iter(found[ORIGINAL].trials[0].retention), ""),
        case=case(tables, texts),
        grids=(*grids, shift_grid({name: found[name].rows for name in kinds}), *more),
        examples=tuple(in_turn(changed)),
        notes=(*notes, *([texts.missing] if texts.missing else [])),
        warning=forewarned(task, found[ORIGINAL].verdicts),
        **rest,
    )


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
            edits.index(name) if name in edits else -1,
            stereotyped=average(measures.NAMED_STEREOTYPED, methods[name].rows),
            answerable=average(measures.ANSWERABLE, methods[name].rows),
            kept=average(measures.ACCURACY, methods[name].kept(task)),
            gold=tuple(average(metric, methods[name].rows) for metric in GOLD),
            tag=tags.get(name, ("", "")),
        )
        for name, kind in kinds.items()
        if kind != "rival"
    )


def shift_grid(methods: Mapping[str, Sequence[Rows]]) -> Grid:
    """Mean probability of the right option (the paper's Table 2) and of the other two kinds."""
    rows = tuple(
        (name, *(percent(average(metric, runs)) for metric in PROBABILITIES.values()))
        for name, runs in methods.items()
    )
    title = "Mean probability of an option, of all options of its row (%)"
    return Grid(title, ("method", *PROBABILITIES), rows).without_empty_columns()
