"""Published figures of CRISPR, each with its source; `data/published.csv` lists them.

v1 is arXiv 2311.09627v1 (Flan-T5-base only); v2 is ACL 2024 (2024.acl-long.490). Accuracies and
gold probabilities (which v1 calls mean logits: on ambiguous and on disambiguated rows) are percent,
accuracies and their spreads over ten instructions; neurons are counts. A version's own method is
called after it, "v1" or "v2", as in our tables.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cache
from typing import Literal

from snipbias.base.files import shipped

Version = Literal["v1", "v2"]
ORIENTATION = ", for orientation"
SIZES: dict[str, tuple[str, ...]] = {"v1": ("base",), "v2": ("base", "large", "xl")}


@dataclass(frozen=True)
class Published:
    """One published figure (or one per condition) and where it stands."""

    values: tuple[float, ...]
    source: str


@cache
def figures() -> dict[tuple[str, ...], tuple[str, str]]:
    """Figure, version, size, method and task -> its values and where it stands."""
    rows = csv.reader(shipped("published.csv").splitlines())
    return {tuple(row[:5]): (row[5], row[6]) for row in rows}


def published(
    figure: str, model: str, task: str, method: str, version: Version = "v1"
) -> Published | None:
    """A figure; where only the other version has it, that one.

    Args:
        figure: "accuracy", "gold probability", "neurons" or "spread" (of accuracy).
        model: its name; figures of Flan-T5-base stand in for those of other models.
        task: name of the task.
        method: name of the method.
        version: whose figure to take where both have one (the original's, CC's and DC's).
    """
    own = {v: next((s for s in SIZES[v] if f"flan-t5-{s}" in model.lower()), None) for v in SIZES}
    # The model's own figure before one for orientation, then the version that was asked for.
    for each in sorted(own, key=lambda v: (own[v] is None, v != version)):
        size, end = own[each] or "base", "" if own[each] else ORIENTATION
        if found := figures().get((figure, each, size, method, task)):
            values, place = found
            source = f"CRISPR {each}, {place}, Flan-T5-{size}{end}"
            return Published(tuple(map(float, values.split())), source)
    return None


def version_of(method: str) -> Version:
    """The version whose figures are shown for this method, where both papers have one."""
    return "v1" if method == "v1" else "v2"
