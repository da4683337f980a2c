"""Where in the network the neurons of edits sit: by stack, layer and module."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

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
    counts = dict.fromkeys(_every_place(sites), 0)
    for neurons in draws:
        for name, unit in neurons:
            site = by_name[name]
            counts[_place(site, site.role(unit))] += 1
    return {place: count / max(len(draws), 1) for place, count in counts.items()}


def _every_place(sites: Sequence[Site]) -> list[Place]:
    """Every place in the model, ordered by stack, layer, and attention before ffn."""
    found = {_place(site, role) for site in sites for role, _ in site.layout}
    sides = {"encoder": 0, "decoder": 1}
    return sorted(found, key=lambda p: (sides[p.side], p.layer, modules_order(p.module)))


def modules_order(module: str) -> tuple[int, int]:
    """Sort key: self-attention, cross-attention, ffn; then q, k, v, o, gate, up, down."""
    block, role = module.split()
    return list(_BLOCKS.values()).index(block), _ROLES.index(role)


def _place(site: Site, role: str) -> Place:
    return Place(site.side, site.layer, f"{_BLOCKS[site.block]} {role}")
