"""A comparison as the card of each edit shows it: sentences, and its rows of the tables."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from snipbias.base.table import Grid, percent
from snipbias.base.words import (
    ALWAYS_UNKNOWN,
    BEST_OFFSET,
    ORIGINAL,
    RANDOM,
    SHIFT,
    control_kind,
    plural,
)
from snipbias.evaluation.apart import gain_sentence
from snipbias.evaluation.compared import Compared
from snipbias.evaluation.glossary import legend
from snipbias.evaluation.tables import comparison_grids

PARTS = {
    "stereotyped": "Unanswerable rows: the stereotyped person named",
    "stereotyped overall": "All rows: the stereotyped person named",
    "overall": "All rows: accuracy",
    "ambiguous": "Ambiguous rows: accuracy",
    "filler": "Filler rows: accuracy",
    "mismatch": "Mismatch rows: accuracy",
    "disambiguated": "Disambiguated rows: accuracy",
}


def cards(comparison: Compared) -> dict[str, dict[str, Any]]:
    """The texts of each edit's card by the edit's fingerprint; `Figures` names them."""
    grids = comparison_grids(comparison)
    return {comparison.fingerprints[m]: _card(comparison, m, grids) for m in comparison.edits}


def _card(comparison: Compared, method: str, grids: tuple[Grid, ...]) -> dict[str, Any]:
    task, accuracy = comparison.task, comparison.summaries[method].accuracy
    shown = (ORIGINAL, method, *_controls(comparison, method), ALWAYS_UNKNOWN, BEST_OFFSET)
    return {
        "label": method,
        "task": task.name,
        "part": task.part,
        "on": f"{plural(task.items, 'item')} of {plural(task.templates, 'template')} of "
        f"{task.name} ({task.part}), each under {plural(task.instructions, 'instruction')}",
        "accuracy": {part: v for part, v in asdict(accuracy).items() if v is not None},
        "headline": list(_headlines(comparison, method)),
        "tables": [{"header": g.header, "rows": g.of(shown).rows} for g in grids],
        "legend": legend(grids),
        "shift": _shift(comparison, method),
        "kept": [f"{part.what} {part.sentence}" for part in comparison.retained(method)],
        "alarms": [str(each) for each in comparison.verdicts(method)],
        "notes": list(comparison.notes),
        "not_measured": _not_measured(comparison, method),
    }


def _controls(comparison: Compared, method: str) -> list[str]:
    """Its own controls; those of other edits are not its measure."""
    size = comparison.neurons[method]
    return [
        name
        for name in comparison.controls
        if name.split(", draw ")[0].endswith(f" as {method}")
        or (comparison.neurons[name] == size and control_kind(name) == RANDOM)
    ]


def _headlines(comparison: Compared, method: str) -> Iterator[str]:
    for part, change in comparison.changes[method].items():
        before, now = comparison.changes[ORIGINAL][part].value, change.value
        between = change.difference and _between(change.difference.low, change.difference.high)
        yield (
            f"{PARTS[part]} {percent(before)} → {percent(now)} %, a change of "
            f"{percent(now - before, sign=True)} points, {between or 'no interval'}"
        )


def _shift(comparison: Compared, method: str) -> str:
    gain, interval = comparison.gain_over_offset(method), comparison.gain_interval(method)
    if gain is None:
        return (
            "Whether it is a gain or only a shift towards 'unknown' cannot be told: that takes "
            "both ambiguous and disambiguated rows"
        )
    between = f" ({_between(interval.low, interval.high)})" if interval else ""
    said = (
        "Against what a constant, added to the score of 'unknown' with no neuron touched, reaches "
        f"at the same ambiguous accuracy, it has {percent(gain, sign=True)} points of "
        f"disambiguated accuracy{between}"
    )
    shifted = any(each.kind == "shift" and each.settled for each in comparison.verdicts(method))
    said = f"{said}: by that measure it is {SHIFT}" if shifted else said
    judged = gain_sentence(comparison.apart[method])
    return f"{said}. On all kinds of unanswerable rows: {judged}" if judged else said


def _between(low: float, high: float) -> str:
    return f"95 % interval {percent(low, sign=True)} to {percent(high, sign=True)}"


def _not_measured(comparison: Compared, method: str) -> list[str]:
    summary, evaluation = comparison.summaries[method], comparison.evaluation
    left_out = {
        "accuracy on any task that should stay as it was": not evaluation.retention,
        "perplexity and KL on neutral text": summary.kl_per_token is None,
        "text that the model writes freely": not evaluation.reading.generate,
        "discrimination (rows of both conditions are needed)": summary.discrimination is None,
    }
    return [what for what, missing in left_out.items() if missing]
