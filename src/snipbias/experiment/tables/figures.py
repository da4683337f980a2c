"""Outcomes of an experiment as figures: one record a method and task, intervals included.

A figure of a method is the mean over its trials (and, of a random control, over its draws) of the
figure of one trial. Accuracies are shares here; the tables make percent of them. What is undefined
is None.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import groupby
from statistics import mean, median, stdev

import numpy as np

from snipbias.base.words import ORIGINAL
from snipbias.evaluation import measures, metrics, stats
from snipbias.evaluation.apart import Apart, apart
from snipbias.evaluation.estimate import NOTHING, Estimate, difference, estimate, mean_of
from snipbias.evaluation.evaluate import rows_of
from snipbias.evaluation.measures import Metric
from snipbias.evaluation.metrics import ByCondition
from snipbias.evaluation.neutral_text import Passage, TextShift, perplexity_ratio
from snipbias.evaluation.rows import Rows
from snipbias.experiment.outcome import Experiment, Outcome, methods_of, outcomes_of
from snipbias.tasks.unanswerable import UNANSWERABLE

# What is compared with the original's, in the order of the tables.
COMPARED: dict[str, Metric] = {
    "stereotyped": measures.NAMED_STEREOTYPED,
    "overall": measures.ACCURACY,
    "plain": measures.PLAIN_ACCURACY,
    "ambiguous": measures.AMBIGUOUS_ACCURACY,
    "filler": measures.FILLER_ACCURACY,
    "mismatch": measures.MISMATCH_ACCURACY,
    "disambiguated": measures.DISAMBIGUATED_ACCURACY,
    "discrimination": measures.DISCRIMINATION,
    "discrimination filler": measures.Discrimination("filler"),
    "discrimination mismatch": measures.Discrimination("mismatch"),
}
GOLD: dict[str, Metric] = {
    "overall": measures.GOLD_PROBABILITY,
    "ambiguous": measures.AMBIGUOUS_GOLD_PROBABILITY,
    "disambiguated": measures.DISAMBIGUATED_GOLD_PROBABILITY,
}


@dataclass(frozen=True, eq=False)
class Figures:
    """The figures of one method on one task.

    Attributes:
        trials: draws of the items that it was found on; 1 where it depends on no such draw.
        draws: draws of a random control in each trial.
        sizes: neurons pruned in each trial (and draw); empty for a method that prunes none.
        values: how often the stereotyped person is named; accuracy over all rows, over the data's
            own (plain: the paper's) and by condition; discrimination.
        std_trials: standard deviation (n - 1) of accuracy over trials.
        std_draws: the same over the draws of a random control, root mean square over trials.
        std_instructions: the same over instructions, mean over trials (averaging the trials'
            accuracies first would make any method with several trials look steadier).
        apart: how each kind of unanswerable rows is told from the answerable ones.
        dev: accuracy on the development part at the chosen settings.
        differences: of `values` to the original's, on the same rows.
        p_sign_flip: of the difference in overall accuracy, whole templates flipped.
        p_mcnemar: of the same, rows taken as independent; median over trials.
        p_holm: `p_sign_flip` adjusted over all tasks and methods.
        gold: probability of the gold option, renormalised over the row's options (Table 2).
        gold_raw: the same without renormalising.
        text: on neutral text, the mean over trials of each passage's sums: its perplexity is the
            geometric mean of theirs.
        perplexity_ratio: perplexity divided by the original's.
        retention: difference to the original's accuracy on each task that must not get worse.
    """

    task: str
    method: str
    trials: int
    draws: int
    sizes: tuple[int, ...]
    rows: int
    templates: int
    values: Mapping[str, Estimate]
    std_trials: float | None
    std_draws: float | None
    std_instructions: float | None
    unknown_rate: float | None
    named_accuracy: float | None
    gold: Mapping[str, Estimate]
    gold_raw: Mapping[str, float | None]
    apart: Mapping[str, Apart]
    dev: float | None
    differences: Mapping[str, Estimate]
    p_sign_flip: float | None
    p_mcnemar: float | None
    text: TextShift | None
    perplexity_ratio: Estimate
    retention: Mapping[str, Estimate]
    p_holm: float | None = None

    @property
    def gain(self) -> Estimate:
        """Disambiguated accuracy above what an offset reaches, by plain rows."""
        return self.apart["ambiguous"].gain if "ambiguous" in self.apart else NOTHING


All = Mapping[tuple[str, str], Figures]  # by (task, method)


@dataclass(frozen=True, eq=False)
class Runs:
    """The outcomes of one method on one task, with their rows as arrays."""

    outcomes: tuple[Outcome, ...]

    @cached_property
    def test(self) -> list[Rows]:
        """Rows on the test part, one a trial and draw."""
        return [rows_of(outcome.test) for outcome in self.outcomes]

    @cached_property
    def right(self) -> np.ndarray:
        """Which of the data's own rows were answered right: one line a trial and draw."""
        return np.array([rows.chosen == rows.gold for rows in self.test])[:, self.own]

    @property
    def own(self) -> np.ndarray:
        """Which rows are the data's own."""
        return ~np.isin(self.test[0].condition, UNANSWERABLE[1:])

    def kept(self, task: str) -> list[Rows]:
        """Rows on a retention task, one a trial and draw that was asked it."""
        return [rows_of(o.retention[task]) for o in self.outcomes if task in o.retention]


def figures(experiment: Experiment) -> dict[tuple[str, str], Figures]:
    """Every method's figures on every task, by (task, method)."""
    found: dict[tuple[str, str], Figures] = {}
    for task in experiment.tasks:
        original: Runs | None = None
        for method in methods_of(experiment):
            runs = Runs(outcomes_of(experiment, task.name, method))
            if not runs.outcomes:
                continue
            if method == ORIGINAL:
                original = runs
            found[task.name, method] = _figures(task.name, method, runs, original)
    adjusted = stats.holm([each.p_sign_flip for each in found.values()])
    return {
        key: replace(each, p_holm=p) for (key, each), p in zip(found.items(), adjusted, strict=True)
    }


def _figures(task: str, method: str, runs: Runs, original: Runs | None) -> Figures:
    rows, outcomes = runs.test, runs.outcomes
    compared = original is not None and method != ORIGINAL
    by_trial = [
        [measures.ACCURACY(rows) or 0.0 for _, rows in group]
        for _, group in groupby(zip(outcomes, rows, strict=True), key=lambda each: each[0].trial)
    ]
    text, before = _text(outcomes), _text(original.outcomes) if original is not None else None
    return Figures(
        task=task,
        method=method,
        trials=len(by_trial),
        draws=max(map(len, by_trial)),
        sizes=_sizes(outcomes),
        rows=int(runs.own.sum()),
        templates=len(np.unique(rows[0].template)),
        values={name: estimate(metric, rows) for name, metric in COMPARED.items()},
        std_trials=_std([mean(draws) for draws in by_trial]),
        std_draws=_root_mean_square([_std(draws) for draws in by_trial]),
        std_instructions=mean_of(
            stats.spread_over_instructions(measures.PLAIN_ACCURACY, [each]) for each in rows
        ),
        unknown_rate=mean_of(metrics.unknown_rate(each).overall for each in rows),
        named_accuracy=mean_of(metrics.named_accuracy(each) for each in rows),
        gold={name: estimate(metric, rows) for name, metric in GOLD.items()},
        gold_raw=_gold_raw(rows),
        apart=apart(rows, original.test[0] if original and compared else None),
        dev=mean_of(
            metrics.accuracy(rows_of(each.dev)).overall if each.dev is not None else None
            for each in outcomes
        ),
        differences={
            name: difference(metric, rows, original.test)
            for name, metric in COMPARED.items()
            if original is not None and compared
        },
        p_sign_flip=(
            stats.sign_flip_of(measures.ACCURACY, rows, original.test)
            if original is not None and compared
            else None
        ),
        p_mcnemar=_p_mcnemar(runs, original) if original is not None and compared else None,
        text=text,
        perplexity_ratio=_ratio(text, before) if compared else NOTHING,
        retention={
            name: difference(measures.ACCURACY, runs.kept(name), original.kept(name))
            for name in outcomes[0].retention
            if original is not None and compared
        },
    )


def _sizes(outcomes: Sequence[Outcome]) -> tuple[int, ...]:
    """Neurons pruned; where no edit was best they are 0, but for methods that prune none at all."""
    prunes = any(
        each.edit is not None or any("n" in point.setting for point in each.curve)
        for each in outcomes
    )
    return tuple(map(_size, outcomes)) if prunes else ()


def _size(outcome: Outcome) -> int:
    """Neurons held at their mean are no edit, but as many as were chosen."""
    return len(outcome.edit) if outcome.edit else int(outcome.chosen.get("n", 0))


def _p_mcnemar(runs: Runs, original: Runs) -> float:
    return median(stats.mcnemar(right, original.right[0]) for right in runs.right)


def _gold_raw(runs: Sequence[Rows]) -> dict[str, float | None]:
    """P(gold) itself by condition; None where the scores are no probabilities."""
    percent = [metrics.gold_percent_raw(rows) or ByCondition(None, None, None) for rows in runs]
    return {
        name: None if None in values else mean(values) / 100  # type: ignore[arg-type]
        for name in ("overall", "ambiguous", "disambiguated")
        if (values := [getattr(each, name) for each in percent])
    }


def _std(values: Sequence[float]) -> float | None:
    return stdev(values) if len(values) > 1 else None


def _root_mean_square(values: Sequence[float | None]) -> float | None:
    square = mean_of(value if value is None else value**2 for value in values)
    return None if square is None else math.sqrt(square)


def _text(outcomes: Sequence[Outcome]) -> TextShift | None:
    shifts = [each.text for each in outcomes if each.text is not None]
    if not shifts:
        return None
    passages = [
        Passage(same[0].tokens, mean(p.nll for p in same), mean(p.kl for p in same))
        for same in zip(*(map(_passage, shift.passages) for shift in shifts), strict=True)
    ]
    return TextShift.of(passages)


def _passage(sums: Sequence[float]) -> Passage:
    """A passage's sums, as they are or as JSON keeps them."""
    tokens, nll, kl = sums
    return Passage(int(tokens), nll, kl)


def _ratio(text: TextShift | None, original: TextShift | None) -> Estimate:
    if text is None or original is None:
        return NOTHING
    return Estimate(text.perplexity / original.perplexity, perplexity_ratio(text, original))
