"""A table before it is drawn, for a terminal or as Markdown, and how its figures are written."""

from __future__ import annotations

import html
import io
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from itertools import groupby

from rich.console import Console, RenderableType
from rich.markup import escape
from rich.table import Table

from snipbias.base.words import fixed, signed

WIDTH = 118
MIN_NAME = 12
LONGEST_WORD = 11


@dataclass(frozen=True)
class Grid:
    """A table before it is drawn: title, header and cells, the first column left-aligned."""

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    strong: tuple[str, ...] = ()

    def without_empty_columns(self) -> Grid:
        """Without the columns that no row has a figure in, as on a task without conditions."""
        columns = list(zip(self.header, *self.rows, strict=True))
        kept = [column for column in columns if set(column[1:]) - {"-", ""}]
        if not kept:
            return self
        header, *rows = zip(*kept, strict=True)
        return replace(self, header=header, rows=tuple(rows))

    def of(self, names: Collection[str]) -> Grid:
        """The rows of some names; a row without a name belongs to the one above it."""
        rows, here = [], False
        for row in self.rows:
            here = row[0].removesuffix(" !") in names if row[0] else here
            rows += [row] if here else []
        return replace(self, rows=tuple(rows))

    def rich(self) -> Table:
        """For a terminal."""
        table = Table(title=self.title, title_justify="left", title_style="bold", box=None)
        table.pad_edge, table.collapse_padding = False, True
        table.add_column(escape(self.header[0]), min_width=MIN_NAME, overflow="fold")
        for name, *cells in list(zip(self.header, *self.rows, strict=True))[1:]:
            # Headers and names are broken over lines on a narrow terminal, figures never.
            word = min(max(map(len, name.split())), LONGEST_WORD)
            width = max(word, *map(len, cells))
            table.add_column(escape(name), justify="right", width=width, overflow="fold")
        for row in self.rows:
            style = "bold" if row[0].removesuffix(" !") in self.strong else None
            table.add_row(*map(escape, row), style=style)
        return table

    def html(self) -> str:
        """For a notebook, which sets numbers to the right: words go to the left."""
        columns = zip(*self.rows, strict=True) if self.rows else self.header
        words = [any(map(str.isalpha, "".join(column))) for column in columns]
        sides = [' style="text-align: left"' if each else "" for each in words]
        header, *rows = (
            "".join(
                f"<t{tag}{side}>{html.escape(cell)}</t{tag}>"
                for cell, side in zip(row, sides, strict=True)
            )
            for row, tag in ((self.header, "h"), *((row, "d") for row in self.rows))
        )
        body = "".join(f"<tr>{row}</tr>" for row in rows)
        return (
            f"<table><caption>{html.escape(self.title)}</caption><thead><tr>{header}</tr></thead>"
            f"<tbody>{body}</tbody></table>"
        )

    def markdown(self) -> str:
        """For a document."""
        lines = [self.header, ("---", *("---:" for _ in self.header[1:])), *self.rows]
        escaped = ([cell.replace("|", "\\|") for cell in line] for line in lines)
        return "\n".join("| " + " | ".join(line) + " |" for line in escaped)


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
    """Plain text as on a terminal of this width, without colours."""
    console = Console(file=io.StringIO(), width=width, color_system=None)
    console.print(renderable)
    file = console.file
    assert isinstance(file, io.StringIO)
    return "\n".join(line.rstrip() for line in file.getvalue().splitlines())


def p_value(value: float | None) -> str:
    """A p-value with three decimals; a dash where there is none."""
    if value is None:
        return "-"
    return "<.001" if value < 0.001 else f"{value:.3f}".removeprefix("0")


def percent(value: float | None, *, sign: bool = False) -> str:
    """A share as percent with one digit; a dash where it is undefined."""
    return "-" if value is None else (signed if sign else fixed)(100 * value, 1)


def number(value: float | None, *, sign: bool = False, digits: int | None = None) -> str:
    """A figure with two decimals, or with so many significant digits."""
    if value is None:
        return "-"
    if digits:
        return f"{value:{'+' if sign else ''}.{digits}g}"
    return (signed if sign else fixed)(value, 2)
