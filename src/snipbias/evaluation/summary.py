"""All metrics of one evaluation in one record."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

import numpy as np

from snipbias.base.words import ALWAYS_UNKNOWN, BEST_OFFSET
from snipbias.evaluation import measures, metrics
from snipbias.evaluation.metrics import ByCondition, Positions, Spread
from snipbias.evaluation.offset_curve import (
    OffsetCurve,
    OffsetPoint,
    gain_over_offset,
    offset_curve,
)
from snipbias.evaluation.rows import Rows

# Functions of `metrics`, each a field of that name.
METRICS = (
    *("named_stereotyped", "unmatched_rate", "accuracy", "unknown_floor", "unknown_rate"),
    *("s_dis", "s_amb", "gold_percent", "gold_percent_raw", "gold_probability"),
    *("biased_probability", "unknown_probability", "discrimination", "named_accuracy"),
    *("named_chance", "positions"),
)


@dataclass(frozen=True, eq=False)
class Summary:
    """Every figure of one evaluation; each field's meaning is its function's in `metrics`.

    Attributes:
        named_stereotyped: how often the answer names whom the stereotype names.
        unresolved: rows of a known condition whose biased option the data does not say.
        offset_best: the best overall accuracy on the offset curve.
        perplexity: on neutral text, if it was measured.
        kl_per_token: KL(original || this model) in nats on neutral text, if it was measured.
        chat_kl: the same along the original's own answers to requests, if it was measured.
    """

    named_stereotyped: ByCondition
    rows: int
    templates: int
    instructions: int
    unresolved: int
    unmatched_rate: float
    accuracy: ByCondition
    accuracy_by_instruction: dict[int, float]
    spread: Spread
    unknown_floor: ByCondition
    unknown_rate: ByCondition
    s_dis: float | None
    s_amb: float | None
    gold_percent: ByCondition
    gold_percent_raw: ByCondition | None
    gold_probability: ByCondition
    biased_probability: ByCondition
    unknown_probability: ByCondition
    discrimination: float | None
    twin_discrimination: float | None
    named_accuracy: float | None
    named_chance: float | None
    positions: Positions
    offset_curve: OffsetCurve | None
    offset_best: OffsetPoint | None
    perplexity: float | None = None
    kl_per_token: float | None = None
    chat_kl: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON: undefined or not finite is None; the curve is thinned."""
        return plain(self)


def summarize(
    rows: Rows,
    *,
    perplexity: float | None = None,
    kl_per_token: float | None = None,
    chat_kl: float | None = None,
) -> Summary:
    """All metrics of the rows.

    Args:
        rows: the rows.
        perplexity: perplexity of neutral text, if measured.
        kl_per_token: KL from the original there, in nats per token, if measured.
        chat_kl: the same on chat answers, if measured.
    """
    by_instruction = metrics.accuracy_by_instruction(rows)
    curve = offset_curve(rows)
    return Summary(
        **{name: getattr(metrics, name)(rows) for name in METRICS},
        rows=len(rows),
        templates=len(np.unique(rows.template)),
        instructions=len(by_instruction),
        unresolved=int(((rows.ambiguous | rows.disambiguated) & (rows.biased < 0)).sum()),
        accuracy_by_instruction=by_instruction,
        spread=metrics.spread(by_instruction),
        twin_discrimination=measures.TWIN_DISCRIMINATION(rows),
        offset_curve=curve,
        offset_best=curve.best if curve else None,
        perplexity=perplexity,
        kl_per_token=kl_per_token,
        chat_kl=chat_kl,
    )


def floors(original: Summary) -> dict[str, ByCondition]:
    """Accuracy of always answering "unknown", and the best that a constant on it reaches."""
    found = {}
    if original.unknown_floor.overall is not None:
        found[ALWAYS_UNKNOWN] = original.unknown_floor
    if original.offset_best is not None:
        found[BEST_OFFSET] = original.offset_best.accuracy
    return found


def gain(summary: Summary, original: Summary) -> float | None:
    """`gain_over_offset` of one summary over another's curve; None where either is undefined."""
    ambiguous, disambiguated = summary.accuracy.ambiguous, summary.accuracy.disambiguated
    if original.offset_curve is None or ambiguous is None or disambiguated is None:
        return None
    return gain_over_offset((ambiguous, disambiguated), original.offset_curve)


def plain(value: Any) -> Any:
    """Plain JSON values of records, arrays and figures; what is not finite is None."""
    if isinstance(value, OffsetCurve):
        value = value.thinned()
    if is_dataclass(value):
        return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, dict):
        return {str(key): plain(part) for key, part in value.items()}
    if isinstance(value, list):
        return [plain(part) for part in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
