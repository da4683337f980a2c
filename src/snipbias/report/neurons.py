"""Where in the network an edit's neurons sit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from snipbias.base.table import Grid, number
from snipbias.report.page import Plot


def neuron_map(
    place: str, counts: Mapping[Any, float], title: str, group: str, choice: str
) -> list[Plot]:
    """How many neurons an edit has in each module of each layer, a plot a stack.

    Args:
        counts: by `experiment.places.Place`, zeros included.
    """
    sides = list(dict.fromkeys(spot.side for spot in counts))
    highest = max(counts.values(), default=0) or 1
    plots = []
    for side in sides:
        here = {spot: count for spot, count in counts.items() if spot.side == side}
        modules = list(dict.fromkeys(spot.module for spot in here))
        layers = sorted({spot.layer for spot in here})
        by_layer = [
            [
                next((c for s, c in here.items() if (s.layer, s.module) == (layer, module)), None)
                for module in modules
            ]
            for layer in layers
        ]
        total = sum(here.values())
        plots.append(
            Plot(
                f"{place}-{side}",
                f"{title}, {side}" if len(sides) > 1 else title,
                f"{_count(total)} of {_count(sum(counts.values()))} neurons are in the {side}. "
                "Rows are layers, 0 nearest to the input; an empty cell has none.",
                _heat(by_layer, layers, modules, highest),
                Grid(
                    f"Neurons by layer and module, {side}",
                    ("layer", *modules),
                    tuple(
                        (str(layer), *("-" if c is None else _count(c) for c in cells))
                        for layer, cells in zip(layers, by_layer, strict=True)
                    ),
                ),
                group,
                choice,
            )
        )
    return plots


def _heat(
    by_layer: Sequence[Sequence[float | None]],
    layers: Sequence[int],
    modules: Sequence[str],
    highest: float,
) -> dict[str, Any]:
    shown = [[count or None for count in cells] for cells in by_layer]
    return {
        "data": [
            {
                "type": "heatmap",
                "x": list(modules),
                "y": [str(layer) for layer in layers],
                "z": shown,
                "text": [[_count(c) if c else "" for c in cells] for cells in by_layer],
                "texttemplate": "%{text}",
                "colorscale": [[0, "@heat0"], [1, "@heat1"]],
                "zmin": 0,
                "zmax": highest,
                "xgap": 2,
                "ygap": 2,
                "showscale": False,
                "hovertemplate": "layer %{y}, %{x}: %{text}<extra></extra>",
                "hoverongaps": False,
            }
        ],
        "layout": {
            "height": 150 + max(120, (30 if len(layers) <= 12 else 19) * len(layers)),
            "xaxis": {"type": "category", "tickangle": -50, "showgrid": False},
            "yaxis": {
                **{"type": "category", "autorange": "reversed", "showgrid": False},
                **{"title": {"text": "layer"}},
            },
            "plot_bgcolor": "@surface",
        },
    }


def _count(value: float) -> str:
    return f"{value:.0f}" if value == int(value) else number(value, digits=2)
