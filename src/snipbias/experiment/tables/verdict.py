"""The verdict of an experiment in words, with intervals.

Each question has one of three answers: the interval says yes, it says no, or it does not say. No
answer is drawn from a p-value, and "not shown" is not "no".
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Literal

from snipbias.base.words import ORIGINAL, signed
from snipbias.evaluation import measures
from snipbias.evaluation.apart import NAMES, gain_sentence, gained
from snipbias.evaluation.estimate import estimate, points, shown
from snipbias.evaluation.interval import Answer, above, below, not_raised, not_worse, would_do
from snipbias.evaluation.measured import Measured
from snipbias.evaluation.neutral_text import guesses
from snipbias.evaluation.verdicts import alarms, doubts
from snipbias.experiment.outcome import Experiment
from snipbias.experiment.settings import CONTROLS, SCORES_ALONE, STEERING

# What a method has to beat before it is worth anything, in the order of the table; what else finds
# neurons stands in the tables.
RIVALS = (ORIGINAL, "v1", "v2", *CONTROLS, STEERING, *SCORES_ALONE)

# Whole procedures that somebody might ship, each judged where it ran.
PACKAGES = ("v1", "v2", "snipbias")
as_auroc = partial(signed, digits=3)  # how a change of an AUROC is written


@dataclass(frozen=True)
class GainCheck:
    """One question about the preset's method on one task, and what the interval says.

    Attributes:
        kind: "effect" on the stereotype or a gain, "auroc", what was "kept", or a "rival".
        name: the question in short; of what was kept, and of a rival, its name.
        shown: the figure with its interval, as printed.
        sentence: the answer in words.
    """

    kind: Literal["effect", "auroc", "kept", "rival"]
    name: str
    answer: Answer
    shown: str
    sentence: str = ""

    @property
    def question(self) -> str:
        """The name of its row in the table."""
        words = {"kept": f"{self.name} kept", "rival": f"beats {self.name}"}
        return words.get(self.kind, self.name)


def judged(experiment: Experiment) -> tuple[str, ...]:
    """The methods that get a verdict: the preset's own, and the other presets' where they ran."""
    ran = experiment.methods
    return tuple(dict.fromkeys((experiment.settings.method, *(m for m in PACKAGES if m in ran))))


def checks(experiment: Experiment, method: str | None = None) -> dict[str, list[GainCheck]]:
    """Every question by task, about the preset's method or another."""
    method = method or experiment.settings.method
    return {
        task: [
            *_against_rivals(found[method], found),
            *_effects(found[method]),
            *kept(found[method], experiment.settings.margin),
        ]
        for task, found in experiment.measured.items()
        if method in found
    }


def in_words(experiment: Experiment) -> str:
    """One paragraph per task and judged method."""
    paragraphs = []
    for method in judged(experiment):
        for task, asked in checks(experiment, method).items():
            found = experiment.measured[task][method]
            lines = [f"{task}: {method} {_accuracy(found)}"]
            lines += _rivals_in_words(asked)
            lines += [check.sentence for check in asked if check.kind != "rival"]
            lines += _alarms(found)
            paragraphs.append(" ".join(lines))
    return "\n\n".join(paragraphs)


def _alarms(measured: Measured) -> list[str]:
    """Faults that the original does not have, each with the trials in which it was found."""
    lines: dict[str, list[str]] = {}
    for trial, found in measured.by_trial.items():
        for mark, kind in (("!", alarms), ("?", doubts)):
            for said in kind(found):
                lines.setdefault(f"{mark}{said}", []).append(str(trial))
    return [f"{said[0]} Trial {', '.join(trials)}: {said[1:]}." for said, trials in lines.items()]


def _against_rivals(own: Measured, found: Mapping[str, Measured]) -> Iterator[GainCheck]:
    """Accuracy against every rival; against other packages also what no shift can change."""
    for rival in RIVALS:
        if rival == own.method or rival not in found:
            continue
        others = found[rival].rows
        change = estimate(measures.ACCURACY, own.rows, others)
        yield GainCheck("rival", rival, above(change.interval, 0.0), points(change))
        if rival in PACKAGES:
            change = estimate(measures.DISCRIMINATION, own.rows, others)
            if change.value is not None:
                said, answer = shown(change, as_auroc), above(change.interval, 0.0)
                verbs = {"yes": "is higher than", "no": "is lower than"}
                verb = verbs.get(answer, "is not shown to differ from")
                sentence = f"Its AUROC {verb} {rival}'s: {said}."
                yield GainCheck("auroc", f"AUROC above {rival}", answer, said, sentence)


def _effects(found: Measured) -> Iterator[GainCheck]:
    change = found.change("stereotyped")
    if change.value is not None:
        answer, said = below(change.interval, 0.0), points(change)
        verbs = {"yes": "is named less often", "no": "is named more often"}
        verb = verbs.get(answer, "is not shown to be named less often")
        sentence = f"The stereotyped person {verb} than before: {said} points."
        yield GainCheck("effect", "stereotyped less often", answer, said, sentence)
    if sentence := gain_sentence(found.apart):
        gains = [each.gain for each in found.apart.values() if each.gain.value is not None]
        least = points(min(gains, key=lambda gain: gain.value or 0.0))
        sentence = f"{sentence[0].upper()}{sentence[1:]}."
        yield GainCheck("effect", "least gain over offset", gained(found.apart), least, sentence)
    for kind, name in NAMES.items():
        key = "discrimination" if kind == "ambiguous" else f"discrimination {kind}"
        rise = found.change(key)
        if rise.value is not None:
            said, answer = shown(rise, as_auroc), above(rise.interval, 0.0)
            verb = {"yes": "rose", "no": "fell"}.get(answer, "is not shown to have risen")
            sentence = f"Discrimination (AUROC) of {name} rows {verb}: {said}."
            yield GainCheck("auroc", f"AUROC {name} rose", answer, said, sentence)


def kept(found: Measured, margin: float) -> Iterator[GainCheck]:
    """Whether answerable rows, retention tasks and neutral text are within the margin."""
    losses = {"disambiguated": ("Disambiguated accuracy", found.change("disambiguated"))}
    losses |= {name: (f"Accuracy on {name}", each) for name, each in found.retention.items()}
    worse = f"worse by more than {100 * margin:g} points"
    for name, (what, change) in losses.items():
        if change.value is not None:
            answer, enough = not_worse(change.interval, margin), would_do(change.interval, -margin)
            yield _bound(name, what, worse, answer, points(change.guarded), enough)
    ratio, text = found.perplexity_ratio, found.text
    # Where the original already guesses at neutral text, its perplexity says nothing.
    if ratio.value is not None and text is not None and not guesses(text.perplexity / ratio.value):
        form = "{:.3f}" if ratio.value < 1e4 else "{:.1e}"
        said = "x " + shown(ratio.guarded, form.format)
        answer = not_raised(ratio.interval, 1 + margin)
        enough = would_do(ratio.interval, 1 + margin)
        worse = f"up by more than {100 * margin:g} %"
        yield _bound("perplexity", "Perplexity", worse, answer, said, enough)


def _bound(name: str, what: str, worse: str, answer: Answer, said: str, enough: str) -> GainCheck:
    """Whether something got no worse than allowed: never just "not significant"."""
    verb = {"yes": "is not", "no": "is", "not shown": "may be"}[answer]
    lacking = f"; {enough}" if enough and answer == "not shown" else ""
    return GainCheck("kept", name, answer, said, f"{what} {verb} {worse}: {said}{lacking}.")


def _accuracy(now: Measured) -> str:
    words = {"stereotyped": "stereotyped person named", "overall": "accuracy"}
    parts = []
    for name in ("stereotyped", "overall", "ambiguous", "filler", "mismatch", "disambiguated"):
        value = now.value(name).value
        if value is not None:
            was = now.before.value(name).value if now.before else None
            before = "" if was is None else f"from {100 * was:.1f} to "
            parts.append(f"{words.get(name, name)} {before}{100 * value:.1f}")
    span = " to ".join(map(str, sorted({min(now.sizes), max(now.sizes)}))) if now.sizes else ""
    pruned = f"prunes {span} neurons" if span else "answers"
    return f"{pruned}: {', '.join(parts)} %."


def _rivals_in_words(asked: list[GainCheck]) -> Iterator[str]:
    """Rivals by answer; what is not shown is said as plainly as what is."""
    verbs = {"yes": "More accurate than", "no": "Less accurate than"}
    for answer, words in {**verbs, "not shown": "Not shown to differ from"}.items():
        found = [c for c in asked if c.kind == "rival" and c.answer == answer]
        if found:
            yield f"{words}: {'; '.join(f'{c.name} ({c.shown})' for c in found)}."
