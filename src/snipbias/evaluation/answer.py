"""The first screen of a comparison: three numbers with bars, a verdict, what it cost.

That of an experiment (`experiment/tables/answers.py`) is made of the same parts.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

from rich.bar import Bar
from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from snipbias.base.table import percent
from snipbias.base.words import ORIGINAL, RANDOM, SHIFT, held_out, plural
from snipbias.evaluation import measures
from snipbias.evaluation.apart import gained
from snipbias.evaluation.compared import Compared
from snipbias.evaluation.estimate import average, mean_of
from snipbias.evaluation.interval import Interval, below
from snipbias.evaluation.measured import Measured
from snipbias.evaluation.neutral_text import ratio_in_words
from snipbias.evaluation.retained import Retained, plain_name, retained
from snipbias.evaluation.verdicts import ABOVE_CHANCE, Verdict, alarms, doubts

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
    "unmatched": "writes text that matches no option",
    "blind": "cannot tell answerable from unanswerable",
    "illiterate": "does not read who is right",
    "blinder": "tells answerable from unanswerable less well",
    "reads worse": "reads who is right less well",
}
FIRST = {
    "stereotyped person named": measures.NAMED_STEREOTYPED,
    "answerable questions right": measures.ANSWERABLE,
}
_SHIFTED = 'answers moved to "unknown", as if a constant were added to its score'
MEANS = ("shift", Text(_SHIFTED, "dim"))


def lost_at_most(change: Interval) -> str:
    """The largest loss that is not ruled out: up to 4 points if none of 100 templates lost."""
    points = math.ceil(-100 * change.guarded.low - 1e-6)
    return f"at most {plural(points, 'point')} lost" if points > 0 else "none lost"


def answer(comparison: Compared, more: Mapping[str, int] | None = None) -> RenderableType:
    """The answer in at most fourteen lines of eighty characters.

    Args:
        comparison: the comparison.
        more: number of held-out templates of each retention task; not all need have been asked.
    """
    task, edits = comparison.task, comparison.edits[:SHOWN]
    said = []
    for edit in edits or (ORIGINAL,):
        found = comparison.measured[edit]
        cost = costs(found, comparison.margin, more or {})
        if len(edits) > 1:
            rest = f"; {cost[0]}" if cost else ""
            line = Text.assemble((f"{edit}: ", "bold"), judged(found)[1], rest)
            said.append(("verdict", line))
        else:
            said += in_turn(found, cost, _known(comparison, edit))
    if left_out := len(comparison.edits) - len(edits):
        said.append(("", Text(f"and {plural(left_out, 'edit')} more: --full")))
    if any(SHIFT in text.plain for _, text in said):
        said.append(MEANS)
    asked = held_out(task.items, task.templates, task.instructions)
    title = Text.assemble((task.name, "bold"), f": {asked}")
    return Group(title, _bars(comparison), Text(), lines(said))


def lines(said: Iterable[tuple[str, Text]]) -> Table:
    """Lines of text, each behind a word that says what it is about."""
    table = Table.grid(padding=(0, 1))
    table.add_column(style="dim", width=8)
    table.add_column()
    for name, text in said:
        table.add_row(name, text)
    return table


def headed(columns: Iterable[str], *more: str, corner: str = "", width: int = BAR) -> Table:
    """A table of methods without rows: a column per figure that is drawn, and further ones.

    Args:
        columns, more: names of the figures that are drawn as bars, and of columns of text.
        corner: heading of the first column.
        width: width of a bar, in characters.
    """
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="")
    table.add_column(corner, width=20, no_wrap=True, overflow="ellipsis")
    for name in columns:
        table.add_column(escape(name), width=width + 7)
    for name in more:
        table.add_column(name, width=14)
    return table


def _bars(comparison: Compared) -> Table:
    """The three numbers of the original, the edits, and random neurons."""
    task = next(iter(comparison.evaluation.retention), "")
    kept = f"{plain_name(task)} right"

    def value(method: str, column: str) -> float | None:
        found = comparison.measured[method]
        if column == kept:
            return average(measures.ACCURACY, found.kept(task))
        return average(FIRST[column], found.rows)

    columns = [each for each in (*FIRST, kept) if value(ORIGINAL, each) is not None]
    methods: dict[str, Sequence[str]] = {m: [m] for m in (ORIGINAL, *comparison.edits[:SHOWN])}
    if comparison.random:
        methods[RANDOM] = comparison.random
    table = headed(columns)
    for name, drawn in methods.items():
        is_edit = name in comparison.edits
        each = [[v for one in drawn if (v := value(one, c)) is not None] for c in columns]
        cells = [bar(mean_of(values), is_edit=is_edit) for values in each]
        table.add_row(escape(name), *cells, style="bold" if is_edit else "")
    return table


def bar(value: float | None, *, is_edit: bool, width: int = BAR) -> RenderableType:
    """A share as a bar and in percent; a dash where nothing was asked.

    Args:
        value: a share in [0, 1].
        is_edit: whether the bar is coloured.
        width: width of the bar, in characters.
    """
    if value is None:
        return Text("-".rjust(width + 6))
    both = Table.grid(padding=(0, 1, 0, 0))
    drawn = Bar(1, 0, value, width=width, color="cyan" if is_edit else "bright_black")
    both.add_row(drawn, f"{percent(value)}%".rjust(6))
    return both


def judged(found: Measured) -> tuple[str, Text]:
    """The verdict on a method in two words (too few rows to judge: ?), and in a sentence."""
    # Of many random draws one shifts by chance: their mean has to.
    moved = (found.change("ambiguous").value or 0.0) > ABOVE_CHANCE
    said = [each for each in found.verdicts if moved or each.kind != "shift"]
    sure, may = alarms(said), doubts(said)
    short = "a shift" if {each.kind for each in sure or may} == {"shift"} else "broken"
    if sure:
        return short, Text(_brief(sure), "red")
    if may:
        return f"{short}?", Text(f"perhaps {_brief(may)}; too few rows to judge", "yellow")
    if found.before is None:
        return "", Text("no fault found")
    if gained(found.apart) == "yes":
        return "a gain", Text("a gain, not a shift", "green")
    return "no gain", Text("no gain is shown")


def in_turn(found: Measured, cost: Sequence[str], known: str = "") -> Iterator[tuple[str, Text]]:
    """The lines about a single method: what changed, verdict, what it knows, cost.

    Args:
        found: the method's figures.
        cost: what `costs` returns.
        known: what the original knew inside, in words; empty if not probed.
    """
    if change := found.change("stereotyped").interval:
        yield "changed", Text(f"stereotyped person named {change.points} points")
    yield "verdict", judged(found)[1]
    if known:
        yield "knows", Text(known)
    if cost:
        yield "cost", Text("; ".join(cost))


def costs(found: Measured, margin: float, more: Mapping[str, int]) -> list[str]:
    """What a method may have cost, each part in a few words.

    Args:
        found: the method's figures.
        margin: largest acceptable loss, as a share of rows.
        more: as in `answer`.
    """
    kept = list(retained(found, margin))
    names = {part.what for part in kept}
    return [said for part in kept if (said := _kept(part, found, names, more))]


def worth_taking(found: Measured) -> bool:
    """Whether an edit is shown to help, and harms nothing: a gain, or a shift alone."""
    said = (*alarms(found.verdicts), *doubts(found.verdicts))
    helps = below(found.change("stereotyped").interval, 0.0) == "yes"
    return {each.kind for each in said} <= {"shift"} and (helps or gained(found.apart) == "yes")


def _known(comparison: Compared, edit: str) -> str:
    """What the original knew and said, and what the edited model says, on mismatch rows."""
    inside, found = comparison.inside.get("mismatch"), comparison.measured
    apart = [found[m].apart["mismatch"].auroc for m in (ORIGINAL, edit)] if inside else []
    numbers = [f"{each.value:.2f}" for each in (inside, *apart) if each and each.value is not None]
    if len(numbers) < 3:
        return ""
    knew, said, says = numbers
    return f"what can be answered (AUROC): {knew} inside, {said} said before, {says} now"


def _brief(found: Sequence[Verdict]) -> str:
    return "; ".join(dict.fromkeys(BRIEF.get(each.kind, each.text) for each in found))


def _kept(part: Retained, found: Measured, also: Collection[str], more: Mapping[str, int]) -> str:
    """The most that was lost, in words; empty where another part says it better."""
    if part.what == "perplexity":
        texts = (each and each.text for each in (found, found.before))
        return f"neutral text: {ratio_in_words(*(text and text.perplexity for text in texts))}"
    if part.what in ("KL", "chat answers"):
        if part.interval is None or (part.what == "KL" and "perplexity" in also):
            return ""
        name = "neutral text" if part.what == "KL" else part.what
        return f"{name}: moved by {part.interval.estimate:.2g} nats per token"
    name = plain_name(part.what)
    if part.interval is None:
        return f"{name}: too few to judge"
    said = f"{name}: {lost_at_most(part.interval)}"
    asked = len(set(found.kept(part.what)[0].template))
    if not part.kept and more.get(part.what, 0) > asked:
        said += f" (more rows: --retention-items {more[part.what]})"
    return said
