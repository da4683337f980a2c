"""Records of what a report shows, before it becomes HTML."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from snipbias.base.plot import Plot
from snipbias.base.record import RunRecord
from snipbias.base.table import Grid, percent
from snipbias.base.words import SHIFT
from snipbias.evaluation import stats
from snipbias.evaluation.apart import gained
from snipbias.evaluation.interval import Interval, above, would_do
from snipbias.evaluation.measured import Measured
from snipbias.evaluation.verdicts import Verdict, alarms, doubts

Tone = Literal["good", "even", "bad"]
GAIN: tuple[Tone, str] = ("good", "A gain")


@dataclass(frozen=True)
class Finding:
    """The effect of one edit on one task, as the first screen says it.

    Attributes:
        found: its figures; in an experiment, those of the method in all its trials.
        rivals: what to hold the accuracy against, by name: controls and floors.
        kept: on what must not get worse: (shown to be kept, what, sentence).
        said: sentences on the stereotype, where that is known, and on a gain by all kinds of rows.
    """

    found: Measured
    rivals: Sequence[tuple[str, float | None]]
    kept: Sequence[tuple[bool, str, str]] = ()
    said: Sequence[str] = ()

    @property
    def alarms(self) -> list[str]:
        """What is wrong with the edited model, in words, that was not before."""
        return self._by_trial(alarms)

    @property
    def doubts(self) -> list[str]:
        """What may be wrong, where the rows are too few to judge."""
        return self._by_trial(doubts)

    def _by_trial(self, kind: Callable[[Iterable[Verdict]], Iterable[Verdict]]) -> list[str]:
        return [
            str(verdict) if trial is None else f"trial {trial}: {verdict}"
            for trial, verdicts in self.found.by_trial.items()
            for verdict in kind(verdicts)
            if verdict.kind != "shift"
        ]

    @property
    def _change(self) -> Interval | None:
        return self.found.change("overall").interval

    @property
    def _unsettled(self) -> str:
        return stats.unsettled(self._change, self.found.sign_flip("overall"))

    @property
    def _shifted(self) -> bool:
        """Whether the verdict is that a constant on "unknown" would have served too."""
        return any(verdict.kind == "shift" for verdict in alarms(self.found.verdicts))

    @property
    def tag(self) -> tuple[Tone, str]:
        """The finding in two or three words, and how to look at it."""
        change, gain = self._change, self.found.gain.interval
        if self.alarms:
            return "bad", "Something broke"
        if change is None or self._unsettled:
            return "even", "Not settled"
        if change.high < 0:
            return "bad", "Less accurate"
        if change.low <= 0:
            return "even", "No change shown"
        if gain is None:
            return "good", "More accurate"
        if self._shifted or gained(self.found.apart) == "no":
            return "even", "A shift, not a gain"
        if above(gain, 0.0) == gained(self.found.apart) == "yes":
            return GAIN
        return "even", "Perhaps a shift"

    @property
    def answers(self) -> dict[str, str]:
        """Answers to an auditor's questions."""
        said = [f"{each[0].upper()}{each[1:].rstrip('.')}." for each in self.said]
        first = int(self.found.change("stereotyped").interval is not None)
        answers = {
            "Did it help?": (*said[:first], self._what_happened(), self._against()),
            "A gain, or only a shift?": (*said[first:], self._offset()),
        }
        return {question: " ".join(filter(None, each)) for question, each in answers.items()}

    def _what_happened(self) -> str:
        assert self.found.before is not None
        runs = (self.found.before, self.found)
        before, after = (percent(each.value("overall").value) for each in runs)
        moved = f"left accuracy at {after} %"
        if before != after:
            moved = f"moved accuracy from {before} to {after} %"
        said, unsettled = f"Changing {self.found.pruned} neurons {moved}", self._unsettled
        if (known := self._change) is None:
            return f"{said}; {unsettled}."
        figures = (known.estimate, known.low, known.high)
        change, low, high = (percent(value, sign=True) for value in figures)
        so = f" Not settled: {unsettled}." if unsettled else ""
        return f"{said}: {change} points (95\N{NO-BREAK SPACE}% interval {low} to {high}).{so}"

    def _against(self) -> str:
        known = [(name, percent(value)) for name, value in self.rivals if value is not None]
        shares = ", ".join(f"{name} {share}\N{NO-BREAK SPACE}%" for name, share in known)
        return f"For comparison: {shares}." if known else ""

    def _offset(self) -> str:
        if (gain := self.found.gain.interval) is None:
            return ""
        constant = "Adding a constant to the score of “unknown”, no neuron touched,"
        points = f"{gain.points} points of disambiguated accuracy"
        compared = f"compared with it, the edit has {points}"
        answer = above(gain, 0.0)
        if answer == "no":
            return f"{constant} does better: {compared}."
        if answer == "yes":
            so = ": this is a gain" if self.tag == GAIN else ""
            return f"{constant} falls short: {compared}{so}."
        if self._shifted:
            so = f"this is {SHIFT}, with {points} compared with it"
            return f"{constant} does about as well: {so}."
        enough = would_do(gain, 0.0, exact=False) or "too few rows to judge"
        return f"{constant} may do as well: {compared}; {enough}."


@dataclass(frozen=True)
class Example:
    """One row whose answer or probabilities an edit changed.

    Attributes:
        text: the prompt; None where the rows' texts could not be had.
        question: in a line; the item's name where there is no text.
        options: (text, what it is, P before, P after) of each, P renormalised over the options.
        before, after: the answers.
        delta: change of the right option's probability.
        outcome: "became right", "became wrong", "other wrong answer" or "same answer".
    """

    edit: str
    item: str
    instruction: int
    condition: str
    text: str | None
    question: str
    options: tuple[tuple[str, str, float, float], ...]
    before: str
    after: str
    delta: float
    outcome: str


@dataclass(frozen=True)
class Line:
    """A method in the first screen's table. Shares; None is undefined or not measured.

    Attributes:
        kind: "original", "edit", "control" or "floor".
        number: of the edit, which decides its colour; -1 of what is none.
        stereotyped: how often the stereotyped person is named, where nobody can be known.
        answerable: how many answerable rows are right.
        kept: how many rows of the first retention task are right.
        gold: mean probability of the right option, of ambiguous and of disambiguated rows.
        tag: tone and words of its finding.
    """

    name: str
    kind: str
    number: int
    stereotyped: float | None
    answerable: float | None
    kept: float | None
    gold: tuple[float | None, ...]
    tag: tuple[str, str] = ("", "")


@dataclass(frozen=True)
class Case:
    """One typical question and how each method answered it.

    Attributes:
        options: (text, what it is).
        answers: (method, index of its answer, probability of each option); -1 matched none.
    """

    instruction: str
    context: str
    question: str
    options: tuple[tuple[str, str], ...]
    answers: tuple[tuple[str, int, tuple[float, ...]], ...]


@dataclass(frozen=True)
class Section:
    """One task of a run (or a whole run): its findings, tables, plots and examples.

    Attributes:
        warning: what is wrong with the original model, so that the findings say little.
        changed: what each edit changes.
        lines: of the first screen's table.
        kept: the retention task that the table shows.
    """

    name: str
    title: str
    lead: str = ""
    findings: tuple[Finding, ...] = ()
    words: tuple[str, ...] = ()
    grids: tuple[Grid, ...] = ()
    plots: tuple[Plot, ...] = ()
    examples: tuple[Example, ...] = ()
    notes: tuple[str, ...] = ()
    warning: str = ""
    changed: tuple[str, ...] = ()
    lines: tuple[Line, ...] = ()
    case: Case | None = None
    kept: str = ""

    def within(self, part: str) -> Section:
        """The same under names that no section or plot of another part has."""
        plots = (
            replace(plot, name=f"{part}-{plot.name}", group=plot.group and f"{part}-{plot.group}")
            for plot in self.plots
        )
        return replace(self, name=f"{part}-{self.name}", plots=tuple(plots))

    @property
    def figures(self) -> list[list[Plot]]:
        """The plots, those of one group together."""
        groups: dict[str, list[Plot]] = {}
        for plot in self.plots:
            groups.setdefault(plot.group or plot.name, []).append(plot)
        return list(groups.values())


@dataclass(frozen=True)
class Part:
    """One run of the report: its sections and its record."""

    title: str
    sections: Sequence[Section]
    record: RunRecord
    folder: str
