"""Sections of a run of `snipbias reproduce`, from the experiment that its folder keeps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean

from snipbias.base.files import slug
from snipbias.base.plot import Plot
from snipbias.base.table import Grid
from snipbias.base.words import ORIGINAL, plural
from snipbias.evaluation.apart import gained, own_rows
from snipbias.evaluation.evaluate import accuracy, rows_of
from snipbias.evaluation.metrics import (
    ByCondition,
    accuracy_by_instruction,
    biased_probability,
    gold_probability,
    unknown_floor,
    unknown_probability,
)
from snipbias.evaluation.offset_curve import offset_curve
from snipbias.evaluation.rows import Rows
from snipbias.evaluation.tradeoff import Spot, tradeoff
from snipbias.evaluation.verdicts import alarms, doubts, forewarned
from snipbias.experiment.outcome import Experiment, Outcome, edits_of, outcomes_of
from snipbias.experiment.results import Results
from snipbias.experiment.settings import CONTROLS
from snipbias.experiment.tables import detail_grids, verdict
from snipbias.experiment.tables.figures import All, Figures
from snipbias.experiment.tables.reading import read_experiment
from snipbias.report.comparison import parts
from snipbias.report.evaluated import maps
from snipbias.report.examples import changed_examples
from snipbias.report.page import Finding, Section
from snipbias.report.probability_shift import probability_shift
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
    """A section a task, and one with the tables that hold all of them."""
    results = Results(read_experiment(folder))
    experiment, figures = results.experiment, results.figures
    sections = [_task(results, task.name, texts[task.name]) for task in experiment.tasks]
    own = {grid.title for task in experiment.tasks for grid in _grids(results, task.name)}
    return [
        *sections,
        Section(
            name="all-tasks",
            title="All tasks together",
            lead=f"Every method on every task; {_neurons(experiment)}.",
            words=tuple(
                paragraph for paragraph in verdict.in_words(experiment, figures).split("\n\n")
            ),
            grids=tuple(grid for grid in results.grids if grid.title not in own),
            notes=tuple(results.notes),
        ),
    ]


def _task(results: Results, task: str, texts: Texts) -> Section:
    experiment, figures = results.experiment, results.figures
    method = experiment.settings.method
    before = outcomes_of(experiment, task, ORIGINAL)[0]
    each = figures[task, method]
    return Section(
        name=slug(task),
        title=task,
        lead=f"{plural(len(set(own_rows(before.test)['item'].to_pylist())), 'held-out item')} of "
        f"{plural(each.templates, 'template')}, {plural(each.trials, 'trial')} of {method} on "
        f"{experiment.model.name}.",
        findings=(_finding(experiment, figures, task),),
        grids=tuple(_grids(results, task)),
        plots=tuple(plots_of(results, task)),
        examples=tuple(
            example
            for outcome in outcomes_of(experiment, task, method)
            for example in changed_examples(
                before.test, outcome.test, f"{method}, trial {outcome.trial}", texts
            )
        ),
        notes=(texts.missing,) if texts.missing else (),
        warning=forewarned(task, verdict.of_original(experiment, task)),
    )


def plots_of(results: Results, task: str) -> list[Plot]:
    """The plots of one task; the last show where the method's neurons sit, if it has any."""
    experiment, method = results.experiment, results.experiment.settings.method
    plots, edits = _plots(experiment, results.figures, task), edits_of(experiment, task, method)
    if any(edit is not None for edit in edits):
        plots += maps(experiment.sites, slug(task), {method: edits})
    return plots


def _grids(results: Results, task: str) -> list[Grid]:
    return list(detail_grids.task_grids(results.experiment, results.figures, task))


def _finding(experiment: Experiment, figures: All, task: str) -> Finding:
    method = experiment.settings.method
    each, original = figures[task, method], figures[task, ORIGINAL]
    said = verdict.by_trial(experiment, task, method)
    asked = verdict.checks(experiment, figures, method)[task]
    return Finding(
        task=task,
        label=method,
        size="/".join(map(str, sorted(set(each.sizes)))) or "0",
        where=f"{plural(each.rows, 'row')} of {plural(each.templates, 'template')}",
        before=_values(original),
        after=_values(each),
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
            (check.answer == "yes", check.sentence)
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
        Spot(name, _accuracy(each), _kind(name, method))
        for (where, name), each in figures.items()
        if where == task
    ]
    made = [
        tradeoff(place, spots, offset_curve(original)),
        _by_size(experiment, task, trials),
        probability_shift(
            place, _options(original), {method: [_options(rows) for rows in runs.values()]}
        ),
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
            ByCondition(*(_mean([getattr(each, part) for each in found]) for part in PARTS)),
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
    if name == ORIGINAL:
        return "original"
    return "edit" if name == method else "floor" if name in FLOORS else "control"


def _options(rows: Rows) -> dict[str, ByCondition]:
    return {
        "right": gold_probability(rows),
        "biased": biased_probability(rows),
        "unknown": unknown_probability(rows),
    }


def _values(each: Figures) -> tuple[float | None, float | None, float | None]:
    return parts(_accuracy(each))


def _accuracy(each: Figures) -> ByCondition:
    return ByCondition(*(each.values[part].value for part in PARTS))


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return mean(known) if known else None


def _neurons(experiment: Experiment) -> str:
    return f"{experiment.model.neurons:,} neurons in {experiment.model.name}"
