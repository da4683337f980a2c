"""What the report's plots have in common; a colour is a name of the style sheet's, as "@s1"."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import mean
from typing import Any

CONDITIONS = ("overall", "ambiguous", "disambiguated")
SYMBOLS = ("diamond", "square", "triangle-up", "star", "cross", "triangle-down")


def mark(number: int) -> dict[str, Any]:
    """Colour and symbol of the so-many-th edit: never the colour alone."""
    return {"color": f"@s{1 + number % 6}", "symbol": SYMBOLS[number % 6], "size": 11}


def percents(values: Sequence[float | None]) -> list[float | None]:
    """Shares as plotly gets them; None leaves a gap."""
    return [None if value is None else round(100 * value, 3) for value in values]


def average(values: Sequence[float | None]) -> float | None:
    """Mean of what is known."""
    known = [value for value in values if value is not None]
    return mean(known) if known else None
