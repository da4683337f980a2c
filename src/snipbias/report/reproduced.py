"""Sections and plots of a run of `snipbias reproduce`, from what its folder keeps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path

from snipbias.base.files import atomic_file, slug
from snipbias.base.plot import Plot, average
from snipbias.base.words import ORIGINAL, one_line, plural
from snipbias.evaluation.apart import own_rows
from snipbias.evaluation.evaluate import accuracy, rows_of
from snipbias.evaluation.metrics import ByCondition, unknown_floor
from snipbias.evaluation.tradeoff import Spot
from snipbias.experiment.outcome import Experiment, Outcome, Point
from snipbias.experiment.reading import read_experiment
from snipbias.experiment.results import Results
from snipbias.experiment.settings import CONTROLS
from snipbias.experiment.tables import detail_grids, verdict
from snipbias.experiment.tables.forest import forest
from snipbias.report.page import Section
from snipbias.report.sections import finding, maps, plots, section
from snipbias.report.size_curve import Step, by_size
from snipbias.report.texts import Texts

PAGE = "plots.html"
MISSING = "plots    none: pip install 'snipbias[report]' and run the same command again"
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
    method, found = results.settings.method, results.measured[task]
    each, trials = found[method], results.of(task, method)
    first = results.of(task, ORIGINAL)[0].test
    where = plural(len(set(own_rows(first)["item"].to_pylist())), "held-out item")
    ran = plural(each.number, "trial")
    checks = verdict.checks(results, method)[task]
    kept = [(c.answer == "yes", c.name, c.sentence) for c in checks if c.kind == "kept"]
    there = {word: found[name] for name, word in RIVALS.items() if name in found}
    rivals = [(word, rival.value("overall").value) for word, rival in there.items()]
    effects = [check.sentence for check in checks if check.kind == "effect"]
    return section(
        found,
        {name: _kind(name, method) for name in found},
        {ORIGINAL: first, **{f"{method}, trial {o.trial}": o.test for o in trials}},
        texts,
        lead=f"{where} of {plural(each.templates, 'template')}, {ran} of {method} on "
        f"{results.model.name}.",
        findings=(finding(each, rivals, kept, effects),),
        changed=(
            f"{method}: {each.pruned} of {results.model.neurons:,} neurons, chosen on other "
            f"templates ({ran}).",
        ),
        grids=list(detail_grids.task_grids(results, task)),
        plots=tuple(plots_of(results, task)),
    )


def plots_of(results: Results, task: str) -> list[Plot]:
    """The plots of one task; the last show where the method's neurons sit, if it has any."""
    method, found = results.settings.method, results.measured[task]
    trials = results.of(task, method)
    spots = []
    for name, each in found.items():
        place = ByCondition(*(each.value(part).value for part in PARTS))
        spots.append(Spot(name, place, _kind(name, method).replace("rival", "edit")))
    first = forest(found, results.methods, f"{slug(task)}-forest")
    runs = {f"{method}, trial {each.trial}": each.rows for each in trials}
    made = plots(found, spots, _by_size(results, task, trials), runs)
    edits = [each.edit for each in trials]
    if any(edit is not None for edit in edits):
        made += maps(results.sites, slug(task), {method: edits})
    return [first, *made] if first else made


def _by_size(experiment: Experiment, task: str, trials: Sequence[Outcome]) -> Plot | None:
    """Mean over the trials that tried a size, on the development part; bars span the trials."""
    before = experiment.of(task, ORIGINAL)[0].dev
    if before is None:
        return None
    tried: dict[int, list[Point]] = {}
    for each in trials:
        for point in sorted(each.curve, key=lambda point: point.objective):
            if point.setting.get("n", 0) > 0:
                tried.setdefault(int(point.setting["n"]), []).append(point)
    steps = []
    for size, found in tried.items():
        values = {part: [getattr(each, part) for each in found] for part in PARTS}
        means = ByCondition(*map(average, values.values()))
        known = {part: each for part, each in values.items() if None not in each}
        bounds = {part: (min(each), max(each)) for part, each in known.items()}
        steps.append(Step(size, means, bounds))
    what = (
        "On the development templates, which the number of neurons is chosen on; mean over trials."
    )
    floor = unknown_floor(rows_of(before)).overall
    return by_size(slug(task), steps, accuracy(before), floor, what)


def _kind(name: str, method: str) -> str:
    """The kind of a method: a "rival" is another way of finding neurons or of answering."""
    if name == ORIGINAL:
        return "original"
    if name == method:
        return "edit"
    return "floor" if name in FLOORS else "control" if name in CONTROLS else "rival"


def write_plots(results: Results, folder: Path) -> tuple[str, ...]:
    """Write `plots.html`, which loads nothing, and each plot as SVG and PNG.

    Returns:
        Notes on what could not be drawn: images take plotly's own exporter, the package kaleido,
        and a browser that it finds.
    """
    if find_spec("plotly") is None:
        return (MISSING,)
    drawn = (plot for task in results.tasks for plot in plots_of(results, task.name))
    figures = {plot.name: plot.drawn() for plot in drawn}
    if not figures:
        return ()
    parts = [
        figure.to_html(full_html=False, include_plotlyjs=number == 0, div_id=name)
        for number, (name, figure) in enumerate(figures.items())
    ]
    head = '<!doctype html><html lang="en"><meta charset="utf-8"><title>Plots</title>'
    with atomic_file(folder / PAGE) as new:
        new.write_text(f"{head}{''.join(parts)}</html>\n", encoding="utf-8")
    try:
        for name, figure in figures.items():
            for kind in ("svg", "png"):
                figure.write_image(folder / f"{name}.{kind}")
    except (ImportError, ValueError, RuntimeError, OSError) as error:
        reason = one_line(str(error).strip().partition("\n")[0].rstrip(",. "))
        why = "pip install kaleido" if "kaleido" in reason.lower() else reason
        return (f"plots    {PAGE}, without images as SVG and PNG ({why})",)
    return ()
