"""Sections and plots of a run of `snipbias reproduce`, from what its folder keeps."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from snipbias.base.files import slug
from snipbias.base.plot import CONDITIONS, Plot, average
from snipbias.base.words import ORIGINAL, plural
from snipbias.evaluation.apart import own_rows
from snipbias.evaluation.evaluate import accuracy, rows_of
from snipbias.evaluation.metrics import ByCondition, unknown_floor
from snipbias.evaluation.tradeoff import Spot
from snipbias.experiment.outcome import Point
from snipbias.experiment.reading import read_experiment
from snipbias.experiment.results import Results
from snipbias.experiment.settings import CONTROLS
from snipbias.experiment.tables import detail_grids, verdict
from snipbias.experiment.tables.forest import forest
from snipbias.report.page import Finding, Section
from snipbias.report.plots import maps, plots
from snipbias.report.sections import section
from snipbias.report.size_curve import Bar, by_size
from snipbias.report.texts import Texts

RIVALS = {
    **{name: f"{name} neurons" if name == "random" else name for name in CONTROLS},
    "always unknown": "always “unknown”",
    "offset": "a constant on “unknown”",
}
# What a method is, if it is not another way of finding neurons or of answering (a "rival").
KINDS = {
    **dict.fromkeys(CONTROLS, "control"),
    **dict.fromkeys(("always unknown", "offset", "offset by wording"), "floor"),
    ORIGINAL: "original",
}


def reproduced_sections(folder: Path, texts: Mapping[str, Texts]) -> list[Section]:
    """A section per task, and one with the tables that hold all of them."""
    results = read_experiment(folder)
    sections = [_task(results, task.name, texts[task.name]) for task in results.tasks]
    own, model = {grid.title for section in sections for grid in section.grids}, results.model
    together = Section(
        name="all-tasks",
        title="All tasks together",
        lead=f"Every method on every task; {model.neurons:,} neurons in {model.name}.",
        words=tuple(results.words.split("\n\n")),
        grids=tuple(grid for grid in results.grids if grid.title not in own),
        notes=tuple(results.notes),
    )
    return [*sections, together]


def _task(results: Results, task: str, texts: Texts) -> Section:
    method, model, found = results.settings.method, results.model, results.measured[task]
    each, trials = found[method], results.of(task, method)
    first = results.of(task, ORIGINAL)[0].test
    where = plural(len(set(own_rows(first)["item"].to_pylist())), "held-out item")
    ran = plural(each.number, "trial")
    checks = verdict.checks(results, method)[task]
    kept = [(c.answer == "yes", c.name, c.sentence) for c in checks if c.kind == "kept"]
    there = {word: found[name] for name, word in RIVALS.items() if name in found}
    rivals = [(word, rival.value("overall").value) for word, rival in there.items()]
    effects = [check.sentence for check in checks if check.kind == "effect"]
    sizes = f"{each.pruned} of {model.neurons:,} neurons"
    return section(
        found,
        {name: "edit" if name == method else KINDS.get(name, "rival") for name in found},
        {ORIGINAL: first, **{f"{method}, trial {o.trial}": o.test for o in trials}},
        texts,
        lead=f"{where} of {plural(each.summary.templates, 'template')}, {ran} of {method} on "
        f"{model.name}.",
        findings=(Finding(each, rivals, kept, effects),),
        changed=(f"{method}: {sizes}, chosen on other templates ({ran}).",),
        grids=list(detail_grids.task_grids(results, task)),
        plots=tuple(plots_of(results, task)),
    )


def plots_of(results: Results, task: str) -> list[Plot]:
    """The plots of one task; the last show where the method's neurons sit, if it has any."""
    method, found = results.settings.method, results.measured[task]
    trials = results.of(task, method)
    spots = []
    for name, each in found.items():
        place = ByCondition(*(each.value(part).value for part in CONDITIONS))
        spots.append(Spot(name, place, "edit" if name == method else KINDS.get(name, "edit")))
    first = forest(found, results.methods, f"{slug(task)}-forest")
    runs = {f"{method}, trial {each.trial}": each.rows for each in trials}
    made = plots(found, spots, _by_size(results, task), runs)
    edits = [each.edit for each in trials]
    if any(edit is not None for edit in edits):
        made += maps(results.sites, slug(task), {method: edits})
    return [first, *made] if first else made


def _by_size(results: Results, task: str) -> Plot | None:
    """Mean over the trials that tried a size, on the development part; bars span the trials."""
    before = results.of(task, ORIGINAL)[0].dev
    if before is None:
        return None
    tried: dict[int, list[Point]] = {}
    for each in results.of(task, results.settings.method):
        for point in sorted(each.curve, key=lambda point: point.objective):
            if point.setting.get("n", 0) > 0:
                tried.setdefault(int(point.setting["n"]), []).append(point)
    steps = []
    for size, found in tried.items():
        bars = {}
        for part in CONDITIONS:
            values = [getattr(each, part) for each in found]
            ends = () if None in values else (min(values), max(values))
            bars[part] = Bar(average(values), *ends)
        steps.append((size, bars))
    what = (
        "On the development templates, which the number of neurons is chosen on; mean over trials."
    )
    floor = unknown_floor(rows_of(before)).overall
    return by_size(slug(task), steps, accuracy(before), floor, what)
