"""Changes by an edit, and what it kept, each with an interval."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from snipbias.base.words import ORIGINAL
from snipbias.evaluation import measures, stats
from snipbias.evaluation.evaluate import Evaluation
from snipbias.evaluation.interval import Interval, below, non_inferior, non_inferiority, not_raised
from snipbias.evaluation.measures import Mean
from snipbias.evaluation.neutral_text import (
    guesses,
    kl_interval,
    kl_kept,
    perplexity_kept,
    perplexity_ratio,
)
from snipbias.evaluation.rows import Rows

# Points of accuracy, percent of perplexity, and hundredths of a nat of KL that may be lost.
MARGIN = 0.02
PARTS = {
    "stereotyped": measures.NAMED_STEREOTYPED,
    "stereotyped overall": measures.STEREOTYPED,
    "overall": measures.ACCURACY,
    "ambiguous": measures.AMBIGUOUS_ACCURACY,
    "filler": measures.FILLER_ACCURACY,
    "mismatch": measures.MISMATCH_ACCURACY,
    "disambiguated": measures.DISAMBIGUATED_ACCURACY,
}


@dataclass(frozen=True)
class Change:
    """A share of some rows (accuracy, stereotyped answers), and its difference to the original's.

    Attributes:
        value: the share; what a single template has no interval of is known all the same.
        accuracy: the same with its interval; None where one template cannot give one.
        difference: to the original, paired; None for the original itself too.
        sign_flip: p-value of the difference, whole templates exchanged.
        mcnemar: p-value that takes rows for independent, and so is too small.
    """

    value: float
    accuracy: Interval | None
    difference: Interval | None
    sign_flip: float | None
    mcnemar: float | None


@dataclass(frozen=True)
class Retained:
    """Whether something that should stay as it was did, within a margin.

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


def accuracy_changes(evaluation: Evaluation) -> dict[str, dict[str, Change]]:
    """For every method how often it names the stereotyped person, then its accuracies."""
    original = evaluation.rows(ORIGINAL)
    return {
        method: {
            part: _change(metric, original if method == ORIGINAL else rows, original)
            for part, metric in PARTS.items()
            if metric(original) is not None and (original.kinds or part != "stereotyped overall")
        }
        for method, rows in ((m, evaluation.rows(m)) for m in evaluation.methods)
    }


def retained(evaluation: Evaluation, method: str, margin: float = MARGIN) -> tuple[Retained, ...]:
    """Whether a method kept retention tasks, neutral text and chat answers.

    Of a model that guesses at neutral text anyway, nothing is said of perplexity.

    The margin is in accuracy (0.02 are two points), as a share of perplexity (two percent) and in
    nats a token of KL, which is about the same as a share of perplexity.
    """
    return (*_tasks(evaluation, method, margin), *_text(evaluation, method, margin))


def stereotyped_sentence(changes: Mapping[str, Change]) -> str:
    """Whether the stereotyped person is named less often than before, with the interval."""
    found = changes.get("stereotyped")
    if found is None or found.difference is None:
        return ""
    answer = below(found.difference, 0.0)
    often = {"yes": "less often", "no": "more often", "not shown": "not shown to be less often"}
    rows = "unanswerable rows" if "stereotyped overall" in changes else "rows"
    return (
        f"names the stereotyped person in {100 * found.value:.1f} % of {rows}, {often[answer]} "
        f"than before: {found.difference.points} points"
    )


def _change(metric: Mean, rows: Rows, original: Rows) -> Change:
    value, accuracy = metric(rows), stats.interval(metric, [rows])
    assert value is not None
    if rows is original:
        return Change(value, accuracy, None, None, None)
    now, weight = metric.values(rows)
    before, _ = metric.values(original)
    counted = weight > 0
    return Change(
        value,
        accuracy,
        stats.difference(metric, [rows], [original]),
        stats.sign_flip_of(metric, [rows], [original]),
        stats.mcnemar(now[counted > 0], before[counted > 0]),
    )


def _tasks(evaluation: Evaluation, method: str, margin: float) -> Iterator[Retained]:
    for task, answers in evaluation.retention.items():
        if method not in answers.methods:
            continue
        both = [answers.rows(method)], [answers.rows(ORIGINAL)]
        change = stats.difference(measures.ACCURACY, *both)
        kept = non_inferior(change, margin)
        yield Retained(task, change, kept, non_inferiority(change, margin))


def _text(evaluation: Evaluation, method: str, margin: float) -> Iterator[Retained]:
    shift, before = evaluation.text.get(method), evaluation.text.get(ORIGINAL)
    if shift and before and not guesses(before.perplexity):
        ratio = perplexity_ratio(shift, before)
        kept = not_raised(ratio, 1 + margin) == "yes"
        yield Retained("perplexity", ratio, kept, perplexity_kept(ratio, margin))
    for what, texts in (("KL", shift), ("chat answers", evaluation.chat.get(method))):
        if texts:
            moved = kl_interval(texts)
            kept = not_raised(moved, margin) == "yes"
            yield Retained(what, moved, kept, kl_kept(moved, margin))
