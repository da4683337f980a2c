"""Values of single rows: probabilities, credits, and the margin of "unknown" with its AUROC."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.special import softmax

from snipbias.evaluation.rows import Rows


def unknown_margin(rows: Rows) -> Float[np.ndarray, " rows"]:
    """m = log P(unknown) - max log P(named); -inf in a row that has no unknown option."""
    best_named = np.where(rows.named, rows.scores, -np.inf).max(axis=1)
    return np.where(rows.unknown >= 0, at(rows.scores, rows.unknown) - best_named, -np.inf)


def auroc(positive: Float[np.ndarray, " p"], negative: Float[np.ndarray, " n"]) -> float | None:
    """P(a positive exceeds a negative), ties counting half: U / (p * n). None if a class is empty.

    Raises:
        ValueError: a value is NaN, whose rank would be made up.
    """
    if np.isnan(positive).any() or np.isnan(negative).any():
        raise ValueError("auroc of NaN: fix the scores first.")
    p, n = len(positive), len(negative)
    return float(wins(positive, negative).sum() / (p * n)) if p and n else None


def wins(
    values: Float[np.ndarray, " p"], others: Float[np.ndarray, " n"]
) -> Float[np.ndarray, " p"]:
    """How many of the others each value exceeds, ties counting half."""
    ordered = np.sort(others)
    below, not_above = (ordered.searchsorted(values, side) for side in ("left", "right"))
    return (below + not_above) / 2


def discrimination(rows: Rows, unanswerable: str = "ambiguous") -> float | None:
    """AUROC of the unknown margin, unanswerable against disambiguated rows (0.5 = cannot tell).

    Mean over instructions of the AUROC within one, unweighted: pooled rows would make a shift that
    differs between instructions look like a loss, and no shift may matter. Instructions that lack
    one of the conditions do not take part.

    Args:
        unanswerable: which rows cannot be answered: ambiguous, filler or mismatch ones.
    """
    margin = unknown_margin(rows)
    has_unknown = rows.unknown >= 0
    each = []
    for i in np.unique(rows.instruction):
        here = has_unknown & (rows.instruction == i)
        higher = here & (rows.condition == unanswerable)
        each.append(auroc(margin[higher], margin[here & rows.disambiguated]))
    defined = [value for value in each if value is not None]
    return float(np.mean(defined)) if defined else None


def twin_wins(rows: Rows) -> tuple[Float[np.ndarray, " rows"], Bool[np.ndarray, " rows"]]:
    """Whether each ambiguous row has the larger unknown margin than its own disambiguated twin.

    Three quarters of the margin's variance is between questions, which this takes out.

    Returns:
        1, 0, or one half of a tie, for each row; and whether it is a row with a twin.
    """
    margin = unknown_margin(rows)
    asked = list(zip(rows.template, rows.instruction, rows.twin, strict=True))
    answered = {asked[i]: i for i in np.flatnonzero(rows.disambiguated & (rows.twin != ""))}
    other = np.array([answered.get(question, -1) for question in asked])
    paired = rows.ambiguous & (other >= 0) & (rows.unknown >= 0) & (rows.unknown[other] >= 0)
    return (margin > margin[other]) + 0.5 * (margin == margin[other]), paired


def at(
    matrix: Float[np.ndarray, "rows options"] | Bool[np.ndarray, "rows options"],
    index: Int[np.ndarray, " rows"],
) -> np.ndarray:
    """The cell at each row's index; for -1 (no such option) a cell that the caller masks."""
    return np.take_along_axis(matrix, index[:, None], axis=1)[:, 0]


def option_probabilities(rows: Rows) -> Float[np.ndarray, "rows options"]:
    """P of each option, renormalised over the options of its row; 0 where there is none."""
    return softmax(rows.scores, axis=1)


def named_credit(rows: Rows) -> Float[np.ndarray, " rows"]:
    """1 where the gold option scores highest among the named ones, 0 where not, 1/k in a k-way tie.

    Ties are real (single-token options of a bfloat16 model), and the first of equals would credit
    a position.
    """
    named_scores = np.where(rows.named, rows.scores, -np.inf)
    top = rows.named & (named_scores == named_scores.max(axis=1, keepdims=True))
    return at(top, rows.gold) / top.sum(axis=1)


def readable(rows: Rows) -> Bool[np.ndarray, " rows"]:
    """Disambiguated rows that ask for a choice between names: two or more, one of them gold."""
    return rows.disambiguated & (rows.gold != rows.unknown) & (rows.named.sum(axis=1) > 1)
