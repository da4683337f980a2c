"""Comparisons as tables for a terminal, or as Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from statistics import mean

from rich.console import Group, RenderableType
from rich.text import Text

from snipbias.base.table import Grid, markdown, number, p_value, percent
from snipbias.base.words import ALWAYS_UNKNOWN
from snipbias.evaluation.apart import apart_grid
from snipbias.evaluation.compared import Compared
from snipbias.evaluation.elsewhere import elsewhere_grid
from snipbias.evaluation.glossary import legend, legend_markdown
from snipbias.evaluation.interval import bracketed
from snipbias.evaluation.measured import Measured
from snipbias.evaluation.measures import ACCURACY, FIGURES
from snipbias.evaluation.neutral_text import perplexity_cell
from snipbias.evaluation.summary import Summary, floors
from snipbias.evaluation.verdicts import alarms, doubts

CONDITIONS = ("ambiguous", "filler", "mismatch", "disambiguated")
# Short names, so that the table fits a terminal of 80 columns.
ANSWERS = (
    *("method", "n", "stereotyped", "acc.", "ambig.", "filler", "mismatch", "disambig."),
    *("right person", "unknown"),
)
CHANGES = ("method", "percent", "now", "95 % CI", "change", "CI of it", "p")
SIDES = (
    *("method", "± instr.", "s_AMB", "s_DIS", "P(gold)", "P(gold) a", "P(gold) d", "positions"),
    *("perplexity", "KL", "chat KL"),
)


def answers_grid(
    title: str,
    found: Mapping[str, Measured],
    strong: tuple[str, ...],
    floors: Iterable[tuple[str, ...]] = (),
) -> Grid:
    """The answers of every method by condition, means over trials in percent.

    Args:
        title: heading of the table.
        found: method -> figures.
        strong: methods in bold.
        floors: further rows, such as that of always saying "unknown".
    """
    rows = [
        (
            method,
            f"{mean(each.sizes):.1f}".removesuffix(".0") if each.sizes else "",
            percent(each.value("stereotyped").value),
            percent(each.value("overall").value),
            *(percent(each.value(part).value) for part in CONDITIONS),
            percent(each.named_accuracy),
            percent(each.unknown_rate),
        )
        for method, each in found.items()
    ]
    return Grid(title, ANSWERS, (*rows, *floors), strong).without_empty_columns()


def comparison_grids(comparison: Compared) -> tuple[Grid, ...]:
    """Answers by condition, what is told apart, how sure the figures are, what else changed."""
    edits, tasks = comparison.edits, comparison.evaluation.retention
    marked = {_marked(comparison, method): each for method, each in comparison.measured.items()}
    told = {method: each.apart for method, each in comparison.measured.items()}
    near = {m: each.elsewhere for m, each in comparison.measured.items() if each.elsewhere}
    sides = (*SIDES, *(task.removeprefix("mini:") for task in tasks))
    return (
        answers_grid("Answers", marked, edits, _floors(comparison.original)),
        *([apart_grid(told, edits)] if any(told.values()) else []),
        Grid(
            "How sure, and the change from the original",
            CHANGES,
            tuple(_change_rows(comparison)),
            edits,
        ),
        Grid(
            "Bias and retention", sides, tuple(_side_rows(comparison)), edits
        ).without_empty_columns(),
        *([elsewhere_grid("Elsewhere", near, edits)] if near else []),
    )


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
    for name, accuracy in floors(original).items():
        named, unknown = ("0.0", "100.0") if name == ALWAYS_UNKNOWN else ("", "")
        parts = (getattr(accuracy, part) for part in ("overall", *CONDITIONS))
        cells = ("" if part is None else percent(part) for part in parts)
        yield (name, "0", named, *cells, "", unknown)


def _change_rows(comparison: Compared) -> Iterator[tuple[str, ...]]:
    for method, found in comparison.measured.items():
        for part in found.parts:
            now, change = found.value(part), found.change(part)
            difference = (percent(change.value, sign=True), bracketed(change.interval, sign=True))
            p = p_value(found.sign_flip(part))
            yield (
                method if part == found.parts[0] else "",
                FIGURES[part].short,
                percent(now.value),
                bracketed(now.interval),
                *((*difference, p) if found.before else ("", "", "")),
            )


def _side_rows(comparison: Compared) -> Iterator[tuple[str, ...]]:
    for method, summary in comparison.summaries.items():
        gold, asked = summary.gold_probability, comparison.measured[method].trials[0].retention
        kept = (asked.get(task) for task in comparison.evaluation.retention)
        by_condition = gold.ambiguous is not None or gold.disambiguated is not None
        yield (
            _marked(comparison, method),
            percent(summary.spread.std),
            number(summary.s_amb, sign=True),
            number(summary.s_dis, sign=True),
            "-" if by_condition else percent(gold.overall),
            percent(gold.ambiguous),
            percent(gold.disambiguated),
            "/".join(f"{100 * share:.0f}" for share in summary.positions.chosen.values()),
            perplexity_cell(summary.perplexity, comparison.original.perplexity),
            number(summary.kl_per_token),
            number(summary.chat_kl),
            *(percent(ACCURACY(rows) if rows else None) for rows in kept),
        )


def _marked(comparison: Compared, method: str) -> str:
    return f"{method} !" if alarms(comparison.verdicts(method)) else method


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
