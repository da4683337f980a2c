"""The edits that `combine` and `overlap` read, and what they show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from rich.console import RenderableType
from rich.text import Text

import snipbias as sb
from snipbias.base.table import Grid, number, p_value
from snipbias.base.table import markdown as tables_markdown
from snipbias.cli.run import Run
from snipbias.edits.card.facts import without_folders
from snipbias.edits.overlap import Overlap
from snipbias.evaluation.combinations import combination_grids
from snipbias.evaluation.compare import Comparison, distinct
from snipbias.evaluation.glossary import legend, legend_markdown
from snipbias.evaluation.verdicts import alarms

SHOWN_PLACES = 24


def read_edits(paths: Sequence[str], this: Run | None = None) -> list[sb.NeuronEdit]:
    """Read edits; rename them by the parts of their paths that differ if labels are the same."""
    edits = [sb.NeuronEdit.load(path) for path in paths]
    if this is not None:
        this.record.data["edits"] = {
            str(path): edit.fingerprint for path, edit in zip(paths, edits, strict=True)
        }
    if len({edit.label for edit in edits}) < len(edits):
        named = zip(edits, _differing(paths), strict=True)
        edits = [replace(edit, label=name or edit.label) for edit, name in named]
    return distinct(edits)


def _differing(paths: Sequence[str]) -> list[str]:
    """Each path without the folders that all paths begin or end with.

    Labels are published, so an absolute path, which could identify the user, is cut too.
    """
    parts = [list(Path(path).parts) for path in paths]
    for end in (0, -1):
        while all(parts) and len({part[end] for part in parts}) == 1:
            for part in parts:
                part.pop(end)
    return [without_folders("/".join(part)) for part in parts]


def overlap_parts(found: Overlap) -> list[RenderableType]:
    head = (
        f"{len(found.labels)} edits of a model with {found.neurons} neurons: {found.in_any} in at "
        f"least one edit, {found.in_all} in all"
    )
    rest = len(found.places) - SHOWN_PLACES
    more = [f"and {rest} more places; --json shows all"] if rest > 0 else []
    return [head, "", _pairs(found).rich(), "", _places(found, SHOWN_PLACES).rich(), *more]


def _pairs(found: Overlap) -> Grid:
    columns = {
        "edits": lambda pair: f"{pair.first} & {pair.second}",
        "neurons": lambda pair: "/".join(map(str, pair.sizes)),
        "shared": lambda pair: str(pair.shared),
        "same factor": lambda pair: str(pair.same_factor),
        "Jaccard": lambda pair: number(pair.jaccard),
        "by chance": lambda pair: number(pair.expected, digits=2),
        "p": lambda pair: p_value(pair.p),
        "by chance in sites": lambda pair: number(pair.expected_in_sites, digits=2),
        "p in sites": lambda pair: p_value(pair.p_in_sites),
    }
    rows = (tuple(cell(pair) for cell in columns.values()) for pair in found.pairs)
    return Grid("Shared neurons", tuple(columns), tuple(rows)).without_empty_columns()


def _places(found: Overlap, most: int | None = None) -> Grid:
    """The places with the most neurons, in the model's order."""
    crowded = sorted(found.places, key=lambda place: -sum(found.places[place]))[:most]
    rows = tuple(
        (f"{place.side} {place.layer} {place.module}", *(str(n) if n else "" for n in counts))
        for place, counts in found.places.items()
        if place in crowded
    )
    return Grid("Where they are", ("stack, layer, module", *found.labels, "shared"), rows)


def lines(comparisons: Mapping[str, Comparison]) -> list[str]:
    """Faults on each task, then what was kept (the same for all tasks), then notes."""
    wrong = [
        f"! {task}, {method}: {'; '.join(map(str, said))}"
        for task, comparison in comparisons.items()
        for method in comparison.summaries
        if (said := alarms(comparison.verdicts(method)))
    ]
    first = next(iter(comparisons.values()))
    kept = [f"{m}: {part.what} {part.sentence}" for m in first.edits for part in first.retained(m)]
    notes = [f"note: {task}: {note}" for task, c in comparisons.items() for note in c.notes]
    return [*wrong, *kept, *notes]


def comparison_parts(comparisons: Mapping[str, Comparison]) -> list[RenderableType]:
    grids = combination_grids(comparisons)
    drawn = [part for grid in grids for part in (grid.rich(), "")]
    return [*drawn, *lines(comparisons), Text(legend(grids), "dim")]


def markdown(found: Overlap, comparisons: Mapping[str, Comparison]) -> str:
    grids = [_pairs(found), _places(found), *combination_grids(comparisons)]
    said = "\n".join(f"- {line}" for line in lines(comparisons))
    return "\n\n".join([tables_markdown(grids), said, legend_markdown(grids)]) + "\n"
