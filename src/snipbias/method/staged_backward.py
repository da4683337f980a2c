"""Run several backward passes one segment of the graph at a time, each for all objectives.

So only one segment's attributions are held between objectives, and its part of the graph is freed
after the last objective.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor
from torch.autograd.graph import Node, get_gradient_edge


@dataclass(frozen=True)
class Segment:
    """A part of a graph."""

    entry: Tensor | None  # its input, the output of the segment before; None for the first
    leaves: list[Tensor]  # the graph's leaves in it
    ends: list[int]  # indices of the graph's ends in it


def segments(
    entries: Sequence[Tensor], leaves: Sequence[Tensor], ends: Sequence[Tensor]
) -> list[Segment]:
    """The segments of a graph, the last one first.

    Args:
        entries: the output of each segment that the next one reads, in forward order. If anything
            else connects two segments, as in models whose layers share keys, the whole graph is
            one segment.
        leaves, ends: where the graph begins and ends.
    """
    segment_of = _segments_of_nodes(entries, ends)
    if segment_of is None:
        return [Segment(None, list(leaves), list(range(len(ends))))]
    segments = [Segment(entry, [], []) for entry in (None, *entries)]
    for leaf in leaves:
        if (node := get_gradient_edge(leaf).node) in segment_of:
            segments[segment_of[node]].leaves.append(leaf)
    for number, end in enumerate(ends):
        segments[segment_of[get_gradient_edge(end).node]].ends.append(number)
    return segments[::-1]


def leaves(ends: Sequence[Tensor]) -> list[Tensor]:
    """The leaf tensors of a graph that require gradients."""
    found: dict[Node, Tensor] = {}
    seen: set[Node] = set()
    waiting = [get_gradient_edge(end).node for end in ends]
    while waiting:
        node = waiting.pop()
        if node in seen:
            continue
        seen.add(node)
        if hasattr(node, "variable"):
            found[node] = node.variable  # pyright: ignore[reportAttributeAccessIssue]
        waiting += [below for below, _ in node.next_functions if below is not None]
    return list(found.values())


def _segments_of_nodes(entries: Sequence[Tensor], ends: Sequence[Tensor]) -> dict[Node, int] | None:
    """The segment of each node of the graph; None if segments are connected in other ways."""
    last = len(entries)
    segment_of: dict[Node, int] = {}
    entered: tuple[Node, int] | None = None
    for number, top in [*enumerate(entries), *((last, end) for end in ends)]:
        new: set[Node] = set()
        leads_to: set[int] = set()
        waiting = [get_gradient_edge(top).node]
        while waiting:
            node = waiting.pop()
            if node in segment_of:
                leads_to.add(segment_of[node])
                continue
            new.add(node)
            for below, output in node.next_functions:
                if (below, output) == entered:
                    leads_to.add(number)
                elif below is not None and below not in new:
                    waiting.append(below)
        # An end may leave any segment, as a layer's keys do, but may not come from two.
        segment = leads_to.pop() if leads_to else number
        if leads_to or (segment != number and number < last):
            return None
        segment_of.update(dict.fromkeys(new, segment))
        if number < last:
            edge = get_gradient_edge(top)
            entered = edge.node, edge.output_nr
    return segment_of
