"""`table1.csv` and `table2.csv`: one row a method and task, the same bytes every time."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Sequence
from statistics import mean

from snipbias.evaluation import stats
from snipbias.evaluation.apart import Apart, gained
from snipbias.evaluation.estimate import NOTHING, Estimate
from snipbias.evaluation.measured import Measured
from snipbias.experiment.outcome import Experiment
from snipbias.experiment.tables import published
from snipbias.tasks.unanswerable import UNANSWERABLE

Cells = dict[str, str]


def table_1(experiment: Experiment) -> list[Cells]:
    """Accuracies in percent, differences in percent points; undefined is an empty cell."""
    return [_row_1(experiment, each) for each in experiment.every]


def table_2(experiment: Experiment) -> list[Cells]:
    """Gold probability in percent, renormalised over the row's options and raw."""
    return [_row_2(experiment, each) for each in experiment.every]


def text(rows: Sequence[Cells]) -> str:
    """The rows as a CSV file."""
    file = io.StringIO()
    header = list(dict.fromkeys(column for row in rows for column in row))
    writer = csv.DictWriter(file, header, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return file.getvalue()


def plain(rows: Iterable[Cells]) -> list[dict[str, str | float | None]]:
    """The rows for JSON: numbers as numbers, undefined or infinite as None."""
    return [{column: _plain(cell) for column, cell in row.items()} for row in rows]


def _row_1(experiment: Experiment, each: Measured) -> Cells:
    theirs = published.accuracy(
        experiment.model.name,
        each.task,
        each.method,
        published.version_of(experiment.settings.method),
    )
    margin = experiment.settings.margin
    kept = dict.fromkeys(name for o in experiment.outcomes for name in o.retention)
    retention: Cells = {}
    for name in kept:
        change = each.retention.get(name, NOTHING)
        retention |= _estimate(f"difference_{name}", change, 100, 2)
        fine = stats.non_inferior(change.interval, margin)
        known = change.interval is not None
        retention[f"not_worse_{name}"] = ("yes" if fine else "no") if known else ""
    overall = _estimate("accuracy", each.value("overall"), 100, 2)
    return {
        "task": each.task,
        "method": each.method,
        "n": _fixed(mean(each.sizes) if each.sizes else None, 1, 1),
        **_estimate("named_stereotyped", each.value("stereotyped"), 100, 2),
        "accuracy": overall["accuracy"],
        "low": overall["accuracy_low"],
        "high": overall["accuracy_high"],
        "std_trials": _fixed(each.std_trials, 100, 2),
        "std_draws": _fixed(each.std_draws, 100, 2),
        "std_instructions": _fixed(each.std_instructions, 100, 2),
        **_shares(each, "ambiguous", "disambiguated", "filler", "mismatch"),
        **_estimate("plain_accuracy", each.value("plain"), 100, 2),
        "unknown_rate": _fixed(each.unknown_rate, 100, 2),
        "named_accuracy": _fixed(each.named_accuracy, 100, 2),
        **_apart(each),
        "gain": gained(each.apart) if each.gain.value is not None else "",
        "dev_accuracy": _fixed(each.dev, 100, 2),
        **_differences(each),
        "p_sign_flip": _fixed(each.sign_flip("overall"), 1, 6),
        "p_holm": _fixed(experiment.p_holm[each.task, each.method], 1, 6),
        "p_mcnemar": _fixed(each.mcnemar(), 1, 6),
        "perplexity": _fixed(each.text.perplexity if each.text else None, 1, 3),
        **_estimate("perplexity_ratio", each.perplexity_ratio, 1, 4),
        "kl": _fixed(each.text.kl_per_token if each.text else None, 1, 4),
        **retention,
        "published": _fixed(theirs.value if theirs else None, 1, 2),
        "published_source": theirs.source if theirs else "",
        "trials": str(each.number),
        "draws": str(each.draws),
        "rows": str(each.own.sum()),
        "templates": str(each.templates),
    }


def _shares(each: Measured, *names: str) -> Cells:
    parts = (_estimate(name, each.value(name), 100, 2) for name in names)
    return {column: cell for part in parts for column, cell in part.items()}


def _apart(each: Measured) -> Cells:
    """The columns of plain rows have no kind in their names."""
    cells: Cells = {}
    nothing = Apart(NOTHING, NOTHING)
    for kind, end in zip(UNANSWERABLE, ("", "_filler", "_mismatch"), strict=True):
        found = each.apart.get(kind, nothing)
        cells |= _estimate(f"discrimination{end}", found.auroc, 1, 4)
        cells |= _estimate(f"twin_discrimination{end}", found.twin, 1, 4)
        cells |= _estimate(f"gain_over_offset{end}", found.gain, 100, 2)
    return cells


def _differences(each: Measured) -> Cells:
    names = {
        "stereotyped": "named_stereotyped",
        "overall": "accuracy",
        "plain": "plain_accuracy",
        "ambiguous": "ambiguous",
        "disambiguated": "disambiguated",
    }
    cells: Cells = {}
    for name, column in names.items():
        change = each.change(name)
        cells |= _estimate(f"difference_{column}", change, 100, 2)
    change = each.change("discrimination")
    return cells | _estimate("difference_discrimination", change, 1, 4)


def _row_2(experiment: Experiment, each: Measured) -> Cells:
    theirs = published.gold_percent(experiment.model.name, each.task, each.method)
    figure = theirs[0] if theirs else None
    return {
        "task": each.task,
        "method": each.method,
        **_estimate("ambiguous", each.value("gold ambiguous"), 100, 2),
        **_estimate("disambiguated", each.value("gold disambiguated"), 100, 2),
        **_estimate("all_rows", each.value("gold"), 100, 2),
        "ambiguous_raw": _fixed(each.gold_raw("ambiguous"), 100, 4),
        "disambiguated_raw": _fixed(each.gold_raw("disambiguated"), 100, 4),
        "all_rows_raw": _fixed(each.gold_raw("overall"), 100, 4),
        "published_ambiguous": _fixed(figure.ambiguous if figure else None, 1, 2),
        "published_disambiguated": _fixed(figure.disambiguated if figure else None, 1, 2),
        "published_source": theirs[1] if theirs else "",
    }


def _estimate(name: str, estimate: Estimate, unit: float, digits: int) -> Cells:
    parts = {name: estimate.value, f"{name}_low": estimate.low, f"{name}_high": estimate.high}
    return {column: _fixed(value, unit, digits) for column, value in parts.items()}


def _fixed(value: float | None, unit: float, digits: int) -> str:
    """So many decimals, so that bytes do not hang on the last bit; undefined is an empty cell."""
    if value is None:
        return ""
    text = f"{unit * value:.{digits}f}"
    return text.removeprefix("-") if float(text) == 0 else text


def _plain(cell: str) -> str | float | None:
    try:
        value = float(cell)
    except ValueError:
        return cell or None
    return value if math.isfinite(value) else None
