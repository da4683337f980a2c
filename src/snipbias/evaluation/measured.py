"""One method on one task: its answers in every trial, and every figure that is made of them.

A figure of a method is the mean over its trials (and, for a random control, over its draws) of the
figure of one trial. Accuracies are shares; what is undefined is None. Each figure is computed when
it is first asked for. A comparison has one trial of every method, an experiment several.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property, partial
from itertools import groupby
from statistics import mean, median
from typing import Any, TypeVar

from snipbias.base.words import ORIGINAL
from snipbias.evaluation import measures, stats
from snipbias.evaluation.apart import Apart, apart
from snipbias.evaluation.estimate import NOTHING, Estimate, estimate, mean_of
from snipbias.evaluation.measures import ELSEWHERE, FIGURES, OWN, PARTS, Mean
from snipbias.evaluation.neutral_text import Passage, TextShift, perplexity_ratio
from snipbias.evaluation.rows import Rows
from snipbias.evaluation.summary import Summary, Trial
from snipbias.evaluation.verdicts import Verdict, verdicts

T = TypeVar("T")


def _remembered(function: Callable[[Any, str], T]) -> cached_property[Callable[[str], T]]:
    """A method whose results are kept with its object."""
    return cached_property(lambda self: cache(partial(function, self)))


@dataclass(frozen=True, eq=False)
class Measured:
    """The figures of one method on one task.

    Attributes:
        trials: its answers, by trial and draw.
        before: the original's figures; None for the original itself, or where it is not there.
    """

    task: str
    method: str
    trials: tuple[Trial, ...]
    before: Measured | None = None

    @cached_property
    def rows(self) -> list[Rows]:
        """Rows of each trial and draw."""
        return [each.rows for each in self.trials]

    @property
    def summary(self) -> Summary:
        """Every figure of the first trial."""
        return self.trials[0].summary

    @property
    def parts(self) -> tuple[str, ...]:
        """The names of `PARTS` that these rows have."""
        rows = (self.before or self).rows[0]
        return tuple(
            name
            for name, metric in PARTS.items()
            if metric(rows) is not None and (rows.told or name != "stereotyped overall")
        )

    @_remembered
    def value(self, name: str) -> Estimate:
        """A figure of `FIGURES`."""
        return estimate(FIGURES[name].metric, self.rows)

    @_remembered
    def change(self, name: str) -> Estimate:
        """Its difference from the original's, on the same rows."""
        if self.before is None:
            return NOTHING
        return estimate(FIGURES[name].metric, self.rows, self.before.rows)

    @_remembered
    def sign_flip(self, name: str) -> float | None:
        """P-value of a share's change, whole templates exchanged."""
        if self.before is None:
            return None
        return stats.sign_flip_of(PARTS[name], self.rows, self.before.rows)

    def mcnemar(self, metric: Mean = measures.PLAIN_ACCURACY) -> float | None:
        """P-value that treats rows as independent, and so is too small; median over trials."""
        if self.before is None:
            return None
        before, weight = metric.values(self.before.rows[0])
        there = weight > 0
        right = (metric.values(rows)[0][there] for rows in self.rows)
        return median(stats.mcnemar(each, before[there]) for each in right)

    @cached_property
    def apart(self) -> Mapping[str, Apart]:
        """By kind: how unanswerable rows are told from answerable ones."""
        return apart(self.rows, self.before.rows[0] if self.before else None)

    @property
    def gain(self) -> Estimate:
        """Disambiguated accuracy above what an offset reaches, by plain rows."""
        return self.apart["ambiguous"].gain if "ambiguous" in self.apart else NOTHING

    @cached_property
    def by_trial(self) -> dict[int | None, tuple[Verdict, ...]]:
        """Faults of the model, shown or suspected, by trial."""
        before = self.before and self.before.trials[0]
        found: dict[int | None, tuple[Verdict, ...]] = {}
        for each in self.trials:
            said = verdicts(each.summary, before and before.summary, (each, before or each))
            found[each.trial] = found.get(each.trial, ()) + said
        return found

    @cached_property
    def verdicts(self) -> tuple[Verdict, ...]:
        """The same of all trials."""
        return tuple(verdict for said in self.by_trial.values() for verdict in said)

    @cached_property
    def _accuracies(self) -> list[list[float]]:
        """Accuracy of every draw, by trial."""
        return [
            [measures.ACCURACY(each.rows) or 0.0 for each in draws]
            for _, draws in groupby(self.trials, key=lambda each: each.trial)
        ]

    @property
    def number(self) -> int:
        """Draws of the items that it was found on; 1 where it depends on no such draw."""
        return len(self._accuracies)

    @property
    def draws(self) -> int:
        """Draws of a random control in each trial."""
        return max(map(len, self._accuracies))

    @property
    def sizes(self) -> tuple[int, ...]:
        """Neurons scaled in each trial and draw; empty for a method that scales none."""
        return tuple(each.size for each in self.trials if each.size is not None)

    @property
    def pruned(self) -> str:
        """The same in words: "10", or "10/30" where trials differ."""
        return "/".join(f"{size:,}" for size in sorted(set(self.sizes))) or "0"

    @property
    def std_trials(self) -> float | None:
        """Standard deviation (n - 1) of accuracy over trials."""
        return stats.spread(list(map(mean, self._accuracies)))

    @property
    def std_draws(self) -> float | None:
        """The same over the draws of a random control, root mean square over trials."""
        stds = map(stats.spread, self._accuracies)
        square = mean_of(None if value is None else value**2 for value in stds)
        return None if square is None else math.sqrt(square)

    @cached_property
    def std_instructions(self) -> float | None:
        """The same over instructions, mean over trials (the mean of trials would look steadier)."""
        plain = measures.PLAIN_ACCURACY
        return mean_of(stats.spread_over_instructions(plain, rows) for rows in self.rows)

    @property
    def dev(self) -> float | None:
        """Accuracy on the development part at the chosen settings."""
        return mean_of(measures.ACCURACY(each.dev) if each.dev else None for each in self.trials)

    def gold_raw(self, part: str | None = None) -> float | None:
        """P(gold) itself, of all rows or a condition; None where scores are no probabilities."""
        raw = measures.RAW_GOLD.of(part) if part else measures.RAW_GOLD
        return mean_of(raw(rows) if rows.probabilities else None for rows in self.rows)

    @cached_property
    def text(self) -> TextShift | None:
        """On neutral text; the perplexity is the geometric mean of the trials'."""
        shifts = [each.text for each in self.trials if each.text is not None]
        if len(shifts) < 2:
            return shifts[0] if shifts else None
        same = zip(*(shift.passages for shift in shifts), strict=True)
        return TextShift.of(
            [Passage(p[0].tokens, mean(q.nll for q in p), mean(q.kl for q in p)) for p in same]
        )

    @cached_property
    def perplexity_ratio(self) -> Estimate:
        """Perplexity divided by the original's."""
        before = self.before and self.before.text
        if self.text is None or before is None:
            return NOTHING
        ratio = self.text.perplexity / before.perplexity
        return Estimate(ratio, perplexity_ratio(self.text, before))

    @cached_property
    def retention(self) -> dict[str, Estimate]:
        """Difference to the original's accuracy on each task that must not get worse."""
        if self.before is None:
            return {}
        return {
            task: estimate(measures.ACCURACY, self.kept(task), self.before.kept(task))
            for task in self.trials[0].retention
        }

    def kept(self, task: str) -> list[Rows]:
        """Rows on a retention task, of each trial that was asked it."""
        return [each.retention[task] for each in self.trials if task in each.retention]

    @cached_property
    def elsewhere(self) -> dict[str, Estimate]:
        """The figures on the small extra tasks and what goes with them; empty without these."""
        parts = self.trials[0].elsewhere
        if not parts:
            return {}
        runs = {part: [each.elsewhere[part] for each in self.trials] for part in parts}
        runs[OWN] = self.rows
        there = {name: figure for name, figure in ELSEWHERE.items() if figure[0] in runs}
        found = {name: estimate(metric, runs[part]) for name, (part, metric) in there.items()}
        return {name: figure for name, figure in found.items() if figure.value is not None}

    def changes(self) -> dict[str, dict[str, Any]]:
        """The shares and their changes, for JSON."""
        return {
            name: {
                "value": self.value(name).value,
                "accuracy": self.value(name).interval,
                "difference": self.change(name).interval,
                "sign_flip": self.sign_flip(name),
                "mcnemar": self.mcnemar(PARTS[name]),
            }
            for name in self.parts
        }


def measured(task: str, methods: Mapping[str, Sequence[Trial]]) -> dict[str, Measured]:
    """The figures of every method on one task, the original's trial being the first."""
    found = {name: Measured(task, name, tuple(trials)) for name, trials in methods.items()}
    before = found.get(ORIGINAL)
    for name in found.keys() - {ORIGINAL}:
        found[name] = replace(found[name], before=before)
    return found
