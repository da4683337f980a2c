"""The section of a run of `snipbias evaluate`, from what its folder keeps."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from snipbias.base.files import slug
from snipbias.base.plot import Plot
from snipbias.base.words import ALWAYS_UNKNOWN, BEST_OFFSET, ORIGINAL, RANDOM, control_kind, plural
from snipbias.edits.edit import NeuronEdit
from snipbias.edits.run_folder import read_edits, read_sites
from snipbias.evaluation.apart import gained, own_rows
from snipbias.evaluation.compare import Comparison
from snipbias.evaluation.evaluate import rows_of
from snipbias.evaluation.harness_scores import HarnessScore, HarnessScores, harness_grid
from snipbias.evaluation.metrics import ByCondition
from snipbias.evaluation.stats import Interval
from snipbias.evaluation.summary import Summary
from snipbias.evaluation.tables import comparison_grids
from snipbias.evaluation.tradeoff import Spot, tradeoff
from snipbias.evaluation.verdicts import alarms, doubts, forewarned
from snipbias.experiment.outcome import neurons_of
from snipbias.models.place_map import neuron_map
from snipbias.models.places import count_places
from snipbias.models.sites import Site
from snipbias.report.examples import changed_examples, in_turn
from snipbias.report.first_screen import Answers, case, lines, shift_grid
from snipbias.report.page import Finding, Section
from snipbias.report.size_curve import Step, by_size, spread
from snipbias.report.texts import Texts

SHOWN_EDITS = 6  # marks and colours that can be told apart


def evaluated_section(folder: Path, texts: Texts) -> Section:
    """The section of a run of `snipbias evaluate`."""
    compared = Comparison.load(folder)
    edits, task, where = compared.edits, compared.task.name, str(compared.task)
    shown = edits[:SHOWN_EDITS]
    kept = read_edits(folder)
    harness = _harness(folder)
    letters = compared.evaluation.reading.options == "letters"
    answers, findings = _answers(compared), tuple(_finding(compared, edit) for edit in edits)
    tables = {name: own_rows(_of(compared.evaluation.table, name)) for name in (ORIGINAL, *shown)}
    original = tables[ORIGINAL]
    return Section(
        name=slug(task),
        title=task,
        lead=f"{where[0].upper()}{where[1:]}, on templates that no edit was found on.",
        findings=findings,
        changed=tuple(map(changed, kept)),
        lines=lines(answers, {each.label: each.tag for each in findings}),
        kept=next(iter(compared.evaluation.retention), ""),
        case=case(
            {name: rows_of(table) for name, table in tables.items()},
            original["item"].to_pylist(),
            original["instruction"].to_pylist(),
            texts,
        ),
        grids=(
            *comparison_grids(compared),
            shift_grid({name: found.rows for name, found in answers.items()}),
            *([harness_grid(harness)] if harness else []),
        ),
        plots=(
            *_plots(compared, shown),
            *maps(read_sites(folder), slug(task), {edit.label: [edit] for edit in kept}),
        ),
        examples=tuple(
            in_turn(
                changed_examples(original, tables[name], name, texts, letters=letters)
                for name in shown
            )
        ),
        notes=(
            *compared.notes,
            *_unsaid(compared),
            *(harness.sentences(compared.margin) if harness else ()),
            *([texts.missing] if texts.missing else []),
        ),
        warning=forewarned(task, compared.verdicts(ORIGINAL)),
    )


def changed(edit: NeuronEdit) -> str:
    """What an edit changes, and what it was found on."""
    factors = {factor for units in edit.factors.values() for factor in units.values()}
    how = (
        "set to 0"
        if factors == {0.0}
        else f"scaled by {min(factors):.2g}"
        + ("" if len(factors) == 1 else f" to {max(factors):.2g}")
    )
    of = f"{edit.label}: {len(edit):,} of {edit.model.neurons:,} neurons {how}"
    if edit.found_on is None:
        return f"{of}."
    asked = plural(len(edit.found_on.items), "question")
    return f"{of}, found on {asked} of other templates."


def _answers(compared: Comparison) -> dict[str, Answers]:
    """The original, the edits, and the random controls."""
    evaluation = compared.evaluation
    kept = next(iter(evaluation.retention.values()), None)
    kinds = {
        ORIGINAL: "original",
        **dict.fromkeys(compared.edits, "edit"),
        **{m: "control" for m in compared.controls if control_kind(m) == RANDOM},
    }
    return {
        name: Answers(
            f"{compared.neurons[name]:,}",
            kind,
            [evaluation.rows(name)],
            [kept.rows(name)] if kept and name in kept.methods else [],
        )
        for name, kind in kinds.items()
    }


def _finding(compared: Comparison, edit: str) -> Finding:
    """What one edit did."""
    summary, original = compared.summaries[edit], compared.original
    said = compared.verdicts(edit)
    overall = compared.changes[edit]["overall"]
    words = {ALWAYS_UNKNOWN: "always “unknown”", BEST_OFFSET: "the best constant on “unknown”"}
    return Finding(
        task=compared.task.name,
        label=edit,
        size=f"{compared.neurons[edit]:,}",
        before=original.accuracy.overall,
        after=summary.accuracy.overall,
        change=overall.difference,
        rivals=(
            *(
                (name, compared.summaries[name].accuracy.overall)
                for name in compared.controls
                if compared.neurons[name] == compared.neurons[edit] and control_kind(name) == RANDOM
            ),
            *((words[spot.name], spot.accuracy.overall) for spot in _floors(original)),
        ),
        gain=compared.gain_interval(edit),
        shifted=any(each.kind == "shift" for each in alarms(said)),
        alarms=tuple(str(each) for each in alarms(said) if each.kind != "shift"),
        doubts=tuple(map(str, doubts(said))),
        kept=tuple((part.kept, part.what, part.sentence) for part in compared.retained(edit)),
        p_value=overall.sign_flip,
        said=compared.said(edit),
        gained=gained(compared.apart[edit]),
    )


def _unsaid(compared: Comparison) -> list[str]:
    """Why the tables mark the original or a control; of an edit its finding says it."""
    return [
        f"{method}: {'; '.join(map(str, said))}"
        for method in (ORIGINAL, *compared.controls)
        if (said := alarms(compared.verdicts(method)))
    ]


def maps(
    sites: Sequence[Site], place: str, edits: Mapping[str, Sequence[NeuronEdit | None]]
) -> list[Plot]:
    """Where the neurons of each edit sit; of the edits of several trials the mean."""
    group = f"{place}-map"
    return [
        neuron_map(
            count_places(sites, neurons_of(found)),
            "Where the changed neurons sit",
            place=f"{group}{number}",
            group=group,
            choice=name,
        )
        for number, (name, found) in enumerate(edits.items())
    ]


def _plots(compared: Comparison, shown: Sequence[str]) -> Iterable[Plot]:
    place, original = slug(compared.task.name), compared.original
    summaries = compared.summaries
    kinds = dict.fromkeys(shown, "edit") | dict.fromkeys(compared.controls, "control")
    spots = [
        Spot(name, summary.accuracy, kinds.get(name, "original"))
        for name, summary in summaries.items()
        if name in kinds or name == ORIGINAL
    ]
    steps = [
        Step(
            compared.neurons[edit],
            summaries[edit].accuracy,
            {
                part: (change.accuracy.low, change.accuracy.high)
                for part, change in compared.changes[edit].items()
                if change.accuracy is not None
            },
        )
        for edit in compared.edits
    ]
    made = [
        tradeoff(place, [*spots, *_floors(original)], original.offset_curve),
        by_size(
            place,
            steps,
            original.accuracy,
            original.unknown_floor.overall,
            "Every edit on the same held-out rows.",
        ),
        spread(
            place,
            {name: summaries[name].accuracy_by_instruction for name in (ORIGINAL, *shown)},
            shown,
        ),
    ]
    return filter(None, made)


def _floors(original: Summary) -> list[Spot]:
    """Always answering "unknown", and the best that a constant on it reaches."""
    spots = []
    if original.unknown_floor.overall is not None:
        spots.append(Spot(ALWAYS_UNKNOWN, original.unknown_floor, "floor"))
    if (best := original.offset_best) is not None:
        point = ByCondition(best.overall, best.ambiguous, best.disambiguated)
        spots.append(Spot(BEST_OFFSET, point, "floor"))
    return spots


def _of(table: pa.Table, method: str) -> pa.Table:
    return table.filter(pc.equal(table["method"], method))  # type: ignore[attr-defined]


def _harness(folder: Path) -> HarnessScores | None:
    path = folder / "lm_eval.json"
    if not path.is_file():
        return None
    found = json.loads(path.read_text(encoding="utf-8"))
    fields = HarnessScore.__dataclass_fields__
    scores = [{name: score[name] for name in fields} for score in found["scores"]]
    for score in scores:
        score["change"] = score["change"] and Interval(**score["change"])
    return HarnessScores(tuple(HarnessScore(**score) for score in scores), found["versions"])
