"""A section of the report from one comparison, as `summary.json` and the rows keep it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from snipbias.base.words import ALWAYS_UNKNOWN, BEST_OFFSET, ORIGINAL, held_out
from snipbias.evaluation.changes import Change
from snipbias.evaluation.interval import Interval
from snipbias.evaluation.metrics import ByCondition, Positions, Spread
from snipbias.evaluation.offset_curve import OffsetCurve, OffsetPoint
from snipbias.evaluation.summary import Summary
from snipbias.evaluation.verdicts import Verdict, alarms, doubts, forewarned
from snipbias.report.page import Finding
from snipbias.report.tradeoff import Spot

Json = Mapping[str, Any]
_BY_CONDITION = (
    *("accuracy", "unknown_floor", "unknown_rate", "gold_percent", "gold_percent_raw"),
    *("gold_probability", "biased_probability", "unknown_probability"),
)


@dataclass(frozen=True)
class Recorded:
    """A comparison as its JSON form has it, with the figures as records again."""

    data: Json
    summaries: Mapping[str, Summary]

    @classmethod
    def of(cls, data: Json) -> Recorded:
        """The comparison of `Comparison.to_dict`."""
        return cls(data, {name: _summary(found) for name, found in data["methods"].items()})

    @property
    def original(self) -> Summary:
        """The unedited model's figures."""
        return self.summaries[ORIGINAL]

    @property
    def edits(self) -> tuple[str, ...]:
        """The methods that are neither the original nor a control."""
        methods = self.data["methods"].items()
        return tuple(m for m, found in methods if m != ORIGINAL and not found["control"])

    @property
    def controls(self) -> tuple[str, ...]:
        """The random controls."""
        return tuple(m for m, found in self.data["methods"].items() if found["control"])

    @property
    def neurons(self) -> dict[str, int]:
        """Neurons that each method scales."""
        return {name: found["neurons"] for name, found in self.data["methods"].items()}

    @property
    def changes(self) -> dict[str, dict[str, Change]]:
        """Accuracies and differences to the original, with intervals."""
        return {
            name: {part: _change(change) for part, change in found["changes"].items()}
            for name, found in self.data["methods"].items()
        }

    @property
    def retention(self) -> dict[str, dict[str, float | None]]:
        """Accuracy of every method on each task that should stay as it was, by task."""
        methods = self.data["methods"]
        return {
            task: {name: found["retention"].get(task) for name, found in methods.items()}
            for task in methods[ORIGINAL]["retention"]
        }

    def gain_over_offset(self, method: str) -> float | None:
        """How far a method lies outside the curve that a constant on 'unknown' reaches."""
        return self.data["methods"][method]["gain_over_offset"]

    def gain_interval(self, method: str) -> Interval | None:
        """Where the same may be."""
        found = self.data["methods"][method]["gain_interval"]
        return found and Interval(**found)

    def verdicts(self, method: str) -> tuple[Verdict, ...]:
        """What is wrong with a method's model, or may be."""
        return tuple(map(Verdict.from_dict, self.data["methods"][method]["verdicts"]))

    @property
    def warning(self) -> str:
        """What the original's own verdicts mean for every finding."""
        return forewarned(self.data["task"], self.verdicts(ORIGINAL))

    def kept(self, method: str) -> tuple[tuple[bool, str], ...]:
        """What was shown to be kept within the margin, and what may have been lost."""
        found = self.data["methods"][method]["retained"]
        return tuple((part["kept"], f"{part['what']}: {part['sentence']}") for part in found)

    @property
    def where(self) -> str:
        """The rows, in words."""
        return held_out(*(self.data[name] for name in ("items", "templates", "instructions")))

    @property
    def spots(self) -> list[Spot]:
        """Every method's place in the plane of the two accuracies, and the floors'."""
        kinds = {**dict.fromkeys(self.edits, "edit"), **dict.fromkeys(self.controls, "control")}
        spots = [
            Spot(name, summary.accuracy, kinds.get(name, "original"))
            for name, summary in self.summaries.items()
        ]
        return [*spots, *floors(self.original)]


def finding(recorded: Recorded, edit: str) -> Finding:
    """What one edit did."""
    summary, original = recorded.summaries[edit], recorded.original
    said = recorded.verdicts(edit)
    overall = recorded.changes[edit]["overall"]
    same_size = [
        (name, recorded.summaries[name].accuracy.overall)
        for name in recorded.controls
        if recorded.neurons[name] == recorded.neurons[edit] and name.startswith("random")
    ]
    return Finding(
        task=recorded.data["task"],
        label=edit,
        size=str(recorded.neurons[edit]),
        where=recorded.where,
        before=parts(original.accuracy),
        after=parts(summary.accuracy),
        change=overall.difference,
        rivals=(
            *((f"as many random neurons{_number(name)}", value) for name, value in same_size),
            *floor_rivals(original),
        ),
        gain=recorded.gain_interval(edit),
        shifted=any(each.kind == "shift" for each in alarms(said)),
        alarms=tuple(str(each) for each in alarms(said) if each.kind != "shift"),
        doubts=tuple(map(str, doubts(said))),
        kept=recorded.kept(edit),
        p_value=overall.sign_flip,
    )


def unsaid(recorded: Recorded) -> list[str]:
    """Why the tables mark the original or a control; of an edit its finding says it."""
    return [
        f"{method}: {'; '.join(map(str, said))}"
        for method in (ORIGINAL, *recorded.controls)
        if (said := alarms(recorded.verdicts(method)))
    ]


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


def _summary(found: Json) -> Summary:
    known = {name: found[name] for name in Summary.__dataclass_fields__}
    for name in _BY_CONDITION:
        known[name] = found[name] and ByCondition(**found[name])
    by_instruction = found["accuracy_by_instruction"]
    return Summary(
        **{
            **known,
            "accuracy_by_instruction": {int(i): a for i, a in by_instruction.items()},
            "spread": Spread(**found["spread"]),
            "positions": Positions(**found["positions"]),
            "offset_curve": _curve(found["offset_curve"]),
            "offset_best": found["offset_best"] and OffsetPoint(**found["offset_best"]),
        }
    )


def _curve(found: Mapping[str, Sequence[float]] | None) -> OffsetCurve | None:
    if found is None:
        return None
    return OffsetCurve(**{name: np.array(part) for name, part in found.items()})


def _change(found: Json) -> Change:
    intervals = {
        name: found[name] and Interval(**found[name]) for name in ("accuracy", "difference")
    }
    return Change(**intervals, sign_flip=found["sign_flip"], mcnemar=found["mcnemar"])
