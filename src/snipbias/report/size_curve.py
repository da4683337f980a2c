"""Accuracy by number of neurons, and under each instruction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from snipbias.base.plot import CONDITIONS, Plot, mark, percents, scatter
from snipbias.base.table import Grid, percent
from snipbias.evaluation.metrics import ByCondition

FLOOR = "always unknown"
ORIGINALS = {"color": "@ink", "symbol": "circle-open", "size": 11, "line": {"width": 2}}
LINES = (
    ("overall", "all rows", "@ink", "circle", "solid"),
    ("ambiguous", "ambiguous", "@s2", "square", "dash"),
    ("disambiguated", "disambiguated", "@s1", "triangle-up", "dot"),
)


@dataclass(frozen=True)
class Step:
    """Accuracies with so many neurons pruned; (low, high) of each where there is an interval."""

    size: int
    accuracy: ByCondition
    bounds: Mapping[str, tuple[float, float]]


def by_size(
    place: str, steps: Sequence[Step], original: ByCondition, floor: float | None, what: str
) -> Plot | None:
    """Accuracy by number of neurons pruned, overall and by condition.

    Args:
        place: prefix of the plot's name in the page.
        original: accuracy of the original.
        floor: accuracy of always answering "unknown", if it makes sense.
        what: sentence that says what the points are.

    Returns:
        None with fewer than two numbers of neurons.
    """
    steps = sorted(steps, key=lambda step: step.size)
    sizes = [step.size for step in steps]
    if len(set(sizes)) < 2:
        return None
    data: list[dict[str, Any]] = []
    for condition, name, colour, symbol, dash in LINES:
        values = [getattr(step.accuracy, condition) for step in steps]
        if None in values:
            continue
        bounds = [step.bounds.get(condition) for step in steps]
        bars = {}
        if all(bounds):
            highs = [100 * (b[1] - v) for b, v in zip(bounds, values, strict=True) if b]
            lows = [100 * (v - b[0]) for b, v in zip(bounds, values, strict=True) if b]
            bars = {"type": "data", "symmetric": False, "array": highs, "arrayminus": lows}
        look: dict[str, Any] = {
            "legendgroup": name,
            "marker": {"color": colour, "symbol": symbol, "size": 9},
            "line": {"color": colour, "width": 2, "dash": dash},
            **({"error_y": bars} if bars else {}),
        }
        hover = "%{x} neurons: %{y:.1f} %"
        data.append(scatter(name, sizes, percents(values), hover, "lines+markers", **look))
        if (before := getattr(original, condition)) is not None:
            data.append(_level(f"original, {name}", 100 * before, sizes, colour, "dot", name))
    if floor is not None:
        data.append(_level(FLOOR, 100 * floor, sizes, "@muted", "longdash", FLOOR))
    across = {"type": "log", "title": {"text": "neurons pruned (log scale)"}}
    rows = tuple((str(s.size), *(_with_bounds(s, part) for part in CONDITIONS)) for s in steps)
    layout = {
        "height": 430,
        "xaxis": {**across, "tickvals": sorted(set(sizes))},
        "yaxis": {"title": {"text": "accuracy"}, "range": [-3, 103], "ticksuffix": " %"},
        "hovermode": "closest",
    }
    return Plot(
        f"{place}-sizes",
        "Accuracy by number of neurons",
        f"{what} Thin dotted lines: the original; long dashes: a model that always answers "
        "“unknown”. The bars are 95 % intervals, or lowest and highest trial.",
        {"data": data, "layout": layout},
        Grid("Accuracy by number of neurons (%)", ("neurons", *CONDITIONS), rows),
    )


def spread(
    place: str, lines: Mapping[str, Mapping[int, float]], edits: Sequence[str]
) -> Plot | None:
    """Accuracy under each instruction, one line per method.

    Args:
        place: prefix of the plot's name in the page.
        lines: method -> number of the instruction -> accuracy.
        edits: names of the edits, for their colours.

    Returns:
        None with fewer than two instructions.
    """
    if max(map(len, lines.values()), default=0) < 2:
        return None
    data = []
    for name, by_instruction in lines.items():
        look = mark(edits.index(name)) if name in edits else ORIGINALS
        line = {"color": look["color"], "width": 1.5, "dash": "dot"}
        hover = "instruction %{x}: %{y:.1f} %"
        x, y = [1 + i for i in by_instruction], percents(list(by_instruction.values()))
        data.append(scatter(name, x, y, hover, "lines+markers", marker=look, line=line))
    numbers = sorted({i for by_instruction in lines.values() for i in by_instruction})
    rows = tuple((name, *(percent(of.get(i)) for i in numbers)) for name, of in lines.items())
    layout = {
        "height": 380,
        "xaxis": {"title": {"text": "instruction"}, "dtick": 1},
        "yaxis": {"title": {"text": "accuracy"}, "ticksuffix": " %", "rangemode": "tozero"},
        "hovermode": "x unified",
    }
    return Plot(
        f"{place}-spread",
        "Accuracy under each instruction",
        "The same rows under other instructions. A line that goes up and down shows that accuracy "
        "depends on the wording; a line that lies higher everywhere does not depend on it.",
        {"data": data, "layout": layout},
        Grid("Accuracy by instruction (%)", ("method", *(str(1 + i) for i in numbers)), rows),
    )


def _level(
    name: str, y: float, sizes: Sequence[int], colour: str, dash: str, group: str
) -> dict[str, Any]:
    """A horizontal line; hidden together with the line that it belongs to."""
    x, line = [min(sizes), max(sizes)], {"color": colour, "width": 1.2, "dash": dash}
    legend = {"legendgroup": group, "showlegend": group == FLOOR}
    return scatter(name, x, [y, y], "%{y:.1f} %", "lines", **legend, line=line)


def _with_bounds(step: Step, condition: str) -> str:
    shown = percent(getattr(step.accuracy, condition))
    bounds = step.bounds.get(condition)
    return f"{shown} [{percent(bounds[0])}, {percent(bounds[1])}]" if bounds else shown
