"""Columns of a user's own rows: what they are called and mapped to."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from snipbias.base.errors import SnipbiasError
from snipbias.base.words import did_you_mean, quoted
from snipbias.tasks.cells import Row, plain
from snipbias.tasks.readers import Rows

COLUMNS = ("question", "options", "gold", "context", "template", "condition", "polarity")
COLUMNS += ("unknown", "biased", "id", "twin", "instruction", "instructions")
OPTION_COLUMN = re.compile(r"(option_|ans)([0-9]{1,4})")


def renamed(found: Rows, columns: Mapping[str, str]) -> list[dict[str, Any]]:
    """The rows under our column names, without empty cells; `options=a,b,c` names three columns.

    A mapped column keeps only its new meaning: it does not also fill our column of its old name.
    If it is empty, no synonym (`label` for a mapped `gold`) replaces it.

    Raises:
        SnipbiasError: the mapping names a column of ours that does not exist, or none of theirs.
    """
    there = list(dict.fromkeys(str(column) for _, row in found.rows for column in row))
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
            meant = did_you_mean(str(theirs), there)
            raise SnipbiasError(
                f"{found.name} has no column {quoted(theirs)}{meant}: correct what the column "
                f"mapping says for {ours!r}."
            )
    return [_renamed(row, columns) for _, row in found.rows]


def _renamed(row: Row, columns: Mapping[str, str]) -> dict[str, Any]:
    kept = {str(name): value for name, value in row.items() if name not in columns.values()}
    if "gold" in columns:
        kept.pop("label", None)
    if "options" in columns:
        kept = {name: kept[name] for name in kept if not OPTION_COLUMN.fullmatch(name)}
    kept |= {ours: row.get(theirs) for ours, theirs in columns.items()}
    cells = {name: plain(value) if is_ours(name) else value for name, value in kept.items()}
    return {name: value for name, value in cells.items() if value is not None}


def is_ours(name: str) -> bool:
    """Whether a column has a meaning here."""
    return name in COLUMNS or name == "label" or OPTION_COLUMN.fullmatch(name) is not None
