"""Evaluation against the plain model, by hand, and what it must not depend on."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from families import tiny
from snipbias.base.errors import SnipbiasError
from snipbias.base.words import ORIGINAL
from snipbias.edits.controls import random_edit
from snipbias.edits.edit import NeuronEdit
from snipbias.edits.provenance import ModelId
from snipbias.evaluation.evaluate import Evaluation, evaluate
from snipbias.evaluation.reading import Reading, match
from snipbias.models.language_model import LanguageModel, Query
from snipbias.models.scoring import Scored
from snipbias.tasks.items import Item, Task
from snipbias.tasks.prompts import DEFAULT
from toys import RAGGED, rows, task

KINDS = ("flan-t5", "llama")
LETTERS = Reading(options="letters")


def plain_logprob(lm: LanguageModel, prompt: str, option: str) -> float:
    """Sum of an option's token log-probabilities, by the model's own forward, alone."""
    tokenizer, model = lm.tokenizer, lm.model
    with torch.no_grad():
        if lm.is_encoder_decoder:
            labels = [*tokenizer(option)["input_ids"], tokenizer.eos_token_id]
            prompt_ids = torch.tensor([tokenizer(prompt)["input_ids"]])
            logits = model(input_ids=prompt_ids, labels=torch.tensor([labels])).logits[0]
        else:
            prefix = tokenizer(prompt)["input_ids"]
            labels = tokenizer(f"{prompt} {option}")["input_ids"][len(prefix) :]
            logits = model(input_ids=torch.tensor([prefix + labels])).logits[0]
            logits = logits[len(prefix) - 1 : -1]
    chosen = logits.double().log_softmax(-1)[range(len(labels)), labels]
    return float(chosen.sum())


def records(evaluation: Evaluation, method: str = ORIGINAL) -> dict[tuple[str, int], dict]:
    found = {
        (row["item"], row["instruction"]): row
        for row in evaluation.table.to_pylist()
        if row["method"] == method
    }
    assert found
    return found


def scores_of(evaluation: Evaluation, method: str = ORIGINAL) -> np.ndarray:
    found = records(evaluation, method)
    return np.concatenate([found[key]["score"] for key in sorted(found)])


class Puppet(LanguageModel):
    """A model whose log-probability of an option is what a function of its place says."""

    def score(self, queries: Sequence[Query], *, share_start: bool = False) -> Scored:
        scored = super().score(queries, share_start=share_start)
        places = torch.arange(scored.logprobs.shape[1]).expand_as(scored.logprobs)
        scored.logprobs.copy_(-1.0 - places.float())
        return scored


def puppet() -> Puppet:
    lm = tiny("llama")
    return Puppet(lm.model, lm.tokenizer, name="puppet")


# -- option scores ---------------------------------------------------------------------------


@pytest.mark.parametrize("family", KINDS)
def test_scores_are_those_of_the_plain_model(family: str) -> None:
    lm = tiny(family)
    found = records(evaluate(lm, RAGGED))
    assert len(found) == len(RAGGED) * 2
    for item, (j, instruction) in itertools.product(RAGGED.items, enumerate(RAGGED.instructions)):
        expected = [plain_logprob(lm, DEFAULT.render(instruction, item), o) for o in item.options]
        row = found[item.id, j]
        assert row["logprob"] == pytest.approx(expected, rel=1e-5)
        assert row["score"] == row["logprob"]
        assert row["chosen"] == int(np.argmax(expected))


def test_scores_by_token_and_by_byte_are_divided_by_hand() -> None:
    lm = tiny("flan-t5")
    item = Item("a", "who?", ("abc", "é", "no one"), 0)
    one = Task("one", (item,), ("say it.",))
    (summed,) = records(evaluate(lm, one)).values()
    (by_token,) = records(evaluate(lm, one, reading=Reading("token"))).values()
    (by_byte,) = records(evaluate(lm, one, reading=Reading("byte"))).values()
    logprobs = np.array(summed["logprob"])
    assert summed["tokens"] == [4, 2, 6]  # pieces of letters, and the end token
    np.testing.assert_allclose(by_token["score"], logprobs / [4, 2, 6])
    np.testing.assert_allclose(by_byte["score"], logprobs / [3, 2, 6])
    assert by_byte["chosen"] == int(np.argmax(logprobs / [3, 2, 6]))
    assert by_token["logprob"] == by_byte["logprob"] == summed["logprob"]


def test_only_sums_count_as_probabilities() -> None:
    lm = tiny("llama")
    assert evaluate(lm, RAGGED).rows().probabilities
    assert not evaluate(lm, RAGGED, reading=Reading("byte")).rows().probabilities


# -- letters ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("options", "orders"), [(2, 2), (3, 6), (4, 4)])
def test_letters_are_the_mean_over_orders(options: int, orders: int) -> None:
    lm = tiny("flan-t5")
    texts = ("ab", "cd ef", "gh", "it is")[:options]
    item = Item("a", "which?", texts, 0)
    one = Task("one", (item,), ("say it.",))
    places = range(options)
    turns = list(itertools.permutations(places))
    if options == 4:  # each option once at each letter
        turns = [(0, 1, 2, 3), (1, 2, 3, 0), (2, 3, 0, 1), (3, 0, 1, 2)]
    assert len(turns) == orders
    expected = np.zeros(options)
    for order in turns:
        prompt = DEFAULT.lettered().ask("say it.", item, order)[0]
        for place, option in enumerate(order):
            assert f"{'ABCD'[place]}. {texts[option]}" in prompt
            expected[option] += plain_logprob(lm, prompt, "ABCD"[place]) / orders
    (row,) = records(evaluate(lm, one, reading=LETTERS)).values()
    np.testing.assert_allclose(row["logprob"], expected, rtol=1e-5)


def test_a_preference_for_a_letter_comes_out_flat() -> None:
    for row in records(evaluate(puppet(), RAGGED, reading=LETTERS)).values():
        np.testing.assert_allclose(row["score"], np.mean(row["score"]))
    text = records(evaluate(puppet(), RAGGED))
    assert all(row["chosen"] == 0 for row in text.values())  # as text the puppet is biased


@pytest.mark.parametrize(
    "wrong",
    [
        {"normalize": "words"},
        {"options": "numbers"},
        {"options": "letters", "generate": True},
        {"options": "letters", "normalize": "byte"},
    ],
)
def test_readings_that_make_no_sense_are_refused(wrong: dict) -> None:
    with pytest.raises(SnipbiasError):
        Reading(**wrong)


# -- generation ------------------------------------------------------------------------------


@pytest.mark.parametrize("family", KINDS)
def test_generation_is_that_of_the_plain_model(family: str) -> None:
    lm = tiny(family)
    found = records(evaluate(lm, RAGGED, reading=Reading(generate=True)))
    scored = records(evaluate(lm, RAGGED))
    for item, (j, instruction) in itertools.product(RAGGED.items, enumerate(RAGGED.instructions)):
        query = lm.query(DEFAULT.render(instruction, item), item.options)
        ids = torch.tensor([query.prompt])
        limit = max(map(len, query.options)) + 8
        written = lm.model.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=limit,
            do_sample=False,
            pad_token_id=0,
        )
        skip = 1 if lm.is_encoder_decoder else ids.shape[1]
        text = lm.tokenizer.decode(written[0, skip:], skip_special_tokens=True).strip()
        row = found[item.id, j]
        assert row["text"] == text
        assert row["chosen"] == match(text, item.options)
        assert row["logprob"] == scored[item.id, j]["logprob"]
    assert any(row["text"] for row in found.values())


OPTIONS = ("The grandfather", "A boy", "Can't be determined")


@pytest.mark.parametrize(
    ("text", "options", "index"),
    [
        ("the grandfather", OPTIONS, 0),
        ("  Grandfather. ", OPTIONS, 0),
        ("BOY", OPTIONS, 1),
        ("It was the boy, I think", OPTIONS, 1),
        ("Can\u2019t be determined!", OPTIONS, 2),
        ("the boy and not the grandfather", OPTIONS, 1),
        ("nobody", OPTIONS, -1),
        ("", OPTIONS, -1),
        ("boyhood", OPTIONS, -1),
        ("a cat", ("a", "b"), -1),
        ("cat", ("a", "b"), -1),
        ("A", ("a", "b"), 0),
        ("", ("a", "b"), -1),
        ("b", ("a", "b"), 1),
        ("a man", ("the man", "a man"), 1),
        ("C++", ("C", "C++"), 1),
        ("", ("+", "-"), -1),
        ("-", ("+", "-"), 1),
        ("the old man", ("man", "old man"), 1),
        ("Anna Maria", ("Maria", "Anna Maria"), 1),
        ("it is 1.5", ("1", "1.5"), 1),
        ("a 70-year-old", ("70 year old", "7"), 0),
        ("STRASSE", ("Straße", "b"), 0),
        ("(", ("(", ")"), 0),
    ],
)
def test_match(text: str, options: tuple[str, ...], index: int) -> None:
    assert match(text, options) == index


# -- what it must not depend on ---------------------------------------------------------------


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


# -- the table -------------------------------------------------------------------------------


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
