"""How well a model separates unanswerable questions, of three kinds, from answerable ones.

The fact that answers a question also makes its context longer, so that a model that hears the
length tells plain rows apart perfectly. It does not tell filler and mismatch rows apart: a gain has
to be there on all three.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from snipbias.evaluation import measures, metrics
from snipbias.evaluation.estimate import NOTHING, Estimate, estimate, mean_of, points
from snipbias.evaluation.interval import Answer, above
from snipbias.evaluation.offset_curve import gain_interval, gain_over_offset, offset_curve
from snipbias.evaluation.rows import Rows
from snipbias.tasks.unanswerable import UNANSWERABLE

# Fewer points of disambiguated accuracy above an offset are no gain worth the name.
LEAST_GAIN = 0.05
NAMES = {"ambiguous": "plain", "filler": "filler", "mismatch": "mismatch"}


@dataclass(frozen=True)
class Apart:
    """One kind of unanswerable rows against the answerable ones.

    Attributes:
        auroc: of the unknown margin, any row against any other (`metrics.discrimination`).
        twin: the same between each row and its own answerable twin (`metrics.twin_wins`).
        gain: disambiguated accuracy above what a constant on "unknown" reaches on the original at
            as high an accuracy on this kind; undefined for the original.
    """

    auroc: Estimate
    twin: Estimate
    gain: Estimate = NOTHING


def apart(trials: Sequence[Rows], original: Rows | None = None) -> dict[str, Apart]:
    """The figures by kind; empty without rows of both conditions and an "unknown" option.

    Args:
        trials: a method's rows, one set per trial.
        original: the unedited model's; None: the trials are the original's.
    """
    found = {}
    for kind in trials[0].kinds:
        here, gain = [rows.of_kind(kind) for rows in trials], NOTHING
        auroc = estimate(measures.DISCRIMINATION, here)
        if auroc.value is None:
            continue
        before = None if original is None else original.of_kind(kind)
        if before is not None and (curve := offset_curve(before)) is not None:
            right = map(metrics.accuracy, here)  # the curve is there, so both conditions are
            both = ((each.ambiguous or 0.0, each.disambiguated or 0.0) for each in right)
            gains = mean_of(gain_over_offset(each, curve) for each in both)
            gain = Estimate(gains, gain_interval(here, before))
        found[kind] = Apart(auroc, estimate(measures.TWIN_DISCRIMINATION, here), gain)
    return found


def own_rows(table: pa.Table) -> pa.Table:
    """The rows of an evaluation without the filler and mismatch ones, whose texts are not kept."""
    controls = pc.is_in(table["condition"], pa.array(UNANSWERABLE[1:]))  # type: ignore[attr-defined]
    return table.filter(pc.invert(controls))  # type: ignore[attr-defined]


def gained(found: Mapping[str, Apart]) -> Answer:
    """Whether an edit reaches what no offset can, on every kind of unanswerable rows."""
    answers = [_gained(found[kind].gain) if kind in found else "not shown" for kind in UNANSWERABLE]
    if "no" in answers:
        return "no"
    return "not shown" if "not shown" in answers else "yes"


def _gained(gain: Estimate) -> Answer:
    if gain.value is None or gain.value >= LEAST_GAIN:
        return "yes" if above(gain.interval, 0.0) == "yes" else "not shown"
    return "no" if above(gain.interval, LEAST_GAIN) == "no" else "not shown"


def gain_sentence(found: Mapping[str, Apart]) -> str:
    """The same in words, with the intervals; empty where there is nothing to judge."""
    gains = {kind: each.gain for kind, each in found.items() if each.gain.value is not None}
    if not gains:
        return ""
    answer = gained(found)
    failed = [kind for kind, gain in gains.items() if _gained(gain) == answer]
    said = ", ".join(f"{points(gains[kind])} on {NAMES[kind]} rows" for kind in failed)
    said += ", in points above what a constant on 'unknown' reaches"
    if answer == "yes":
        return f"a gain and not a shift: {said}"
    if answer == "no":
        return f"no gain: {said}"
    if missing := [NAMES[kind] for kind in UNANSWERABLE if kind not in gains]:
        return f"no {' and '.join(missing)} rows: a gain cannot be told from a shift"
    return f"too few rows to judge whether it is a gain: {said}"


def knowledge_sentence(
    inside: Mapping[str, Estimate], original: Mapping[str, Apart], edited: Mapping[str, Apart]
) -> str:
    """What the original knew inside, what its answers showed of it, and what the edit's show.

    Args:
        inside: AUROC of a probe inside the original, by kind of unanswerable row.
        original, edited: figures of the answers, by kind.
    """
    kinds = [kind for kind in UNANSWERABLE if kind in inside and kind in edited]
    if not kinds:
        return ""

    def each(found: Mapping[str, Estimate]) -> str:
        return " / ".join("-" if (v := found[k].value) is None else f"{v:.2f}" for k in kinds)

    said, now = (each({k: found[k].auroc for k in kinds}) for found in (original, edited))
    return (
        f"what can be answered (AUROC on {' / '.join(NAMES[k] for k in kinds)} rows): a probe "
        f"inside the original reaches {each(inside)}, its answers {said}, the edit's answers {now}"
    )
