"""Ambiguous against disambiguated accuracy: whether an edit shifted answers or gained some."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from snipbias.base.plot import Plot, mark, percents, scatter
from snipbias.base.table import Grid, percent
from snipbias.base.words import control_kind
from snipbias.evaluation.metrics import ByCondition
from snipbias.evaluation.offset_curve import OffsetCurve

LOOKS: dict[str, dict[str, Any]] = {
    "original": {"color": "@ink", "symbol": "circle-open", "size": 13, "line": {"width": 3}},
    "control": {"color": "@muted", "symbol": "x", "size": 8},
    "floor": {"color": "@muted", "symbol": "diamond-open", "size": 10, "line": {"width": 2}},
}


@dataclass(frozen=True)
class Spot:
    """A method's place in the plane of the two accuracies; `kind` decides its mark."""

    name: str
    accuracy: ByCondition
    kind: str  # original, edit, control or floor


def tradeoff(place: str, spots: Sequence[Spot], curve: OffsetCurve | None) -> Plot | None:
    """Ambiguous against disambiguated accuracy, with the curve that a constant reaches.

    Args:
        place: prefix of the plot's name in a page.
        spots: one mark per method.
        curve: the original's curve; None where it has none.

    Returns:
        None where no method has both accuracies.
    """
    known = [s for s in spots if None not in (s.accuracy.ambiguous, s.accuracy.disambiguated)]
    if not known:
        return None
    edits = [spot.name for spot in known if spot.kind == "edit"]
    traces = []
    if curve is not None:
        drawn = curve.thinned()
        line = scatter(
            "original + a constant on “unknown”",
            percents(drawn.ambiguous.tolist()),
            percents(drawn.disambiguated.tolist()),
            "constant %{customdata}: %{x:.1f} / %{y:.1f}<extra></extra>",
            mode="lines",
            customdata=[round(constant, 2) for constant in drawn.offsets.tolist()],
            line={"color": "@muted", "width": 2},
        )
        traces.append(line)
    for spot in known:
        look = LOOKS.get(spot.kind) or mark(edits.index(spot.name))
        across, up = percents([spot.accuracy.ambiguous, spot.accuracy.disambiguated])
        group = control_kind(spot.name) if spot.kind == "control" else spot.name
        hover = "%{fullData.name}: %{x:.1f} / %{y:.1f}<extra></extra>"
        traces.append(scatter(spot.name, [across], [up], hover, marker=look, legendgroup=group))
    axes = {"range": [-4, 104], "dtick": 20, "ticksuffix": " %"}
    shares = ((s.name, s.accuracy.ambiguous, s.accuracy.disambiguated) for s in known)
    rows = ((name, *map(percent, both)) for name, *both in shares)
    layout = {
        "height": 430,
        "xaxis": {"title": {"text": "ambiguous accuracy"}, **axes},
        "yaxis": {"title": {"text": "disambiguated accuracy"}, **axes},
        "hovermode": "closest",
    }
    return Plot(
        f"{place}-plane",
        "A shift, or a gain?",
        "Accuracy on ambiguous rows (across) and disambiguated rows (up). The line shows what the "
        "original reaches by adding a constant to the score of “unknown”, no neuron touched. An "
        "edit on or below the line has only shifted answers. An edit above it has gained something "
        "if it also gains on filler and mismatch rows.",
        {"data": traces, "layout": layout},
        Grid("Accuracy by condition (%)", ("method", "ambiguous", "disambiguated"), tuple(rows)),
    )
