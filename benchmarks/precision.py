"""What bfloat16 loses against float32: the neurons that are found, and the answers.

The passes run in the model's type; log-probabilities, attributions and their reduction are in
float32 and sums in float64 whatever it is, so what is lost is lost in the model's own layers.
"""

from __future__ import annotations

import json
import sys
from statistics import median
from typing import Any

import torch

import snipbias as sb

TOP = 50


def run(
    model: str = "demo",
    task: str = "mini:age",
    *,
    samples: int = 10,
    instructions: int = 5,
    items: int = 48,
    draws: int = 3,
    dtype: str = "bfloat16",
) -> dict[str, Any]:
    """Figures of one model, loaded in float32 and in another type.

    Args:
        samples: items that neurons are found on, in each of `draws` draws.
        items: held-out items that are answered.

    Returns:
        Share of float32's top 50 neurons that are also in the other type's (`top50_overlap`: min,
        median, max over the draws), the rank correlation of all scores (`spearman`, same), accuracy
        in points, its difference (`accuracy_difference`), the share of rows answered alike
        (`same_answers`) and the mean and largest difference of an option's log-probability in nats.
    """
    asked = sb.task(task)
    asked = asked.with_instructions(asked.instructions[:instructions])
    held_out = asked.test.subsample(items)
    wide, narrow = sb.load(model, dtype="float32"), sb.load(model, dtype=dtype)  # type: ignore[arg-type]
    overlaps, correlations = [], []
    for seed in range(draws):
        drawn = asked.sample(samples, seed)
        found = [sb.attribute(lm, drawn) for lm in (wide, narrow)]
        tops = [set(scores.ranking(TOP)) for scores in found]
        overlaps.append(len(tops[0] & tops[1]) / TOP)
        correlations.append(_correlation(*(scores.flat for scores in found)))
    answers = [sb.evaluate(lm, held_out) for lm in (wide, narrow)]
    accuracies = [100 * (a.summaries["original"].accuracy.overall or 0.0) for a in answers]
    chosen = [torch.tensor(a.table["chosen"].to_pylist()) for a in answers]
    logprobs = [
        torch.cat([torch.tensor(row) for row in a.table["logprob"].to_pylist()]) for a in answers
    ]
    off = (logprobs[0] - logprobs[1]).abs()
    return {
        "model": model,
        "task": task,
        "dtype": dtype,
        "prompts": samples * instructions,
        "rows": len(chosen[0]),
        "top50_overlap": _spread(overlaps),
        "spearman": _spread(correlations),
        "accuracy_float32": accuracies[0],
        "accuracy": accuracies[1],
        "accuracy_difference": accuracies[1] - accuracies[0],
        "same_answers": float((chosen[0] == chosen[1]).double().mean()),
        "logprob_difference_mean": float(off.mean()),
        "logprob_difference_max": float(off.max()),
    }


def _correlation(one: torch.Tensor, other: torch.Tensor) -> float:
    """Spearman's, of two models' scores of the same neurons."""
    ranks = torch.stack([values.argsort().argsort().double() for values in (one, other)])
    return float(torch.corrcoef(ranks)[0, 1])


def _spread(values: list[float]) -> dict[str, float]:
    return {"min": min(values), "median": median(values), "max": max(values)}


if __name__ == "__main__":
    for name in sys.argv[1:] or ["demo"]:
        print(json.dumps(run(name), indent=1))
