"""Where in the network the neurons of edits sit: by stack, layer and module; and a map of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from snipbias.base.plot import Plot
from snipbias.base.table import Grid, number
from snipbias.models.sites import Neuron, Side, Site

_BLOCKS = {"self-attention": "self", "cross-attention": "cross", "ffn": "ffn"}
_ROLES = ("q", "k", "v", "kv", "o", "gate", "up", "down")


class Place(NamedTuple):
    """A module of a layer, such as ("decoder", 3, "cross q")."""

    side: Side
    layer: int
    module: str


def count_places(sites: Sequence[Site], draws: Sequence[Iterable[Neuron]]) -> dict[Place, float]:
    """Count the neurons in each place, as the mean over several draws, zeros included.

    Places are in the order of the network; units of a fused layer count for their own roles.
    """
    by_name = {site.name: site for site in sites}
    places = {_place(site, role) for site in sites for role, _ in site.layout}
    in_order = sorted(places, key=lambda p: (p.side != "encoder", p.layer, modules_order(p.module)))
    counts = dict.fromkeys(in_order, 0)
    for neurons in draws:
        for name, unit in neurons:
            site = by_name[name]
            counts[_place(site, site.role(unit))] += 1
    return {place: count / max(len(draws), 1) for place, count in counts.items()}


def modules_order(module: str) -> tuple[int, int]:
    """Sort key: self-attention, cross-attention, ffn; then q, k, v, o, gate, up, down."""
    block, role = module.split()
    return list(_BLOCKS.values()).index(block), _ROLES.index(role)


def _place(site: Site, role: str) -> Place:
    return Place(site.side, site.layer, f"{_BLOCKS[site.block]} {role}")


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
        group, choice: see `Plot`.
    """
    stacks = len({spot.side for spot in counts}) > 1
    cells = {
        (spot.layer, f"{spot.side} {spot.module}" if stacks else spot.module): count
        for spot, count in counts.items()
    }
    modules = list(dict.fromkeys(module for _, module in cells))
    layers = sorted({layer for layer, _ in cells})
    by_layer = [[cells.get((layer, module)) for module in modules] for layer in layers]
    total = _count(sum(counts.values()))
    said = f"{total} neurons. Rows are layers, 0 nearest to the input; an empty cell has none."
    heatmap = {
        "type": "heatmap",
        **{"x": modules, "y": list(map(str, layers))},
        "z": [[count or None for count in row] for row in by_layer],
        "text": [[_count(c) if c else "" for c in row] for row in by_layer],
        "texttemplate": "%{text}",
        "colorscale": [[0, "@heat0"], [1, "@heat1"]],
        **{"zmin": 0, "zmax": max(counts.values(), default=0) or 1},
        **{"xgap": 2, "ygap": 2, "showscale": False},
        "hovertemplate": "layer %{y}, %{x}: %{text}<extra></extra>",
        "hoverongaps": False,
    }
    axis = {"type": "category", "showgrid": False}
    layout = {
        "height": 170 + max(120, (30 if len(layers) <= 12 else 19) * len(layers)),
        "xaxis": {**axis, "tickangle": -50},
        "yaxis": {**axis, "autorange": "reversed", "title": {"text": "layer"}},
        "plot_bgcolor": "@surface",
    }
    rows = (
        (str(layer), *("-" if c is None else _count(c) for c in row))
        for layer, row in zip(layers, by_layer, strict=True)
    )
    table = Grid("Neurons by layer and module", ("layer", *modules), tuple(rows))
    return Plot(place, title, said, {"data": [heatmap], "layout": layout}, table, group, choice)


def _count(value: float) -> str:
    return f"{value:.0f}" if value == int(value) else number(value, digits=2)
