"""Comparisons as tables for a terminal, or as Markdown."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from statistics import mean

from rich.console import Group, RenderableType
from rich.text import Text

from snipbias.base.table import Grid, markdown, number, p_value, percent
from snipbias.base.words import ALWAYS_UNKNOWN
from snipbias.evaluation.apart import NAMES
from snipbias.evaluation.compared import Compared
from snipbias.evaluation.estimate import average, points, shown
from snipbias.evaluation.glossary import legend, legend_markdown
from snipbias.evaluation.interval import bracketed
from snipbias.evaluation.measured import Measured
from snipbias.evaluation.measures import ACCURACY, ELSEWHERE, FIGURES, NAMED_ACCURACY, UNKNOWN_RATE
from snipbias.evaluation.neutral_text import perplexity_cell
from snipbias.evaluation.summary import Summary
from snipbias.evaluation.verdicts import alarms, doubts

Found = Mapping[str, Measured]
# A table as its headers, each with what its cell says of a method.
Columns = dict[str, Callable[[Measured], str]]


def _share(name: str) -> Callable[[Measured], str]:
    return lambda each: percent(each.value(name).value)


def _gold(each: Measured) -> str:
    """Over all rows, where there are no conditions to tell apart."""
    gold = each.summary.gold_probability
    return percent(gold.overall if gold.ambiguous is gold.disambiguated is None else None)


def _positions(each: Measured) -> str:
    return "/".join(f"{100 * share:.0f}" for share in each.summary.positions.chosen.values())


def _perplexity(each: Measured) -> str:
    return perplexity_cell(each.summary.perplexity, (each.before or each).summary.perplexity)


# Short names, so that the table fits a terminal of 80 columns.
CONDITIONS = {
    FIGURES[name].short: name for name in ("ambiguous", "filler", "mismatch", "disambiguated")
}
ANSWERS: Columns = {
    "n": lambda each: f"{mean(each.sizes):.1f}".removesuffix(".0") if each.sizes else "",
    "stereotyped": _share("stereotyped"),
    "acc.": _share("overall"),
    **{short: _share(name) for short, name in CONDITIONS.items()},
    "right person": lambda each: percent(average(NAMED_ACCURACY, each.rows)),
    "unknown": lambda each: percent(average(UNKNOWN_RATE, each.rows)),
}
SIDES: Columns = {
    "± instr.": lambda each: percent(each.summary.spread.std),
    "s_AMB": lambda each: number(each.summary.s_amb, sign=True),
    "s_DIS": lambda each: number(each.summary.s_dis, sign=True),
    "P(gold)": _gold,
    "P(gold) a": lambda each: percent(each.summary.gold_probability.ambiguous),
    "P(gold) d": lambda each: percent(each.summary.gold_probability.disambiguated),
    "positions": _positions,
    "perplexity": _perplexity,
    "KL": lambda each: number(each.summary.kl_per_token),
    "chat KL": lambda each: number(each.summary.chat_kl),
}
CHANGES = ("method", "percent", "now", "95 % CI", "change", "CI of it", "p")


def columns_grid(title: str, found: Found, columns: Columns, strong: tuple[str, ...] = ()) -> Grid:
    """A table with a row per method.

    Args:
        title, strong: as in `Grid`.
        found: method -> figures.
        columns: what the cells of each column say.
    """
    rows = ((name, *(cell(each) for cell in columns.values())) for name, each in found.items())
    return Grid(title, ("method", *columns), tuple(rows), strong)


def answers_grid(
    title: str, found: Found, strong: tuple[str, ...], floors: Iterable[tuple[str, ...]] = ()
) -> Grid:
    """The answers of every method by condition, means over trials in percent.

    Args:
        title, found, strong: as in `columns_grid`.
        floors: further rows, such as that of always saying "unknown".
    """
    grid = columns_grid(title, found, ANSWERS, strong)
    return replace(grid, rows=(*grid.rows, *floors)).without_empty_columns()


def apart_grid(title: str, found: Found, strong: tuple[str, ...] = ()) -> Grid:
    """Three rows per method: each kind against the answerable rows, with intervals.

    Args:
        title, found, strong: as in `columns_grid`.
    """
    rows = (
        (
            method if number == 0 else "",
            NAMES[kind],
            *(shown(part, "{:.2f}".format) for part in (apart.auroc, apart.twin)),
            points(apart.gain) if apart.gain.value is not None else "",
        )
        for method, each in found.items()
        for number, (kind, apart) in enumerate(each.apart.items())
    )
    return Grid(title, ("method", "kind", "AUROC", "twin AUROC", "vs offset"), tuple(rows), strong)


def elsewhere_grid(title: str, found: Found, strong: tuple[str, ...] = ()) -> Grid:
    """One row per method that was asked other rows; columns without any figure are left out.

    Args:
        title, found, strong: as in `columns_grid`.
    """

    def cell(column: str, each: Measured) -> str:
        figure = each.elsewhere.get(column)
        if figure is None or figure.value is None:
            return "-"
        found = figure.interval
        half = f" ±{50 * (found.high - found.low):.0f}" if found else ""
        return f"{100 * figure.value:.0f}{half}"

    columns = {column: partial(cell, column) for column in ELSEWHERE}
    asked = {method: each for method, each in found.items() if each.elsewhere}
    return columns_grid(title, asked, columns, strong).without_empty_columns()


def comparison_grids(comparison: Compared) -> tuple[Grid, ...]:
    """Answers by condition, what is told apart, how sure the figures are, what else changed."""
    edits, found = comparison.edits, comparison.measured
    marked = {f"{m} !" if alarms(each.verdicts) else m: each for m, each in found.items()}
    changes = tuple(row for each in found.values() for row in _change_rows(each))
    kept: Columns = {
        task.removeprefix("mini:"): lambda each, task=task: percent(
            average(ACCURACY, each.kept(task))
        )
        for task in comparison.evaluation.retention
    }
    grids = (
        answers_grid("Answers", marked, edits, _floors(comparison.original)),
        apart_grid("Tells unanswerable rows from answerable ones [95 % CI]", found, edits),
        Grid("How sure, and the change from the original", CHANGES, changes, edits),
        columns_grid("Bias and retention", marked, SIDES | kept, edits).without_empty_columns(),
        elsewhere_grid("Elsewhere", found, edits),
    )
    return tuple(grid for grid in grids if grid.rows)


def comparison_renderable(comparison: Compared) -> RenderableType:
    """The whole comparison: tables, verdicts, and how to read them."""
    task = comparison.task
    grids = comparison_grids(comparison)
    drawn = [part for grid in grids for part in (Text(), grid.rich())]
    lines = map(Text, comparison_lines(comparison))
    return Group(Text(f"{task.name}: {task}"), *drawn, *lines, Text(legend(grids), "dim"))


def comparison_lines(comparison: Compared) -> list[str]:
    """The effect of each edit and what it kept, faults of each model, and notes."""
    return [*_findings(comparison), *(f"note: {note}" for note in comparison.notes)]


def comparison_markdown(comparison: Compared) -> str:
    """The comparison as Markdown."""
    grids = comparison_grids(comparison)
    return f"{markdown([*grids, *_findings(comparison)])}\n\n{legend_markdown(grids)}\n"


def _floors(original: Summary) -> Iterator[tuple[str, ...]]:
    for name, accuracy in original.floors.items():
        named, unknown = ("0.0", "100.0") if name == ALWAYS_UNKNOWN else ("", "")
        parts = (getattr(accuracy, part) for part in ("overall", *CONDITIONS.values()))
        cells = ("" if part is None else percent(part) for part in parts)
        yield (name, "0", named, *cells, "", unknown)


def _change_rows(each: Measured) -> Iterator[tuple[str, ...]]:
    for part in each.parts:
        now, change = each.value(part), each.change(part)
        difference = (percent(change.value, sign=True), bracketed(change.interval, sign=True))
        yield (
            each.method if part == each.parts[0] else "",
            FIGURES[part].short,
            percent(now.value),
            bracketed(now.interval),
            *((*difference, p_value(each.sign_flip(part))) if each.before else ("", "", "")),
        )


def _findings(comparison: Compared) -> Iterator[str]:
    """The effect of each edit, faults of each model, and what each edit kept."""
    for edit in comparison.edits:
        yield from (f"{edit}: {line}" for line in comparison.said(edit))
    for method in comparison.summaries:
        for mark, kind in (("!", alarms), ("?", doubts)):
            if found := kind(comparison.verdicts(method)):
                yield f"{mark} {method}: {'; '.join(map(str, found))}"
    for edit in comparison.edits:
        yield from (f"{edit}: {part.what} {part.sentence}" for part in comparison.retained(edit))
