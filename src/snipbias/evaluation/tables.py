"""Comparisons as tables for a terminal, or as Markdown."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Group, RenderableType
from rich.text import Text

from snipbias.base.table import WIDTH, Grid, number, p_value, percent, plain_text
from snipbias.base.words import ALWAYS_UNKNOWN, BEST_OFFSET, ORIGINAL
from snipbias.evaluation.compared import Compared
from snipbias.evaluation.glossary import legend, legend_markdown
from snipbias.evaluation.interval import Interval
from snipbias.evaluation.metrics import ByCondition
from snipbias.evaluation.verdicts import alarms, doubts

SHORT = {"overall": "all", "ambiguous": "ambig.", "disambiguated": "disambig."}


def comparison_grids(comparison: Compared) -> tuple[Grid, ...]:
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
                "chat KL",
                *(task.removeprefix("mini:") for task in comparison.retention),
            ),
            tuple(_side_rows(comparison)),
            edits,
        ).without_empty_columns(),
    )


def comparison_renderable(comparison: Compared) -> RenderableType:
    """The whole comparison: tables, verdicts, and how to read them."""
    task = comparison.task
    grids = comparison_grids(comparison)
    drawn = [part for grid in grids for part in (Text(), grid.rich())]
    lines = map(Text, comparison_lines(comparison))
    return Group(Text(f"{task.name}: {task}"), *drawn, *lines, Text(legend(grids), "dim"))


def comparison_lines(comparison: Compared) -> list[str]:
    """What is wrong with each model, what each edit kept, and the notes."""
    return [
        *_verdict_lines(comparison),
        *_retained_lines(comparison),
        *(f"note: {note}" for note in comparison.notes),
    ]


def comparison_text(comparison: Compared, width: int = WIDTH) -> str:
    """The comparison as plain text."""
    return plain_text(comparison_renderable(comparison), width)


def comparison_markdown(comparison: Compared) -> str:
    """The comparison as Markdown."""
    grids = comparison_grids(comparison)
    parts = [f"**{grid.title}**\n\n{grid.markdown()}" for grid in grids]
    lines = [f"- {line}" for line in (*_verdict_lines(comparison), *_retained_lines(comparison))]
    return "\n\n".join([*parts, "\n".join(lines), legend_markdown(grids)]) + "\n"


def _answer_rows(comparison: Compared) -> Iterator[tuple[str, ...]]:
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


def _change_rows(comparison: Compared) -> Iterator[tuple[str, ...]]:
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
        gain = comparison.gain_over_offset(method) if method != ORIGINAL else None
        if gain is not None:
            ends = _ends(comparison.gain_interval(method), sign=True)
            yield "", "vs offset", "", "", percent(gain, sign=True), ends, ""


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


def _side_rows(comparison: Compared) -> Iterator[tuple[str, ...]]:
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
            number(summary.chat_kl),
            *(percent(accuracies.get(method)) for accuracies in comparison.retention.values()),
        )


def _marked(comparison: Compared, method: str) -> str:
    return f"{method} !" if alarms(comparison.verdicts(method)) else method


def _verdict_lines(comparison: Compared) -> list[str]:
    return [
        f"{mark} {method}: {'; '.join(map(str, said))}"
        for method in comparison.summaries
        for mark, kind in (("!", alarms), ("?", doubts))
        if (said := kind(comparison.verdicts(method)))
    ]


def _retained_lines(comparison: Compared) -> list[str]:
    return [
        f"{method}: {part.what} {part.sentence}"
        for method in comparison.edits
        for part in comparison.retained(method)
    ]
