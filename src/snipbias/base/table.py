"""Tables before they are drawn, records in notebooks, and how numbers are written."""

from __future__ import annotations

import html
import io
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import TYPE_CHECKING, Any

from rich.console import Console, RenderableType
from rich.markup import escape
from rich.table import Table

from snipbias.base.errors import require
from snipbias.base.words import fixed, signed

if TYPE_CHECKING:
    from pandas import DataFrame

WIDTH = 118
MIN_NAME = 9
LONGEST_WORD = 11
SHOWN = 10  # rows of a long table in a notebook


@dataclass(frozen=True)
class Grid:
    """A table before it is drawn, for a terminal, a notebook or a document.

    Attributes:
        title: heading of the table.
        header: column names; the first column is left-aligned.
        rows: cells.
        strong: names (first cells) of rows in bold.
    """

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    strong: tuple[str, ...] = ()

    def without_empty_columns(self) -> Grid:
        """The table without columns that are empty in every row."""
        columns = list(zip(self.header, *self.rows, strict=True))
        kept = [column for column in columns if set(column[1:]) - {"-", ""}]
        header, *rows = zip(*(kept or columns), strict=True)
        return replace(self, header=header, rows=tuple(rows))

    def of(self, names: Collection[str]) -> Grid:
        """Only the rows with these names; an unnamed row belongs to the one above it."""
        rows, here = [], False
        for row in self.rows:
            here = row[0].removesuffix(" !") in names if row[0] else here
            rows += [row] if here else []
        return replace(self, rows=tuple(rows))

    def rich(self) -> Table:
        """The table for a terminal."""
        table = Table(title=self.title, title_justify="left", title_style="bold", box=None)
        table.pad_edge, table.collapse_padding = False, True
        table.add_column(escape(self.header[0]), min_width=MIN_NAME, overflow="fold")
        for name, *cells in list(zip(self.header, *self.rows, strict=True))[1:]:
            # On a narrow terminal, headers and names may wrap, but numbers may not.
            word = min(max(map(len, name.split())), LONGEST_WORD)
            width = max(word, *map(len, cells))
            table.add_column(escape(name), justify="right", width=width, overflow="fold")
        for row in self.rows:
            style = "bold" if row[0].removesuffix(" !") in self.strong else None
            table.add_row(*map(escape, row), style=style)
        return table

    def html(self) -> str:
        """The table for a notebook, with columns of words left-aligned."""
        columns = zip(*self.rows, strict=True) if self.rows else self.header
        words = [any(map(str.isalpha, "".join(column))) for column in columns]
        sides = [' style="text-align: left"' if each else "" for each in words]

        def line(tag: str, row: Sequence[str]) -> str:
            cells = zip(sides, map(html.escape, row), strict=True)
            return f"<tr>{''.join(f'<{tag}{side}>{cell}</{tag}>' for side, cell in cells)}</tr>"

        head, body = line("th", self.header), "".join(line("td", row) for row in self.rows)
        title = html.escape(self.title)
        return (
            f"<table><caption>{title}</caption><thead>{head}</thead><tbody>{body}</tbody></table>"
        )

    def markdown(self) -> str:
        """The table for a document."""
        lines = [self.header, ("---", *("---:" for _ in self.header[1:])), *self.rows]
        escaped = ([cell.replace("|", "\\|") for cell in line] for line in lines)
        return "\n".join("| " + " | ".join(line) + " |" for line in escaped)


class Shown:
    """A record that a notebook can show, and that converts to a data frame."""

    def _shown(self) -> Iterable[Grid | str]:
        raise NotImplementedError

    def _rows(self) -> Iterable[Mapping[str, Any]]:
        raise NotImplementedError

    def _repr_html_(self) -> str:
        return "".join(
            part.html() if isinstance(part, Grid) else f"<p>{html.escape(part)}</p>"
            for part in self._shown()
        )

    def to_pandas(self) -> DataFrame:
        """Its rows as a data frame; nested values get column names such as `accuracy.overall`.

        Raises:
            SnipbiasError: pandas is missing.
        """
        require("pandas", "a data frame needs", "notebook")
        from pandas import json_normalize

        return json_normalize(list(map(dict, self._rows())))


def markdown(parts: Iterable[Grid | str]) -> str:
    """Tables under their titles, and lines as lists, for a document."""
    blocks: list[str] = []
    for is_line, group in groupby(parts, key=lambda part: isinstance(part, str)):
        if is_line:
            blocks.append("\n".join(f"- {line}" for line in group))
        else:
            blocks += [f"**{grid.title}**\n\n{grid.markdown()}" for grid in group]  # type: ignore[union-attr]
    return "\n\n".join(blocks)


def plain_text(renderable: RenderableType, width: int) -> str:
    """Render as plain text for a terminal of this width."""
    file = io.StringIO()
    Console(file=file, width=width, color_system=None).print(renderable)
    return "\n".join(line.rstrip() for line in file.getvalue().splitlines())


def p_value(value: float | None) -> str:
    """A p-value with three decimals; a dash if there is none."""
    if value is None:
        return "-"
    return "<.001" if value < 0.001 else f"{value:.3f}".removeprefix("0")


def percent(value: float | None, *, sign: bool = False) -> str:
    """A share in percent with one decimal; a dash if it is undefined."""
    return "-" if value is None else (signed if sign else fixed)(100 * value, 1)


def number(value: float | None, *, sign: bool = False, digits: int | None = None) -> str:
    """A number as text.

    Args:
        value: the number; None is written as a dash.
        sign: whether a positive number gets a plus.
        digits: significant digits; None for two decimals.
    """
    if value is None:
        return "-"
    if digits:
        return f"{value:{'+' if sign else ''}.{digits}g}"
    return (signed if sign else fixed)(value, 2)
