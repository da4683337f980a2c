"""What two processes that hold one model find (together.py); in one process: the reference."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from snipbias.edits.controls import random_edit
from snipbias.evaluation.evaluate import evaluate
from snipbias.method.attribute import attribute
from snipbias.models.loading import load
from toys import task


def found(folder: Path, *, tensor_parallel: bool) -> dict[str, Any]:
    """Scores of every neuron, rows with and without an edit of neurons of every kind of layer."""
    lm = load(folder, tensor_parallel=tensor_parallel)
    scores = attribute(lm, task(4))
    rows = evaluate(lm, task(4), [random_edit(lm, 40, 1)]).table.to_pylist()
    held = getattr(lm.model.model.layers[0].mlp.up_proj.weight, "_local_tensor", None)
    return {
        "scores": scores.flat.tolist(),
        "rows": [row["logprob"] for row in rows],
        "weights": scores.top(3).model.weights,
        "held": None if held is None else list(held.shape),
    }
