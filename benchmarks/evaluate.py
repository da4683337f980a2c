"""Evaluating, against the lm-evaluation-harness and against plain batches of rows."""

from __future__ import annotations

import torch

from benchmarks import peers
from benchmarks.measure import Spread, in_turns, ratio
from benchmarks.workloads import Workload
from snipbias import evaluate

TOLERANCE = 1e-4


def run(work: Workload, *, batch_size: int, repeats: int, against: str) -> tuple[Spread, float]:
    """A peer's seconds over those of `evaluate`; the largest difference of a log-probability."""
    peer = {"lm_eval": peers.harness_scores, "plain": peers.plain_scores}[against]
    found: dict[str, list[list[float]]] = {}

    def ours() -> None:
        rows = evaluate(work.lm, work.task, batch_size=batch_size).table.to_pylist()
        found["ours"] = [row["logprob"] for row in rows]

    def theirs() -> None:
        found["theirs"] = peer(work, batch_size)

    taken = in_turns({"ours": ours, against: theirs}, repeats)
    mine, others = (torch.tensor(found[name]) for name in ("ours", "theirs"))
    largest = float((mine - others).abs().max())
    if largest > TOLERANCE:
        raise AssertionError(f"log-probabilities differ by {largest:.2g}: nothing to compare.")
    return ratio(taken, against, "ours"), largest
