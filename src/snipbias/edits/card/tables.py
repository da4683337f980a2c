"""The figures of a model card as tables and sentences, from what an evaluation wrote."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from snipbias.base.markdown import Markdown, code, fenced, table
from snipbias.base.table import number, percent
from snipbias.base.words import ALWAYS_UNKNOWN, BEST_OFFSET, INHERITED, ORIGINAL, SHIFT, plural
from snipbias.edits.card.figures import Figures
from snipbias.edits.provenance import same_weights
from snipbias.edits.record import EditRecord

Method = Mapping[str, Any]
ANSWERS = (
    "method",
    "accuracy",
    "change",
    "ambiguous",
    "disambiguated",
    "unknown",
    "named",
    "AUROC",
    "vs offset",
)
PARTS = {"overall": "All", "ambiguous": "Ambiguous", "disambiguated": "Disambiguated"}


@dataclass(frozen=True)
class Measured:
    """What the card says of an evaluation.

    Attributes:
        on: which rows, in words.
        headline: accuracy before and after, a sentence a condition.
        alarms: what is wrong with the edited model, in words.
        kept: what it kept within the margin, or may have lost.
        shift: whether it is a shift or a gain, in words.
        not_measured: what the evaluation left out.
    """

    on: str
    headline: list[Markdown]
    answers: Markdown
    rest: Markdown
    alarms: list[str]
    kept: list[str]
    shift: str
    not_measured: list[str]
    command: Markdown
    other_model: Markdown
    notes: list[str]


def measured(edit: EditRecord, figures: Figures) -> Measured:
    """The edit beside the original and its controls."""
    summary = figures.summary
    methods = _beside(figures)
    own, original = methods[figures.label], methods[ORIGINAL]
    rows = (
        f"{plural(summary['items'], 'item')} of {plural(summary['templates'], 'template')} of "
        f"{summary['task']} ({summary['part']}), each under "
        f"{plural(summary['instructions'], 'instruction')}"
    )
    return Measured(
        on=rows,
        headline=list(_headlines(own, original)),
        answers=_answers(methods, original),
        rest=_rest(methods),
        alarms=[
            f"{each['text']}{INHERITED if each['inherited'] else ''}" for each in own["verdicts"]
        ],
        kept=[f"{part['what']} {part['sentence']}" for part in own["retained"]],
        shift=_shift(own),
        not_measured=_not_measured(own, figures),
        command=fenced(figures.command, "sh"),
        other_model=_evaluated(edit, figures.model),
        notes=list(summary["notes"]),
    )


def _beside(figures: Figures) -> dict[str, Method]:
    """The original, the edit and its own controls; those of other edits are not its measure."""
    methods, label = figures.summary["methods"], figures.label
    size = methods[label]["neurons"]

    def belongs(name: str, method: Method) -> bool:
        if name in (ORIGINAL, label):
            return True
        of_sites = name.startswith("same sites as ")
        own_sites = name.startswith(f"same sites as {label} #")
        return bool(method["control"]) and method["neurons"] == size and of_sites == own_sites

    return {name: method for name, method in methods.items() if belongs(name, method)}


def _headlines(own: Method, original: Method) -> Iterator[Markdown]:
    for part, name in PARTS.items():
        if own["accuracy"].get(part) is None:
            continue
        before, now = original["accuracy"][part], own["accuracy"][part]
        change = own["changes"].get(part, {}).get("difference")
        sure = f"95 % interval {_ends(change, sign=True)}" if change else "no interval"
        yield Markdown(
            f"{name} rows: accuracy {percent(before)} → {percent(now)} %, a change of "
            f"{percent(now - before, sign=True)} points, {sure}"
        )


def _answers(methods: Mapping[str, Method], original: Method) -> Markdown:
    rows: list[tuple[str, ...]] = [
        (
            name,
            _with_ends(method, "overall"),
            _change(method, original) if name != ORIGINAL else "",
            _with_ends(method, "ambiguous"),
            _with_ends(method, "disambiguated"),
            percent(method["unknown_rate"]["overall"]),
            percent(method["named_accuracy"]),
            number(method["discrimination"]),
            Markdown(percent(method["gain_over_offset"], sign=True)) if name != ORIGINAL else "",
        )
        for name, method in methods.items()
    ]
    floor, best = original["unknown_floor"], original["offset_best"]
    if floor["overall"] is not None:
        rows.append(_floor(ALWAYS_UNKNOWN, floor))
    if best is not None:
        rows.append(_floor(BEST_OFFSET, best))
    return table(ANSWERS, rows)


def _floor(name: str, accuracy: Mapping[str, Any]) -> tuple[str, ...]:
    parts = (percent(accuracy[part]) for part in ("ambiguous", "disambiguated"))
    return (name, percent(accuracy["overall"]), "", *parts, "", "", "", "")


def _rest(methods: Mapping[str, Method]) -> Markdown:
    """What else the model can do: neutral text and retention tasks."""
    tasks = list(dict.fromkeys(task for method in methods.values() for task in method["retention"]))
    header = ("method", "perplexity", "KL", *tasks)
    return table(
        header,
        (
            (
                name,
                Markdown(number(method["perplexity"], digits=4)),
                number(method["kl_per_token"]),
                *(percent(method["retention"].get(task)) for task in tasks),
            )
            for name, method in methods.items()
        ),
    )


def _shift(own: Method) -> str:
    gain = own["gain_over_offset"]
    if gain is None:
        return (
            "Whether it is a gain or only a shift towards 'unknown' cannot be told: that takes "
            "both ambiguous and disambiguated rows"
        )
    said = (
        "Against what a constant, added to the score of 'unknown' with no neuron touched, reaches "
        f"at the same ambiguous accuracy, it has {percent(gain, sign=True)} points of "
        f"disambiguated accuracy{_interval(own['gain_interval'])}"
    )
    shifted = any(each["kind"] == "shift" and each["settled"] for each in own["verdicts"])
    return f"{said}: by that measure it is {SHIFT}" if shifted else said


def _interval(found: Mapping[str, Any] | None) -> str:
    if found is None:
        return ""
    low, high = (percent(found[end], sign=True) for end in ("low", "high"))
    return f" (95 % interval {low} to {high})"


def _not_measured(own: Method, figures: Figures) -> list[str]:
    lists = {
        "accuracy on any task that should stay as it was": not own["retention"],
        "perplexity and KL on neutral text": own["kl_per_token"] is None,
        "text that the model writes freely": not figures.arguments.get("generate"),
        "tasks of the lm-evaluation-harness": not figures.lm_eval,
        "discrimination (rows of both conditions are needed)": own["discrimination"] is None,
    }
    return [what for what, left_out in lists.items() if left_out]


def _evaluated(edit: EditRecord, model: Mapping[str, Any]) -> Markdown:
    """Which model was evaluated, where it is not the one that the edit was found on."""
    weights = model.get("weights")
    if weights and same_weights(weights, edit.model.weights):
        return Markdown("")
    return Markdown(
        f"It was evaluated on other weights ({code(weights or 'unknown')}) than it was found on."
    )


def _with_ends(method: Method, part: str) -> Markdown:
    accuracy = method["accuracy"].get(part)
    if accuracy is None:
        return Markdown("-")
    ends = _ends(method["changes"].get(part, {}).get("accuracy"))
    return Markdown(f"{percent(accuracy)} {ends}".rstrip())


def _change(method: Method, original: Method) -> Markdown:
    change = method["accuracy"]["overall"] - original["accuracy"]["overall"]
    ends = _ends(method["changes"].get("overall", {}).get("difference"), sign=True)
    return Markdown(f"{percent(change, sign=True)} {ends}".rstrip())


def _ends(interval: Mapping[str, float] | None, *, sign: bool = False) -> str:
    if interval is None:
        return ""
    return f"[{percent(interval['low'], sign=sign)}, {percent(interval['high'], sign=sign)}]"
