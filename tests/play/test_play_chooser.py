"""The question's side of the page without a browser, and what the page asks for when."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from asked import SAY
from families import tiny
from snipbias.base.errors import SnipbiasError
from snipbias.edits.controls import random_edit
from snipbias.edits.provenance import Provenance
from snipbias.play import questions
from snipbias.play.answers import Question
from snipbias.play.session import Session
from snipbias.tasks.items import Item, Task

pytest.importorskip("nicegui")

from nicegui import ui

from play_parts import every, field, press, tab, texts
from snipbias.play import page as pages
from snipbias.play.chooser import SWAP, Chooser
from snipbias.play.typed import NOBODY, Typed

ROW = Item("x", "who?", ("him", "her", "nil"), 1, "two met.", unknown=2, biased=0)
MET = tuple(
    Item(
        str(n),
        "who was it?",
        ("man", "boy", "nil"),
        (2, 0)[n % 2],
        f"a man and a boy met{' again' * n}.",
        f"t{n // 2}",
        condition=("ambiguous", "disambiguated")[n % 2],
        unknown=2,
        biased=1,
    )
    for n in range(24)
)
TASKS = (Task("met", MET, (SAY, "say it now.")), Task("few", MET[:2], (SAY,)))


def session() -> Session:
    lm = tiny("llama")
    edit = replace(random_edit(lm, 4), label="one")
    found_on = Provenance.of(TASKS[0].find, {})
    return Session(lm, [replace(edit, found_on=found_on)], TASKS)


def test_a_mark_stays_with_its_option_when_another_is_removed(scripts) -> None:
    typed: list[int] = []
    with tab() as page:
        form = Typed(lambda: typed.append(1))
        form.fill(Question(ROW, SAY))
        asked = form.question()
        assert (asked.instruction, asked.gold_known) == (SAY, True)
        assert (asked.item.options, asked.item.gold, asked.item.biased) == (ROW.options, 1, 0)
        press(page, "Remove option 1")
        assert form.state() == {
            **{"options": ["her", "nil"], "instruction": SAY, "context": "two met."},
            **{"question": "who?", "gold": 0, "biased": NOBODY},
        }
        assert len(scripts) == 1  # the focus moves on
        press(page, "Add an option")
        field(page, "Option 3").set_value("nil")
        with pytest.raises(SnipbiasError, match="same"):
            form.question()
        field(page, "Option 3").set_value("")
        with pytest.raises(SnipbiasError, match="option 3 is empty"):
            form.question()
        press(page, "Remove option 3")
        field(page, "Right answer").set_value(NOBODY)
        assert not form.question().gold_known
        field(page, "Question").set_value(" ")
        with pytest.raises(SnipbiasError, match="the question is empty"):
            form.question()
    assert typed


def test_a_row_is_found_by_number_condition_words_and_task() -> None:
    changed: list[int] = []
    with tab() as page:
        there = session()
        picker = Chooser(there, {}, lambda: changed.append(1), lambda: None)._picker
        held_out = questions.rows(questions.held_out(TASKS[0], there.edits))
        place = held_out.index(there.opening)
        changed.clear()  # while it was filled
        assert picker.item == there.opening
        assert field(page, "Row").props["suffix"] == f"of {len(held_out)}"
        press(page, "Next")
        assert picker.item == held_out[place + 1]
        press(page, "Previous")
        field(page, "Row").set_value(len(held_out))
        assert picker.item == held_out[-1]
        assert texts(page, "p", "context") == [held_out[-1].context]
        field(page, "Row").set_value(len(held_out) + 1)  # there is none
        assert picker.item == held_out[-1]
        assert len(changed) == 3
        field(page, "Condition").set_value("disambiguated")
        assert {item.condition for item in picker._rows} == {"disambiguated"}
        field(page, "Containing").set_value("nowhere")
        assert picker.item == MET[0]
        assert texts(page, "p", "note") == ["No row matches: this is the task's first one."]
        field(page, "Containing").set_value(None)
        field(page, "Condition").set_value("all")
        field(page, "Task").set_value("few")
        assert picker.state() == {"task": "few", "item": "0", "instruction": 0}


def test_a_state_opens_its_row_even_one_that_is_not_held_out() -> None:
    seen = TASKS[0].find.items[0]
    state = {"row": {"task": "met", "item": seen.id, "instruction": 1}}
    with tab() as page:
        chooser = Chooser(session(), state, lambda: None, lambda: None)
        assert chooser.state() == state
        assert (chooser.question().item, chooser.question().instruction) == (seen, "say it now.")
        (note,) = texts(page, "p", "note")
        assert note == "Not held out: one was found on rows of its template."
    with tab():
        for wrong in ({"task": "met", "item": "gone"}, {"task": "gone", "item": "gone"}):
            assert Chooser(session(), {"row": wrong}, lambda: None, lambda: None).state() != wrong
        far = {"task": "met", "item": seen.id, "instruction": 7}
        again = Chooser(session(), {"row": far}, lambda: None, lambda: None)
        assert again.state() == {"row": {**far, "instruction": 0}}


def test_two_people_change_places_in_the_tab_of_typed_questions(monkeypatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(ui, "notify", lambda text, **how: said.append(text))
    changed: list[int] = []
    with tab() as page:
        chooser = Chooser(session(), {}, lambda: changed.append(1), lambda: None)
        shown = chooser.question()
        changed.clear()  # while it was filled
        press(every(page, "q-tab-panel")[0], SWAP)
        assert chooser.question().item.context == questions.swapped(shown.item).context
        assert "a boy and a man met" in chooser.question().item.context
        assert len(changed) == 1
        press(every(page, "q-tab-panel")[1], SWAP)  # and back
        assert chooser.question().item.context == shown.item.context
        assert len(changed) == 2
        field(page, "Context").set_value("nobody met.")
        press(every(page, "q-tab-panel")[1], SWAP)
        assert said == [
            "There are no two people to swap: name two options in the context or question."
        ]
        state = chooser.state()
        press(page, "Change this question")
        assert chooser.question().item.context == shown.item.context
    with tab():
        assert Chooser(session(), state, lambda: None, lambda: None).state() == state


@pytest.fixture
def asked(monkeypatch, scripts) -> list[Any]:
    """What the page does in the background, to be run by the test."""
    waiting: list[Any] = []

    async def at_once(work, *given):
        return work(*given)

    monkeypatch.setattr(pages.run, "io_bound", at_once)
    monkeypatch.setattr(
        pages.background_tasks, "create", lambda work, context: waiting.append(work)
    )
    return waiting


def test_the_page_answers_and_its_address_opens_it_again(asked, monkeypatch) -> None:
    places: list[str] = []
    monkeypatch.setattr(ui.navigate.history, "replace", places.append)
    with tab() as page:
        opened = pages.Page(session())
        asyncio.run(asked.pop())
        (first,) = texts(page, "p", "status")
        assert first.startswith("The model answers")
        press(page, "Change this question")
        asyncio.run(asked.pop())
        field(page, "Question").set_value("who left?")
        assert texts(page, "p", "stale-note") == [
            "The question has changed: press Ask to answer it."
        ]
        field(page, "Question").set_value("")
        press(page, "Ask")
        asyncio.run(asked.pop())
        assert texts(page, "p", "error") == ["The question is empty: type one."]
        field(page, "Question").set_value("who left?")
        press(page, "Ask")
        late = asked.pop()
        press(page, "Ask")
        asyncio.run(late)  # nobody waits for it any more
        assert texts(page, "p", "status") == ["The model is being asked."]
        asyncio.run(asked.pop())
        assert opened._view.shown.item.question == "who left?"
        bars = texts(page, "span", "share")
    state = parse_qs(urlsplit(places[-1]).query)["state"][0]
    assert json.loads(state)["own"]["question"] == "who left?"
    with tab(state=state) as page:
        pages.Page(session())
        asyncio.run(asked.pop())
    assert texts(page, "span", "share") == bars
    assert field(page, "Question").value == "who left?"
