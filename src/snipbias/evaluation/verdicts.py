"""Faults of a model as records, each with the interval that supports it.

The bounds are meant to catch a broken model, not to grade a good one. A figure beyond its bound is
a suspicion. It becomes a verdict only where its interval settles it; else the record says that the
rows are too few, and how many would do.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np

from snipbias.base.words import INHERITED, SHIFT
from snipbias.evaluation import measures, stats
from snipbias.evaluation.interval import Interval, above, below, would_do
from snipbias.evaluation.measures import Mean
from snipbias.evaluation.neutral_text import (
    KL_PER_TOKEN,
    PERPLEXITY_RATIO,
    guesses,
    kl_interval,
    perplexity_ratio,
)
from snipbias.evaluation.offset_curve import gain_interval, gain_over_offset
from snipbias.evaluation.summary import Summary, Trial

# Options come in a drawn order: hardly anything but position or "unknown" is right this often.
ONE_ANSWER = 0.9
# Above this the figures describe the parser as much as the model.
UNMATCHED = 0.1
# Nearer to chance than this, nothing speaks for the model reading anything.
ABOVE_CHANCE = 0.05
# A smaller fall is not worth an alarm.
DROP = 0.1
_CHANGE = " of the change"


@dataclass(frozen=True)
class Verdict:
    """One thing that is wrong with a model, or may be.

    Attributes:
        kind: "shift", "text", "chat", "position", "unknown", "unmatched", "blind", "illiterate",
            "perplexity", "blinder" or "reads worse".
        text: a plain sentence fragment, the interval included.
        inherited: whether it holds for the original too, so that no edit did it.
        settled: whether the interval shows it; else the rows are too few to judge.
        interval: of the figure that it rests on; None where no interval can be given.
    """

    kind: str
    text: str
    inherited: bool = False
    settled: bool = True
    interval: Interval | None = None

    def __str__(self) -> str:
        return f"{self.text}{INHERITED}" if self.inherited else self.text


class Suspicion(NamedTuple):
    """A figure beyond a bound, and what would show that it is.

    Attributes:
        bound: nan where no interval is asked for.
        interval: of the figure, from the trial and the original's.
        higher: whether beyond the bound is above it.
        unit: percent or points, of a share; else empty.
        of: what the interval is of, where that is not the figure in the text.
    """

    kind: str
    text: str
    bound: float = math.nan
    interval: Callable[[Trial, Trial], Interval | None] = lambda now, before: None
    higher: bool = True
    unit: str = " %"
    of: str = ""

    def judged(self, trials: tuple[Trial, Trial] | None, inherited: bool = False) -> Verdict:
        """The verdict; a doubt where the interval does not settle it."""
        if trials is None or math.isnan(self.bound):
            return Verdict(self.kind, self.text, inherited)
        text, found = self.text, self.interval(*trials)
        settled = (above if self.higher else below)(found, self.bound) == "yes"
        if found is not None:
            scale = 100 if self.unit else 1
            low, high = (f"{value * scale:.3g}" for value in (found.low, found.high))
            text += f" (95 % interval{self.of} {low} to {high}{self.unit})"
        if not settled:
            enough = would_do(found, self.bound, exact=False)
            text = f"perhaps {text}; {enough or 'too few rows to judge'}"
        return Verdict(self.kind, text, inherited, settled, found)


def verdicts(
    summary: Summary, original: Summary | None = None, trials: tuple[Trial, Trial] | None = None
) -> tuple[Verdict, ...]:
    """Faults of a model; empty if none is seen.

    Args:
        summary: the model's figures.
        original: the unedited model's figures; what holds for it too is marked as inherited.
        trials: the answers of both; without them the figures are taken as exact.
    """
    found = [(each, False) for each in _changes(summary, original)] if original else []
    before = {each.kind for each in _states(original)} if original else set()
    states = [(each, each.kind in before) for each in _states(summary)]
    return tuple(each.judged(trials, inherited) for each, inherited in (*states, *found))


def alarms(found: Iterable[Verdict]) -> tuple[Verdict, ...]:
    """Those that are shown and that the original does not share: what a table marks."""
    return tuple(each for each in found if each.settled and not each.inherited)


def doubts(found: Iterable[Verdict]) -> tuple[Verdict, ...]:
    """Those that too few rows leave open and that the original does not share."""
    return tuple(each for each in found if not each.settled and not each.inherited)


def forewarned(task: str, said: Sequence[Verdict]) -> str:
    """The verdicts on an original, as what they mean for every edit of it; empty without any."""
    known = [str(each) for each in said if each.settled]
    if not known:
        return ""
    return (
        f"On {task} the original model {', and '.join(known)}: changes that edits make on "
        "these rows mean little."
    )


def _states(summary: Summary) -> Iterator[Suspicion]:
    """Faults of a model by itself."""
    kl, chat_kl, perplexity = summary.kl_per_token, summary.chat_kl, summary.perplexity
    if any(value is not None and not math.isfinite(value) for value in (perplexity, kl)):
        yield Suspicion("text", "has a perplexity or KL on neutral text that is not finite")
    elif kl is not None and kl > KL_PER_TOKEN:
        said = f"predicts neutral text differently by {kl:.2f} nats per token"
        yield Suspicion("text", said, KL_PER_TOKEN, _moved("text"), unit="")
    if chat_kl is not None and chat_kl > KL_PER_TOKEN:
        said = f"answers ordinary requests differently by {chat_kl:.2f} nats per token"
        yield Suspicion("chat", said, KL_PER_TOKEN, _moved("chat"), unit="")
    # Nearly always one position, or "unknown", although that is often wrong.
    for position, share in summary.positions.chosen.items():
        right = summary.positions.gold[position] if position != "none" else 1.0
        if share > ONE_ANSWER >= right:
            said = f"answers option {int(position) + 1} in {share:.0%} of rows"
            said += f", although it is right in {right:.0%}"
            yield Suspicion("position", said, right, _of(_chosen(int(position))))
    rate, floor = summary.unknown_rate.overall, summary.unknown_floor.overall
    if rate is not None and floor is not None and rate > ONE_ANSWER >= floor:
        said = f"answers 'unknown' in {rate:.0%} of rows, although it is right in {floor:.0%}"
        yield Suspicion("unknown", said, floor, _of(measures.UNKNOWN_RATE))
    if summary.unmatched_rate > UNMATCHED:
        said = f"writes text that matches no option in {summary.unmatched_rate:.0%} of rows"
        yield Suspicion("unmatched", said, UNMATCHED, _of(_chosen(-1)))
    auroc, bound = summary.discrimination, 0.5 + ABOVE_CHANCE
    if auroc is not None and auroc < bound:
        said = f"cannot tell ambiguous from disambiguated rows (AUROC {auroc:.2f}, chance 0.50)"
        yield Suspicion("blind", said, bound, _of(measures.DISCRIMINATION), False, "")
    named, chance = summary.named_accuracy, summary.named_chance
    if named is not None and chance is not None and named < (bound := chance + ABOVE_CHANCE):
        said = "does not read which person is right"
        said += f" (named accuracy {named:.0%}, chance {chance:.0%})"
        yield Suspicion("illiterate", said, bound, _of(measures.NAMED_ACCURACY), False)


def _changes(summary: Summary, original: Summary) -> Iterator[Suspicion]:
    """Faults of an edit, compared with the original."""
    now, before = summary.perplexity, original.perplexity
    if (
        now is not None
        and before is not None
        and PERPLEXITY_RATIO * before < now < math.inf
        and not guesses(before)
    ):
        said = f"perplexity on neutral text rose from {before:.3g} to {now:.3g}"
        yield Suspicion("perplexity", said, PERPLEXITY_RATIO, _ratio, unit="", of=" of the ratio")
    now, before = summary.discrimination, original.discrimination
    if now is not None and before is not None and before - now > DROP:
        said = "tells ambiguous from disambiguated rows less well than before: AUROC "
        said += f"{before:.2f} to {now:.2f}"
        yield Suspicion("blinder", said, 0.0, _fall(measures.DISCRIMINATION), False, "", _CHANGE)
    now, before = summary.named_accuracy, original.named_accuracy
    if now is not None and before is not None and before - now > DROP:
        said = "reads which person is right less well than before: named accuracy "
        said += f"{before:.0%} to {now:.0%}"
        fall = _fall(measures.NAMED_ACCURACY)
        yield Suspicion("reads worse", said, 0.0, fall, False, " points", _CHANGE)
    # An edit that raised ambiguous accuracy no further than an offset would have.
    curve, before = original.offset_curve, original.accuracy.ambiguous
    now, reads = summary.accuracy.ambiguous, summary.accuracy.disambiguated
    if curve is not None and now is not None and before is not None and reads is not None:
        over = gain_over_offset((now, reads), curve)
        if now > before + ABOVE_CHANCE and over < ABOVE_CHANCE:
            said = (
                f"{SHIFT}: it gets {reads:.0%} of answerable rows right, and just adding a "
                f"constant to 'unknown' gets {reads - over:.0%} at the same ambiguous accuracy"
            )
            of = " of the difference"
            yield Suspicion("shift", said, ABOVE_CHANCE, _gain, False, " points", of)


def _chosen(position: int) -> Mean:
    return Mean(lambda rows: (rows.chosen == position, np.ones(len(rows), dtype=bool)))


def _moved(kind: Literal["text", "chat"]) -> Callable[[Trial, Trial], Interval | None]:
    """How far the predictions of neutral text, or of the original's own answers, moved."""

    def interval(now: Trial, before: Trial) -> Interval | None:
        shift = now.text if kind == "text" else now.chat
        return shift and kl_interval(shift)

    return interval


def _of(metric: measures.Metric) -> Callable[[Trial, Trial], Interval | None]:
    return lambda now, before: stats.interval(metric, [now.rows])


def _fall(metric: measures.Metric) -> Callable[[Trial, Trial], Interval | None]:
    return lambda now, before: stats.interval(metric, [now.rows], [before.rows])


def _gain(now: Trial, before: Trial) -> Interval | None:
    return gain_interval([now.rows], before.rows)


def _ratio(now: Trial, before: Trial) -> Interval | None:
    return perplexity_ratio(now.text, before.text) if now.text and before.text else None
