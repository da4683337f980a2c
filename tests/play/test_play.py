"""The playground's answers against evaluation and the plain model; its guard; its refusals."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

import snipbias as sb
from families import FAMILIES, GENERIC, one_neuron, tiny
from snipbias.base.errors import SnipbiasError
from snipbias.cli import main
from snipbias.edits.controls import random_edit
from snipbias.edits.edit import NeuronEdit
from snipbias.edits.provenance import ModelId
from snipbias.evaluation.compare import hold_out
from snipbias.evaluation.evaluate import evaluate
from snipbias.evaluation.reading import Reading
from snipbias.models.language_model import LanguageModel
from snipbias.models.sites import Neuron
from snipbias.play import questions
from snipbias.play import session as sessions
from snipbias.play.answers import (
    LONGEST,
    Answer,
    Firing,
    Switch,
    answer,
    choice,
    firings,
    fit,
    prompt_text,
    together,
)
from snipbias.play.guard import HEADERS, Guard, is_loopback
from snipbias.play.questions import swapped
from snipbias.play.session import KEPT, TRIED, Question, Session
from snipbias.tasks.items import Item, Task
from snipbias.tasks.prompts import DEFAULT
from toys import RAGGED, rows, task

KINDS = ("flan-t5", "bart", "gpt2", "opt", "llama", "qwen2")
SAY = "say it."
ITEM = RAGGED.items[0]


def edit_of(lm: LanguageModel, factors: dict[str, dict[int, float]]) -> NeuronEdit:
    return NeuronEdit(factors, ModelId.of(lm))


# -- answers ---------------------------------------------------------------------------------


@pytest.mark.parametrize("family", KINDS)
def test_answers_are_those_of_evaluate(family: str, unchanged) -> None:
    lm = tiny(family)
    edit = random_edit(lm, 40)
    few = Task("few", RAGGED.items[:2], RAGGED.instructions)
    table = evaluate(lm, few, [edit], reading=Reading(generate=True)).table.to_pylist()
    found = {(row["method"], row["item"], row["instruction"]): row for row in table}
    before = []
    with unchanged(lm.model):
        for (method, name, number), row in found.items():
            item = next(item for item in RAGGED.items if item.id == name)
            applied = None if method == "original" else edit
            said = answer(lm, item, RAGGED.instructions[number], applied)
            assert said.logprobs == pytest.approx(row["logprob"], rel=1e-4)
            assert said.chosen == np.argmax(row["logprob"])
            assert said.text == row["text"]
            assert said.matched == (None if row["chosen"] < 0 else row["chosen"])
            before.append((method, said.logprobs))
    original = [logprobs for method, logprobs in before if method == "original"]
    edited = [logprobs for method, logprobs in before if method != "original"]
    assert not np.allclose(np.concatenate(original), np.concatenate(edited))


def test_an_answer_on_paper() -> None:
    """Every token has logit 0 but one, which has 1; pruned, all are as likely."""
    lm = one_neuron()
    tokens = lm.tokenizer.convert_ids_to_tokens([4])
    assert tokens == ["a"]
    item = Item("x", "who?", ("a", "b"), 0)
    prune = edit_of(lm, {"model.layers.1.mlp.down_proj": {0: 0.0}})
    normal = np.log(63 + np.e)
    assert answer(lm, item, SAY).logprobs == pytest.approx((1 - normal, -normal))
    assert answer(lm, item, SAY).shares == pytest.approx((np.e / (np.e + 1), 1 / (np.e + 1)))
    assert answer(lm, item, SAY, prune).logprobs == pytest.approx((-np.log(64), -np.log(64)))
    (fired,) = firings(lm, item, SAY, prune, 0)
    assert set(fired.outputs) == {0.5}
    assert fired.tokens[-3:] == ("##e", "##r", "##:")
    assert len(fired.tokens) == len(lm.query(DEFAULT.render(SAY, item), item.options).prompt)


def test_shares_and_choice_by_hand() -> None:
    said = Answer((np.log(0.1), np.log(0.3), -1e5), "", None)
    assert said.shares == pytest.approx((0.25, 0.75, 0.0))
    assert said.chosen == 1
    far = Answer((-5000.0, -5000.0), "", None)  # exp(-5000) is 0
    assert far.shares == (0.5, 0.5)
    assert far.chosen == 0


def test_numbers_as_the_page_writes_them() -> None:
    pytest.importorskip("nicegui")
    from snipbias.play.elements import minus
    from snipbias.play.panels import percent

    assert [minus(x) for x in (-1.005, 2, -0.001)] == ["\N{MINUS SIGN}1.00", "2.00", "0.00"]
    assert minus(-0.04, 1) == "0.0"
    assert [percent(x) for x in (0, 1e-9, 0.0005, 0.5, 0.9999, 1)] == [
        *("0.0 %", "<0.1 %", "0.1 %", "50.0 %", ">99.9 %", "100.0 %")
    ]


# -- firings ---------------------------------------------------------------------------------


def plain_outputs(lm: LanguageModel, site: str, item: Item, option: int) -> torch.Tensor:
    """Outputs of a layer in one pass of the Hugging Face model over prompt and answer."""
    query = lm.query(DEFAULT.render(SAY, item), item.options)
    prompt, words = list(query.prompt), list(query.options[option])
    kept: list[torch.Tensor] = []
    handle = lm.module(site).register_forward_hook(lambda m, a, out: kept.append(out))
    with torch.no_grad():
        if lm.is_encoder_decoder:
            config = lm.model.config.get_text_config()
            start = getattr(config, "decoder_start_token_id", None)
            start = config.bos_token_id if start is None else start
            lm.model(
                input_ids=torch.tensor([prompt]),
                decoder_input_ids=torch.tensor([[start, *words[:-1]]]),
            )
        else:
            lm.model(input_ids=torch.tensor([prompt + words[:-1]]))
    handle.remove()
    assert len(kept) == 1
    return kept[0].reshape(-1, kept[0].shape[-1])


@pytest.mark.parametrize("family", FAMILIES | GENERIC)
def test_neurons_fire_as_in_the_plain_model(family: str) -> None:
    lm = tiny(family)
    edit = edit_of(lm, {site.name: {0: 0.5, site.width - 1: 0.0} for site in lm.sites})
    found = firings(lm, ITEM, SAY, edit, 0)
    assert {f.neuron for f in found} == set(edit.neurons)
    expected = {site: plain_outputs(lm, site, ITEM, 0) for site in edit.factors}
    for fired in found:
        site, unit = fired.neuron
        column = expected[site][:, unit].tolist()
        assert fired.outputs == pytest.approx(column, rel=1e-3, abs=1e-4)
        assert len(fired.tokens) == len(column)
        assert abs(fired.outputs[fired.strongest]) == max(map(abs, fired.outputs))
    change = [abs(f.factor - 1) * max(map(abs, f.outputs)) for f in found]
    assert change == sorted(change, reverse=True)


def test_tokens_are_those_that_the_layer_sees() -> None:
    lm = tiny("flan-t5")
    sides = {"encoder.block.0.layer.0.SelfAttention.q": {0: 0.0}}
    cross = {"decoder.block.0.layer.1.EncDecAttention.k": {0: 0.0}}
    decoder = {"decoder.block.0.layer.1.EncDecAttention.q": {0: 0.0}}
    edit = edit_of(lm, {**sides, **cross, **decoder})
    tokens = {f.neuron.site: f.tokens for f in firings(lm, ITEM, SAY, edit, 1)}
    prompt = lm.query(DEFAULT.render(SAY, ITEM), ITEM.options).prompt
    words = tuple(lm.tokenizer.convert_ids_to_tokens(list(prompt)))
    assert tokens[next(iter(sides))] == tokens[next(iter(cross))]
    assert [t.lstrip("#") for t in tokens[next(iter(sides))]] == [w.lstrip("#") for w in words]
    assert tokens[next(iter(decoder))] == ("(start of answer)", "h", "##i", "##m")


def test_tops_and_scaled_by_hand() -> None:
    fired = Firing(Neuron("x", 0), "", 0.5, ("a", "b", "c", "d"), (1.0, -4.0, 2.0, 4.0))
    assert fired.strongest == 1
    assert fired.top(3) == [1, 3, 2]
    assert fired.scaled == (0.5, -2.0, 1.0, 2.0)
    pruned = replace(fired, factor=0.0, outputs=(float("inf"), 1.0))
    assert pruned.scaled == (0.0, 0.0)  # 0 * inf would be no number


# -- edits that are on ------------------------------------------------------------------------


def test_the_factor_farthest_from_one_counts() -> None:
    lm = tiny("llama")
    site = lm.sites[0].name
    first = edit_of(lm, {site: {0: 0.5, 1: 0.0, 2: 0.9}})
    second = edit_of(lm, {site: {0: 0.25, 1: 0.7, 3: 1.5, 4: 1.0}})
    both = together(lm, [Switch(first), Switch(second)])
    assert both is not None
    assert both.factors == {site: {0: 0.25, 1: 0.0, 2: 0.9, 3: 1.5}}
    assert together(lm, [Switch(second), Switch(first)]).factors[site] == both.factors[site]
    twice = together(lm, [Switch(first), Switch(first)])
    assert twice.factors == first.factors
    tie = together(lm, [Switch(edit_of(lm, {site: {0: f}})) for f in (1.5, 0.5)])
    assert tie.factors == {site: {0: 0.5}}


@pytest.mark.parametrize(
    ("strength", "factors"),
    [(1, (0.0, 0.3)), (0.5, (0.5, 0.65)), (2, (-1.0, -0.4)), (-1, (2.0, 1.7)), (0, None)],
)
def test_strength(strength: float, factors: tuple[float, ...] | None) -> None:
    lm = tiny("llama")
    site = lm.sites[0].name
    made = together(lm, [Switch(edit_of(lm, {site: {0: 0.0, 1: 0.3}}), strength)])
    if factors is None:
        assert made is None
        return
    assert list(made.factors[site].values()) == pytest.approx(factors)
    if strength == 1:
        assert made.factors[site][1] == 0.3  # to the bit


def test_single_neurons_can_be_left_alone() -> None:
    lm = tiny("llama")
    edit = random_edit(lm, 5)
    left = frozenset(edit.neurons[:2])
    assert set(together(lm, [Switch(edit, 1.0, left)]).neurons) == set(edit.neurons) - left
    assert together(lm, [Switch(edit, 1.0, frozenset(edit.neurons))]) is None
    assert together(lm, []) is None


def test_what_is_said_about_an_edit() -> None:
    lm = tiny("llama")
    assert fit(lm, random_edit(lm, 3)) == (True, "")
    fits, said = fit(lm, random_edit(tiny("llama", seed=1), 3))
    assert fits
    assert said.startswith("the edit was found on other weights")
    fits, said = fit(lm, random_edit(tiny("gpt2"), 3))
    assert not fits
    assert "does not fit" in said


# -- one session for all tabs --------------------------------------------------------------------


def test_tabs_at_once_get_their_own_answers(unchanged) -> None:
    lm = tiny("flan-t5")
    edits = [replace(random_edit(lm, 60, seed), label=str(seed)) for seed in range(2)]
    session = Session(lm, edits, [RAGGED])
    jobs = [
        (Question(item, SAY), [Switch(edit)] if edit else [])
        for item in RAGGED.items
        for edit in (None, *edits)
    ]
    alone = [Session(lm, edits, [RAGGED]).ask(*job) for job in jobs]
    assert len({result.edited for result in alone}) == len(RAGGED) * len(edits) + 1
    with unchanged(lm.model), ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda job: session.ask(*job), jobs)) == alone


def opened_on(monkeypatch, changed: set[int], edits: int = 1, seconds: float = 60) -> int:
    """The number of the opening row among all, where an edit changes the answers of some."""
    lm, toy = tiny("llama"), task(20)
    found = [replace(random_edit(lm, 5, seed), label=str(seed)) for seed in range(edits)]
    there = questions.rows(held_out_of(toy))
    asked: list[int] = []

    def choice(lm, item: Item, instruction: str, edit: NeuronEdit | None, prompt: object) -> int:
        assert edit in (None, *found[:1])
        assert instruction == toy.instructions[0]
        asked.append(there.index(item))
        return int(edit is not None and there.index(item) in changed)

    monkeypatch.setattr(sessions, "choice", choice)
    monkeypatch.setattr(sessions, "SECONDS", seconds)
    row = there.index(Session(lm, found, [toy]).opening)
    assert {there[number].condition for number in asked} <= {"ambiguous"}
    assert len(asked) <= 2 * TRIED
    return row


def held_out_of(toy: Task) -> Task:
    left = questions.held_out(toy, [])
    assert left is not None
    return left


def test_the_page_opens_on_a_row_that_shows_what_an_edit_does(monkeypatch) -> None:
    there = questions.rows(held_out_of(task(20)))
    ambiguous = [i for i, row in enumerate(there) if row.condition == "ambiguous"]
    assert len(ambiguous) > TRIED - 2
    first, _, third = ambiguous[:3]
    other = next(i for i, row in enumerate(there) if row.condition == "disambiguated")
    assert opened_on(monkeypatch, {other, third}) == third
    assert opened_on(monkeypatch, {other, third}, edits=2) == third
    assert opened_on(monkeypatch, {third}, edits=0) == first
    assert opened_on(monkeypatch, {other}) == first
    assert opened_on(monkeypatch, {third}, seconds=0) == first  # its time was up after one row
    assert opened_on(monkeypatch, {*ambiguous[TRIED:]}) == first
    assert questions.first([there[other], there[third]]) == 1
    assert questions.first([there[other]]) == questions.first([]) == 0


def test_the_choice_is_the_answers_and_no_opening_row_is_an_error() -> None:
    lm = tiny("gpt2")
    edit = random_edit(lm, 40)
    for item in RAGGED.items:
        for each in (None, edit):
            assert choice(lm, item, SAY, each) == answer(lm, item, SAY, each).chosen
    long = Task("long", tuple(replace(i, context="word " * 300) for i in rows()), (SAY,))
    assert Session(lm, [edit], [long]).opening in long.items
    strange = random_edit(tiny("llama"), 3)
    assert Session(lm, [strange], [task()]).opening.condition == "ambiguous"


def test_the_picker_shows_the_opening_row(monkeypatch) -> None:
    pytest.importorskip("nicegui")
    from nicegui import Client, ui

    from snipbias.play.chooser import Picker

    toy = task(20)
    there = questions.rows(held_out_of(toy))
    last = replace(toy, name="last", items=tuple(reversed(toy.items)))
    with Client(ui.page("")):
        nothing = lambda: None  # noqa: E731
        picker = Picker([toy, last], [], there[4], nothing, nothing, nothing)
        assert picker.item == there[4]
        assert picker._number.value == 5
        picker._named.set_value("last")
    assert picker.item.condition == "ambiguous"


def test_a_result_holds_what_the_page_shows() -> None:
    lm = tiny("flan-t5")
    edit = random_edit(lm, 6)
    session = Session(lm, [edit], [RAGGED])
    question = Question(ITEM, SAY)
    left = frozenset(edit.neurons[:1])
    result = session.ask(question, [Switch(edit, 0.5, left)])
    assert result.prompt == prompt_text(lm, ITEM, SAY) == DEFAULT.render(SAY, ITEM)
    assert result.original == answer(lm, ITEM, SAY)
    half = edit_of(lm, {s: dict.fromkeys(u, 0.5) for s, u in edit.factors.items()})
    assert {f.neuron for f in result.firings} == set(edit.neurons)  # also the one left alone
    assert {f.factor for f in result.firings} == {0.5}
    assert result.off == left
    assert result.edited != answer(lm, ITEM, SAY, half)
    on = together(lm, [Switch(edit, 0.5, left)])
    assert result.edited == answer(lm, ITEM, SAY, on)
    assert session.ask(question, []).edited is None
    assert session.ask(question, []).firings == ()


def test_random_neurons_are_as_many_and_scaled_alike() -> None:
    lm = tiny("flan-t5")
    edit = random_edit(lm, 6, 5)
    session, question = Session(lm, [edit], [RAGGED]), Question(ITEM, SAY)
    asked = session.ask(question, [Switch(edit, 0.5)], control=3)
    assert asked.random == answer(lm, ITEM, SAY, random_edit(lm, 6, 3, 0.5))
    assert asked.random != asked.edited
    assert session.ask(question, [], control=3).random is None


def test_two_people_change_places() -> None:
    text = "The Old Man met a boy, and the boy's dog bit the old man."
    options = ("The old man", "the boy", "Not known")
    item = Item("i", "Who was bitten, the boy?", options, 0, text, biased=1, unknown=2)
    turned = swapped(item)
    assert turned.context == "The Boy met a old man, and the old man's dog bit the boy."
    assert turned.question == "Who was bitten, the old man?"
    assert (turned.gold, turned.biased, turned.options) == (1, 1, options)
    assert swapped(replace(item, gold=2)).gold == 2
    assert swapped(turned).question == item.question
    with pytest.raises(SnipbiasError, match="no two people"):
        swapped(replace(item, context="", question="Who?"))


def test_what_nobody_waits_for_is_not_computed() -> None:
    lm = tiny("llama")
    session = Session(lm, [], [RAGGED])
    lm.score = None  # type: ignore[assignment, method-assign]
    assert session.ask(Question(ITEM, SAY), [], lambda: True) is None


def test_only_the_latest_originals_are_kept(monkeypatch) -> None:
    asked = lambda lm, item, instruction, prompt: instruction  # noqa: E731
    monkeypatch.setattr("snipbias.play.session.answer", asked)
    session = Session(tiny("llama"), [], [RAGGED])
    for number in (*range(KEPT), 0, KEPT, 0):
        assert session._original(Question(ITEM, str(number))) == str(number)
    assert [question.instruction for question in session._originals] == [
        *map(str, range(2, KEPT + 1)),
        "0",
    ]


def test_errors_are_sentences() -> None:
    lm = tiny("gpt2")
    session = Session(lm, [], [RAGGED])
    long = replace(ITEM, context="word " * 300)
    with pytest.raises(SnipbiasError, match="does not fit into"):
        session.ask(Question(long, SAY), [])
    with pytest.raises(SnipbiasError, match="instruction is empty"):
        session.ask(Question(ITEM, " \n"), [])
    assert session.ask(Question(ITEM, SAY), []) is not None  # the lock is free again


def test_a_model_without_a_limit_is_not_asked_what_would_take_all_memory() -> None:
    """T5's positions have no end."""
    session = Session(tiny("flan-t5"), [], [RAGGED])
    with pytest.raises(SnipbiasError, match="shorten the text"):
        session.ask(Question(replace(ITEM, context="word " * LONGEST), SAY), [])


# -- questions -------------------------------------------------------------------------------


def test_rows_by_condition_and_words() -> None:
    toy = Task("toy", rows(4)[::2] + rows(4)[1::2], (SAY,))
    every = questions.rows(toy)
    assert sorted(map(repr, every)) == sorted(map(repr, toy.items))
    assert [item.twin for item in every] == ["0", "0", "1", "1", "2", "2", "3", "3"]
    ambiguous = questions.rows(toy, "ambiguous")
    assert {item.condition for item in ambiguous} == {"ambiguous"}
    assert len(ambiguous) == 4
    assert questions.rows(toy, "all", " It WAS him") == [
        item for item in every if "it was him" in item.context
    ]
    assert len(questions.rows(toy, "disambiguated", "it was him")) == 2
    assert questions.rows(toy, "all", "elephant") == []
    assert len(questions.rows(RAGGED)) == 3  # rows without twins or conditions


def test_held_out_rows_are_those_of_evaluate() -> None:
    toy, lm = task(10), tiny("llama")
    edit = sb.find(lm, toy, 3, samples=4)
    left = questions.held_out(toy, [edit])
    assert left is not None
    assert left.items == hold_out(toy, [edit])[0].items
    assert not any(questions.found_with(item, [edit]) for item in left.items)
    seen = [item for item in toy.items if questions.found_with(item, [edit])]
    assert {item.template for item in seen} == set(edit.found_on.templates)
    few = Task("few", rows(2), (SAY,))
    assert questions.held_out(few, []) is None


@pytest.mark.parametrize(
    ("asked", "options", "said"),
    [
        (" ", ("a", "b"), "the question is empty"),
        ("who?", ("a", " "), "option 2 is empty"),
        ("who?", ("a",), "give at least two"),
        ("who?", ("a", "a "), "the same option twice"),
    ],
)
def test_own_questions_that_are_none(asked: str, options: tuple[str, ...], said: str) -> None:
    with pytest.raises(SnipbiasError, match=said):
        questions.own("", asked, options)


def test_an_own_question() -> None:
    item = questions.own(" here ", "who? ", ["a ", "b"])
    assert (item.context, item.question, item.options) == ("here", "who?", ("a", "b"))


# -- who may talk to it ------------------------------------------------------------------------


def test_names_of_the_server() -> None:
    named = ["127.0.0.1:8080", "localhost:80", "[::1]:8080", "localhost", "[::1]"]
    others = ["evil.example:8080", "127.0.0.1.evil.example", "192.168.0.5:80", "", "[::1", ":80"]
    for host in named + others:
        scope = {"type": "http", "headers": [(b"host", host.encode())]}
        assert Guard(None, "127.0.0.1")._is_own(scope) is (host in named), host  # type: ignore[arg-type]
        assert Guard(None, "0.0.0.0")._is_own(scope)  # type: ignore[arg-type]


def test_loopback() -> None:
    assert all(map(is_loopback, ("127.0.0.1", "localhost", "::1", "127.9.9.9")))
    assert not any(map(is_loopback, ("0.0.0.0", "::", "192.168.0.5", "example.org", "")))


def through_guard(kind: str, headers: list[tuple[bytes, bytes]]) -> list[dict[str, Any]]:
    """What a guard for 127.0.0.1 sends for a request; the app behind it says yes to all."""
    sent: list[dict[str, Any]] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if kind == "websocket":
            await send({"type": "websocket.accept"})
        else:
            await send({"type": "http.response.start", "status": 200, "headers": []})

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(Guard(app, "127.0.0.1")({"type": kind, "headers": headers}, None, send))  # type: ignore[arg-type]
    return sent


@pytest.mark.parametrize("kind", ["http", "websocket"])
def test_the_guard(kind: str) -> None:
    host = (b"host", b"127.0.0.1:8080")
    fine = [[host], [host, (b"origin", b"http://127.0.0.1:8080")]]
    other = [
        [],
        [(b"host", b"evil.example:8080")],
        [host, (b"host", b"evil.example")],
        [host, (b"origin", b"http://evil.example")],
        [host, (b"origin", b"http://127.0.0.1:8081")],  # another page of this machine
        [host, (b"origin", b"http://[::1")],  # no address at all
        [host, (b"origin", b"null")],  # a page in a sandbox, a file
        [host, (b"origin", b"http://127.0.0.1:8080"), (b"origin", b"http://evil.example")],
    ]
    for headers in fine:
        (first,) = through_guard(kind, headers)
        assert first["type"] == "websocket.accept" or first["status"] == 200
        if kind == "http":
            assert dict(first["headers"]) == {k.encode(): v.encode() for k, v in HEADERS.items()}
    for headers in other:
        first = through_guard(kind, headers)[0]
        assert first["type"] == "websocket.close" or first["status"] == 403


def test_the_guard_asks_for_its_token_once_and_then_for_the_cookie() -> None:
    def asked(query: bytes = b"", cookie: bytes = b"", kind: str = "http") -> dict[str, Any]:
        sent: list[dict[str, Any]] = []

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await send({"type": f"{kind}.response.start", "status": 200, "headers": []})

        async def send(message: Any) -> None:
            sent.append(message)

        headers = [(b"host", b"127.0.0.1:8080"), (b"cookie", cookie)]
        scope = {"type": kind, "headers": headers, "query_string": query, "path": "/"}
        asyncio.run(Guard(app, "127.0.0.1", "secret")(scope, None, send))  # type: ignore[arg-type]
        return {**sent[0], "headers": dict(sent[0].get("headers", ()))}

    welcome = asked(b"token=secret")
    assert welcome["status"] == 200
    cookie = welcome["headers"][b"set-cookie"]
    assert cookie == b"snipbias-8080=secret; HttpOnly; SameSite=Strict; Path=/"
    again = asked(cookie=b"a=b; snipbias-8080=secret")
    assert again["status"] == 200
    assert b"set-cookie" not in again["headers"]
    wrong = [(b"", b""), (b"token=", b""), (b"token=secre", b""), (b"token=s%C3%A9cret", b"x")]
    wrong += [(b"", b"snipbias-8081=secret"), (b"", b"snipbias-8080=")]
    assert {asked(*words)["status"] for words in wrong} == {403}
    assert asked(kind="websocket")["type"] == "websocket.close"


# -- the command's refusals ---------------------------------------------------------------------


def refused(capsys, *argv: object) -> str:
    with pytest.raises(SystemExit) as stop:
        main(["play", "demo", "--no-browser", *map(str, argv)])
    assert stop.value.code == 1
    said = capsys.readouterr()
    assert said.out == ""
    (line,) = [line for line in said.err.splitlines() if line.startswith("error: ")]
    return line


def test_a_missing_package_is_named(capsys, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "nicegui", None)
    assert "pip install 'snipbias[play]'" in refused(capsys)


def test_a_missing_edit_is_named(capsys) -> None:
    pytest.importorskip("nicegui")
    assert "there is no edit at nowhere" in refused(capsys, "--edit", "nowhere")


def test_a_port_that_is_taken_is_named(capsys) -> None:
    pytest.importorskip("nicegui")
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]
        assert f"cannot serve at 127.0.0.1, port {port}" in refused(capsys, "--port", port)
    assert "cannot serve at no.such.host.invalid" in refused(
        capsys, "--host", "no.such.host.invalid"
    )


def test_another_host_is_warned_of(capsys, monkeypatch) -> None:
    pytest.importorskip("nicegui")
    monkeypatch.setattr("snipbias.play.server.serve", lambda session, **how: None)
    with warnings.catch_warnings():
        for host, is_told in (("0.0.0.0", True), ("localhost", False)):
            with pytest.raises(SystemExit) as stop:
                main(["play", "demo", "--host", host, "--no-browser"])
            assert stop.value.code == 0
            assert ("warning: with --host 0.0.0.0" in capsys.readouterr().err) is is_told
