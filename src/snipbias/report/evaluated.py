"""The section of a run of `snipbias evaluate`, from what its folder keeps."""

from __future__ import annotations

from pathlib import Path

import pyarrow.compute as pc

from snipbias.base.files import slug
from snipbias.base.plot import CONDITIONS, Plot
from snipbias.base.words import ALWAYS_UNKNOWN, BEST_OFFSET, ORIGINAL, plural
from snipbias.edits.edit import NeuronEdit
from snipbias.edits.run_folder import read_sites
from snipbias.evaluation.compare import Comparison
from snipbias.evaluation.harness_scores import HarnessScores, harness_grid
from snipbias.evaluation.retained import plain_name
from snipbias.evaluation.tables import comparison_grids
from snipbias.evaluation.tradeoff import Spot
from snipbias.evaluation.verdicts import alarms
from snipbias.report.page import Finding, Section
from snipbias.report.plots import maps, plots
from snipbias.report.sections import section
from snipbias.report.size_curve import Bar, by_size
from snipbias.report.texts import Texts

SHOWN_EDITS = 6  # marks and colours that can be told apart
FLOORS = {ALWAYS_UNKNOWN: "always “unknown”", BEST_OFFSET: "the best constant on “unknown”"}


def evaluated_section(folder: Path, texts: Texts) -> Section:
    """The section of a run of `snipbias evaluate`."""
    compared = Comparison.load(folder)
    shown, where, found = compared.edits[:SHOWN_EDITS], str(compared.task), compared.measured
    kept, harness = compared.edits_in(folder), HarnessScores.load(folder)
    rows = compared.evaluation.table
    kinds = {ORIGINAL: "original", **dict.fromkeys(compared.edits, "edit")}
    spots = compared.spots(shown)
    spots += [Spot(name, at, "floor") for name, at in compared.original.floors.items()]
    runs = {name: found[name].rows[0] for name in shown}
    drawn = maps(read_sites(folder), slug(compared.task.name), {e.label: [e] for e in kept})
    # Why the tables mark the original or a control; for edits, the finding says so.
    faults = {name: alarms(compared.verdicts(name)) for name in (ORIGINAL, *compared.controls)}
    notes = [
        *compared.notes,
        *(f"{name}: {'; '.join(map(str, said))}" for name, said in faults.items() if said),
        *(harness.sentences(compared.margin) if harness else ()),
    ]
    return section(
        found,
        kinds | dict.fromkeys(compared.random, "control"),
        {m: rows.filter(pc.field("method") == m) for m in (ORIGINAL, *shown)},
        texts,
        lead=f"{where[0].upper()}{where[1:]}, on templates that no edit was found on.",
        findings=tuple(_finding(compared, edit) for edit in compared.edits),
        changed=tuple(map(changed, kept)),
        grids=comparison_grids(compared),
        more=[harness_grid(harness)] if harness else [],
        plots=(*plots(found, spots, _by_size(compared), runs), *drawn),
        letters=compared.evaluation.reading.options == "letters",
        notes=notes,
    )


def changed(edit: NeuronEdit) -> str:
    """One sentence on what an edit changes and what it was found on."""
    factors = {factor for units in edit.factors.values() for factor in units.values()}
    last = "" if len(factors) == 1 else f" to {max(factors):.2g}"
    how = "set to 0" if factors == {0.0} else f"scaled by {min(factors):.2g}{last}"
    of = f"{edit.label}: {len(edit):,} of {edit.model.neurons:,} neurons {how}"
    if edit.found_on is None:
        return f"{of}."
    asked = plural(len(edit.found_on.items), "question")
    return f"{of}, found on {asked} of other templates."


def _finding(compared: Comparison, edit: str) -> Finding:
    """The finding on one edit, held against controls of its size and what moves no neuron."""
    own = [m for m in compared.controls_of(edit) if m in compared.random]
    rivals = [(m, compared.measured[m].value("overall").value) for m in own]
    rivals += [(FLOORS[name], each.overall) for name, each in compared.original.floors.items()]
    kept = [(part.kept, plain_name(part.what), part.sentence) for part in compared.retained(edit)]
    return Finding(compared.measured[edit], rivals, kept, compared.said(edit))


def _by_size(compared: Comparison) -> Plot | None:
    steps = []
    for edit in compared.edits:
        parts = {part: compared.measured[edit].value(part) for part in CONDITIONS}
        bars = {part: Bar(each.value, each.low, each.high) for part, each in parts.items()}
        steps.append((compared.neurons[edit], bars))
    original, what = compared.original, "Every edit on the same held-out rows."
    floor = original.unknown_floor.overall
    return by_size(slug(compared.task.name), steps, original.accuracy, floor, what)
