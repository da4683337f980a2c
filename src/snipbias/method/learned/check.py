"""Check a model in training on development rows: is it better, and does it do harm?"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from snipbias.base.table import number, percent
from snipbias.method.learned import objective
from snipbias.method.learned.anchors import Anchor
from snipbias.method.learned.below import Below
from snipbias.method.learned.factors import Factors
from snipbias.method.learned.rows import Group

UNANSWERABLE = ("ambiguous", "filler", "mismatch")
ROUNDING = 1e-9

# Of the table of a training, a check per row.
HEADER = ("step", "loss", "AUROC p/f/m", "twins", "right p/f/m", "answered", "person", "KL")
LEGEND = (
    "p/f/m: plain ambiguous, filler and mismatch rows. AUROC: how well they are told from "
    "answerable rows; twins: each from its own twin. right: percent answered 'unknown'; answered: "
    "percent of answerable rows right; person: percent with the right person ahead. KL: nats per "
    "token on other texts.\n"
    "*: kept, since it tells the rows apart best without harm to answerable rows or other texts."
)


@dataclass(frozen=True)
class Material:
    """Rows and texts to train on, and those to check by."""

    rows: Sequence[Group]  # groups of the `find` part
    dev: Sequence[Group]  # groups of the `dev` part
    texts: Sequence[Anchor]  # texts and replies to train on, whose predictions must not change
    dev_texts: Sequence[Anchor]  # other texts, which measure how far predictions have moved
    below: Below  # the model, and what of it runs once per input

    @property
    def fingerprint(self) -> str:
        """SHA-256 over all rows: what is asked, and what is right."""
        rows = [(group.items, group.queries) for group in (*self.rows, *self.dev)]
        return hashlib.sha256(repr(rows).encode()).hexdigest()


@dataclass(frozen=True)
class DevCheck:
    """The figures on development rows after `step` steps."""

    step: int  # steps done; 0 is the original model
    loss: float | None  # mean training loss since the previous check; None for the original
    auroc: dict[str, float]  # how well the margin tells each unanswerable kind from answerable rows
    twins: dict[str, float]  # per kind, the share of rows with a margin above their twin's
    right: dict[str, float]  # share of rows answered right, per kind of row
    named: float  # share of answerable rows in which the right named option scores higher
    moved: float  # mean KL divergence from the original on texts, in nats per token

    @property
    def told(self) -> float:
        """How well answerable and unanswerable rows are told apart: the mean of all AUROCs.

        Accuracy is not used, since a shift to "unknown" raises it too.
        """
        known = [x for x in (*self.auroc.values(), *self.twins.values()) if not math.isnan(x)]
        return sum(known) / len(known) if known else math.nan

    def cells(self, *, kept: bool) -> tuple[str, ...]:
        """Its row under `HEADER`; a star marks the check whose factors were kept."""
        return (
            f"{self.step}{' *' if kept else ''}",
            number(self.loss),
            "/".join(number(self.auroc[kind]) for kind in UNANSWERABLE),
            number(sum(self.twins.values()) / len(self.twins)),
            "/".join(f"{100 * self.right[kind]:.0f}" for kind in UNANSWERABLE),
            percent(self.right["disambiguated"]),
            percent(self.named),
            f"{self.moved:.3f}",
        )

    def record(self) -> dict[str, Any]:
        """Its figures, flat, for a CSV file."""
        by_kind = {
            f"{name}_{kind}": value
            for name in ("auroc", "twins", "right")
            for kind, value in getattr(self, name).items()
        }
        own = {"step": self.step, "loss": self.loss}
        return {**own, **by_kind, "right_person": self.named, "kl": self.moved}

    def harm(self, original: DevCheck, margin: float, most: float) -> list[str]:
        """What has become worse: answerable rows, the choice of person, or other texts.

        Args:
            original: the check of the original model.
            margin: share of answerable rows that may be lost.
            most: largest acceptable KL on other texts, in nats per token.
        """
        shares = {
            "answerable rows right": (original.right["disambiguated"], self.right["disambiguated"]),
            "right person": (original.named, self.named),
        }
        # Shares of rows differ in the last bits; and what is no number is no harmless one.
        worse = [
            f"{what} {100 * before:.0f} -> {100 * now:.0f} %"
            for what, (before, now) in shares.items()
            if before - now > margin + ROUNDING
        ]
        if not self.moved <= most:
            worse.append(f"other texts move by {self.moved:.2f} nats per token")
        return worse


def best_of(checks: Sequence[DevCheck], margin: float, most: float) -> DevCheck:
    """The check that tells rows apart best without harm, of equals the first.

    Args:
        checks: the original's, which counts as harmless, and others.
        margin, most: as in `DevCheck.harm`.
    """
    original, *others = checks
    harmless = [each for each in others if not each.harm(original, margin, most)]
    return max([original, *harmless], key=lambda each: each.told)


def check(
    factors: Factors, material: Material, step: int = 0, loss: float | None = None
) -> DevCheck:
    """Check the current factors on development rows and texts.

    Args:
        factors: what is checked, applied for the time being.
        step: steps done.
        loss: mean training loss since the previous check, if any.
    """
    margins, right, named, moved = [], [], [], []
    with torch.no_grad(), factors.applied():
        for group in material.dev:
            logprobs = group.score(material.below).cpu()
            margins.append(objective.unknown_margin(logprobs, group.unknown))
            right.append(logprobs.argmax(1) == group.gold)
            declined = logprobs.scatter(1, group.unknown[:, None], -torch.inf)
            named.append(declined.argmax(1) == group.gold)
        moved = [float(text.moved(material.below)) for text in material.dev_texts]
    margin, hits = torch.cat(margins), torch.cat(right).double()
    if margin.isnan().any():  # no figure of such rows is one, and nothing does more harm
        moved.append(math.nan)
    items = [item for group in material.dev for item in group.items]
    at = {
        kind: torch.tensor([item.condition == kind for item in items])
        for kind in (*UNANSWERABLE, "disambiguated")
    }
    answerable = at["disambiguated"]
    # Per group, so that a filling that is drawn twice is compared with its own twin.
    pair = [f"{n} {item.twin}" for n, group in enumerate(material.dev) for item in group.items]
    own = {pair[i]: float(margin[i]) for i in answerable.nonzero()[:, 0].tolist()}
    twins = {}
    for kind in UNANSWERABLE:
        rows = [i for i in at[kind].nonzero()[:, 0].tolist() if pair[i] in own]
        its, twin = margin[rows], torch.tensor([own[pair[i]] for i in rows], dtype=margin.dtype)
        # Compared, not subtracted: two margins of -inf are a tie too, which counts half.
        wins = (its > twin).double() + (its == twin).double() / 2
        twins[kind] = float(wins.mean())  # nan if there is no row
    return DevCheck(
        step,
        loss,
        {kind: objective.auroc(margin[at[kind]], margin[answerable]) for kind in UNANSWERABLE},
        twins,
        {kind: float(hits[rows].mean()) for kind, rows in at.items()},
        float(torch.cat(named).double()[answerable].mean()),
        sum(moved) / len(moved) if moved else 0.0,
    )
