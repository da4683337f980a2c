"""The first screen of a comparison: three numbers with bars, a verdict, what it cost."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from statistics import mean

from rich.bar import Bar
from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from snipbias.base.table import percent
from snipbias.base.words import ORIGINAL, RANDOM, SHIFT, plural
from snipbias.evaluation import measures
from snipbias.evaluation.apart import gained
from snipbias.evaluation.compared import Compared
from snipbias.evaluation.interval import Interval
from snipbias.evaluation.neutral_text import ratio_in_words
from snipbias.evaluation.retained import Retained, plain_name
from snipbias.evaluation.verdicts import Verdict, alarms, doubts

BAR = 11
SHOWN = 3  # edits; the others stand in the tables
# Each verdict in a few words.
BRIEF = {
    "shift": SHIFT,
    "text": "neutral text wrecked",
    "perplexity": "neutral text wrecked",
    "chat": "chat answers wrecked",
    "position": "answers by position",
    "unknown": "says 'unknown' to nearly everything",
    "unmatched": "writes what is no option",
    "blind": "cannot tell answerable from unanswerable",
    "illiterate": "does not read who is right",
    "blinder": "tells answerable from unanswerable less well",
    "reads worse": "reads who is right less well",
}


def lost_at_most(change: Interval) -> str:
    """The largest loss that is not ruled out: up to 4 points if none of 100 templates lost."""
    points = math.ceil(-100 * change.guarded.low - 1e-6)
    return f"at most {plural(points, 'point')} lost" if points > 0 else "none lost"


def answer(comparison: Compared, more: Mapping[str, int] | None = None) -> RenderableType:
    """At most thirteen lines of eighty letters.

    Args:
        more: held-out templates of each retention task, of which perhaps not all were asked.
    """
    task, edits = comparison.task, comparison.edits[:SHOWN]
    lines = Table.grid(padding=(0, 1))
    lines.add_column(style="dim", width=8)
    lines.add_column()
    for edit in edits or (ORIGINAL,):
        for name, text in _said(comparison, edit, more or {}):
            lines.add_row(name, text)
    if left_out := len(comparison.edits) - len(edits):
        lines.add_row("", f"and {plural(left_out, 'edit')} more: --full")
    title = Text.assemble((task.name, "bold"), f": {task}")
    return Group(title, _bars(comparison), Text(), lines)


def _bars(comparison: Compared) -> Table:
    """The three numbers of the original, the edits, and random neurons."""
    measured = comparison.measured
    columns: dict[str, Mapping[str, float | None]] = {
        "stereotyped person named": {
            m: measures.NAMED_STEREOTYPED(each.rows[0]) for m, each in measured.items()
        },
        "answerable questions right": {
            m: measures.ANSWERABLE(each.rows[0]) for m, each in measured.items()
        },
        **{
            f"{plain_name(task)} right": {
                m: measures.ACCURACY(rows)
                for m, each in measured.items()
                for rows in each.kept(task)
            }
            for task in list(comparison.evaluation.retention)[:1]
        },
    }
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="")
    table.add_column("", width=20, no_wrap=True, overflow="ellipsis")
    columns = {name: values for name, values in columns.items() if values.get(ORIGINAL) is not None}
    for name in columns:
        table.add_column(escape(name), width=BAR + 7)
    drawn = comparison.random
    methods = {m: [m] for m in (ORIGINAL, *comparison.edits[:SHOWN])}
    for name, of in ({**methods, RANDOM: [*drawn]} if drawn else methods).items():
        is_edit = name in comparison.edits
        cells = [
            _bar([v for m in of if (v := values.get(m)) is not None], is_edit)
            for values in columns.values()
        ]
        table.add_row(escape(name), *cells, style="bold" if is_edit else "")
    return table


def _bar(values: Sequence[float], is_edit: bool) -> RenderableType:
    """A mean as a bar and in percent; a dash where nothing was asked."""
    if not values:
        return Text("-".rjust(BAR + 6))
    both = Table.grid(padding=(0, 1, 0, 0))
    bar = Bar(1, 0, mean(values), width=BAR, color="cyan" if is_edit else "bright_black")
    both.add_row(bar, f"{percent(mean(values))}%".rjust(6))
    return both


def _said(comparison: Compared, edit: str, more: Mapping[str, int]) -> Iterator[tuple[str, Text]]:
    """The lines about one method; its cost in full only if it is the only edit."""
    found = comparison.verdicts(edit)
    sure, may = alarms(found), doubts(found)
    gain = gained(comparison.measured[edit].apart) == "yes"
    text = Text("a gain, not a shift" if gain else "nothing wrong is seen", "green")
    if sure:
        text = Text(_brief(sure), "red")
    elif may:
        text = Text(f"too few rows to judge; perhaps {_brief(may)}", "yellow")
    kept = [_kept(part, comparison, edit, more) for part in comparison.retained(edit)]
    kept = [part for part in kept if part]
    if edit == ORIGINAL:
        yield "verdict", text
    elif len(comparison.edits) > 1:
        text = Text.assemble((f"{edit}: ", "bold"), text, f"; {kept[0]}" if kept else "")
        yield "verdict", text
    else:
        if change := comparison.measured[edit].change("stereotyped").interval:
            yield "changed", Text(f"stereotyped person named {change.points} points")
        yield "verdict", text
        if known := _known(comparison, edit):
            yield "knows", Text(known)
        if kept:
            yield "cost", Text("; ".join(kept))


def _known(comparison: Compared, edit: str) -> str:
    """What the original knew, what it said and what it says now, on mismatch rows."""
    inside, found = comparison.inside.get("mismatch"), comparison.measured
    apart = [found[m].apart["mismatch"].auroc for m in (ORIGINAL, edit)] if inside else []
    numbers = [f"{each.value:.2f}" for each in (inside, *apart) if each and each.value is not None]
    if len(numbers) < 3:
        return ""
    knew, said, says = numbers
    return f"what can be answered: knew inside {knew}, said {said}, says now {says} (AUROC)"


def _brief(found: Sequence[Verdict]) -> str:
    return "; ".join(dict.fromkeys(BRIEF.get(each.kind, each.text) for each in found))


def _kept(part: Retained, comparison: Compared, edit: str, more: Mapping[str, int]) -> str:
    """The most that was lost, in words; empty where another part says it better."""
    if part.what == "perplexity":
        summaries = comparison.summaries
        now, before = summaries[edit].perplexity, summaries[ORIGINAL].perplexity
        return f"neutral text: {ratio_in_words(now, before)}"
    if part.what in ("KL", "chat answers"):
        said = {each.what for each in comparison.retained(edit)}
        if part.interval is None or (part.what == "KL" and "perplexity" in said):
            return ""
        name = "neutral text" if part.what == "KL" else part.what
        return f"{name}: {part.interval.estimate:.2g} nats per token off"
    name = plain_name(part.what)
    if part.interval is None:
        return f"{name}: too few to judge"
    said = f"{name}: {lost_at_most(part.interval)}"
    asked = len(set(comparison.measured[edit].kept(part.what)[0].template))
    if not part.kept and more.get(part.what, 0) > asked:
        said += f" (more rows: --retention-items {more[part.what]})"
    return said
