"""Ambiguous against disambiguated accuracy: whether an edit shifted answers or gained some."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from snipbias.base.plot import Plot, mark, percents
from snipbias.base.table import Grid, percent
from snipbias.base.words import control_kind
from snipbias.evaluation.metrics import ByCondition
from snipbias.evaluation.offset_curve import OffsetCurve


@dataclass(frozen=True)
class Spot:
    """A method's place in the plane of the two accuracies; `kind` decides its mark."""

    name: str
    accuracy: ByCondition
    kind: str  # original, edit, control or floor


def tradeoff(place: str, spots: Sequence[Spot], curve: OffsetCurve | None) -> Plot | None:
    """Ambiguous against disambiguated accuracy, with the curve that a constant reaches."""
    known = [s for s in spots if None not in (s.accuracy.ambiguous, s.accuracy.disambiguated)]
    if not known:
        return None
    traces: list[dict[str, Any]] = []
    if curve is not None:
        thin = curve.thinned()
        traces.append(
            {
                "type": "scatter",
                "mode": "lines",
                "name": "original + a constant on “unknown”",
                "x": percents(thin.ambiguous.tolist()),
                "y": percents(thin.disambiguated.tolist()),
                "customdata": [round(c, 2) for c in thin.offsets.tolist()],
                "line": {"color": "@muted", "width": 2},
                "hovertemplate": "constant %{customdata}: %{x:.1f} / %{y:.1f}<extra></extra>",
            }
        )
    edits = [spot.name for spot in known if spot.kind == "edit"]
    for spot in known:
        group = control_kind(spot.name) if spot.kind == "control" else spot.name
        look = {
            "original": {
                "color": "@ink",
                "symbol": "circle-open",
                "size": 13,
                "line": {"width": 3},
            },
            "control": {"color": "@muted", "symbol": "x", "size": 8},
            "floor": {
                "color": "@muted",
                "symbol": "diamond-open",
                "size": 10,
                "line": {"width": 2},
            },
        }.get(spot.kind) or mark(edits.index(spot.name))
        traces.append(
            {
                "type": "scatter",
                "mode": "markers",
                "name": spot.name,
                "legendgroup": group,
                "x": percents([spot.accuracy.ambiguous]),
                "y": percents([spot.accuracy.disambiguated]),
                "marker": look,
                "hovertemplate": "%{fullData.name}: %{x:.1f} / %{y:.1f}<extra></extra>",
            }
        )
    axes = {"range": [-4, 104], "dtick": 20, "ticksuffix": " %"}
    return Plot(
        f"{place}-plane",
        "A shift, or a gain?",
        "Accuracy on ambiguous rows (across) and disambiguated rows (up). The line is what adding "
        "one constant to the original's score of “unknown” reaches with no neuron touched: an edit "
        "on the line or below it has only shifted answers. One above it has gained something if it "
        "has on filler and mismatch rows too.",
        {
            "data": traces,
            "layout": {
                "height": 430,
                "xaxis": {"title": {"text": "ambiguous accuracy"}, **axes},
                "yaxis": {"title": {"text": "disambiguated accuracy"}, **axes},
                "hovermode": "closest",
            },
        },
        Grid(
            "Accuracy by condition (%)",
            ("method", "ambiguous", "disambiguated"),
            tuple(
                (s.name, percent(s.accuracy.ambiguous), percent(s.accuracy.disambiguated))
                for s in known
            ),
        ),
    )
