"""The section of a run of `snipbias find`: which neurons, found on what; nothing is measured."""

from __future__ import annotations

from pathlib import Path

from snipbias.base.record import RunRecord
from snipbias.base.table import Grid
from snipbias.base.words import plural
from snipbias.edits.edit import NeuronEdit
from snipbias.edits.format import FILE as EDIT_FILE
from snipbias.edits.run_folder import read_sites
from snipbias.report.page import Section
from snipbias.report.sections import maps

LISTED = 100


def found_section(folder: Path, record: RunRecord) -> Section:
    """The edits of a run of `snipbias find`, smallest first."""
    places = [folder] if (folder / EDIT_FILE).is_file() else sorted(folder.glob(f"n*/{EDIT_FILE}"))
    edits = {edit.label: edit for edit in sorted(map(NeuronEdit.load, places), key=len)}
    largest = list(edits.values())[-1]
    found = largest.found_on
    sizes = ", ".join(str(len(edit)) for edit in edits.values())
    model, task = record.arguments["model"], record.arguments["task"]
    return Section(
        name="found",
        title=f"Neurons found on {task}",
        lead=f"{sizes} of {largest.model.neurons:,} neurons of {model}"
        + (
            f", found on {plural(len(found.items), 'item')} of "
            f"{plural(len(found.templates), 'template')} under "
            f"{plural(found.instructions, 'instruction')}."
            if found
            else "."
        ),
        words=(
            "Nothing is measured yet: finding neurons does not show that pruning them helps. "
            f"Measure it on other templates with: snipbias evaluate {model} {task} --edit "
            f"{places[-1].parent if places[-1].is_file() else places[-1]}",
        ),
        grids=(
            Grid(
                "The largest edit's neurons"
                + (f" (the first {LISTED} of {len(largest)})" if len(largest) > LISTED else ""),
                ("site", "units", "factor"),
                tuple(
                    (
                        site,
                        ", ".join(map(str, units)),
                        ", ".join(f"{f:g}" for f in sorted(set(units.values()))),
                    )
                    for site, units in largest.factors.items()
                )[:LISTED],
            ),
        ),
        plots=tuple(
            maps(read_sites(folder), "found", {name: [edit] for name, edit in edits.items()})
        ),
    )
