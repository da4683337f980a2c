"""Cells of a user's own rows, converted to texts, numbers and lists."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from decimal import Decimal
from numbers import Integral, Real
from typing import Any

from snipbias.base.errors import SnipbiasError
from snipbias.base.words import quoted

# How Arrow, then numpy, torch and pandas, then polars turn their values into Python's.
CONVERTERS = ("as_py", "tolist", "to_list")

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Label:
    """A value of a `datasets.ClassLabel` column: a number, and the names of all numbers."""

    place: int
    names: tuple[str, ...]

    @property
    def name(self) -> str | None:
        """The label's own name; None for -1, which marks an unlabelled row."""
        return self.names[self.place] if 0 <= self.place < len(self.names) else None


def plain(value: Any, *, is_element: bool = False) -> Any:
    """Convert a cell to a text, a number or a list; None if it is empty.

    An object of an unknown kind comes back unchanged.
    """
    for converter in CONVERTERS:
        if hasattr(value, converter):
            with suppress(Exception):  # a tensor on the meta device holds no values
                value = getattr(value, converter)()
            break
    if isinstance(value, (bytes, bytearray)):
        with suppress(UnicodeDecodeError):
            value = value.decode()
    if _is_absent(value):
        return None
    if isinstance(value, str):
        return str.__str__(value) if value.strip() or is_element else None
    if isinstance(value, bool):
        return value
    if isinstance(value, Integral):
        return int(value)
    if isinstance(value, (Real, Decimal)):
        with suppress(ValueError, OverflowError):
            return float(value)
    if isinstance(value, Sequence) and not is_element and not isinstance(value, (bytes, bytearray)):
        return [plain(element, is_element=True) for element in value]
    return value


def _is_absent(value: Any) -> bool:
    """Whether it is None, or what numpy, pandas and Decimal write for a missing value."""
    if value is None or type(value).__name__ in ("NAType", "NaTType"):
        return True
    with suppress(TypeError, ValueError, OverflowError):
        return isinstance(value, (Real, Decimal)) and math.isnan(value)
    return False


def as_text(value: Any) -> str | None:
    """Convert a plain cell to a stripped text; None unless it is a text or a finite number."""
    if isinstance(value, str):
        return value.strip()
    if isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < math.inf:
        with suppress(ValueError):  # an int of thousands of digits
            return str(value)
    return None


def as_texts(value: Any) -> tuple[str, ...] | None:
    """Convert a plain list to texts; None if it is no list, or an element is no text."""
    if not isinstance(value, list):
        return None
    texts = [as_text(element) for element in value]
    return None if None in texts else tuple(text for text in texts if text is not None)


def text_of(row: Row, column: str) -> str:
    """The text of a cell, which may be empty.

    Raises:
        SnipbiasError: it is not a text.
    """
    value = row.get(column, "")
    text = as_text((value.name or "") if isinstance(value, Label) else value)
    if text is None:
        raise SnipbiasError(f"{column!r} is {quoted(value)}; write a text.")
    return text
