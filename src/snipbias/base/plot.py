"""A plot before it is drawn, with a text and a table that say the same."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean
from typing import TYPE_CHECKING, Any

from snipbias.base.errors import require
from snipbias.base.files import shipped
from snipbias.base.table import Grid

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

# Name -> [colour on a light page, colour on a dark page].
COLOURS: dict[str, list[str]] = json.loads(shipped("colours.json"))


@dataclass(frozen=True)
class Plot:
    """A plotly figure, with a text and a table for readers who cannot see it.

    Attributes:
        name: unique in the page, and valid as an HTML id.
        title: heading of the plot.
        summary: one or two sentences: what is drawn, and what it shows.
        figure: plotly's `data` and `layout`; a colour "@name" refers to `COLOURS`.
        table: the numbers that are drawn.
        group: plots of one group are shown together, one `choice` at a time.
        choice: name of the plot within its group.
    """

    name: str
    title: str
    summary: str
    figure: dict[str, Any]
    table: Grid
    group: str = ""
    choice: str = ""

    def drawn(self) -> Figure:
        """The figure in light colours, for a notebook or a file."""
        require("plotly", "drawing needs", "report")
        from plotly.graph_objects import Figure

        return Figure(_coloured(self.figure)).update_layout(
            template="plotly_white", title=self.title
        )


CONDITIONS = ("overall", "ambiguous", "disambiguated")
SYMBOLS = ("diamond", "square", "triangle-up", "star", "cross", "triangle-down")


def mark(number: int) -> dict[str, Any]:
    """Colour and symbol of edit `number`; colour alone never tells edits apart."""
    symbol = SYMBOLS[(number + number // 6) % 6]  # thirty-six different pairs
    return {"color": f"@s{1 + number % 6}", "symbol": symbol, "size": 11}


def scatter(
    name: str, x: Sequence[Any], y: Sequence[Any], hover: str, mode: str = "markers", **more: Any
) -> dict[str, Any]:
    """A plotly trace of marks or lines.

    Args:
        name: name in the legend.
        x: one coordinate per mark.
        y: one coordinate per mark; None leaves a gap.
        hover: plotly's template of the text at each mark.
        mode: "markers", "lines", "text" or a sum of them.
        more: other fields of the trace.
    """
    trace = {"type": "scatter", "mode": mode, "name": name, "x": x, "y": y}
    return {**trace, "hovertemplate": hover, **more}


def percents(values: Sequence[float | None]) -> list[float | None]:
    """Shares in percent for plotly; None leaves a gap."""
    return [None if value is None else round(100 * value, 3) for value in values]


def average(values: Sequence[float | None]) -> float | None:
    """Mean of the known values; None if there are none."""
    known = [value for value in values if value is not None]
    return mean(known) if known else None


def _coloured(value: Any) -> Any:
    """Replace every "@name" by its colour on a light page."""
    if isinstance(value, dict):
        return {key: _coloured(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_coloured(inner) for inner in value]
    is_name = isinstance(value, str) and value.startswith("@")
    return COLOURS[value[1:]][0] if is_name else value
