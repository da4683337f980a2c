"""The answers of one method in one trial, and all metrics of them in one record."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from functools import cached_property
from typing import Any

import numpy as np

from snipbias.base.words import ALWAYS_UNKNOWN, BEST_OFFSET
from snipbias.evaluation import metrics
from snipbias.evaluation.metrics import ByCondition, Positions, Spread
from snipbias.evaluation.neutral_text import TextShift
from snipbias.evaluation.offset_curve import OffsetCurve, OffsetPoint, offset_curve
from snipbias.evaluation.rows import Rows


@dataclass(frozen=True, eq=False)
class Summary:
    """Every figure of one evaluation; each field's meaning is its function's in `metrics`.

    Attributes:
        named_stereotyped: how often the answer names whom the stereotype names.
        unresolved: rows of a known condition whose biased option the data does not say.
        offset_best: the best overall accuracy on the offset curve.
        perplexity, kl_per_token: as `TextShift` has them, if neutral text was measured.
        chat_kl: KL per token on the original's own answers to requests, if it was measured.
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

    @property
    def floors(self) -> dict[str, ByCondition]:
        """Accuracy of always answering "unknown", and the best that a constant on it reaches."""
        best = self.offset_best
        found = {ALWAYS_UNKNOWN: self.unknown_floor, BEST_OFFSET: best and best.accuracy}
        return {name: each for name, each in found.items() if each and each.overall is not None}


@dataclass(frozen=True, eq=False)
class Trial:
    """Answers of one method on one task, in one trial and draw.

    Attributes:
        rows: on the held-out rows.
        text, chat: on neutral text, and on the original's own answers to requests, if measured.
        retention, elsewhere: rows on other tasks, by task.
        dev: rows on the development part at the chosen setting, if there was one to choose.
        trial: number of the draw of items that neurons were found on; None where there is none.
        size: neurons that are scaled; None for a method that scales none.
    """

    rows: Rows
    text: TextShift | None = None
    chat: TextShift | None = None
    retention: Mapping[str, Rows] = field(default_factory=dict)
    elsewhere: Mapping[str, Rows] = field(default_factory=dict)
    dev: Rows | None = None
    trial: int | None = None
    size: int | None = None

    @cached_property
    def summary(self) -> Summary:
        """Every figure of these answers."""
        rows, by_instruction = self.rows, metrics.accuracy_by_instruction(self.rows)
        known: dict[str, Any] = {
            "rows": len(rows),
            "templates": len(np.unique(rows.template)),
            "instructions": len(by_instruction),
            "unresolved": int(((rows.ambiguous | rows.disambiguated) & (rows.biased < 0)).sum()),
            "accuracy_by_instruction": by_instruction,
            "spread": metrics.spread(by_instruction),
            "offset_curve": (curve := offset_curve(rows)),
            "offset_best": curve.best if curve else None,
            "perplexity": self.text and self.text.perplexity,
            "kl_per_token": self.text and self.text.kl_per_token,
            "chat_kl": self.chat and self.chat.kl_per_token,
        }
        others = [field.name for field in fields(Summary) if field.name not in known]
        return Summary(**known, **{name: getattr(metrics, name)(rows) for name in others})


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
    return None if isinstance(value, float) and not math.isfinite(value) else value
