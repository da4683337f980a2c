"""Run by tests/base/test_parallel.py in several processes: command lines, and every loop.

Also by itself, in one process: the results must be the same.
"""

from __future__ import annotations

import contextlib
import io
import json
import sys
from pathlib import Path

import torch

import one_model
from command_line import call
from families import tiny
from snipbias.base.errors import SnipbiasError
from snipbias.base.parallel import data_parallel, workers
from snipbias.edits.controls import random_edit
from snipbias.evaluation.evaluate import evaluate
from snipbias.evaluation.neutral_text import text_shifts
from snipbias.evaluation.reading import Reading
from snipbias.experiment.baselines.steering import mean_difference
from snipbias.method import margins as scorers
from snipbias.method.activations import magnitude, skill_neurons
from snipbias.method.attribute import attribute
from snipbias.tasks.neutral_text import passages
from toys import task

KINDS = ("flan-t5", "llama")


def everything(kind: str) -> tuple[dict[str, torch.Tensor], dict[str, object]]:
    """Scores of every kind, and rows."""
    lm = tiny(kind)
    done: list[int] = []
    scores = attribute(lm, task(), progress=done.append)
    assert sum(done) == 40
    found = {
        "attribution": scores.flat,
        "gap": scorers.gap(lm, task()).flat,
        "text utility": scorers.text_utility(lm, ["a man and a dog", "one two"], scores).flat,
        "magnitude": magnitude(lm, task()).flat,
        "skill": skill_neurons(lm, task()).flat,
        "steering": mean_difference(lm, task()).vectors,
        "one prompt": attribute(lm, task(1, ("say it.",)).subsample(1)).flat,
    }
    edit = random_edit(lm, 5)
    asked = evaluate(lm, task(), [edit], reading=Reading(generate=True))
    shifts = text_shifts(lm, passages()[:3], [edit])
    return found, {
        "top": scores.ranking(30),
        "counts": scores.counts.tolist(),
        "rows": asked.table.to_pylist(),
        "text": [shift.passages for shift in shifts],
    }


def failing(rank: int) -> str:
    """What the process says when one of them cannot go on in the middle of its share."""
    lm = tiny("gpt2")
    original = lm.score

    def score(queries, **how):
        if workers().rank == rank:
            raise SnipbiasError(f"process {rank} has had enough: be kind to it.")
        return original(queries, **how)

    lm.score = score  # type: ignore[method-assign]
    try:
        with data_parallel():
            attribute(lm, task())
    except SnipbiasError as error:
        return str(error)
    return "nothing"


def commands(lines: list[list[str]]) -> list[tuple[int, str, str]]:
    """Status, output and errors of each command line."""
    told = []
    for words in lines:
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            status = call(*words)
        told.append((status, out.getvalue(), err.getvalue()))
    return told


def main(folder: Path, lines: list[list[str]]) -> None:
    """The command lines, everything, one model in both, and a failure of process 1."""
    told = commands(lines)
    with data_parallel() as who:
        assert who.count == 2
        for kind in KINDS:
            tensors, rows = everything(kind)
            rows["tensors"] = {name: tensor.tolist() for name, tensor in tensors.items()}
            (folder / f"{kind}-{who.rank}.json").write_text(json.dumps(rows))
        order = who.gather({who.rank: f"of {who.rank}"})
        assert order == {0: "of 0", 1: "of 1"}
        assert who.from_main(lambda: who.rank) == 0
    assert workers().count == 1
    with data_parallel():
        one = one_model.found(folder / "model", tensor_parallel=True)
    assert not workers().one_model
    said = failing(1)
    (folder / f"told-{who.rank}.json").write_text(json.dumps([told, one, said]))


if __name__ == "__main__":
    main(Path(sys.argv[1]), json.loads(sys.argv[2]))
