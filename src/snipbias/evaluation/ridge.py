"""Ridge regression in closed form: one direction that tells two classes of rows apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

# Ridge penalties, as multiples of the kernel's mean eigenvalue.
PENALTIES = (0.01, 0.1, 1.0, 10.0)
FOLDS = 5


@dataclass(frozen=True)
class Direction:
    """A fitted direction: how far rows lie along it, the first class being higher."""

    mean: Float[np.ndarray, " d"]
    scale: Float[np.ndarray, " d"]
    weights: Float[np.ndarray, " d"]

    def __call__(self, x: Float[np.ndarray, "n d"]) -> Float[np.ndarray, " n"]:
        """The rows' scores."""
        return (x - self.mean) / self.scale @ self.weights


def fit(
    x: Float[np.ndarray, "n d"], is_first: Bool[np.ndarray, " n"], penalties: Sequence[float]
) -> list[Direction]:
    """A direction for each penalty; both classes weigh the same, and so do all features.

    With Z the standardised rows times the roots of their weights, y = 1 in the first class and -1
    in the other: w = Z' (Z Z' + penalty * mean eigenvalue)^-1 y, for all penalties from one
    eigendecomposition.

    Args:
        x: rows of both classes.
        is_first: which rows are of the first class.
        penalties: multiples of the kernel's mean eigenvalue.

    Source: Hastie, Tibshirani, Friedman, The Elements of Statistical Learning, 3.4.1 and 12.3.
    """
    weight = np.where(is_first, 0.5 / is_first.sum(), 0.5 / (~is_first).sum())
    mean = weight @ x
    scale = np.sqrt(weight @ (x - mean) ** 2)
    scale = np.where(scale > 1e-6 * scale.max(), scale, np.inf)  # a constant tells nothing
    root = np.sqrt(weight)
    z = (x - mean) / scale * root[:, None]
    values, vectors = np.linalg.eigh(z @ z.T)
    target = vectors.T @ (root * np.where(is_first, 1.0, -1.0))
    unit = values.mean() or 1.0  # 0 where no feature varies, and then the weights are 0 too
    return [
        Direction(mean, scale, z.T @ (vectors @ (target / (values + penalty * unit))))
        for penalty in penalties
    ]


def held_out_scores(
    x: Float[np.ndarray, "n d"], is_first: Bool[np.ndarray, " n"], group: Int[np.ndarray, " n"]
) -> Float[np.ndarray, "penalties n"]:
    """Every row's score along a direction that was fitted without its group, by penalty.

    Args:
        x, is_first: as in `fit`.
        group: rows of one group are left out together, a fifth of the groups at a time.
    """
    scores = np.empty((len(PENALTIES), len(x)))
    for fold in range(FOLDS):
        out = group % FOLDS == fold
        directions = fit(x[~out], is_first[~out], PENALTIES)
        scores[:, out] = [direction(x[out]) for direction in directions]
    return scores


def residual(
    x: Float[np.ndarray, "n d"], of: Float[np.ndarray, "n k"], fitted: Bool[np.ndarray, " n"]
) -> Float[np.ndarray, "n d"]:
    """The residual of a least-squares regression with a constant.

    Args:
        x, of: what is explained, and what explains it.
        fitted: rows that the regression is fitted on.
    """
    of = np.column_stack([np.ones(len(of)), of])
    slope, *_ = np.linalg.lstsq(of[fitted], x[fitted], rcond=None)
    return x - of @ slope
