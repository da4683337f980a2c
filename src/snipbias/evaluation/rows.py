"""Answers as arrays, from which every metric is computed: one row per item and instruction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, get_args

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

from snipbias.base.errors import SnipbiasError
from snipbias.tasks.item import Condition, Item
from snipbias.tasks.unanswerable import UNANSWERABLE

# A log-probability may exceed 0 by the rounding of a float32 log-softmax, but not by more.
_ROUNDING = 1e-4
_MEND = "load the model in float32, look for NaN in its weights, or cut less out."
# What is stored of a row of which the data does not say it.
_NOTHING = {"unknown": -1, "biased": -1, "chosen": -1, "instruction": 0} | dict.fromkeys(
    ("condition", "template", "twin"), ""
)
_LABELS = ("gold", *_NOTHING)


@dataclass(frozen=True, eq=False)
class Rows:
    """Scores and labels of R rows with up to C options; `from_lists` pads ragged scores.

    Attributes:
        scores: score of every option, -inf where the row has no such option.
        gold: index of the right option.
        unknown: index of the option that declines to answer, -1 if there is none.
        biased: index of the option that the stereotype names, -1 if the data does not say.
        chosen: index of the option answered with, -1 if a generated text matched none.
        condition: "ambiguous", "filler", "mismatch", "disambiguated" or "" (the data does not say).
        instruction: index of the instruction.
        template: the cluster of the row's item.
        probabilities: whether exp(score) is the probability of the option. False for calibrated
            or length-normalised scores, which only have a meaning relative to each other.
        twin: what a row shares with the rows that ask the same with and without its answer; "" if
            the data does not say.
    """

    scores: Float[np.ndarray, "rows options"]
    gold: Int[np.ndarray, " rows"]
    unknown: Int[np.ndarray, " rows"]
    biased: Int[np.ndarray, " rows"]
    chosen: Int[np.ndarray, " rows"]
    condition: Shaped[np.ndarray, " rows"]
    instruction: Int[np.ndarray, " rows"]
    template: Shaped[np.ndarray, " rows"]
    probabilities: bool = True
    twin: Shaped[np.ndarray, " rows"] = None  # type: ignore[assignment]

    def __post_init__(self) -> None:
        if self.twin is None:
            object.__setattr__(self, "twin", np.full(len(self.scores), ""))
        self._check()

    @classmethod
    def from_lists(
        cls,
        scores: Sequence[Sequence[float]],
        gold: Sequence[int],
        *,
        probabilities: bool = True,
        **labels: Sequence[Any] | None,
    ) -> Rows:
        """Rows from ragged lists, one entry per row; None among labels is stored as -1 or "".

        Args:
            scores, gold, probabilities: as the attributes.
            labels: the other attributes; what is not given is not known of any row, there is one
                template and instruction, and chosen is the highest score, the first of equals.
        """
        matrix = padded(scores)
        known: dict[str, Any] = {"chosen": matrix.argmax(axis=1)}
        known |= {name: given for name, given in labels.items() if given is not None}
        for name, nothing in _NOTHING.items():
            values = known.get(name, [nothing] * len(matrix))
            kind = np.str_ if nothing == "" else np.int64
            known[name] = np.array([nothing if v is None else v for v in values], dtype=kind)
        return cls(matrix, np.array(gold, dtype=np.int64), **known, probabilities=probabilities)

    @classmethod
    def of_items(
        cls, items: Sequence[Item], scores: Sequence[Sequence[float]], probabilities: bool = True
    ) -> Rows:
        """A row per item under one instruction.

        Args:
            items: the items.
            scores: per item, one per option.
            probabilities: whether scores are log-probabilities.
        """
        labels = ("gold", "unknown", "biased", "condition", "template", "twin")
        of: dict[str, Any] = {name: [getattr(item, name) for item in items] for name in labels}
        return cls.from_lists(scores, **of, probabilities=probabilities)

    def __len__(self) -> int:
        return len(self.gold)

    def take(self, index: Shaped[np.ndarray, " taken"]) -> Rows:
        """The rows at `index`: positions (with repeats, for a bootstrap) or a mask."""
        labels = {name: getattr(self, name)[index] for name in _LABELS}
        return Rows(self.scores[index], **labels, probabilities=self.probabilities)

    def of_kind(self, kind: str) -> Rows:
        """The answerable rows, and one kind of unanswerable rows as if they were the plain ones."""
        there = self.take((self.condition == kind) | self.disambiguated)
        plain = np.where(there.disambiguated, there.condition, "ambiguous")
        return replace(there, condition=plain)

    @cached_property
    def present(self) -> Bool[np.ndarray, "rows options"]:
        """Which cells are options rather than padding."""
        return np.isfinite(self.scores)

    @cached_property
    def named(self) -> Bool[np.ndarray, "rows options"]:
        """Which options name a person: all but the unknown one."""
        return self.present & (np.arange(self.scores.shape[1]) != self.unknown[:, None])

    @cached_property
    def ambiguous(self) -> Bool[np.ndarray, " rows"]:
        """The data's own rows whose context does not hold the answer; no filler or mismatch."""
        return self.condition == "ambiguous"

    @cached_property
    def unanswerable(self) -> Bool[np.ndarray, " rows"]:
        """Rows of any kind whose context does not hold the answer."""
        return np.isin(self.condition, UNANSWERABLE)

    @cached_property
    def told(self) -> bool:
        """Whether the data says of any row that its context holds the answer, or does not."""
        return bool((self.condition != "").any())

    @cached_property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of unanswerable rows that are there."""
        return tuple(kind for kind in UNANSWERABLE if (self.condition == kind).any())

    @cached_property
    def weight(self) -> Float[np.ndarray, " rows"]:
        """The weight of each row in a figure over all rows.

        The kinds of unanswerable rows share equally in what the plain ones alone would count for,
        so that filler and mismatch rows do not outvote the answerable ones.
        """
        weight = np.ones(len(self))
        counts = {kind: int((self.condition == kind).sum()) for kind in self.kinds}
        for kind, count in counts.items():
            weight[self.condition == kind] = counts[self.kinds[0]] / (len(counts) * count)
        return weight

    @cached_property
    def disambiguated(self) -> Bool[np.ndarray, " rows"]:
        """Rows whose context holds the answer."""
        return self.condition == "disambiguated"

    def _check(self) -> None:
        n = len(self.scores)
        if self.scores.ndim != 2 or n == 0:
            raise SnipbiasError("there are no rows to measure: evaluate at least one item.")
        for name in _LABELS:
            if (shape := getattr(self, name).shape) != (n,):
                raise ValueError(f"{name} has shape {shape}, but there are {n} rows.")
        # Read off -inf, not off isfinite: a NaN among the options must not pass for padding.
        absent = np.isneginf(self.scores)
        if (bad := np.flatnonzero((~absent & ~np.isfinite(self.scores)).any(axis=1))).size:
            raise SnipbiasError(
                f"{bad.size} of {n} rows have a score that is no finite number "
                f"(first: row {bad[0]}): {_MEND}"
            )
        # A hole, or fewer than two options, is an option of probability 0 and not padding.
        hole = (absent[:, :-1] & ~absent[:, 1:]).any(axis=1) | ((~absent).sum(axis=1) < 2)
        if (bad := np.flatnonzero(hole)).size:
            raise SnipbiasError(
                f"row {bad[0]} does not start with two options of finite score: "
                "score every option of the row."
            )
        if self.probabilities and self.scores.max() > _ROUNDING:
            raise ValueError(
                f"a log-probability is {self.scores.max():.4g}, above 0: pass probabilities=False "
                "for calibrated or length-normalised scores."
            )
        count = self.present.sum(axis=1)
        for name, lowest in (("gold", 0), ("unknown", -1), ("biased", -1), ("chosen", -1)):
            index = getattr(self, name)
            if (bad := np.flatnonzero((index < lowest) | (index >= count))).size:
                raise ValueError(
                    f"row {bad[0]} has {name} = {index[bad[0]]}, but its options are numbered "
                    f"0 to {count[bad[0]] - 1}."
                )
        if (bad := np.flatnonzero((self.unknown >= 0) & (self.unknown == self.biased))).size:
            raise ValueError(f"row {bad[0]} has one option as both unknown and biased.")
        if strange := set(self.condition.tolist()) - {"", *get_args(Condition)}:
            raise ValueError(f"condition {min(strange)!r}: use {', '.join(get_args(Condition))}.")


def padded(scores: Sequence[Sequence[float]]) -> Float[np.ndarray, "rows options"]:
    """Ragged scores as a matrix, -inf where a row has fewer options.

    Raises:
        SnipbiasError: a score is not a finite number.
    """
    matrix = np.full((len(scores), max((len(row) for row in scores), default=1)), -np.inf)
    for i, row in enumerate(scores):
        if not np.isfinite(row).all():
            raise SnipbiasError(f"row {i} has a score that is no finite number: {_MEND}")
        matrix[i, : len(row)] = row
    return matrix
