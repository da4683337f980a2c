"""Sections of a run of `snipbias reproduce`, from the experiment that its folder keeps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from snipbias.base.files import slug
from snipbias.base.plot import Plot, average
from snipbias.base.words import ORIGINAL, plural
from snipbias.evaluation.apart import own_rows
from snipbias.evaluation.evaluate import accuracy, rows_of
from snipbias.evaluation.metrics import ByCondition, unknown_floor
from snipbias.evaluation.tradeoff import Spot
from snipbias.experiment.outcome import Experiment, Outcome
from snipbias.experiment.reading import read_experiment
from snipbias.experiment.results import Results
from snipbias.experiment.settings import CONTROLS
from snipbias.experiment.tables import detail_grids, verdict
from snipbias.experiment.tables.forest import forest
from snipbias.report.page import Section
from snipbias.report.sections import finding, maps, plots, section
from snipbias.report.size_curve import Step, by_size
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
    results = read_experiment(folder)
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
    method, found = results.settings.method, results.measured[task]
    each, trials = found[method], results.of(task, method)
    first = results.of(task, ORIGINAL)[0].test
    where = plural(len(set(own_rows(first)["item"].to_pylist())), "held-out item")
    checks = verdict.checks(results, method)[task]
    kept = [(c.answer == "yes", c.name, c.sentence) for c in checks if c.kind == "kept"]
    rivals = [
        (w, found[name].value("overall").value) for name, w in RIVALS.items() if name in found
    ]
    effects = [check.sentence for check in checks if check.kind == "effect"]
    return section(
        found,
        {name: _kind(name, method) for name in found},
        {ORIGINAL: first, **{f"{method}, trial {o.trial}": o.test for o in trials}},
        texts,
        lead=f"{where} of {plural(each.templates, 'template')}, {plural(each.number, 'trial')} of "
        f"{method} on {results.model.name}.",
        findings=(finding(each, rivals, kept, effects),),
        changed=(
            f"{method}: {each.pruned} of {results.model.neurons:,} neurons, chosen on other "
            f"templates ({plural(each.number, 'trial')}).",
        ),
        grids=list(detail_grids.task_grids(results, task)),
        plots=tuple(plots_of(results, task)),
    )


def plots_of(results: Results, task: str) -> list[Plot]:
    """The plots of one task; the last show where the method's neurons sit, if it has any."""
    method, found = results.settings.method, results.measured[task]
    trials, edits = results.of(task, method), results.edits(task, method)
    spots = [
        Spot(
            name,
            ByCondition(*(each.value(part).value for part in PARTS)),
            _kind(name, method).replace("rival", "edit"),
        )
        for name, each in found.items()
    ]
    first = forest(found, results.methods, f"{slug(task)}-forest")
    runs = {f"{method}, trial {each.trial}": each.rows for each in trials}
    made = plots(found, spots, _by_size(results, task, trials), runs)
    if any(edit is not None for edit in edits):
        made += maps(results.sites, slug(task), {method: edits})
    return [first, *made] if first else made


def _by_size(experiment: Experiment, task: str, trials: Sequence[Outcome]) -> Plot | None:
    """Mean over the trials that tried a size, on the development part; bars span the trials."""
    before = experiment.of(task, ORIGINAL)[0].dev
    if before is None:
        return None
    tried: dict[int, list[ByCondition]] = {}
    for each in trials:
        for point in sorted(each.curve, key=lambda point: point.objective):
            if point.setting.get("n", 0) > 0:
                tried.setdefault(int(point.setting["n"]), []).append(point.accuracy)
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
    """The kind of a method: a "rival" is another way of finding neurons or of answering."""
    if name == ORIGINAL:
        return "original"
    if name == method:
        return "edit"
    return "floor" if name in FLOORS else "control" if name in CONTROLS else "rival"
