"""Scores of the lm-evaluation-harness before and after each edit, and their table."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from snipbias.base.files import write_json
from snipbias.base.table import WIDTH, Grid, markdown, number, plain_text
from snipbias.base.words import ORIGINAL
from snipbias.evaluation.interval import Answer, Interval, in_words, not_raised, not_worse, would_do
from snipbias.evaluation.retained import MARGIN

FILE = "lm_eval.json"


@dataclass(frozen=True)
class HarnessScore:
    """One metric of one task under one method.

    Attributes:
        metric: as the harness names it, with the filter where there is one ("exact_match,strict").
        value, stderr: on the metric's own scale; stderr is None where the harness gives none.
        n: samples.
        higher_is_better: None where the harness does not say.
        is_share: whether every sample's value lies in [0, 1], so that points have a meaning.
        change: the mean difference to the original, paired by sample; None for the original, and
            for a metric that is no mean over samples.
    """

    task: str
    metric: str
    method: str
    value: float
    stderr: float | None
    n: int
    higher_is_better: bool | None
    is_share: bool
    change: Interval | None = None

    def loss_within(self, margin: float) -> bool | None:
        """Whether the interval rules out a loss of more than the margin; None where unknown."""
        if self.change is None or not self.is_share or self.higher_is_better is None:
            return None
        return self._answer(margin) == "yes"

    def _answer(self, margin: float) -> Answer:
        return (not_worse if self.higher_is_better else not_raised)(self.change, margin)

    @property
    def shown_change(self) -> str:
        """The change in points, or on the metric's own scale; empty where there is none."""
        if self.change is None:
            return ""
        sure = self.change.guarded
        return f"{sure.points} points" if self.is_share else str(sure)

    def sentence(self, margin: float) -> str:
        """Whether a loss of more than the margin is ruled out, in words; empty for the original."""
        if self.method == ORIGINAL:
            return ""
        what, kept = f"{self.method}, {self.task} {self.metric}", self.loss_within(margin)
        if kept is None:
            shown = self.shown_change or "no interval can be given"
            return f"{what}: no margin in points applies: {shown}"
        worse = f"worse by more than {100 * margin:.1f} points"
        enough = would_do(self.change, -margin if self.higher_is_better else margin)
        return f"{what}: {in_words(worse, self._answer(margin), self.shown_change, enough)}"


@dataclass(frozen=True)
class HarnessScores:
    """Every metric of every task, the original first; printing it shows the table.

    Attributes:
        versions: version of the harness, and of each task.
    """

    scores: tuple[HarnessScore, ...]
    versions: Mapping[str, str]

    def sentences(self, margin: float = MARGIN) -> list[str]:
        """For each edit and metric, whether it is worse by more than the margin (0.02: 2 points).

        Never just "not significant": an interval that reaches beyond the margin says so.
        """
        return [said for score in self.scores if (said := score.sentence(margin))]

    def save(self, folder: Path, margin: float) -> None:
        """Write the scores as lm_eval.json, and append their table to tables.md."""
        write_json(self.to_dict(margin), folder / FILE)
        with open(folder / "tables.md", "a", encoding="utf-8") as file:
            parts = [harness_grid(self), *self.sentences(margin)]
            file.write(f"\n{markdown(parts)}\n")

    @classmethod
    def load(cls, folder: Path) -> HarnessScores | None:
        """Read what `save` wrote; None if there is none."""
        if not (folder / FILE).is_file():
            return None
        found = json.loads((folder / FILE).read_text(encoding="utf-8"))
        names = [field.name for field in fields(HarnessScore)]
        scores = [{name: score[name] for name in names} for score in found["scores"]]
        for score in scores:
            score["change"] = score["change"] and Interval.from_dict(score["change"])
        return cls(tuple(HarnessScore(**score) for score in scores), found["versions"])

    def to_dict(self, margin: float = MARGIN) -> dict[str, Any]:
        """Plain values for JSON."""
        scores = [{**asdict(s), "loss_within_margin": s.loss_within(margin)} for s in self.scores]
        return {
            "versions": dict(self.versions),
            "margin": margin,
            "scores": scores,
            "sentences": self.sentences(margin),
        }

    def __str__(self) -> str:
        return plain_text(harness_renderable(self, MARGIN), WIDTH)


def harness_grid(results: HarnessScores) -> Grid:
    """Scores of the lm-evaluation-harness, before and after each edit."""
    header = ("method", "task", "metric", "value", "± stderr", "samples", "change [95 %]")
    rows = (
        (
            *(each.method, each.task, each.metric),
            *(number(each.value, digits=4), number(each.stderr, digits=2)),
            *(str(each.n), each.shown_change),
        )
        for each in results.scores
    )
    return Grid("lm-evaluation-harness", header, tuple(rows))


def harness_renderable(results: HarnessScores, margin: float) -> RenderableType:
    """The grid, and what it says about a loss of more than the margin."""
    return Group(harness_grid(results).rich(), *map(Text, results.sentences(margin)))
