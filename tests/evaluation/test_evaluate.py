"""What an evaluation holds, and what it must not depend on."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from evaluations import KINDS, LETTERS, records, scores_of
from families import tiny
from snipbias.base.errors import SnipbiasError
from snipbias.base.words import ORIGINAL
from snipbias.edits.controls import random_edit
from snipbias.edits.edit import NeuronEdit
from snipbias.edits.provenance import ModelId
from snipbias.evaluation.evaluate import evaluate
from snipbias.evaluation.reading import Reading
from snipbias.tasks.items import Task
from toys import RAGGED, rows, task


@pytest.mark.parametrize("family", KINDS)
@pytest.mark.parametrize(
    "reading", [Reading(), LETTERS, Reading(generate=True)], ids=["text", "letters", "generate"]
)
def test_neither_batches_nor_order_change_the_rows(family: str, reading: Reading) -> None:
    lm = tiny(family)
    shuffled = Task("ragged", RAGGED.items[::-1], RAGGED.instructions)
    one_by_one = records(evaluate(lm, RAGGED, reading=reading, batch_size=1))
    together = records(evaluate(lm, shuffled, reading=reading, batch_size=100))
    assert one_by_one.keys() == together.keys()
    for key, row in one_by_one.items():
        np.testing.assert_allclose(row["logprob"], together[key]["logprob"], rtol=1e-5)
        for column in ("gold", "chosen", "text", "template", "tokens"):
            assert row[column] == together[key][column]


def test_each_edit_is_alone_on_the_original(unchanged) -> None:
    lm = tiny("flan-t5")
    edits = [random_edit(lm, 40, seed) for seed in (0, 1)]
    with unchanged(lm.model):
        together = evaluate(lm, RAGGED, edits)
    assert together.methods == [ORIGINAL, *(edit.label for edit in edits)]
    np.testing.assert_array_equal(scores_of(together), scores_of(evaluate(lm, RAGGED)))
    for edit in edits:
        baked = edit.bake(lm)
        expected = scores_of(evaluate(lm, RAGGED))
        baked.undo()
        np.testing.assert_allclose(scores_of(together, edit.label), expected, rtol=1e-5)
        assert not np.allclose(scores_of(together, edit.label), scores_of(together))


def test_two_edits_of_one_label_are_refused() -> None:
    lm = tiny("llama")
    edit = random_edit(lm, 3)
    with pytest.raises(SnipbiasError, match="same label"):
        evaluate(lm, RAGGED, [edit, edit])
    named_original = NeuronEdit(edit.factors, ModelId.of(lm), label=ORIGINAL)
    with pytest.raises(SnipbiasError, match="same label"):
        evaluate(lm, RAGGED, [named_original])


def test_an_edit_of_another_model_is_refused_before_the_work() -> None:
    edit = random_edit(tiny("flan-t5"), 3)
    done: list[int] = []
    with pytest.raises(SnipbiasError, match="does not fit"):
        evaluate(tiny("llama"), RAGGED, [edit], progress=done.append)
    assert not done


@pytest.mark.parametrize("reading", [Reading(), LETTERS], ids=["text", "letters"])
def test_progress_adds_up(reading: Reading) -> None:
    lm = tiny("llama")
    done: list[int] = []
    told: dict[str, int] = {}
    options = {"progress": done.append, "stage": told.__setitem__, "batch_size": 4}
    evaluate(lm, RAGGED, [random_edit(lm, 3)], reading=reading, **options)
    assert sum(done) == sum(told.values())
    assert sum(done) == (12 if reading == Reading() else 2 * 2 * (6 + 2 + 4))


def test_nothing_is_left_on_the_model_when_it_fails(unchanged) -> None:
    lm = tiny("llama")
    lm.model.train()

    def stop(done: int) -> None:
        raise KeyboardInterrupt

    with unchanged(lm.model), pytest.raises(KeyboardInterrupt):
        evaluate(lm, RAGGED, [random_edit(lm, 3)], progress=stop)


def test_one_row_an_item_an_instruction_and_a_method(tmp_path: Path) -> None:
    lm = tiny("llama")
    toy = task(3)
    edit = random_edit(lm, 3)
    evaluation = evaluate(lm, toy, [edit])
    keys = [(r["method"], r["item"], r["instruction"]) for r in evaluation.table.to_pylist()]
    names = [item.id for item in toy.items]
    assert len(keys) == len(set(keys))
    assert set(keys) == set(itertools.product([ORIGINAL, edit.label], names, (0, 1)))
    for row in evaluation.table.to_pylist():
        item = next(item for item in rows(3) if item.id == row["item"])
        for column in ("template", "condition", "polarity", "gold", "unknown", "biased"):
            assert row[column] == getattr(item, column)
        assert len(row["logprob"]) == len(row["score"]) == len(row["tokens"]) == 3
        assert row["text"] is None
    evaluation.save(tmp_path / "rows.parquet")
    assert pq.read_table(tmp_path / "rows.parquet").equals(evaluation.table)
    assert [path.name for path in tmp_path.iterdir()] == ["rows.parquet"]


def test_the_rows_of_no_method_are_refused() -> None:
    with pytest.raises(SnipbiasError, match=ORIGINAL):
        evaluate(tiny("llama"), RAGGED).rows("v1 n=10")


def test_accuracy_is_that_of_the_rows() -> None:
    evaluation = evaluate(tiny("flan-t5"), task(4))
    right = [row["chosen"] == row["gold"] for row in evaluation.table.to_pylist()]
    assert 0 < sum(right) < len(right)
    assert evaluation.summaries[ORIGINAL].accuracy.overall == pytest.approx(np.mean(right))


def test_a_model_that_overflows_is_one_sentence() -> None:
    lm = tiny("llama")
    with torch.no_grad():
        lm.model.get_input_embeddings().weight[5:].fill_(torch.nan)
    with pytest.raises(SnipbiasError, match="NaN"):
        _ = evaluate(lm, RAGGED).summaries


def test_generation_is_greedy_whatever_the_checkpoint_asks_for() -> None:
    lm = tiny("llama")
    query = lm.query("say it", ["yes", "no"])
    before = lm.generate([query])
    lm.model.generation_config.repetition_penalty = 5.0
    lm.model.generation_config.no_repeat_ngram_size = 1
    assert lm.generate([query]) == before
