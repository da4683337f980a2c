"""How a training went, as a table: what the development rows said at every check."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from snipbias.base.table import Grid, number, percent
from snipbias.method.learned.check import UNANSWERABLE, Check
from snipbias.method.learned.train import Trained

HEADER = ("step", "loss", *(f"AUROC {k}" for k in UNANSWERABLE), "twins")
RIGHT = ("ambiguous", "filler", "mismatch", "disambiguated")


def curve(size: int | None, trained: Trained) -> Grid:
    """Every check of one training; the one whose factors were kept is marked with a star."""
    rows = tuple(_row(check, check is trained.best) for check in trained.checks)
    name = "all neurons" if size is None else f"{size:,} neurons"
    header = (*HEADER, *(f"{kind} right" for kind in RIGHT), "right person", "KL")
    return Grid(f"{name}: development rows", header, rows)


def records(trainings: Mapping[int | None, Trained]) -> Iterator[dict[str, Any]]:
    """One flat record per check, for a CSV file."""
    for size, trained in trainings.items():
        for check in trained.checks:
            yield {
                "neurons": "all" if size is None else size,
                "step": check.step,
                "loss": check.loss,
                **{f"auroc_{kind}": value for kind, value in check.auroc.items()},
                **{f"twins_{kind}": value for kind, value in check.twins.items()},
                **{f"right_{kind}": value for kind, value in check.right.items()},
                "right_person": check.named,
                "kl": check.moved,
                "kept": check is trained.best,
            }


def _row(check: Check, kept: bool) -> tuple[str, ...]:
    twins: Sequence[float] = list(check.twins.values())
    return (
        f"{check.step}{' *' if kept else ''}",
        number(check.loss),
        *(number(check.auroc[kind]) for kind in UNANSWERABLE),
        number(sum(twins) / len(twins)),
        *(percent(check.right[kind]) for kind in RIGHT),
        percent(check.named),
        number(check.moved, digits=2),
    )
