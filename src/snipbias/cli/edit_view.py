"""How an edit is shown in a terminal."""

from __future__ import annotations

import math
from collections.abc import Sequence

from rich.console import Group
from rich.table import Column, Table
from rich.text import Text

import snipbias as sb
from snipbias.base.words import plural
from snipbias.models.places import count_places
from snipbias.tasks.prompts import DEFAULT

SHOWN_SITES = 24
LEVELS = "·▁▂▃▄▅▆▇█"
BLOCKS = {"self": "self-attention", "cross": "cross-attention", "ffn": "FFN"}


def layer_map(edit: sb.NeuronEdit, sites: Sequence[sb.Site]) -> Group:
    """A row of bars per kind of block: one bar per layer, as high as its number of neurons."""
    counts: dict[tuple[str, str], dict[int, float]] = {}
    for place, number in count_places(sites, [edit.neurons]).items():
        row = counts.setdefault((place.side, place.module.split()[0]), {})
        row[place.layer] = row.get(place.layer, 0) + number
    most = max(max(row.values()) for row in counts.values()) or 1
    sides = {side for side, _ in counts}
    lines = []
    for (side, block), row in counts.items():
        bars = "".join(LEVELS[math.ceil(n / most * (len(LEVELS) - 1))] for n in row.values())
        name = " ".join([side] * (len(sides) > 1) + [BLOCKS[block]])
        lines.append(Text.assemble(f"{name:<24} ", (bars, "cyan"), f" {sum(row.values()):g}"))
    of = "1 neuron" if most == 1 else f"{most:g} neurons"
    legend = f"{'':<24} first to last layer; a full bar is {of}"
    return Group(*lines, Text(legend, "dim"))


def edit_head(edit: sb.NeuronEdit) -> list[str]:
    """Lines that say what an edit is, and what it was found on."""
    lines = [f"{edit.label}: {len(edit)} of {edit.model.neurons} neurons of {edit.model.name}"]
    if (found := edit.found_on) is not None:
        lines.append(
            f"found on {plural(len(found.items), 'item')} of "
            f"{plural(len(found.templates), 'template')} of {found.task}, "
            f"{plural(found.instructions, 'instruction')}"
            + "".join(f", prompt {p.name!r}" for p in found.prompts if p != DEFAULT)
        )
    return lines


def edit_table(edit: sb.NeuronEdit) -> Group:
    """The neurons and factors of an edit, site by site."""
    right = Column("neurons", justify="right")
    table = Table(Column("site", overflow="fold"), right, "units", box=None)
    crowded = sorted(edit.factors, key=lambda site: -len(edit.factors[site]))
    for site in crowded[:SHOWN_SITES]:
        units = edit.factors[site]
        found = sorted(set(units.values()))
        some = ", ".join(f"{f:g}" for f in found)
        few = some if len(found) <= 4 else f"{found[0]:.2f} to {found[-1]:.2f}"
        factors = "" if found == [0.0] else f" x {few}"
        shown = ", ".join(map(str, list(units)[:12])) + (" ..." if len(units) > 12 else "")
        first, last = min(units), max(units)
        shown = f"{first} to {last}" if last - first == len(units) - 1 > 1 else shown
        table.add_row(Text(site), str(len(units)), shown + factors)
    rest = crowded[SHOWN_SITES:]
    more = [f"and {len(rest)} more sites; --json shows all"] if rest else []
    return Group(*map(Text, edit_head(edit)), table, *more)
