"""Columns of a user's own rows: their names, how they are mapped, and which are not read."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from snipbias.base.errors import SnipbiasError
from snipbias.base.words import did_you_mean, listed, quoted
from snipbias.tasks.cells import plain
from snipbias.tasks.item import Item

COLUMNS = (
    "question",
    "options",
    "gold",
    "context",
    "template",
    "condition",
    "polarity",
    "unknown",
    "biased",
    "id",
    "twin",
    "instruction",
    "instructions",
)
OPTION_COLUMN = re.compile(r"(option_|ans)([0-9]{1,4})")
MANY_INSTRUCTIONS = 20

Row = Mapping[str, Any]
Columns = Mapping[str, str]


def checked_columns(name: str, rows: Sequence[tuple[str, Row]], columns: Columns) -> Columns:
    """Check a column mapping, and split `options=a,b,c` into one column per option.

    Args:
        name: name of the data, for messages.
        rows: (place, row) pairs.
        columns: {our column: the data's column}.

    Raises:
        SnipbiasError: one of ours does not exist, or one of theirs is in no row.
    """
    there = list(dict.fromkeys(str(column) for _, row in rows for column in row))
    several = columns.get("options", "")
    if "," in several and several not in there:
        each = {f"option_{i}": theirs for i, theirs in enumerate(several.split(","))}
        columns = {ours: columns[ours] for ours in columns if ours != "options"} | each
    for ours, theirs in columns.items():
        if ours not in COLUMNS and not OPTION_COLUMN.fullmatch(ours):
            raise SnipbiasError(
                f"the column mapping names {quoted(ours)}, which is not one of our columns"
                f"{did_you_mean(ours, list(COLUMNS))}: use {', '.join(COLUMNS)}."
            )
        if theirs not in there:
            raise SnipbiasError(
                f"{name} has no column {quoted(theirs)}{did_you_mean(str(theirs), there)}: correct "
                f"what the column mapping says for {ours!r}."
            )
    return columns


def rename(row: Row, columns: Columns) -> dict[str, Any]:
    """Rename a row's columns to ours and drop empty cells.

    A mapped column keeps only its new meaning: it does not also fill our column of its old name.
    If it is empty, no synonym (`label` for a mapped `gold`) replaces it.
    """
    kept = {
        str(name): value
        for name, value in row.items()
        if name not in columns.values() and not _is_replaced(str(name), columns)
    }
    kept |= {ours: row.get(theirs) for ours, theirs in columns.items()}
    renamed = {name: plain(value) if _is_ours(name) else value for name, value in kept.items()}
    return {name: value for name, value in renamed.items() if value is not None}


def _is_replaced(name: str, columns: Columns) -> bool:
    is_an_option = OPTION_COLUMN.fullmatch(name) is not None
    return (name == "label" and "gold" in columns) or (is_an_option and "options" in columns)


def _is_ours(name: str) -> bool:
    return name in COLUMNS or name == "label" or OPTION_COLUMN.fullmatch(name) is not None


def notes(
    rows: Sequence[Row], items: Sequence[Item], own: Sequence[str], given: Sequence[str] | None
) -> Iterator[str]:
    """Say what is not read, and what a missing column means.

    Args:
        rows: rows with our column names.
        items: the items made of them.
        own: instructions that the rows name.
        given: instructions that replace them, if any.
    """
    columns = dict.fromkeys(name for row in rows for name in row)
    if "template" not in columns and "twin" not in columns:
        yield "there is no column 'template': every row counts as independent"
    others = [name for name in columns if name.strip() and not _is_ours(name)]
    others += ["label"] if any("label" in row and "gold" in row for row in rows) else []
    if others:
        yield f"columns that are not used: {listed(others)}"
    if own and given:
        yield "the rows' own instructions were replaced by those given"
    if len(own) > MANY_INSTRUCTIONS:
        yield f"the rows name {len(own)} instructions: every row is asked under each of them"
    told = [item for item in items if item.condition and item.unknown is not None]
    odd = sum((i.gold == i.unknown) != (i.condition == "ambiguous") for i in told)
    if odd:
        yield (
            f"in {odd:,} of {len(items):,} rows the right answer does not fit the condition: it is "
            "the unknown option in ambiguous rows, and only in these"
        )
