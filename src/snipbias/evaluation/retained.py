"""The effect of an edit in words, and whether it kept what should not change."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from snipbias.evaluation.apart import gain_sentence
from snipbias.evaluation.interval import (
    Interval,
    below,
    non_inferior,
    non_inferiority,
    not_raised,
)
from snipbias.evaluation.measured import Measured
from snipbias.evaluation.neutral_text import guesses, kl_interval, kl_kept, perplexity_kept

# Points of accuracy, percent of perplexity, and hundredths of a nat of KL that may be lost.
MARGIN = 0.02


@dataclass(frozen=True)
class Retained:
    """Whether something that should not change stayed within a margin.

    Attributes:
        what: the retention task, "perplexity" or "KL" on neutral text, or "chat answers".
        interval: of the difference in accuracy, of the ratio of perplexities, or of the KL.
        kept: whether the whole interval and the exact bounds are within the margin.
        sentence: the same in words.
    """

    what: str
    interval: Interval | None
    kept: bool
    sentence: str


def plain_name(what: str) -> str:
    """What was kept in words: `mini:facts` are neutral questions."""
    if what in ("perplexity", "KL"):
        return f"neutral text ({what})"
    return "neutral questions" if what.startswith("mini:") else what


def retained(found: Measured, margin: float = MARGIN) -> Iterator[Retained]:
    """Whether retention tasks, neutral text and chat answers were kept.

    Of a model that guesses at neutral text anyway, nothing is said of perplexity.

    Args:
        margin: in accuracy (0.02: two points), as a share of perplexity (two percent), and in nats
            per token of KL, which is about the same as a share of perplexity.
    """
    for task, estimate in found.retention.items():
        change = estimate.interval
        kept = non_inferior(change, margin)
        yield Retained(task, change, kept, non_inferiority(change, margin))
    text, before = found.text, found.before and found.before.text
    if text and before and not guesses(before.perplexity):
        ratio = found.perplexity_ratio.interval
        kept = not_raised(ratio, 1 + margin) == "yes"
        yield Retained("perplexity", ratio, kept, perplexity_kept(ratio, margin))
    for what, texts in (("KL", text), ("chat answers", found.trials[0].chat)):
        if texts:
            moved = kl_interval(texts)
            kept = not_raised(moved, margin) == "yes"
            yield Retained(what, moved, kept, kl_kept(moved, margin))


def said(found: Measured) -> tuple[str, ...]:
    """The effect of an edit: on the stereotype, and whether it is a gain."""
    if found.before is None:
        return ()
    return tuple(filter(None, (_stereotyped(found), gain_sentence(found.apart))))


def _stereotyped(found: Measured) -> str:
    share, change = found.value("stereotyped").value, found.change("stereotyped").interval
    if share is None or change is None:
        return ""
    often = {"yes": "less often", "no": "more often", "not shown": "not shown to be less often"}
    rows = "unanswerable rows" if found.rows[0].kinds else "rows"
    return (
        f"names the stereotyped person in {100 * share:.1f} % of {rows}, "
        f"{often[below(change, 0.0)]} than before: {change.points} points"
    )
