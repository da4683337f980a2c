"""The experiment's tables, for reading: in a terminal and in Markdown."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from statistics import mean

from snipbias.base.table import (
    Grid,
    number,
    percent,
)
from snipbias.base.words import ORIGINAL
from snipbias.evaluation import measures, stats
from snipbias.experiment.cell import rows_of
from snipbias.experiment.outcome import Experiment
from snipbias.experiment.settings import ABLATIONS, CONTROLS
from snipbias.experiment.tables import published
from snipbias.experiment.tables.figures import (
    NOTHING,
    All,
    Estimate,
    Figures,
    difference,
    edits_of,
    estimate,
    methods_of,
    outcomes_of,
)
from snipbias.experiment.tables.verdict import checks, judged, points, shown
from snipbias.models.places import count_places, modules_order

PER_TABLE = 3  # tasks side by side, so that a terminal of 118 columns holds them


def table_1(experiment: Experiment, figures: All) -> Iterator[Grid]:
    """Methods x datasets: accuracy with its interval, beside the published figure."""

    def cells(task: str, method: str) -> tuple[str, str]:
        found = published.accuracy(
            experiment.model.name, task, method, published.version_of(experiment.settings.method)
        )
        return interval(figures[task, method].values["overall"]), _published(found)

    yield from _methods_by_tasks("Table 1: accuracy (%) [95 % CI]", experiment, figures, cells)


def table_2(experiment: Experiment, figures: All) -> Iterator[Grid]:
    """Gold probability in percent, ambiguous / disambiguated, beside the published figures."""

    def cells(task: str, method: str) -> tuple[str, str]:
        gold = figures[task, method].gold
        parts = (gold["ambiguous"].value, gold["disambiguated"].value)
        found = published.gold_percent(experiment.model.name, task, method)
        ours = "-" if None in parts else " / ".join(map(percent, parts))
        if found is None:
            return ours, ""
        figure, source = found
        return ours, _bracketed(f"{figure.ambiguous:.1f} / {figure.disambiguated:.1f}", source)

    title = "Table 2: gold probability (%), ambiguous / disambiguated"
    yield from _methods_by_tasks(title, experiment, figures, cells)


def task_grids(experiment: Experiment, figures: All, task: str) -> Iterator[Grid]:
    """One task in detail: answers, differences to the original, what else changed."""
    here = {method: each for (name, method), each in figures.items() if name == task}
    strong = (experiment.settings.method,)
    yield _filled(
        f"{task}: answers (%)",
        (
            *("method", "n", "acc.", "± trials", "± draws", "± instr.", "ambig.", "disambig."),
            *("unknown", "named", "AUROC", "vs offset", "dev acc."),
        ),
        tuple((method, *_answers(each)) for method, each in here.items()),
        strong,
    )
    compared = {method: each for method, each in here.items() if each.differences}
    if not compared:
        return
    yield _filled(
        f"{task}: difference to the original (points; AUROC x 100) [95 % CI]",
        ("method", "accuracy", "ambiguous", "disambiguated", "AUROC"),
        tuple(
            (method, *(points(each.differences.get(name, NOTHING)) for name in each.differences))
            for method, each in compared.items()
        ),
        strong,
    )
    kept = list(dict.fromkeys(name for each in compared.values() for name in each.retention))
    yield _filled(
        f"{task}: p-values, neutral text, retention (points) [95 % CI]",
        ("method", "p", "p Holm", "McNemar", "perplexity", "KL", *kept),
        tuple((method, *_side(each, kept, experiment)) for method, each in here.items()),
        strong,
    )


def verdict_grids(experiment: Experiment, figures: All) -> Iterator[Grid]:
    """Every question about each method that is judged, answered by its interval."""
    margin = f"{100 * experiment.settings.margin:g}"
    for method in judged(experiment):
        by_task = checks(experiment, figures, method)
        names = list(dict.fromkeys(c.name for asked in by_task.values() for c in asked))
        answers = {
            (task, c.name): f"{c.answer}: {c.shown}"
            for task, asked in by_task.items()
            for c in asked
        }
        for part in _parts(list(by_task)):
            yield Grid(
                f"Verdict on {method}, by 95 % CI ('not shown' is not 'no'; beats: more accurate, "
                f"points; kept: not worse by more than {margin} points or {margin} %)",
                (method, *part),
                tuple((name, *(answers.get((task, name), "") for task in part)) for name in names),
            )


def spread_grid(experiment: Experiment, figures: All) -> Iterator[Grid]:
    """v2: standard deviation of accuracy over instructions, in points."""

    def cells(task: str, method: str) -> tuple[str, str]:
        found = published.spread(experiment.model.name, task, method)
        return percent2(figures[task, method].std_instructions), _published(found)

    if any(each.std_instructions is not None for each in figures.values()):
        title = "Spread over instructions: standard deviation of accuracy (points)"
        yield from _methods_by_tasks(title, experiment, figures, cells)


def neurons_grid(experiment: Experiment, figures: All) -> Iterator[Grid]:
    """Neurons pruned in each trial, and as a share of the whole model."""

    def cells(task: str, method: str) -> tuple[str, str]:
        sizes = figures[task, method].sizes
        if not sizes or method in CONTROLS:
            return "", ""
        found = published.neurons(experiment.model.name, task, method)
        share = mean(sizes) / experiment.model.neurons
        said = f"{'/'.join(map(str, sizes))} ({100 * share:.3f} %)"
        return said, _bracketed(f"{found.value:.0f}", found.source) if found else ""

    title = "Neurons pruned, by trial (mean share of all neurons)"
    for grid in _methods_by_tasks(title, experiment, figures, cells):
        rows = tuple(row for row in grid.rows if any(row[1:]))
        if rows:
            yield Grid(grid.title, grid.header, rows, grid.strong)


def transfer_grid(experiment: Experiment) -> Iterator[Grid]:
    """v2: neurons found on one task and evaluated on another; accuracy less the original's."""
    if not experiment.transfer:
        return
    method = experiment.settings.method
    names = [task.name for task in experiment.tasks]

    def cell(found_on: str, task: str) -> str:
        others = [
            o.test
            for o in experiment.transfer
            if (o.found_on, o.task, o.method) == (found_on, task, method)
        ]
        same = [o.test for o in outcomes_of(experiment, task, method)]
        tables = same if found_on == task else others
        before = [rows_of(o.test) for o in outcomes_of(experiment, task, ORIGINAL)]
        if not tables or not before:
            return ""
        return points(difference(measures.ACCURACY, [rows_of(t) for t in tables], before))

    for part in _parts(names):
        yield Grid(
            f"Transfer of {method}: accuracy less the original's (points) [95 % CI]",
            ("found on / evaluated on", *part),
            tuple((found_on, *(cell(found_on, task) for task in part)) for found_on in names),
        )


def samples_grid(experiment: Experiment) -> Iterator[Grid]:
    """v2: accuracy by the number of items that the neurons were found on."""
    if not experiment.sample_curve:
        return
    settings = experiment.settings
    names = [task.name for task in experiment.tasks]
    sizes = sorted({settings.samples, *(o.samples for o in experiment.sample_curve if o.samples)})

    def cell(samples: int, task: str) -> str:
        found = (
            outcomes_of(experiment, task, settings.method)
            if samples == settings.samples
            else [o for o in experiment.sample_curve if (o.samples, o.task) == (samples, task)]
        )
        rows = [rows_of(o.test) for o in found]
        if not rows:
            return ""
        spread = stats.spread_over_trials(measures.ACCURACY, rows)
        said = interval(estimate(measures.ACCURACY, rows))
        return said if spread is None else f"{said} ± {percent(spread)}"

    for part in _parts(names):
        yield Grid(
            f"Accuracy (%) of {settings.method} by number of samples [95 % CI] ± std over trials",
            ("samples", *part),
            tuple((str(size), *(cell(size, task) for task in part)) for size in sizes),
        )


def places_grids(experiment: Experiment) -> Iterator[Grid]:
    """Where the pruned neurons sit: a table a stack, the mean over all tasks and trials."""
    method = experiment.settings.method
    edits = [e for task in experiment.tasks for e in edits_of(experiment, task.name, method)]
    if not any(edits):
        return
    counts = count_places(experiment.sites, edits)
    for side in dict.fromkeys(place.side for place in counts):
        here = {(p.layer, p.module): count for p, count in counts.items() if p.side == side}
        modules = sorted({module for _, module in here}, key=modules_order)
        yield Grid(
            f"Where the neurons of {method} sit, {side} (mean over tasks and trials)",
            ("layer", *modules, "all"),
            tuple(
                (
                    str(layer),
                    *(_count(here.get((layer, module))) for module in modules),
                    _count(sum(count for (at, _), count in here.items() if at == layer)),
                )
                for layer in sorted({layer for layer, _ in here})
            ),
        )


def ablation_grid(experiment: Experiment, figures: All) -> Iterator[Grid]:
    """v2 less one of its parts at a time, and random neurons."""
    if not any(method in ABLATIONS for _, method in figures):
        return
    methods = ("v2", *ABLATIONS, "random")
    some = {key: each for key, each in figures.items() if key[1] in methods}

    def cells(task: str, method: str) -> tuple[str, str]:
        found = published.accuracy(experiment.model.name, task, method, "v2")
        return interval(figures[task, method].values["overall"]), _published(found)

    for grid in _methods_by_tasks("Ablation: accuracy (%) [95 % CI]", experiment, some, cells):
        order = sorted(grid.rows, key=lambda row: methods.index(row[0]))
        yield Grid(grid.title, grid.header, tuple(order), ("v2",))


def interval(estimate: Estimate) -> str:
    """A share in percent with its interval."""
    return shown(estimate, lambda value: f"{100 * value:.1f}")


def percent2(value: float | None) -> str:
    """A share in percent with two digits, as the published spreads have."""
    return "-" if value is None else f"{100 * value:.2f}"


def _parts(tasks: Sequence[str]) -> list[Sequence[str]]:
    """The tasks, as many at a time as stand side by side."""
    return [tasks[start : start + PER_TABLE] for start in range(0, len(tasks), PER_TABLE)]


def _methods_by_tasks(
    title: str,
    experiment: Experiment,
    figures: All,
    cells: Callable[[str, str], tuple[str, str]],
) -> Iterator[Grid]:
    """A row a method and a column a task, with one for what was published if anything was."""
    names = [task.name for task in experiment.tasks]
    for part in _parts(names):
        columns: list[list[str]] = []
        header = ["method"]
        methods = [m for m in methods_of(experiment) if any((task, m) in figures for task in part)]
        for task in part:
            pairs = [cells(task, m) if (task, m) in figures else ("", "") for m in methods]
            ours, theirs = map(list, zip(*pairs, strict=True))
            columns.append(ours)
            header.append(task)
            if any(theirs):
                columns.append(theirs)
                own = not all(cell.startswith("(") for cell in theirs if cell)
                header.append("published" if own else "(Flan-T5-base)")
        rows = tuple((m, *row) for m, *row in zip(methods, *columns, strict=True))
        yield Grid(title, tuple(header), rows, (experiment.settings.method,))


def _filled(
    title: str, header: Sequence[str], rows: Sequence[Sequence[str]], strong: tuple[str, ...]
) -> Grid:
    """A table without the columns in which no cell says anything."""
    keep = [i for i in range(len(header)) if i == 0 or any(row[i] not in ("", "-") for row in rows)]
    shown = tuple(tuple(row[i] for i in keep) for row in rows)
    return Grid(title, tuple(header[i] for i in keep), shown, strong)


def _answers(each: Figures) -> tuple[str, ...]:
    values = {name: found.value for name, found in each.values.items()}
    return (
        f"{mean(each.sizes):.1f}".removesuffix(".0") if each.sizes else "",
        percent(values["overall"]),
        _blank(each.std_trials),
        _blank(each.std_draws),
        _blank(each.std_instructions),
        percent(values["ambiguous"]),
        percent(values["disambiguated"]),
        percent(each.unknown_rate),
        percent(each.named_accuracy),
        number(values["discrimination"]),
        percent(each.gain, sign=True) if each.differences else "",
        _blank(each.dev),
    )


def _side(each: Figures, kept: Sequence[str], experiment: Experiment) -> tuple[str, ...]:
    margin = experiment.settings.margin
    text = each.text
    retention = []
    for name in kept:
        change = each.retention.get(name)
        if change is None:
            retention.append("")
        else:
            fine = stats.non_inferior(change.interval, margin)
            retention.append(f"{points(change)} {'kept' if fine else '?'}")
    return (
        _p(each.p_sign_flip),
        _p(each.p_holm),
        _p(each.p_mcnemar),
        number(text.perplexity, digits=4) if text else "",
        number(text.kl_per_token) if text else "",
        *retention,
    )


def _blank(value: float | None) -> str:
    return "" if value is None else percent(value)


def _p(value: float | None) -> str:
    if value is None:
        return ""
    return "<.001" if value < 0.0005 else f"{value:.3f}"


def _count(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:.1f}" if value else "."


def _published(found: published.Published | None) -> str:
    return "" if found is None else _bracketed(f"{found.value:.2f}", found.source)


def _bracketed(text: str, source: str) -> str:
    """In brackets what was published of another model."""
    return f"({text})" if source.endswith(published.ORIENTATION) else text
