"""The verdict of an experiment in words, with intervals.

Each question has one of three answers: the interval says yes, it says no, or it does not say. No
answer is drawn from a p-value, and "not shown" is not "no".
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from snipbias.base.words import ORIGINAL, signed
from snipbias.evaluation import measures
from snipbias.evaluation.apart import NAMES, gain_sentence, gained
from snipbias.evaluation.estimate import NOTHING, Estimate, difference, points, shown
from snipbias.evaluation.evaluate import rows_of
from snipbias.evaluation.interval import Answer, above, below, not_raised, not_worse, would_do
from snipbias.evaluation.neutral_text import guesses
from snipbias.evaluation.summary import Summary, summarize
from snipbias.evaluation.verdicts import Evidence, Verdict, alarms, doubts, verdicts
from snipbias.experiment.outcome import Experiment, Outcome, methods_of, outcomes_of
from snipbias.experiment.settings import CONTROLS, SCORES_ALONE, STEERING
from snipbias.experiment.tables.figures import All, Figures

# What a method has to beat before it is worth anything, in the order of the table; what else finds
# neurons stands in the tables.
RIVALS = (ORIGINAL, "v1", "v2", *CONTROLS, STEERING, *SCORES_ALONE)

# Whole procedures that somebody might ship, each judged where it ran.
PACKAGES = ("v1", "v2", "snipbias")


@dataclass(frozen=True)
class Check:
    """One question about the preset's method on one task, and what the interval says.

    Attributes:
        name: the question in short.
        shown: the figure with its interval, as printed.
        sentence: the answer in words.
        rival: the method that it is compared with, where the question is which is more accurate.
    """

    name: str
    answer: Answer
    shown: str
    sentence: str
    rival: str | None = None


def judged(experiment: Experiment) -> tuple[str, ...]:
    """The methods that get a verdict: the preset's own, and the other presets' where they ran."""
    ran = methods_of(experiment)
    return tuple(dict.fromkeys((experiment.settings.method, *(m for m in PACKAGES if m in ran))))


def checks(
    experiment: Experiment, figures: All, method: str | None = None
) -> dict[str, list[Check]]:
    """Every question by task, about the preset's method or another."""
    method = method or experiment.settings.method
    return {
        task.name: [
            *_against_rivals(experiment, task.name, method),
            *_kept(figures[task.name, method], experiment.settings.margin),
        ]
        for task in experiment.tasks
        if (task.name, method) in figures
    }


def in_words(experiment: Experiment, figures: All) -> str:
    """One paragraph a task and method that is judged."""
    paragraphs = []
    for method in judged(experiment):
        for task, asked in checks(experiment, figures, method).items():
            before = figures.get((task, ORIGINAL))
            lines = [f"{task}: {method} {_accuracy(figures[task, method], before)}"]
            lines += _rivals_in_words(asked)
            lines += [check.sentence for check in asked if check.rival is None]
            lines += _alarms(experiment, task, method)
            paragraphs.append(" ".join(lines))
    return "\n\n".join(paragraphs)


def by_trial(experiment: Experiment, task: str, method: str) -> dict[str, tuple[Verdict, ...]]:
    """Faults of the edited models, shown or suspected, by trial."""
    before = outcomes_of(experiment, task, ORIGINAL)
    if not before:
        return {}
    original, rows = _summary(before[0]), rows_of(before[0].test)
    found: dict[str, tuple[Verdict, ...]] = {}
    for each in outcomes_of(experiment, task, method):
        evidence = Evidence(rows_of(each.test), rows, each.text, before[0].text)
        found.setdefault(str(each.trial), ())
        found[str(each.trial)] += verdicts(_summary(each), original, evidence)
    return found


def _alarms(experiment: Experiment, task: str, method: str) -> list[str]:
    """The same in words, for what was not so before the edit; trials of which it holds alike."""
    lines: dict[str, list[str]] = {}
    for trial, found in by_trial(experiment, task, method).items():
        for mark, kind in (("!", alarms), ("?", doubts)):
            for said in kind(found):
                lines.setdefault(f"{mark}{said}", []).append(trial)
    return [f"{said[0]} Trial {', '.join(trials)}: {said[1:]}." for said, trials in lines.items()]


def of_original(experiment: Experiment, task: str) -> tuple[Verdict, ...]:
    """Faults of the original model on a task's rows."""
    before = outcomes_of(experiment, task, ORIGINAL)
    if not before:
        return ()
    rows = rows_of(before[0].test)
    return verdicts(_summary(before[0]), evidence=Evidence(rows, rows, before[0].text))


def _against_rivals(experiment: Experiment, task: str, method: str) -> Iterator[Check]:
    """Accuracy against every rival; against other packages also what no shift can change."""
    rows = [rows_of(each.test) for each in outcomes_of(experiment, task, method)]
    for rival in RIVALS:
        if rival == method or rival not in methods_of(experiment):
            continue
        others = [rows_of(each.test) for each in outcomes_of(experiment, task, rival)]
        if others:
            found = difference(measures.ACCURACY, rows, others)
            yield Check(f"beats {rival}", above(found.interval, 0.0), points(found), "", rival)
        if others and rival in PACKAGES:
            found = difference(measures.DISCRIMINATION, rows, others)
            if found.value is not None:
                said, answer = (
                    shown(found, lambda value: signed(value, 3)),
                    above(found.interval, 0.0),
                )
                verb = {"yes": "is higher than", "no": "is lower than"}.get(
                    answer, "is not shown to differ from"
                )
                sentence = f"Its AUROC {verb} {rival}'s: {said}."
                yield Check(f"AUROC above {rival}", answer, said, sentence)


def _kept(figures: Figures, margin: float) -> Iterator[Check]:
    change = figures.differences.get("stereotyped", NOTHING)
    if change.value is not None:
        answer, said = below(change.interval, 0.0), points(change)
        verb = {"yes": "less often", "no": "more often"}.get(answer, "not shown to be less often")
        sentence = f"The stereotyped person is named {verb} than before: {said} points."
        yield Check("stereotyped less often", answer, said, sentence)
    if sentence := gain_sentence(figures.apart):
        gains = [each.gain for each in figures.apart.values() if each.gain.value is not None]
        least = points(min(gains, key=lambda gain: gain.value or 0.0))
        sentence = f"{sentence[0].upper()}{sentence[1:]}."
        yield Check("least gain over offset", gained(figures.apart), least, sentence)
    for kind, name in NAMES.items():
        key = "discrimination" if kind == "ambiguous" else f"discrimination {kind}"
        rise = figures.differences.get(key, NOTHING)
        if rise.value is not None:
            said = shown(rise, lambda value: signed(value, 3))
            answer = above(rise.interval, 0.0)
            verb = {"yes": "rose", "no": "fell", "not shown": "is not shown to have risen"}[answer]
            said_of = f"Discrimination (AUROC) of {name} rows {verb}: {said}."
            yield Check(f"AUROC {name} rose", answer, said, said_of)
    fallen = figures.differences.get("disambiguated", NOTHING)
    worse = f"worse by more than {100 * margin:g} points"
    if fallen.value is not None:
        yield _loss("disambiguated", "disambiguated accuracy", worse, fallen, margin)
    for name, change in figures.retention.items():
        if change.value is not None:
            yield _loss(name, f"accuracy on {name}", worse, change, margin)
    ratio = figures.perplexity_ratio
    if ratio.value is not None and not _was_guessing(figures):
        form = "{:.3f}" if ratio.value < 1e4 else "{:.1e}"
        said = "x " + shown(ratio.guarded, form.format)
        answer, worse = (
            not_raised(ratio.interval, 1 + margin),
            f"up by more than {100 * margin:g} %",
        )
        enough = would_do(ratio.interval, 1 + margin)
        yield _bound("perplexity", "perplexity", worse, answer, said, enough)


def _was_guessing(figures: Figures) -> bool:
    """Whether the original already guessed at neutral text, so that its perplexity says nothing."""
    ratio, text = figures.perplexity_ratio.value, figures.text
    return ratio is None or text is None or guesses(text.perplexity / ratio)


def _loss(name: str, what: str, worse: str, change: Estimate, margin: float) -> Check:
    answer, enough = not_worse(change.interval, margin), would_do(change.interval, -margin)
    return _bound(name, what, worse, answer, points(change.guarded), enough)


def _bound(name: str, what: str, worse: str, answer: Answer, said: str, enough: str) -> Check:
    """Whether something got no worse than it may: never just "not significantly"."""
    verb = {"yes": "is not", "no": "is", "not shown": "may be"}[answer]
    lacking = f"; {enough}" if enough and answer == "not shown" else ""
    sentence = f"{what[0].upper()}{what[1:]} {verb} {worse}: {said}{lacking}."
    return Check(f"{name} kept", answer, said, sentence)


def _accuracy(now: Figures, before: Figures | None) -> str:
    parts = []
    for name, word in (
        ("stereotyped", "stereotyped person named"),
        ("overall", "accuracy"),
        ("ambiguous", "ambiguous"),
        ("filler", "filler"),
        ("mismatch", "mismatch"),
        ("disambiguated", "disambiguated"),
    ):
        value = now.values[name].value
        if value is not None:
            was = before.values[name].value if before else None
            parts.append(
                f"{word} {100 * value:.1f}"
                if was is None
                else f"{word} {100 * was:.1f} to {100 * value:.1f}"
            )
    pruned = f"prunes {_span(now.sizes)} neurons" if now.sizes else "answers"
    return f"{pruned}: {', '.join(parts)} %."


def _span(sizes: tuple[int, ...]) -> str:
    low, high = min(sizes), max(sizes)
    return str(low) if low == high else f"{low} to {high}"


def _rivals_in_words(asked: list[Check]) -> Iterator[str]:
    """Rivals by answer; what is not shown is said as plainly as what is."""
    for answer, words in (
        ("yes", "More accurate than"),
        ("no", "Less accurate than"),
        ("not shown", "Not shown to differ from"),
    ):
        found = [c for c in asked if c.rival is not None and c.answer == answer]
        if found:
            yield f"{words}: {'; '.join(f'{c.rival} ({c.shown})' for c in found)}."


def _summary(outcome: Outcome) -> Summary:
    text = outcome.text
    return summarize(
        rows_of(outcome.test),
        perplexity=text.perplexity if text else None,
        kl_per_token=text.kl_per_token if text else None,
    )
