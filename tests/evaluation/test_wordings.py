"""The offset control with one constant for each wording of "unknown"."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from snipbias.evaluation.evaluate import _SCHEMA, Evaluation
from snipbias.evaluation.margin import discrimination, unknown_margin
from snipbias.evaluation.reading import Reading
from snipbias.experiment.baselines.offset import constants, levelled
from snipbias.tasks.items import Item, Task

PLANTED = {"Not known": 2.0, "Cannot be told": -1.0, "Undetermined": 0.5}


def asked(spread: float = 0.0) -> tuple[Evaluation, Task]:
    """Rows whose margin is +1 or -1 by condition, plus what was planted for their wording."""
    items, records = [], []
    rng = np.random.default_rng(0)
    for number in range(60):
        wording = list(PLANTED)[number % 3]
        # More ambiguous rows of one wording than of another: the middle must not care.
        condition = "ambiguous" if number % 2 or number < 9 else "disambiguated"
        name = f"i{number}"
        items.append(Item(name, "Who?", ("a", "b", wording), 2, unknown=2, condition=condition))
        margin = (1 if condition == "ambiguous" else -1) + PLANTED[wording]
        scores = [-5.0, -6.0, -5.0 + margin + spread * rng.normal()]
        records.append({
            "method": "original", "item": name, "instruction": 0, "template": name, "twin": "",
            "condition": condition, "gold": 2 if condition == "ambiguous" else 0, "unknown": 2,
            "biased": 0, "chosen": int(np.argmax(scores)), "logprob": scores, "score": scores,
            "probabilities": False, "tokens": [1, 1, 1],
        })  # fmt: skip
    table = pa.Table.from_pylist(records, schema=_SCHEMA)
    return Evaluation(table, Reading()), Task("t", tuple(items), ("Answer.",))


def test_planted_constants_are_recovered_up_to_one_for_all():
    evaluation, task = asked()
    found = constants(evaluation, task)
    level = np.mean(list(PLANTED.values()))
    assert found == {wording: pytest.approx(level - c) for wording, c in PLANTED.items()}
    after = levelled(evaluation, task, found).rows()
    assert set(unknown_margin(after).round(6)) == {round(level + 1, 6), round(level - 1, 6)}


def test_it_raises_auroc_and_one_constant_does_not():
    evaluation, task = asked(spread=0.3)
    after = levelled(evaluation, task, constants(evaluation, task)).rows()
    assert discrimination(after) > 0.99 > 0.9 > discrimination(evaluation.rows())
    one = levelled(evaluation, task, dict.fromkeys(PLANTED, 1.3)).rows()
    assert discrimination(one) == pytest.approx(discrimination(evaluation.rows()))


def test_a_wording_that_dev_lacks_a_condition_of_is_left_as_it_is():
    evaluation, task = asked()
    kept = [i for i in task.items if i.condition == "ambiguous" or i.options[2] != "Not known"]
    names = {item.id for item in kept}
    table = evaluation.table.filter(
        pa.array([n in names for n in evaluation.table["item"].to_pylist()])
    )
    assert "Not known" not in constants(Evaluation(table, Reading()), task)
