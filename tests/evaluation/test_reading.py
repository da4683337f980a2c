"""How answers are read off a model: against the plain model and by hand."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import pytest
import torch

from evaluations import KINDS, LETTERS, plain_logprob, records
from families import tiny
from snipbias.base.errors import SnipbiasError
from snipbias.evaluation.evaluate import evaluate
from snipbias.evaluation.reading import Reading, match
from snipbias.models.language_model import LanguageModel, Query
from snipbias.models.scoring import Scored
from snipbias.tasks.items import Item, Task
from snipbias.tasks.prompts import DEFAULT
from toys import RAGGED


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
