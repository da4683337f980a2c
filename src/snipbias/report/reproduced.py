"""Sections of a run of `snipbias reproduce`, from the experiment that its folder keeps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from snipbias.base.files import slug
from snipbias.base.plot import Plot, average
from snipbias.base.words import ORIGINAL, plural
from snipbias.evaluation.apart import gained, own_rows
from snipbias.evaluation.evaluate import accuracy, rows_of
from snipbias.evaluation.metrics import ByCondition, accuracy_by_instruction, unknown_floor
from snipbias.evaluation.offset_curve import offset_curve
from snipbias.evaluation.tradeoff import Spot, tradeoff
from snipbias.evaluation.verdicts import alarms, doubts, forewarned
from snipbias.experiment.outcome import Experiment, Outcome, edits_of, methods_of, outcomes_of
from snipbias.experiment.results import Results
from snipbias.experiment.settings import CONTROLS
from snipbias.experiment.tables import detail_grids, verdict
from snipbias.experiment.tables.figures import All
from snipbias.experiment.tables.forest import forest
from snipbias.experiment.tables.reading import read_experiment
from snipbias.report.evaluated import maps
from snipbias.report.examples import changed_examples, in_turn
from snipbias.report.first_screen import Answers, case, lines, shift_grid
from snipbias.report.page import Finding, Section
from snipbias.report.size_curve import Step, by_size, spread
from snipbias.report.texts import Texts

PARTS = ("overall", "ambiguous", "disambiguated")
FLOORS = ("always unknown", "offset", "offset by wording")
RIVALS = {
    **{name: f"{name} neurons" if name == "random" else name for name in CONTROLS},
    "always unknown": "always “unknown”",
    "offset": "a constant on “unknown”",
}


def reproduced_sections(folder: Path, texts: Mapping[str, Texts]) -> list[Section]:
    """A section per task, and one with the tables that hold all of them."""
    results = Results(read_experiment(folder))
    sections = [_task(results, task.name, texts[task.name]) for task in results.tasks]
    own = {grid.title for section in sections for grid in section.grids}
    return [
        *sections,
        Section(
            name="all-tasks",
            title="All tasks together",
            lead=f"Every method on every task; {results.model.neurons:,} neurons in "
            f"{results.model.name}.",
            words=tuple(results.words.split("\n\n")),
            grids=tuple(grid for grid in results.grids if grid.title not in own),
            notes=tuple(results.notes),
        ),
    ]


def _task(results: Results, task: str, texts: Texts) -> Section:
    figures, method = results.figures, results.settings.method
    first, trials = outcomes_of(results, task, ORIGINAL)[0], outcomes_of(results, task, method)
    before = own_rows(first.test)
    each, answers = figures[task, method], _answers(results, task)
    finding = _finding(results, figures, task)
    shown = {name: found for name, found in answers.items() if found.kind != "rival"}
    return Section(
        name=slug(task),
        title=task,
        lead=f"{plural(len(set(before['item'].to_pylist())), 'held-out item')} of "
        f"{plural(each.templates, 'template')}, {plural(each.trials, 'trial')} of {method} on "
        f"{results.model.name}.",
        findings=(finding,),
        changed=(
            f"{method}: {finding.size} of {results.model.neurons:,} neurons, chosen on other "
            f"templates in each of {plural(each.trials, 'trial')}.",
        ),
        lines=lines(shown, {method: finding.tag}),
        kept=next(iter(first.retention), ""),
        case=case(
            {
                ORIGINAL: rows_of(before),
                **{f"{method}, trial {o.trial}": rows_of(own_rows(o.test)) for o in trials},
            },
            before["item"].to_pylist(),
            before["instruction"].to_pylist(),
            texts,
        ),
        grids=(
            *detail_grids.task_grids(results, figures, task),
            shift_grid({name: found.rows for name, found in answers.items()}),
        ),
        plots=tuple(plots_of(results, task)),
        examples=tuple(
            in_turn(
                changed_examples(first.test, o.test, f"{method}, trial {o.trial}", texts)
                for o in trials
            )
        ),
        notes=(texts.missing,) if texts.missing else (),
        warning=forewarned(task, verdict.of_original(results, task)),
    )


def _answers(results: Results, task: str) -> dict[str, Answers]:
    found = {}
    for name in methods_of(results):
        outcomes = outcomes_of(results, task, name)
        if not outcomes:
            continue
        sizes = sorted({len(o.edit) for o in outcomes if o.edit is not None})
        kept = [next(iter(o.retention.values())) for o in outcomes if o.retention]
        found[name] = Answers(
            "/".join(map(str, sizes)) or "0",
            _kind(name, results.settings.method),
            [rows_of(o.test) for o in outcomes],
            list(map(rows_of, kept)),
        )
    return found


def plots_of(results: Results, task: str) -> list[Plot]:
    """The plots of one task; the last show where the method's neurons sit, if it has any."""
    method = results.settings.method
    plots, edits = _plots(results, results.figures, task), edits_of(results, task, method)
    if any(edit is not None for edit in edits):
        plots += maps(results.sites, slug(task), {method: edits})
    return plots


def _finding(experiment: Experiment, figures: All, task: str) -> Finding:
    method = experiment.settings.method
    each, original = figures[task, method], figures[task, ORIGINAL]
    said = verdict.by_trial(experiment, task, method)
    asked = verdict.checks(experiment, figures, method)[task]
    return Finding(
        task=task,
        label=method,
        size="/".join(map(str, sorted(set(each.sizes)))) or "0",
        before=original.values["overall"].value,
        after=each.values["overall"].value,
        change=each.differences["overall"].interval,
        rivals=tuple(
            (words, figures[task, rival].values["overall"].value)
            for rival, words in RIVALS.items()
            if (task, rival) in figures
        ),
        gain=each.gain.interval,
        shifted=any(v.kind == "shift" for trial in said.values() for v in alarms(trial)),
        alarms=tuple(
            f"trial {trial}: {v}"
            for trial, found in said.items()
            for v in alarms(found)
            if v.kind != "shift"
        ),
        doubts=tuple(f"trial {trial}: {v}" for trial, found in said.items() for v in doubts(found)),
        kept=tuple(
            (check.answer == "yes", check.name.removesuffix(" kept"), check.sentence)
            for check in asked
            if check.name.endswith(" kept")
        ),
        p_value=each.p_sign_flip,
        said=tuple(
            check.sentence
            for check in asked
            if check.name in ("stereotyped less often", "least gain over offset")
        ),
        gained=gained(each.apart),
    )


def _plots(experiment: Experiment, figures: All, task: str) -> list[Plot]:
    method, place = experiment.settings.method, slug(task)
    original = rows_of(outcomes_of(experiment, task, ORIGINAL)[0].test)
    trials = outcomes_of(experiment, task, method)
    runs = {f"{method}, trial {each.trial}": rows_of(each.test) for each in trials}
    spots = [
        Spot(
            name,
            ByCondition(*(each.values[part].value for part in PARTS)),
            _kind(name, method).replace("rival", "edit"),
        )
        for (where, name), each in figures.items()
        if where == task
    ]
    made = [
        forest(figures, task, methods_of(experiment), f"{place}-forest"),
        tradeoff(place, spots, offset_curve(original)),
        _by_size(experiment, task, trials),
        spread(
            place,
            {
                ORIGINAL: accuracy_by_instruction(original),
                **{name: accuracy_by_instruction(rows) for name, rows in runs.items()},
            },
            list(runs),
        ),
    ]
    return [plot for plot in made if plot is not None]


def _by_size(experiment: Experiment, task: str, trials: Sequence[Outcome]) -> Plot | None:
    """Mean over the trials that tried a size, on the development part; bars span the trials."""
    before = outcomes_of(experiment, task, ORIGINAL)[0].dev
    if before is None:
        return None
    tried: dict[int, list[ByCondition]] = {}
    for each in trials:
        for point in sorted(each.curve, key=lambda point: point.objective):
            if point.setting.get("n", 0) > 0:
                found = ByCondition(point.overall, point.ambiguous, point.disambiguated)
                tried.setdefault(int(point.setting["n"]), []).append(found)
    steps = [
        Step(
            size,
            ByCondition(*(average([getattr(each, part) for each in found]) for part in PARTS)),
            {
                part: (min(values), max(values))
                for part in PARTS
                if None not in (values := [getattr(each, part) for each in found])
            },
        )
        for size, found in tried.items()
    ]
    return by_size(
        slug(task),
        steps,
        accuracy(before),
        unknown_floor(rows_of(before)).overall,
        "On the development templates, which the number of neurons is chosen on; mean over trials.",
    )


def _kind(name: str, method: str) -> str:
    """What a method is beside the preset's own; a rival is another way of finding or answering."""
    if name == ORIGINAL:
        return "original"
    if name == method:
        return "edit"
    return "floor" if name in FLOORS else "control" if name in CONTROLS else "rival"
