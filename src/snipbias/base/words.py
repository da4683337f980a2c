"""Numbers and counts as they are printed, wherever that is."""

from __future__ import annotations


def plural(number: int, what: str) -> str:
    """So many of something."""
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def held_out(items: int, templates: int, instructions: int) -> str:
    """The rows that something was measured on."""
    return (
        f"{plural(items, 'held-out item')} of {plural(templates, 'template')}, "
        f"{plural(instructions, 'instruction')}"
    )


def fixed(value: float, digits: int) -> str:
    """So many decimals; what rounds to zero has no sign."""
    return f"{_rounded(value, digits):.{digits}f}"


def signed(value: float, digits: int) -> str:
    """The same with its sign; what rounds to zero is +0."""
    return f"{_rounded(value, digits):+.{digits}f}"


def _rounded(value: float, digits: int) -> float:
    return round(value, digits) + 0.0  # -0.0 + 0.0 is 0.0
