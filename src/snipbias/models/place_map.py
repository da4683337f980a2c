"""A map of where neurons sit, by layer and module."""

from __future__ import annotations

from collections.abc import Mapping

from snipbias.base.plot import Plot
from snipbias.base.table import Grid, number
from snipbias.models.places import Place


def neuron_map(
    counts: Mapping[Place, float],
    title: str = "Where the neurons sit",
    *,
    place: str = "neurons",
    group: str = "",
    choice: str = "",
) -> Plot:
    """Plot how many neurons sit in each module of each layer.

    Args:
        counts: neurons per place, zeros included; columns follow their order.
        title: heading of the plot.
        place: name of the plot in its page.
        group: see `Plot`.
        choice: see `Plot`.
    """
    stacks = len({spot.side for spot in counts}) > 1
    columns = {spot: f"{spot.side} {spot.module}" if stacks else spot.module for spot in counts}
    modules = list(dict.fromkeys(columns.values()))
    layers = sorted({spot.layer for spot in counts})
    cells = {(spot.layer, columns[spot]): count for spot, count in counts.items()}
    by_layer = [[cells.get((layer, module)) for module in modules] for layer in layers]
    return Plot(
        place,
        title,
        f"{_count(sum(counts.values()))} neurons. Rows are layers, 0 nearest to the input; an "
        "empty cell has none.",
        {
            "data": [
                {
                    "type": "heatmap",
                    "x": modules,
                    "y": [str(layer) for layer in layers],
                    "z": [[count or None for count in row] for row in by_layer],
                    "text": [[_count(c) if c else "" for c in row] for row in by_layer],
                    "texttemplate": "%{text}",
                    "colorscale": [[0, "@heat0"], [1, "@heat1"]],
                    "zmin": 0,
                    "zmax": max(counts.values(), default=0) or 1,
                    "xgap": 2,
                    "ygap": 2,
                    "showscale": False,
                    "hovertemplate": "layer %{y}, %{x}: %{text}<extra></extra>",
                    "hoverongaps": False,
                }
            ],
            "layout": {
                "height": 170 + max(120, (30 if len(layers) <= 12 else 19) * len(layers)),
                "xaxis": {"type": "category", "tickangle": -50, "showgrid": False},
                "yaxis": {
                    **{"type": "category", "autorange": "reversed", "showgrid": False},
                    **{"title": {"text": "layer"}},
                },
                "plot_bgcolor": "@surface",
            },
        },
        Grid(
            "Neurons by layer and module",
            ("layer", *modules),
            tuple(
                (str(layer), *("-" if c is None else _count(c) for c in row))
                for layer, row in zip(layers, by_layer, strict=True)
            ),
        ),
        group,
        choice,
    )


def _count(value: float) -> str:
    return f"{value:.0f}" if value == int(value) else number(value, digits=2)
