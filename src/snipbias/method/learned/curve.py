"""A table of how a training went: the figures of every check on development rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from snipbias.base.table import Grid, number, percent
from snipbias.method.learned.check import UNANSWERABLE
from snipbias.method.learned.train import Trained

HEADER = ("step", "loss", "AUROC p/f/m", "twins", "right p/f/m", "answered", "person", "KL")
LEGEND = (
    "p/f/m: plain ambiguous, filler and mismatch rows. AUROC: how well they are told from "
    "answerable rows; twins: each from its own twin. right: percent answered 'unknown'; answered: "
    "percent of answerable rows right; person: percent with the right person ahead. KL: nats per "
    "token on other texts.\n"
    "*: kept, since it tells the rows apart best without harm to answerable rows or other texts."
)


def curve(size: int | None, trained: Trained) -> Grid:
    """Every check of one training; a star marks the one whose factors were kept."""
    rows = []
    for check in trained.checks:
        twins = list(check.twins.values())
        rows.append(
            (
                f"{check.step}{' *' if check is trained.best else ''}",
                number(check.loss),
                "/".join(number(check.auroc[kind]) for kind in UNANSWERABLE),
                number(sum(twins) / len(twins)),
                "/".join(f"{100 * check.right[kind]:.0f}" for kind in UNANSWERABLE),
                percent(check.right["disambiguated"]),
                percent(check.named),
                f"{check.moved:.3f}",
            )
        )
    name = "all neurons" if size is None else f"{size:,} neurons"
    return Grid(f"{name}: development rows", HEADER, tuple(rows))


def records(trainings: Mapping[int | None, Trained]) -> Iterator[dict[str, Any]]:
    """One flat record per check, for a CSV file."""
    for size, trained in trainings.items():
        for check in trained.checks:
            yield {
                "neurons": "all" if size is None else size,
                "step": check.step,
                "loss": check.loss,
                **{
                    f"{name}_{kind}": value
                    for name in ("auroc", "twins", "right")
                    for kind, value in getattr(check, name).items()
                },
                "right_person": check.named,
                "kl": check.moved,
                "kept": check is trained.best,
            }
