"""Accuracy by number of neurons."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from snipbias.base.plot import CONDITIONS, Plot, percents, scatter
from snipbias.base.table import Grid, percent
from snipbias.evaluation.metrics import ByCondition

FLOOR = "always unknown"
LINES = (
    ("overall", "all rows", "@ink", "circle", "solid"),
    ("ambiguous", "ambiguous", "@s2", "square", "dash"),
    ("disambiguated", "disambiguated", "@s1", "triangle-up", "dot"),
)


class Bar(NamedTuple):
    """An accuracy, and the ends of its bar if it has one."""

    value: float | None
    low: float | None = None
    high: float | None = None

    def __str__(self) -> str:
        ends = "" if self.low is None else f" [{percent(self.low)}, {percent(self.high)}]"
        return percent(self.value) + ends


def by_size(
    place: str,
    steps: Sequence[tuple[int, Mapping[str, Bar]]],
    original: ByCondition,
    floor: float | None,
    what: str,
) -> Plot | None:
    """Accuracy by number of neurons pruned, overall and by condition.

    Args:
        place: prefix of the plot's name in the page.
        steps: number of neurons, and by condition the accuracy.
        original: accuracy of the original.
        floor: accuracy of always answering "unknown", if it makes sense.
        what: sentence that says what the points are.

    Returns:
        None with fewer than two numbers of neurons.
    """
    steps = sorted(steps, key=lambda step: step[0])
    sizes = [size for size, _ in steps]
    if len(set(sizes)) < 2:
        return None
    data: list[dict[str, Any]] = []

    def level(name: str, y: float, colour: str, dash: str, **legend: Any) -> None:
        line = {"color": colour, "width": 1.2, "dash": dash}
        ends = [sizes[0], sizes[-1]]
        data.append(scatter(name, ends, [y, y], "%{y:.1f} %", "lines", **legend, line=line))

    for condition, name, colour, symbol, dash in LINES:
        value, low, high = np.array([step[condition] for _, step in steps], float).T  # None: NaN
        if np.isnan(value).any():
            continue
        look: dict[str, Any] = {
            "legendgroup": name,
            "marker": {"color": colour, "symbol": symbol, "size": 9},
            "line": {"color": colour, "width": 2, "dash": dash},
        }
        if not np.isnan(low).any():
            ends = {
                "array": (100 * (high - value)).tolist(),
                "arrayminus": (100 * (value - low)).tolist(),
            }
            look["error_y"] = {"type": "data", "symmetric": False, **ends}
        hover = "%{x} neurons: %{y:.1f} %"
        data.append(scatter(name, sizes, percents(value.tolist()), hover, "lines+markers", **look))
        if (before := getattr(original, condition)) is not None:
            hidden = {"legendgroup": name, "showlegend": False}  # goes with the line
            level(f"original, {name}", 100 * before, colour, "dot", **hidden)
    if floor is not None:
        level(FLOOR, 100 * floor, "@muted", "longdash", legendgroup=FLOOR, showlegend=True)
    across = {"type": "log", "title": {"text": "neurons pruned (log scale)"}}
    layout = {
        "height": 430,
        "xaxis": {**across, "tickvals": sorted(set(sizes))},
        "yaxis": {"title": {"text": "accuracy"}, "range": [-3, 103], "ticksuffix": " %"},
        "hovermode": "closest",
    }
    rows = tuple((str(size), *(str(step[part]) for part in CONDITIONS)) for size, step in steps)
    return Plot(
        f"{place}-sizes",
        "Accuracy by number of neurons",
        f"{what} Thin dotted lines: the original; long dashes: a model that always answers "
        "“unknown”. The bars are 95 % intervals, or lowest and highest trial.",
        {"data": data, "layout": layout},
        Grid("Accuracy by number of neurons (%)", ("neurons", *CONDITIONS), rows),
    )
