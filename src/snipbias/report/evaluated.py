"""The section of a run of `snipbias evaluate`, from what its folder keeps."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from snipbias.base.files import slug
from snipbias.base.plot import Plot
from snipbias.base.words import ORIGINAL
from snipbias.edits.edit import NeuronEdit
from snipbias.edits.run_folder import read_edits, read_sites
from snipbias.evaluation.compare import Comparison
from snipbias.evaluation.harness_scores import HarnessScore, HarnessScores, harness_grid
from snipbias.evaluation.stats import Interval
from snipbias.evaluation.tables import comparison_grids
from snipbias.evaluation.tradeoff import tradeoff
from snipbias.evaluation.verdicts import forewarned
from snipbias.experiment.outcome import neurons_of
from snipbias.models.place_map import neuron_map
from snipbias.models.places import count_places
from snipbias.models.sites import Site
from snipbias.report import comparison
from snipbias.report.examples import by_edit
from snipbias.report.page import Section
from snipbias.report.probability_shift import probability_shift
from snipbias.report.size_curve import Step, by_size, spread
from snipbias.report.texts import Texts

Figures = tuple[float | None, float | None, float | None]
SHOWN_EDITS = 6  # marks and colours that can be told apart


def evaluated_section(folder: Path, texts: Texts) -> Section:
    """The section of a run of `snipbias evaluate`."""
    compared = Comparison.load(folder)
    edits, task, where = compared.edits, compared.task.name, str(compared.task)
    shown = edits[:SHOWN_EDITS]
    kept = {edit.label: [edit] for edit in read_edits(folder)}
    harness = _harness(folder)
    letters = compared.evaluation.reading.options == "letters"
    return Section(
        name=slug(task),
        title=task,
        lead=f"{where[0].upper()}{where[1:]}, on templates that no edit was found on.",
        findings=tuple(comparison.finding(compared, edit) for edit in edits),
        grids=(*comparison_grids(compared), *([harness_grid(harness)] if harness else [])),
        plots=(*_plots(compared, shown), *maps(read_sites(folder), slug(task), kept)),
        examples=tuple(by_edit(compared.evaluation.table, list(shown), texts, letters=letters)),
        notes=(
            *compared.notes,
            *comparison.unsaid(compared),
            *(harness.sentences(compared.margin) if harness else ()),
            *([texts.missing] if texts.missing else []),
        ),
        warning=forewarned(task, compared.verdicts(ORIGINAL)),
    )


def maps(
    sites: Sequence[Site], place: str, edits: Mapping[str, Sequence[NeuronEdit | None]]
) -> list[Plot]:
    """Where the neurons of each edit sit; of the edits of several trials the mean."""
    group = f"{place}-map"
    return [
        neuron_map(
            count_places(sites, neurons_of(found)),
            "Where the pruned neurons sit",
            place=f"{group}{number}",
            group=group,
            choice=name,
        )
        for number, (name, found) in enumerate(edits.items())
    ]


def _plots(compared: Comparison, shown: Sequence[str]) -> list[Plot]:
    place = slug(compared.task.name)
    summaries, changes = compared.summaries, compared.changes
    spots = [s for s in comparison.spots(compared) if s.kind != "edit" or s.name in shown]
    steps = [
        Step(
            compared.neurons[edit],
            summaries[edit].accuracy,
            comparison.bounds(changes[edit]),
        )
        for edit in compared.edits
    ]
    original = compared.original
    made = [
        tradeoff(place, spots, original.offset_curve),
        by_size(
            place,
            steps,
            original.accuracy,
            original.unknown_floor.overall,
            "Every edit on the same held-out rows.",
        ),
        probability_shift(
            place,
            comparison.options(original),
            {edit: [comparison.options(summaries[edit])] for edit in shown},
        ),
        spread(
            place,
            {name: summaries[name].accuracy_by_instruction for name in (ORIGINAL, *shown)},
            shown,
        ),
    ]
    return [plot for plot in made if plot is not None]


def _harness(folder: Path) -> HarnessScores | None:
    path = folder / "lm_eval.json"
    if not path.is_file():
        return None
    found = _json(path)
    fields = HarnessScore.__dataclass_fields__
    scores = [{name: score[name] for name in fields} for score in found["scores"]]
    for score in scores:
        score["change"] = score["change"] and Interval(**score["change"])
    return HarnessScores(tuple(HarnessScore(**score) for score in scores), found["versions"])


def _json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))
