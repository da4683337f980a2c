"""Sections of a run of `snipbias evaluate` and of `snipbias demo`, from what their folders keep."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from snipbias.base.files import slug
from snipbias.base.record import RunRecord
from snipbias.base.table import Grid
from snipbias.base.words import ORIGINAL
from snipbias.edits.edit import NeuronEdit
from snipbias.edits.run_folder import read_edits, read_sites
from snipbias.evaluation import stats
from snipbias.evaluation.evaluate import rows_of
from snipbias.evaluation.harness_scores import HarnessScore, HarnessScores, harness_grid
from snipbias.evaluation.measures import ACCURACY
from snipbias.evaluation.stats import Interval
from snipbias.experiment.outcome import neurons_of
from snipbias.experiment.tables.estimate import mean_of
from snipbias.models.places import count_places
from snipbias.report import comparison
from snipbias.report.comparison import Recorded
from snipbias.report.examples import by_edit, changed_examples
from snipbias.report.neurons import neuron_map
from snipbias.report.page import Finding, Plot, Section
from snipbias.report.probability_shift import probability_shift
from snipbias.report.size_curve import Step, by_size, spread
from snipbias.report.texts import Texts
from snipbias.report.tradeoff import Spot, tradeoff

Figures = tuple[float | None, float | None, float | None]
SHOWN_EDITS = 6  # marks and colours that can be told apart


def evaluated_section(folder: Path, record: RunRecord, texts: Texts) -> Section:
    """The section of a run of `snipbias evaluate`."""
    recorded = Recorded.of(_json(folder / "summary.json"))
    rows = pq.read_table(folder / "rows.parquet")
    edits, task = recorded.edits, recorded.data["task"]
    shown = edits[:SHOWN_EDITS]
    kept = {edit.label: [edit] for edit in read_edits(folder)}
    harness = _harness(folder)
    letters = record.arguments.get("options") == "letters"
    return Section(
        name=slug(task),
        title=task,
        lead=f"{recorded.where[0].upper()}{recorded.where[1:]}, on templates that no edit was "
        "found on.",
        findings=tuple(comparison.finding(recorded, edit) for edit in edits),
        grids=(*comparison.grids(recorded), *([harness_grid(harness)] if harness else [])),
        plots=(*_plots(recorded, shown), *maps(folder, slug(task), kept)),
        examples=tuple(by_edit(rows, list(shown), texts, letters=letters)),
        notes=(
            *recorded.data["notes"],
            *comparison.unsaid(recorded),
            *(harness.sentences(recorded.data["margin"]) if harness else ()),
            *([texts.missing] if texts.missing else []),
        ),
        warning=recorded.warning,
    )


def demo_sections(folder: Path, texts: Mapping[str, Texts]) -> list[Section]:
    """The sections of a run of `snipbias demo`: one a task, means over its trials."""
    results = _json(folder / "summary.json")["results"]
    return [_trials(folder, result, texts[result["task"]]) for result in results]


def maps(folder: Path, place: str, edits: Mapping[str, Sequence[NeuronEdit | None]]) -> list[Plot]:
    """Where the neurons of each edit sit; of the edits of several trials the mean."""
    sites = read_sites(folder)
    title, group = "Where the pruned neurons sit", f"{place}-map"
    return [
        plot
        for number, (name, found) in enumerate(edits.items())
        for plot in neuron_map(
            f"{group}{number}", count_places(sites, neurons_of(found)), title, group, name
        )
    ]


def _plots(recorded: Recorded, shown: Sequence[str]) -> list[Plot]:
    place = slug(recorded.data["task"])
    summaries, changes = recorded.summaries, recorded.changes
    spots = [s for s in recorded.spots if s.kind != "edit" or s.name in shown]
    steps = [
        Step(
            recorded.neurons[edit],
            summaries[edit].accuracy,
            comparison.bounds(changes[edit]),
        )
        for edit in recorded.edits
    ]
    original = recorded.original
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


def _trials(folder: Path, result: Mapping[str, Any], texts: Texts) -> Section:
    """One task of a demonstration."""
    task = result["task"]
    inside = folder / slug(task)
    trials = [Recorded.of(found) for found in result["trials"]]
    tables = [pq.read_table(inside / f"rows-trial{i}.parquet") for i in range(len(trials))]
    edited = [trial.edits[0] for trial in trials]
    label = edited[0].partition(" n=")[0]
    header = tuple(result["table"][0])
    grid = Grid(
        f"{task}: means over {len(trials)} trials",
        header,
        tuple(tuple(row[name] for name in header) for row in result["table"]),
        (label,),
    )
    original = trials[0].original
    by_trial = {f"{label}, trial {i}": trial for i, trial in enumerate(trials)}
    spots = [
        Spot(ORIGINAL, original.accuracy, "original"),
        *(
            Spot(name, trial.summaries[trial.edits[0]].accuracy, "edit")
            for name, trial in by_trial.items()
        ),
        *(
            Spot(f"{name}, trial {i}", trial.summaries[name].accuracy, "control")
            for i, trial in enumerate(trials)
            for name in trial.controls
        ),
        *comparison.floors(original),
    ]
    made = [
        tradeoff(slug(task), spots, original.offset_curve),
        probability_shift(
            slug(task),
            comparison.options(original),
            {
                label: [
                    comparison.options(trial.summaries[edit])
                    for trial, edit in zip(trials, edited, strict=True)
                ]
            },
        ),
        spread(
            slug(task),
            {
                ORIGINAL: original.accuracy_by_instruction,
                **{
                    name: trial.summaries[trial.edits[0]].accuracy_by_instruction
                    for name, trial in by_trial.items()
                },
            },
            list(by_trial),
        ),
    ]
    kept = {label: read_edits(inside)}
    return Section(
        name=slug(task),
        title=task,
        lead=f"{trials[0].where}, {len(trials)} trials: each found its neurons on other items.",
        findings=(_over_trials(trials, tables, label),),
        grids=(grid,),
        plots=(*(plot for plot in made if plot), *maps(folder, slug(task), kept)),
        examples=tuple(
            example
            for i, (table, edit) in enumerate(zip(tables, edited, strict=True))
            for example in changed_examples(
                _of(table, ORIGINAL), _of(table, edit), f"{label}, trial {i}", texts
            )
        ),
        notes=(*result["verdicts"], *([texts.missing] if texts.missing else [])),
        warning=trials[0].warning,
    )


def _over_trials(trials: Sequence[Recorded], tables: Sequence[pa.Table], label: str) -> Finding:
    """The finding of several trials: means, and the interval of the mean change."""
    edited = [trial.edits[0] for trial in trials]
    each = [comparison.finding(t, edit) for t, edit in zip(trials, edited, strict=True)]
    runs = [rows_of(_of(table, edit)) for table, edit in zip(tables, edited, strict=True)]
    before = [rows_of(_of(table, ORIGINAL)) for table in tables]
    gains = [one.gain for one in each if one.gain is not None]
    rivals: dict[str, list[float]] = {}
    for one in each:
        for name, value in one.rivals:
            if value is not None:
                kind = name.partition(" (draw")[0]  # every trial has draws of its own
                rivals.setdefault(kind, []).append(value)
    numbers = range(len(trials))
    return Finding(
        task=each[0].task,
        label=label,
        size="/".join(map(str, sorted({int(one.size) for one in each}))),
        where=each[0].where,
        before=each[0].before,
        after=means([one.after for one in each]),
        change=stats.difference(ACCURACY, runs, before),
        rivals=tuple((name, mean(values)) for name, values in rivals.items()),
        gain=mean(gains) if len(gains) == len(each) else None,
        shifted=all(one.shifted for one in each),
        alarms=tuple(f"trial {i}: {said}" for i in numbers for said in each[i].alarms),
        kept=tuple((ok, f"trial {i}, {said}") for i in numbers for ok, said in each[i].kept),
        p_value=stats.sign_flip_of(ACCURACY, runs, before),
    )


def means(values: Sequence[Figures]) -> Figures:
    """Means over trials of (overall, ambiguous, disambiguated); None where one is undefined."""
    overall, ambiguous, disambiguated = map(mean_of, zip(*values, strict=True))
    return overall, ambiguous, disambiguated


def _of(table: pa.Table, method: str) -> pa.Table:
    return table.filter(pc.equal(table["method"], method))  # type: ignore[attr-defined]


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
