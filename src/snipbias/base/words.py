"""How numbers, counts and a user's own values are printed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from reprlib import Repr
from textwrap import shorten
from typing import Any

# Names of table rows that are not edits.
ORIGINAL = "original"
ALWAYS_UNKNOWN = "always unknown"
BEST_OFFSET = "best offset"
# The two kinds of random controls.
RANDOM, SAME_LAYERS = "random neurons", "random in the same layers"
# Possible endings and beginnings of a verdict.
INHERITED = ", as before the edit"
SHIFT = "a shift and not a gain"

SCREEN = 800  # characters of a message: about ten lines of a terminal
LISTED = 8

_short = Repr()
_short.maxstring = _short.maxother = 80
_short.maxlist = _short.maxtuple = _short.maxset = _short.maxdict = LISTED


def control_kind(label: str) -> str:
    """The kind of a random control, whatever its size and draw; other labels as they are."""
    if label.startswith((SAME_LAYERS, "same sites as ")):  # the latter in runs before 0.2
        return SAME_LAYERS
    return RANDOM if "random neuron" in label or label.startswith("random") else label


def plural(number: int, what: str) -> str:
    """A count with its noun: 1 item, 2 items."""
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def held_out(items: int, templates: int, instructions: int) -> str:
    """The size of the held-out data in words.

    Args:
        items: number of items.
        templates: number of templates that the items come from.
        instructions: number of instructions that each item is asked under.
    """
    return (
        f"{plural(items, 'held-out item')} of {plural(templates, 'template')}, "
        f"{plural(instructions, 'instruction')}"
    )


def fixed(value: float, digits: int) -> str:
    """A number with `digits` decimals; what rounds to zero has no sign."""
    return f"{_rounded(value, digits):.{digits}f}"


def signed(value: float, digits: int) -> str:
    """The same with a sign; what rounds to zero is +0."""
    return f"{_rounded(value, digits):+.{digits}f}"


def _rounded(value: float, digits: int) -> float:
    return round(value, digits) + 0.0  # -0.0 + 0.0 is 0.0


def quoted(value: Any) -> str:
    """A user's value on one short line; long values lose their middle."""
    try:
        return " ".join(clipped(_short.repr(value), 200).split())
    except Exception:  # its __repr__ fails, or it is an int with thousands of digits
        return f"a value of type {type(value).__name__}"


def listed(values: Sequence[Any]) -> str:
    """A user's values, quoted and separated by commas; beyond eight they are only counted."""
    shown = [quoted(value) for value in values[:LISTED]]
    more = [f"and {len(values) - LISTED:,} more"] if len(values) > LISTED else []
    return ", ".join(shown + more)


def clipped(text: str, limit: int = SCREEN) -> str:
    """The text, without its middle if it is longer than the limit."""
    if len(text) <= limit:
        return text
    half = (limit - 5) // 2
    return f"{text[:half]} ... {text[-half:]}"


def one_line(error: object) -> str:
    """A library's error message on one short line, without its full stop."""
    return (shorten(str(error), 200) or type(error).__name__).rstrip(".")


def did_you_mean(wrong: str, known: Iterable[str]) -> str:
    """` (did you mean 'x'?)`, or nothing if no name is close."""
    by_lower = {name.lower(): name for name in known if len(name) <= 80}
    begun = [name for name in by_lower if name.startswith(wrong.lower())]
    close = begun or get_close_matches(wrong[:80].lower(), by_lower, n=1)
    return f" (did you mean {by_lower[close[0]]!r}?)" if close else ""
