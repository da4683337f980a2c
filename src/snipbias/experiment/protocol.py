"""The paper's protocol: several draws of a few items, an edit from each; figures are their mean."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from statistics import mean, stdev
from typing import Any

from snipbias.base.table import Grid, number, percent
from snipbias.base.words import ALWAYS_UNKNOWN, BEST_OFFSET, ORIGINAL, SHIFT, held_out, plural
from snipbias.edits.edit import NeuronEdit
from snipbias.evaluation.compare import Comparison, compare
from snipbias.evaluation.evaluate import evaluate
from snipbias.evaluation.metrics import accuracy
from snipbias.evaluation.summary import ABOVE_CHANCE, Summary
from snipbias.experiment import choose
from snipbias.experiment.outcome import Point
from snipbias.method.attribute import attribute
from snipbias.method.equations import Method
from snipbias.method.scores import Scores
from snipbias.models.batching import Progress
from snipbias.models.language_model import LanguageModel
from snipbias.tasks.items import Task

_SPOKEN = {
    "acc.": "accuracy",
    "amb.": "ambiguous",
    "dis.": "disambiguated",
    "AUROC": "discrimination (AUROC)",
}


@dataclass(frozen=True)
class Protocol:
    """Settings of section 4.1 of the paper, plus the split and the choice of n it does not name.

    Attributes:
        samples: items drawn for one trial.
        trials: draws, with seeds 0, 1, ...; the mean and standard deviation are over them.
        sizes: numbers of neurons to choose from on the development templates.
        items: at most so many items in each of the development and test parts.
    """

    method: Method = field(default_factory=Method.v1)
    samples: int = 10
    trials: int = 3
    sizes: tuple[int, ...] = (3, 10, 30, 100)
    items: int | None = None


@dataclass(frozen=True)
class Trials:
    """One comparison and one edit a trial, all on the same held-out rows."""

    task: Task
    protocol: Protocol
    comparisons: tuple[Comparison, ...]
    edits: tuple[NeuronEdit, ...] = ()

    def methods(self) -> dict[str, list[tuple[Comparison, str]]]:
        """Where to find each method in each trial: the original, the edit, both controls."""
        names = (ORIGINAL, self.protocol.method.name, "random neurons", "random, same layers")
        found: dict[str, list[tuple[Comparison, str]]] = {name: [] for name in names}
        for comparison in self.comparisons:
            for name, method in zip(names, comparison.summaries, strict=True):
                found[name].append((comparison, method))
        return found

    def grid(self) -> Grid:
        """The table: means over trials, with the standard deviation of accuracy."""
        rows = self.comparisons[0].task
        measured = held_out(len(rows), len(rows.templates), len(self.task.instructions))
        return Grid(
            f"{self.task.name}: {measured}, {plural(len(self.comparisons), 'trial')}",
            (
                "method",
                "n",
                "acc.",
                "±",
                "amb.",
                "dis.",
                "named",
                "AUROC",
                "offset",
                "KL",
                *(task.removeprefix("mini:") for task in self.comparisons[0].evaluation.retention),
            ),
            tuple(self._rows()),
            (self.protocol.method.name,),
        )

    def verdicts(self) -> list[str]:
        """What is wrong with a method's model, in any trial; the table shows what is a shift."""
        lines = []
        for name, places in self.methods().items():
            for trial, (comparison, method) in enumerate(places):
                said = [a for a in comparison.alarms(method) if not a.startswith(SHIFT)]
                if said and (name != ORIGINAL or trial == 0):
                    where = "" if name == ORIGINAL else f", trial {trial}"
                    lines.append(f"! {name}{where}: {'; '.join(said)}")
        return lines

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        grid = self.grid()
        return {
            "task": self.task.name,
            "trials": [comparison.to_dict() for comparison in self.comparisons],
            "table": [dict(zip(grid.header, row, strict=True)) for row in grid.rows],
            "verdicts": self.verdicts(),
        }

    def in_words(self) -> str:
        """How well or badly it went, in one paragraph."""
        grid = self.grid()
        cells = {row[0]: dict(zip(grid.header, row, strict=True)) for row in grid.rows}
        before, after = cells[ORIGINAL], cells[self.protocol.method.name]
        retention = self.comparisons[0].evaluation.retention
        kept = {task.removeprefix("mini:"): f"retention ({task})" for task in retention}
        changes = ", ".join(
            f"{name} {before[column]} -> {after[column]}"
            for column, name in (_SPOKEN | kept).items()
            if "-" not in (before[column], after[column])
        )
        control = cells["random neurons"]["acc."]
        return (
            f"Pruning {after['n']} neurons: {changes}; as many random neurons: accuracy "
            f"{control}. {self._offset_in_words()}"
        )

    def _offset_in_words(self) -> str:
        edits = self.methods()[self.protocol.method.name]
        gain = _mean_of([comparison.gain_over_offset(method) for comparison, method in edits])
        if gain is None:
            return "The offset control is not defined here."
        constant = "Adding a constant to the score of 'unknown', no neuron touched,"
        if abs(gain) < ABOVE_CHANCE:
            return f"{constant} would have done about as well: this is a shift and not a gain."
        points = f"{abs(100 * gain):.1f} points of disambiguated accuracy"
        if gain < 0:
            return f"{constant} would have done better by {points}."
        return f"{constant} would have fallen short by {points}."

    def _rows(self) -> Iterator[tuple[str, ...]]:
        for name, places in self.methods().items():
            summaries = [comparison.summaries[method] for comparison, method in places]
            accuracies = [s.accuracy.overall or 0.0 for s in summaries]
            sizes = sorted({comparison.neurons[method] for comparison, method in places})
            gains = [comparison.gain_over_offset(method) for comparison, method in places]
            yield (
                name,
                "/".join(map(str, sizes)),
                percent(mean(accuracies)),
                percent(stdev(accuracies)) if name != ORIGINAL and len(accuracies) > 1 else "",
                percent(_mean(summaries, lambda s: s.accuracy.ambiguous)),
                percent(_mean(summaries, lambda s: s.accuracy.disambiguated)),
                percent(_mean(summaries, lambda s: s.named_accuracy)),
                number(_mean(summaries, lambda s: s.discrimination)),
                percent(_mean_of(gains), sign=True) if name != ORIGINAL else "",
                number(_mean(summaries, lambda s: s.kl_per_token)),
                *(
                    percent(
                        _mean(
                            [c.evaluation.retention[task].summaries[m] for c, m in places],
                            lambda s: s.accuracy.overall,
                        )
                    )
                    for task in places[0][0].evaluation.retention
                ),
            )
        original = self.comparisons[0].original
        blank = ("",) * (3 + len(self.comparisons[0].evaluation.retention))
        floor = original.unknown_floor
        shares = map(percent, (floor.ambiguous, floor.disambiguated))
        yield (ALWAYS_UNKNOWN, "", percent(floor.overall), "", *shares, "", *blank)
        if (best := original.offset_best) is not None:
            shares = map(percent, (best.ambiguous, best.disambiguated))
            yield (BEST_OFFSET, "", percent(best.overall), "", *shares, "", *blank)


def run_trials(
    lm: LanguageModel,
    task: Task,
    protocol: Protocol,
    *,
    texts: Sequence[str] = (),
    retention: Sequence[Task] = (),
    progress: Progress = lambda done: None,
) -> Trials:
    """Find, choose n on dev and compare on test, once for each trial."""
    comparisons, edits = [], []
    for seed in range(protocol.trials):
        drawn = task.sample(protocol.samples, seed)
        scores = attribute(lm, drawn, protocol.method, progress=progress)
        dev = task.dev.subsample(protocol.items)
        n = _best_size(lm, scores, dev, protocol.sizes, progress)
        edits.append(scores.top(n))
        comparisons.append(
            compare(
                lm,
                task,
                edits[-1],
                items=protocol.items,
                seed=seed,
                texts=texts,
                retention=retention,
                progress=progress,
            )
        )
    return Trials(task, protocol, tuple(comparisons), tuple(edits))


def _best_size(
    lm: LanguageModel, scores: Scores, dev: Task, sizes: Sequence[int], progress: Progress
) -> int:
    """The number of neurons with the best overall accuracy on the development part."""

    def measure(n: int) -> Point:
        with scores.top(n).applied(lm):
            rows = evaluate(lm, dev, progress=progress).rows()
        return choose.point({"n": n}, accuracy(rows), choose.overall)

    best = choose.best(choose.search_sizes(sizes, 0, measure))
    assert best is not None  # overall accuracy forbids nothing
    return int(best.setting["n"])


def count_trials(
    task: Task, protocol: Protocol, texts: Sequence[str], retention: Sequence[Task]
) -> int:
    """What the `progress` calls of `run_trials` will add up to."""
    find = protocol.samples * len(task.instructions)
    dev = len(task.dev.subsample(protocol.items)) * len(task.instructions)
    test = len(task.test.subsample(protocol.items)) * len(task.instructions)
    kept = sum(len(other) * len(other.instructions) for other in retention)
    methods = 4
    one = find + dev * len(protocol.sizes) + (test + kept + len(texts)) * methods
    return one * protocol.trials


def _mean(summaries: Sequence[Summary], figure: Callable[[Summary], float | None]) -> float | None:
    return _mean_of([figure(summary) for summary in summaries])


def _mean_of(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return mean(known) if len(known) == len(values) else None
