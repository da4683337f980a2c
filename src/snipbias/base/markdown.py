"""Put untrusted text into Markdown so that it stays text."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence


class Markdown(str):
    """Text that is Markdown on purpose; templates escape any other text."""

    __slots__ = ()


def printable(text: str) -> str:
    """Replace non-printable characters (including bidi marks) by spaces."""
    return "".join(c if c.isprintable() else " " for c in text)


def shown(value: object) -> Markdown:
    """A value on one line, with every markup character escaped."""
    if isinstance(value, Markdown):
        return value
    line = printable(str(value)).strip().replace("&", "&amp;").replace("<", "&lt;")
    line = re.sub(r"([\\`*_\[|~$])", r"\\\1", line)
    line = re.sub(r"^([#>+=-])", r"\\\1", line)  # a heading, a quotation or a list
    return Markdown(re.sub(r"^(\d+)(?=[.)]\s)", r"\1\\", line))


def code(value: object) -> Markdown:
    """A value as inline code, also inside a table."""
    line = printable(str(value)) or " "
    ticks = "`" * (_longest_ticks(line) + 1)
    pad = " " if line.startswith("`") or line.endswith("`") else ""
    return Markdown(f"{ticks}{pad}{line}{pad}{ticks}".replace("|", "\\|"))


def fenced(text: str, language: str = "") -> Markdown:
    """A code block, whose fence is longer than any run of backticks in it."""
    lines = "\n".join(map(printable, text.splitlines()))
    fence = "`" * max(3, _longest_ticks(lines) + 1)
    return Markdown(f"{fence}{language}\n{lines}\n{fence}")


def table(
    header: Sequence[str], rows: Iterable[Sequence[object]], *, figures: bool = True
) -> Markdown:
    """A table whose first column is left-aligned.

    Args:
        header: column names.
        rows: cells, one per column; numbers and intervals stay as they are, the rest is escaped.
        figures: whether the other columns are right-aligned.
    """
    rules = ("---", *("---:" if figures else "---" for _ in header[1:]))
    lines = [[shown(name) for name in header], rules, *(map(cell, row) for row in rows)]
    return Markdown("\n".join(f"| {' | '.join(line)} |" for line in lines))


def cell(value: object) -> Markdown:
    """A number or an interval unchanged, anything else escaped."""
    return Markdown(value) if re.fullmatch(r"[-+\d.,/\[\] ]+", str(value)) else shown(value)


def _longest_ticks(text: str) -> int:
    return max(map(len, re.findall("`+", text)), default=0)
