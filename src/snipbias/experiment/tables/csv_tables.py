"""`table1.csv` and `table2.csv`: one row per method and task, the same bytes every time."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from statistics import mean
from typing import Any

import numpy as np

from snipbias.evaluation import measures, stats
from snipbias.evaluation.apart import Apart, gained
from snipbias.evaluation.estimate import NOTHING, Estimate, average
from snipbias.evaluation.measured import Measured
from snipbias.evaluation.measures import CONDITIONS
from snipbias.experiment.outcome import Experiment
from snipbias.experiment.tables import published
from snipbias.tasks.unanswerable import UNANSWERABLE

Cells = dict[str, str]
CHANGES = {
    "named_stereotyped": "stereotyped",
    "accuracy": "overall",
    "plain_accuracy": "plain",
    "ambiguous": "ambiguous",
    "disambiguated": "disambiguated",
}


def table_1(experiment: Experiment) -> list[Cells]:
    """Accuracies in percent, differences in percent points; undefined is an empty cell."""
    return [_row_1(experiment, each) for each in experiment.every]


def text(rows: Sequence[Mapping[str, Any]]) -> str:
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
    model, version = experiment.model.name, published.version_of(experiment.settings.method)
    theirs = published.published("accuracy", model, each.task, each.method, version)
    cells = {
        "task": each.task,
        "method": each.method,
        "n": _fixed(mean(each.sizes) if each.sizes else None, 1, 1),
        **_estimates({"named_stereotyped": each.value("stereotyped")}),
        **_estimates({"accuracy": each.value("overall")}),
        "std_trials": _fixed(each.std_trials),
        "std_draws": _fixed(each.std_draws),
        "std_instructions": _fixed(each.std_instructions),
        **_estimates({name: each.value(name) for name in CONDITIONS}),
        **_estimates({"plain_accuracy": each.value("plain")}),
        "unknown_rate": _fixed(average(measures.UNKNOWN_RATE, each.rows)),
        "named_accuracy": _fixed(average(measures.NAMED_ACCURACY, each.rows)),
        **_apart(each),
        "gain": gained(each.apart) if each.gain.value is not None else "",
        "dev_accuracy": _fixed(each.dev),
        **_estimates({f"difference_{c}": each.change(name) for c, name in CHANGES.items()}),
        **_estimates({"difference_discrimination": each.change("discrimination")}, 1, 4),
        "p_sign_flip": _fixed(each.sign_flip("overall"), 1, 6),
        "p_holm": _fixed(experiment.p_holm[each.task, each.method], 1, 6),
        "p_mcnemar": _fixed(each.mcnemar(), 1, 6),
        "perplexity": _fixed(each.text.perplexity if each.text else None, 1, 3),
        **_estimates({"perplexity_ratio": each.perplexity_ratio}, 1, 4),
        "kl": _fixed(each.text.kl_per_token if each.text else None, 1, 4),
        **_retention(experiment, each),
        "published": _fixed(theirs.values[0] if theirs else None, 1),
        "published_source": theirs.source if theirs else "",
        "trials": str(each.number),
        "draws": str(each.draws),
        "rows": str((~np.isin(each.rows[0].condition, UNANSWERABLE[1:])).sum()),
        "templates": str(each.summary.templates),
    }
    return {{"accuracy_low": "low", "accuracy_high": "high"}.get(c, c): v for c, v in cells.items()}


def _apart(each: Measured) -> Cells:
    """The columns of plain rows have no kind in their names."""
    cells: Cells = {}
    for kind, end in zip(UNANSWERABLE, ("", "_filler", "_mismatch"), strict=True):
        found = each.apart.get(kind, Apart(NOTHING, NOTHING))
        told = {f"discrimination{end}": found.auroc, f"twin_discrimination{end}": found.twin}
        cells |= _estimates(told, 1, 4) | _estimates({f"gain_over_offset{end}": found.gain})
    return cells


def _retention(experiment: Experiment, each: Measured) -> Cells:
    cells: Cells = {}
    for name in dict.fromkeys(name for o in experiment.outcomes for name in o.retention):
        change = each.retention.get(name, NOTHING)
        fine = "yes" if stats.non_inferior(change.interval, experiment.settings.margin) else "no"
        cells |= _estimates({f"difference_{name}": change})
        cells[f"not_worse_{name}"] = fine if change.interval else ""
    return cells


def table_2(experiment: Experiment) -> list[Cells]:
    """Gold probability in percent, renormalised over the row's options and raw."""
    gold = {"ambiguous": "gold ambiguous", "disambiguated": "gold disambiguated"}
    raw = {"ambiguous": "ambiguous", "disambiguated": "disambiguated", "all_rows": None}
    model, rows = experiment.model.name, []
    for each in experiment.every:
        theirs = published.published("gold probability", model, each.task, each.method)
        cells = {
            "task": each.task,
            "method": each.method,
            **_estimates({c: each.value(name) for c, name in {**gold, "all_rows": "gold"}.items()}),
            **{f"{c}_raw": _fixed(each.gold_raw(part), 100, 4) for c, part in raw.items()},
        }
        for part, value in zip(gold, theirs.values if theirs else (None, None), strict=True):
            cells[f"published_{part}"] = _fixed(value, 1)
        rows.append({**cells, "published_source": theirs.source if theirs else ""})
    return rows


def _estimates(found: Mapping[str, Estimate], unit: float = 100, digits: int = 2) -> Cells:
    """Each figure with its bounds."""
    return {
        f"{name}{end}": _fixed(value, unit, digits)
        for name, each in found.items()
        for end, value in (("", each.value), ("_low", each.low), ("_high", each.high))
    }


def _fixed(value: float | None, unit: float = 100, digits: int = 2) -> str:
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
