"""A section of the report from one comparison."""

from __future__ import annotations

from collections.abc import Mapping

from snipbias.base.words import ALWAYS_UNKNOWN, BEST_OFFSET, ORIGINAL
from snipbias.evaluation.apart import gained
from snipbias.evaluation.changes import Change
from snipbias.evaluation.compared import Compared
from snipbias.evaluation.metrics import ByCondition
from snipbias.evaluation.summary import Summary
from snipbias.evaluation.tradeoff import Spot
from snipbias.evaluation.verdicts import alarms, doubts
from snipbias.report.page import Finding


def finding(compared: Compared, edit: str) -> Finding:
    """The finding about one edit."""
    summary, original = compared.summaries[edit], compared.original
    said = compared.verdicts(edit)
    overall = compared.changes[edit]["overall"]
    same_size = [
        (name, compared.summaries[name].accuracy.overall)
        for name in compared.controls
        if compared.neurons[name] == compared.neurons[edit] and name.startswith("random")
    ]
    return Finding(
        task=compared.task.name,
        label=edit,
        size=str(compared.neurons[edit]),
        where=str(compared.task),
        before=parts(original.accuracy),
        after=parts(summary.accuracy),
        change=overall.difference,
        rivals=(
            *((f"as many random neurons{_number(name)}", value) for name, value in same_size),
            *floor_rivals(original),
        ),
        gain=compared.gain_interval(edit),
        shifted=any(each.kind == "shift" for each in alarms(said)),
        alarms=tuple(str(each) for each in alarms(said) if each.kind != "shift"),
        doubts=tuple(map(str, doubts(said))),
        kept=tuple(
            (part.kept, f"{part.what}: {part.sentence}") for part in compared.retained(edit)
        ),
        p_value=overall.sign_flip,
        said=compared.said(edit),
        gained=gained(compared.apart[edit]),
    )


def unsaid(compared: Compared) -> list[str]:
    """Why the tables mark the original or a control; of an edit its finding says it."""
    return [
        f"{method}: {'; '.join(map(str, said))}"
        for method in (ORIGINAL, *compared.controls)
        if (said := alarms(compared.verdicts(method)))
    ]


def spots(compared: Compared) -> list[Spot]:
    """Every method's place in the plane of the two accuracies, and the floors'."""
    kinds = dict.fromkeys(compared.edits, "edit") | dict.fromkeys(compared.controls, "control")
    found = [
        Spot(name, summary.accuracy, kinds.get(name, "original"))
        for name, summary in compared.summaries.items()
    ]
    return [*found, *floors(compared.original)]


def floors(original: Summary) -> list[Spot]:
    """Always answering "unknown", and the best that a constant on it reaches."""
    spots = []
    if original.unknown_floor.overall is not None:
        spots.append(Spot(ALWAYS_UNKNOWN, original.unknown_floor, "floor"))
    if (best := original.offset_best) is not None:
        point = ByCondition(best.overall, best.ambiguous, best.disambiguated)
        spots.append(Spot(BEST_OFFSET, point, "floor"))
    return spots


def floor_rivals(original: Summary) -> list[tuple[str, float | None]]:
    """The same as figures to hold an accuracy against."""
    words = {ALWAYS_UNKNOWN: "always “unknown”", BEST_OFFSET: "the best constant on “unknown”"}
    return [(words[spot.name], spot.accuracy.overall) for spot in floors(original)]


def parts(accuracy: ByCondition) -> tuple[float | None, float | None, float | None]:
    """Overall, ambiguous, disambiguated."""
    return accuracy.overall, accuracy.ambiguous, accuracy.disambiguated


def options(summary: Summary) -> dict[str, ByCondition]:
    """Mean probabilities of a row's options, by kind."""
    return {
        "right": summary.gold_probability,
        "biased": summary.biased_probability,
        "unknown": summary.unknown_probability,
    }


def bounds(changes: Mapping[str, Change]) -> dict[str, tuple[float, float]]:
    """Intervals of the accuracies, by condition."""
    return {
        part: (change.accuracy.low, change.accuracy.high)
        for part, change in changes.items()
        if change.accuracy is not None
    }


def _number(control: str) -> str:
    """The draw, where it is not the first."""
    draw = control.rpartition("#")[2]
    return "" if draw in ("", "0") else f" (draw {int(draw) + 1})"
