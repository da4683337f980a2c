"""Comparisons as tables for a terminal, or as Markdown."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from rich.console import Console, Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from snipbias.base.words import fixed, held_out, signed
from snipbias.evaluation.compare import Comparison
from snipbias.evaluation.evaluate import ORIGINAL
from snipbias.evaluation.harness import MARGIN, HarnessScores
from snipbias.evaluation.metrics import ByCondition
from snipbias.evaluation.stats import Interval

WIDTH = 118
MIN_NAME = 12
LONGEST_WORD = 10
ALWAYS_UNKNOWN = "always unknown"
BEST_OFFSET = "best offset"
SHORT = {"overall": "all", "ambiguous": "ambig.", "disambiguated": "disambig."}


@dataclass(frozen=True)
class Grid:
    """A table before it is drawn: title, header and cells, the first column left-aligned."""

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    strong: tuple[str, ...] = ()

    def without_empty_columns(self) -> Grid:
        """Without the columns that no row has a figure in, as on a task without conditions."""
        columns = list(zip(self.header, *self.rows, strict=True))
        kept = [column for column in columns if set(column[1:]) - {"-", ""}]
        if not kept:
            return self
        header, *rows = zip(*kept, strict=True)
        return replace(self, header=header, rows=tuple(rows))

    def rich(self) -> Table:
        """For a terminal."""
        table = Table(title=self.title, title_justify="left", title_style="bold", box=None)
        table.pad_edge, table.collapse_padding = False, True
        table.add_column(escape(self.header[0]), min_width=MIN_NAME, overflow="fold")
        for name, *cells in list(zip(self.header, *self.rows, strict=True))[1:]:
            # Headers and names are broken over lines on a narrow terminal, figures never.
            word = min(max(map(len, name.split())), LONGEST_WORD)
            width = max(word, *map(len, cells))
            table.add_column(escape(name), justify="right", width=width, overflow="fold")
        for row in self.rows:
            style = "bold" if row[0].removesuffix(" !") in self.strong else None
            table.add_row(*map(escape, row), style=style)
        return table

    def markdown(self) -> str:
        """For a document."""
        lines = [self.header, ("---", *("---:" for _ in self.header[1:])), *self.rows]
        escaped = ([cell.replace("|", "\\|") for cell in line] for line in lines)
        return "\n".join("| " + " | ".join(line) + " |" for line in escaped)


def comparison_grids(comparison: Comparison) -> tuple[Grid, ...]:
    """Answers by condition, how sure the accuracies are, and what else changed."""
    edits = comparison.edits
    return (
        Grid(
            "Answers",
            (
                "method",
                "neurons",
                "accuracy",
                "± instr.",
                "ambig.",
                "disambig.",
                "unknown",
                "named",
                "AUROC",
                "vs offset",
            ),
            tuple(_answer_rows(comparison)),
            edits,
        ).without_empty_columns(),
        Grid(
            "Accuracy and its change from the original",
            ("method", "rows", "accuracy", "95 % CI", "change", "CI of it", "p"),
            tuple(_change_rows(comparison)),
            edits,
        ),
        Grid(
            "Bias and retention",
            (
                "method",
                "s_AMB",
                "s_DIS",
                "P(gold)",
                "P(gold) a",
                "P(gold) d",
                "positions",
                "perplexity",
                "KL",
                *(task.removeprefix("mini:") for task in comparison.evaluation.retention),
            ),
            tuple(_side_rows(comparison)),
            edits,
        ).without_empty_columns(),
    )


def comparison_renderable(comparison: Comparison) -> RenderableType:
    """The whole comparison: tables, verdicts, and how to read them."""
    task = comparison.task
    rows = held_out(len(task), len(task.templates), len(task.instructions))
    grids = [part for grid in comparison_grids(comparison) for part in (Text(), grid.rich())]
    lines = [
        *_verdict_lines(comparison),
        *_retained_lines(comparison),
        *(f"note: {note}" for note in comparison.notes),
    ]
    return Group(Text(f"{task.name}: {rows}"), *grids, *map(Text, lines), Text(LEGEND, "dim"))


LEGEND = (
    "accuracy, ambig., disambig., unknown, named: percent of rows; ± instr.: standard deviation "
    "over instructions. named: on disambiguated rows the right one of the named options scores "
    "higher. AUROC: how well the margin of 'unknown' tells ambiguous from disambiguated rows (0.5: "
    "not at all). vs offset: disambiguated points above (+) or below (-) what adding a constant to "
    "'unknown' reaches on the original at the same ambiguous accuracy. CI: 95 %, bootstrap "
    "over templates, and over instructions if there are five or more; p: sign flip of whole "
    "templates. P(gold): mean percent, renormalised over the options, over all, ambiguous (a) and "
    "disambiguated rows (d). positions: percent of answers that are the first, second, ... option, "
    "and last none of them. KL: nats a token from the original on neutral text. random, same "
    "sites: controls, as many neurons drawn by chance, from the whole model or from the sites of "
    "that edit; #0: the first draw. !: something is wrong with this model; see the lines above."
)


def comparison_text(comparison: Comparison, width: int = WIDTH) -> str:
    """The comparison as plain text."""
    return _plain_text(comparison_renderable(comparison), width)


def _plain_text(renderable: RenderableType, width: int) -> str:
    console = Console(file=io.StringIO(), width=width, color_system=None)
    console.print(renderable)
    file = console.file
    assert isinstance(file, io.StringIO)
    return "\n".join(line.rstrip() for line in file.getvalue().splitlines())


def comparison_markdown(comparison: Comparison) -> str:
    """The comparison as Markdown."""
    grids = comparison_grids(comparison)
    parts = [f"**{grid.title}**\n\n{grid.markdown()}" for grid in grids]
    lines = [f"- {line}" for line in (*_verdict_lines(comparison), *_retained_lines(comparison))]
    return "\n\n".join([*parts, *(["\n".join(lines)] if lines else []), LEGEND]) + "\n"


def harness_grid(results: HarnessScores) -> Grid:
    """Scores of the lm-evaluation-harness, before and after each edit."""
    rows = [
        (
            score.method,
            score.task,
            score.metric,
            number(score.value, digits=4),
            number(score.stderr, digits=2),
            str(score.n),
            score.shown_change,
        )
        for score in results.scores
    ]
    header = ("method", "task", "metric", "value", "± stderr", "samples", "change [95 %]")
    return Grid("lm-evaluation-harness", header, tuple(rows))


def harness_renderable(results: HarnessScores, margin: float) -> RenderableType:
    """The grid, and what it says about a loss of more than the margin."""
    return Group(harness_grid(results).rich(), *map(Text, results.sentences(margin)))


def harness_markdown(results: HarnessScores, margin: float) -> str:
    """The same as Markdown."""
    grid, lines = harness_grid(results), [f"- {said}" for said in results.sentences(margin)]
    return f"**{grid.title}**\n\n{grid.markdown()}\n\n" + "\n".join(lines) + "\n"


def harness_text(results: HarnessScores, margin: float = MARGIN, width: int = WIDTH) -> str:
    """The same as plain text."""
    return _plain_text(harness_renderable(results, margin), width)


def _answer_rows(comparison: Comparison) -> Iterator[tuple[str, ...]]:
    for method, summary in comparison.summaries.items():
        gain = comparison.gain_over_offset(method) if method != ORIGINAL else None
        yield (
            _marked(comparison, method),
            str(comparison.neurons[method]),
            percent(summary.accuracy.overall),
            percent(summary.spread.std),
            percent(summary.accuracy.ambiguous),
            percent(summary.accuracy.disambiguated),
            percent(summary.unknown_rate.overall),
            percent(summary.named_accuracy),
            number(summary.discrimination),
            percent(gain, sign=True),
        )
    original = comparison.original
    if original.unknown_floor.overall is not None:
        yield _floor_row(ALWAYS_UNKNOWN, original.unknown_floor, "100.0")
    if original.offset_best is not None:
        best = original.offset_best
        point = ByCondition(best.overall, best.ambiguous, best.disambiguated)
        yield _floor_row(BEST_OFFSET, point, "")


def _change_rows(comparison: Comparison) -> Iterator[tuple[str, ...]]:
    for method, changes in comparison.changes.items():
        for part, change in changes.items():
            # A single template has no interval, but the accuracy is known all the same.
            now, before = (
                getattr(comparison.summaries[m].accuracy, part) for m in (method, ORIGINAL)
            )
            changed = (percent(now - before, sign=True), _ends(change.difference, sign=True))
            yield (
                method if part == "overall" else "",
                SHORT[part],
                percent(now),
                _ends(change.accuracy),
                *(("", "", "") if method == ORIGINAL else (*changed, p_value(change.sign_flip))),
            )


def _ends(interval: Interval | None, *, sign: bool = False) -> str:
    if interval is None:
        return "-"
    return f"[{percent(interval.low, sign=sign)}, {percent(interval.high, sign=sign)}]"


def _floor_row(name: str, accuracy: ByCondition, unknown: str) -> tuple[str, ...]:
    return (
        name,
        "0",
        percent(accuracy.overall),
        "",
        percent(accuracy.ambiguous),
        percent(accuracy.disambiguated),
        unknown,
        "",
        "",
        "",
    )


def _side_rows(comparison: Comparison) -> Iterator[tuple[str, ...]]:
    for method, summary in comparison.summaries.items():
        gold = summary.gold_probability
        by_condition = gold.ambiguous is not None or gold.disambiguated is not None
        yield (
            _marked(comparison, method),
            number(summary.s_amb, sign=True),
            number(summary.s_dis, sign=True),
            "-" if by_condition else percent(gold.overall),
            percent(gold.ambiguous),
            percent(gold.disambiguated),
            "/".join(f"{100 * share:.0f}" for share in summary.positions.chosen.values()),
            number(summary.perplexity, digits=4),
            number(summary.kl_per_token),
            *(
                percent(answers.summaries[method].accuracy.overall)
                for answers in comparison.evaluation.retention.values()
            ),
        )


def _marked(comparison: Comparison, method: str) -> str:
    return f"{method} !" if comparison.alarms(method) else method


def _verdict_lines(comparison: Comparison) -> Sequence[str]:
    return [
        f"! {method}: {'; '.join(said)}"
        for method in comparison.summaries
        if (said := comparison.alarms(method))
    ]


def _retained_lines(comparison: Comparison) -> list[str]:
    return [
        f"{method}: {part.what} {part.sentence}"
        for method in comparison.edits
        for part in comparison.retained(method)
    ]


def p_value(value: float | None) -> str:
    """A p-value with three decimals; a dash where there is none."""
    if value is None:
        return "-"
    return "<.001" if value < 0.001 else f"{value:.3f}".removeprefix("0")


def percent(value: float | None, *, sign: bool = False) -> str:
    """A share as percent with one digit; a dash where it is undefined."""
    return "-" if value is None else (signed if sign else fixed)(100 * value, 1)


def number(value: float | None, *, sign: bool = False, digits: int | None = None) -> str:
    """A figure with two decimals, or with so many significant digits."""
    if value is None:
        return "-"
    if digits:
        return f"{value:{'+' if sign else ''}.{digits}g}"
    return (signed if sign else fixed)(value, 2)
