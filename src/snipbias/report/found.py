"""The section of a run of `snipbias find`, from what its folder keeps."""

from __future__ import annotations

from pathlib import Path

from snipbias.base.record import RunRecord
from snipbias.base.table import Grid
from snipbias.base.words import plural
from snipbias.edits.edit import NeuronEdit
from snipbias.edits.format import FILE as EDIT_FILE
from snipbias.edits.run_folder import read_sites
from snipbias.report.page import Section
from snipbias.report.plots import maps

LISTED = 100  # sites of an edit


def found_section(folder: Path, record: RunRecord) -> Section:
    """The edits of a run of `snipbias find`, smallest first."""
    several = sorted(file.parent for file in folder.glob(f"n*/{EDIT_FILE}"))
    places = [folder] if (folder / EDIT_FILE).is_file() else several
    edits = {edit.label: edit for edit in sorted(map(NeuronEdit.load, places), key=len)}
    largest = list(edits.values())[-1]
    sizes = ", ".join(str(len(edit)) for edit in edits.values())
    model, task = record.arguments["model"], record.arguments["task"]
    lead = f"{sizes} of {largest.model.neurons:,} neurons of {model}"
    if found := largest.found_on:
        items = f"{plural(len(found.items), 'item')} of {plural(len(found.templates), 'template')}"
        lead += f", found on {items} under {plural(found.instructions, 'instruction')}"
    sites = list(largest.factors.items())
    more = f" (the first {LISTED} of {len(sites)} sites)" if len(sites) > LISTED else ""
    rows = []
    for site, units in sites[:LISTED]:
        factors = ", ".join(f"{factor:g}" for factor in sorted(set(units.values())))
        rows.append((site, ", ".join(map(str, units)), factors))
    header = ("site", "units", "factor")
    drawn = maps(read_sites(folder), "found", {name: [edit] for name, edit in edits.items()})
    return Section(
        name="found",
        title=f"Neurons found on {task}",
        lead=f"{lead}.",
        words=(
            "Nothing is measured yet: finding neurons does not show that pruning them helps. "
            f"Measure it on other templates with: snipbias evaluate {model} {task} --edit "
            f"{places[-1]}",
        ),
        grids=(Grid(f"The largest edit's neurons{more}", header, tuple(rows)),),
        plots=tuple(drawn),
    )
