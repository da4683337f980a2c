"""What the model card of an edit says about a comparison: sentences and rows of its tables."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from snipbias.base.table import Grid, percent
from snipbias.base.words import ALWAYS_UNKNOWN, BEST_OFFSET, ORIGINAL, SHIFT, plural
from snipbias.evaluation.apart import gain_sentence
from snipbias.evaluation.compared import Compared
from snipbias.evaluation.glossary import legend
from snipbias.evaluation.interval import Interval
from snipbias.evaluation.measured import Measured
from snipbias.evaluation.measures import FIGURES
from snipbias.evaluation.tables import comparison_grids


def cards(comparison: Compared) -> dict[str, dict[str, Any]]:
    """The texts of each edit's card by the edit's fingerprint; `Figures` names them."""
    grids = comparison_grids(comparison)
    return {comparison.fingerprints[m]: _card(comparison, m, grids) for m in comparison.edits}


def _card(comparison: Compared, method: str, grids: tuple[Grid, ...]) -> dict[str, Any]:
    task, found, evaluation = comparison.task, comparison.measured[method], comparison.evaluation
    accuracy = asdict(found.summary.accuracy)
    shown = (ORIGINAL, method, *comparison.controls_of(method), ALWAYS_UNKNOWN, BEST_OFFSET)
    left_out = {
        "accuracy on any task that should stay as it was": not evaluation.retention,
        "perplexity and KL on neutral text": found.text is None,
        "text that the model writes freely": not evaluation.reading.generate,
        "discrimination (rows of both conditions are needed)": found.summary.discrimination is None,
    }
    return {
        "label": method,
        "task": task.name,
        "part": task.part,
        "on": f"{plural(task.items, 'item')} of {plural(task.templates, 'template')} of "
        f"{task.name} ({task.part}), each under {plural(task.instructions, 'instruction')}",
        "accuracy": {part: share for part, share in accuracy.items() if share is not None},
        "headline": list(_headlines(found)),
        "tables": [{"header": g.header, "rows": g.of(shown).rows} for g in grids],
        "legend": legend(grids),
        "shift": _shift(found),
        "kept": [f"{part.what} {part.sentence}" for part in comparison.retained(method)],
        "alarms": [str(each) for each in comparison.verdicts(method)],
        "notes": list(comparison.notes),
        "not_measured": [what for what, missing in left_out.items() if missing],
    }


def _headlines(found: Measured) -> Iterator[str]:
    for part in found.parts:
        change = found.change(part)
        before, now = (each.value(part).value for each in (found.before, found) if each)
        between = _between(change.interval) if change.interval else "no interval"
        yield (
            f"{FIGURES[part].title} {percent(before)} → {percent(now)} %, a change of "
            f"{percent(change.value, sign=True)} points, {between}"
        )


def _shift(found: Measured) -> str:
    gain = found.gain
    if gain.value is None:
        return (
            "The rows cannot tell a gain from a mere shift towards 'unknown': that takes both "
            "ambiguous and disambiguated rows"
        )
    between = f" ({_between(gain.interval)})" if gain.interval else ""
    said = (
        "Compared with adding a constant to the score of 'unknown', with no neuron touched and at "
        f"the same ambiguous accuracy, the edit has {percent(gain.value, sign=True)} points of "
        f"disambiguated accuracy{between}"
    )
    shifted = any(each.kind == "shift" and each.settled for each in found.verdicts)
    said = f"{said}: by that measure it is {SHIFT}" if shifted else said
    judged = gain_sentence(found.apart)
    return f"{said}. On all kinds of unanswerable rows: {judged}" if judged else said


def _between(interval: Interval) -> str:
    low, high = (percent(value, sign=True) for value in (interval.low, interval.high))
    return f"95 % interval {low} to {high}"
