"""A session of the page: its opening row, what it holds, and own questions."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

import snipbias as sb
from asked import ITEM, SAY, edit_of
from families import tiny
from snipbias.base.errors import SnipbiasError
from snipbias.edits.controls import random_edit
from snipbias.edits.edit import NeuronEdit
from snipbias.evaluation.compare import hold_out
from snipbias.play import questions
from snipbias.play import session as sessions
from snipbias.play.answers import LONGEST, Answer, EditSetting, Question, answer, together
from snipbias.play.page import _state
from snipbias.play.questions import swapped
from snipbias.play.session import KEPT, TRIED, Session
from snipbias.tasks.items import Item, Task
from snipbias.tasks.prompts import DEFAULT
from toys import RAGGED, rows, task


def opened_on(monkeypatch, changed: set[int], edits: int = 1, seconds: float = 60) -> int:
    """The number of the opening row among all, where an edit changes the answers of some."""
    lm, toy = tiny("llama"), task(20)
    found = [replace(random_edit(lm, 5, seed), label=str(seed)) for seed in range(edits)]
    there = questions.rows(held_out_of(toy))
    asked: list[int] = []

    def fake(lm, question: Question, edit: NeuronEdit | None, *, writes: bool) -> Answer:
        assert edit in (None, *found[:1])
        assert question.instruction == toy.instructions[0]
        assert not writes
        asked.append(there.index(question.item))
        is_other = edit is not None and asked[-1] in changed
        return Answer((0.0, float(is_other)), "", None)

    monkeypatch.setattr(sessions, "answer", fake)
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


def test_a_silent_answer_has_the_same_numbers_and_no_opening_row_is_an_error() -> None:
    lm = tiny("gpt2")
    edit = random_edit(lm, 40)
    for item in RAGGED.items:
        for each in (None, edit):
            question = Question(item, SAY)
            silent, said = (answer(lm, question, each, writes=w) for w in (False, True))
            assert (silent.logprobs, silent.text) == (said.logprobs, "")
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
    session = Session(tiny("llama"), [], [toy, last])
    session.opening = there[4]
    with Client(ui.page("")):
        picker = Picker(session, lambda: None)
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
    result = session.ask(question, [EditSetting(edit, 0.5, left)])
    assert result.prompt == DEFAULT.render(SAY, ITEM)
    assert result.original == answer(lm, question)
    half = edit_of(lm, {s: dict.fromkeys(u, 0.5) for s, u in edit.factors.items()})
    assert {f.neuron for f in result.firings} == set(edit.neurons)  # also the one left alone
    assert {f.factor for f in result.firings} == {0.5}
    assert result.off == left
    assert result.edited != answer(lm, question, half)
    on = together(lm, [EditSetting(edit, 0.5, left)])
    assert result.edited == answer(lm, question, on)
    assert session.ask(question, []).edited is None
    assert session.ask(question, []).firings == ()


def test_random_neurons_are_as_many_and_scaled_alike() -> None:
    lm = tiny("flan-t5")
    edit = random_edit(lm, 6, 5)
    session, question = Session(lm, [edit], [RAGGED]), Question(ITEM, SAY)
    asked = session.ask(question, [EditSetting(edit, 0.5)], control=3)
    assert asked.random == answer(lm, question, random_edit(lm, 6, 3, 0.5))
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
    within = Item(
        "i", "Who?", ("The man.", "The old man.", "Not known"), 0, "The man saw an old man."
    )
    assert swapped(within).context == "The old man saw an man."
    with pytest.raises(SnipbiasError, match="no two people"):
        swapped(replace(within, context="An old man left."))  # "man" is part of another name


def test_an_address_that_no_page_writes_is_not_read() -> None:
    good = {
        "edits": {"a": -0.5, "b": 2},
        "off": [["site", 3]],
        "random": 1,
        "own": {"options": ["x", "y"], "gold": -1, "instruction": "say"},
    }
    row = {"edits": {}, "off": [], "row": {"task": "t", "item": "i", "instruction": 0}}
    for state in (good, row, {}):
        assert _state(json.dumps(state)) == state
    for part in (
        *('"off": 3', '"off": [[1]]', '"off": [["a", "b"]]', '"random": null', '"random": "x"'),
        *('"edits": [1]', '"edits": {"a": "b"}', '"edits": {"a": NaN}', '"edits": {"a": 1e308}'),
        *('"row": 3', '"row": {"task": []}', '"row": {"instruction": "x"}'),
        *('"own": []', '"own": {"options": [1]}'),
    ):
        assert _state(f"{{{part}}}") == {}, part
    for text in ("", "[]", "3", "{", "[" * 100_000):
        assert _state(text) == {}


def test_what_nobody_waits_for_is_not_computed() -> None:
    lm = tiny("llama")
    session = Session(lm, [], [RAGGED])
    lm.score = None  # type: ignore[assignment, method-assign]
    assert session.ask(Question(ITEM, SAY), [], lambda: True) is None


def test_only_the_latest_originals_are_kept(monkeypatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr(sessions, "answer", lambda lm, question: asked.append(question.instruction))
    session = Session(tiny("llama"), [], [RAGGED])
    for number in (*range(KEPT), 0, KEPT, 0, 1):
        session._original(Question(ITEM, str(number)))
    assert asked == [*map(str, range(KEPT + 1)), "1"]


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
