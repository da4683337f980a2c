"""The meaning of every column and mark of the tables, in one list for all views."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator

from snipbias.base.files import shipped
from snipbias.base.table import Grid
from snipbias.base.words import control_kind

# Headers, or beginnings of names in the first column, separated by " / "; and their meaning.
TERMS: dict[str, str] = json.loads(shipped("glossary.json"))


def explained(grids: Iterable[Grid]) -> Iterator[tuple[str, str]]:
    """Pairs (names, meaning) for the columns and marks of these tables."""
    names: dict[str, None] = {}
    for grid in grids:
        first = [row[0] for row in grid.rows]
        names |= dict.fromkeys((*grid.header, *first, *map(control_kind, first)))
    marked = any(name.endswith(" !") for name in names)
    for columns, meaning in TERMS.items():
        there = [
            c
            for c in columns.split(" / ")
            if (c == "!" and marked) or any(f"{name} ".startswith(f"{c} ") for name in names)
        ]
        if there:
            yield " / ".join(there), meaning


def legend(grids: Iterable[Grid]) -> str:
    """The same as one paragraph."""
    return "; ".join(f"{names}: {meaning}" for names, meaning in explained(grids)) + "."


def legend_markdown(grids: Iterable[Grid]) -> str:
    """The same as a list."""
    return "\n".join(f"- **{names}**: {meaning}" for names, meaning in explained(grids))
