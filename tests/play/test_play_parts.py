"""The page's parts without a browser: every text that they show, and every control."""

from __future__ import annotations

from dataclasses import replace
from math import log
from typing import Any

import pytest

from asked import SAY
from families import tiny
from snipbias.edits.controls import random_edit
from snipbias.models.sites import Neuron
from snipbias.play.answers import Answer, EditSetting, Firing, Question
from snipbias.play.session import Result, Session
from snipbias.tasks.items import Item
from toys import task

pytest.importorskip("nicegui")

from play_parts import every, field, press, send, tab, texts
from snipbias.play.elements import minus
from snipbias.play.neurons import SHOWN, NeuronTable
from snipbias.play.switchboard import RANDOM, Switchboard
from snipbias.play.view import View

ROW = Item("x", "who?", ("him", "her", "nil"), 1, "two met.", unknown=2, biased=0)
BEFORE = Answer((log(0.5), log(0.25), log(0.25)), "him", 0)
AFTER = Answer((log(0.1), log(0.8), log(0.1)), "", None)
LABELS = ("one", "two")


def result(edited: Answer | None = AFTER, **changes: Any) -> Result:
    nothing: dict[str, Any] = {"random": None, "firings": (), "off": frozenset()}
    return Result(Question(ROW, SAY), "say it. who?", BEFORE, edited, **{**nothing, **changes})


def firing(unit: int, *outputs: float) -> Firing:
    tokens = tuple("abcdef"[: len(outputs)])
    return Firing(Neuron("mlp", unit), f"decoder layer {unit}", 0.5, tokens, outputs)


def nothing(*given: object) -> None:
    """What happens is of no interest."""


# -- answers --------------------------------------------------------------------------------------


def test_each_option_is_shown_before_and_after_with_its_roles() -> None:
    with tab() as page:
        View(nothing).show(result())
    assert texts(page, "p", "status") == [
        "The model answers “him” (50.0 %); edited, it answers “her” (80.0 %)."
    ]
    him, her, nil = every(page, "li")
    assert [texts(each, "span", "mark") for each in (him, her, nil)] == [
        ["biased"],
        ["gold"],
        ["unknown"],
    ]
    assert texts(page, "span", "share") == [
        "50.0 %",
        "10.0 %",
        "25.0 %",
        "80.0 %",
        "25.0 %",
        "10.0 %",
    ]
    assert texts(him, "span", "answer") == ["answer", ""]
    assert texts(her, "span", "answer") == ["", "answer"]
    assert [fill._style["width"] for fill in every(her, "span", "fill")] == ["25.00%", "80.00%"]
    assert minus(log(0.5)) in texts(him, "span")
    assert texts(page, "blockquote") == ["him", "(nothing)"]
    assert {"taken as: him", "matches no option"} <= {*texts(page, "p", "legend")}
    assert texts(page, "pre", "prompt") == ["say it. who?"]
    assert "Neurons that the edits change" not in texts(page, "h2")


def test_an_answer_that_stays_is_given_again_and_gold_that_nobody_knows_is_not_marked() -> None:
    with tab() as page:
        view = View(nothing)
        view.show(result(BEFORE, random=AFTER))
        assert texts(page, "p", "status")[0].endswith("; edited, it again answers “him” (50.0 %).")
        assert texts(every(page, "li")[0], "span", "name") == ["original", "edited", "random"]
        assert texts(page, "figcaption") == ["original", "edited"]
        alone = replace(result(None), question=Question(ROW, SAY, gold_known=False))
        view.show(alone)
    assert texts(page, "p", "status") == ["The model answers “him” (50.0 %)."]
    assert texts(page, "span", "mark") == ["biased", "unknown"]


def test_a_complaint_takes_the_answer_s_place_and_only_an_answer_can_be_outdated() -> None:
    with tab() as page:
        view = View(nothing)
        view.outdate("too late")
        assert texts(page, "p", "stale-note") == [""]
        view.wait()
        assert texts(page, "p", "status") == ["The model is being asked."]
        view.show(result())
        view.wait()
        assert texts(page, "p", "status")[0].startswith("The model answers")
        view.outdate("too late")
        assert texts(page, "p", "stale-note") == ["too late"]
        assert every(page, "section", "stale")
        view.fail("the question is empty: type one.")
    assert texts(page, "p", "error") == ["The question is empty: type one."]
    assert (texts(page, "p", "status"), view.shown, every(page, "li")) == ([""], None, [])
    assert not every(page, "section", "stale")


def test_neurons_open_token_by_token_and_can_be_left_alone(scripts) -> None:
    turned: list[tuple[Neuron, bool]] = []
    several = [firing(unit, 1.0, -4.0, 2.0, 0.5) for unit in range(SHOWN + 2)]
    with tab() as page:
        table = NeuronTable(lambda *given: turned.append(given))
        drawn = result(firings=tuple(several), off=frozenset({several[1].neuron}))
        table.draw(drawn)
        assert texts(page, "th")[7:] == [""] * SHOWN
        assert texts(page, "span", "place")[:2] == ["decoder layer 0", "decoder layer 1"]
        rows = [texts(row, "td")[:3] for row in every(page, "tr")[1:] if every(row, "th")]
        assert rows[:2] == [["0.5", minus(-4), minus(-2)], ["1 (off)", minus(-4), minus(-4)]]
        (tokens,) = every(page, "ol", "tokens")  # of the first
        assert texts(tokens, "span") == ["1.0", minus(-4, 1), "2.0", "0.5"]
        assert len(every(tokens, "li", "strong")) == 3
        assert every(tokens, "li")[0]._style["--heat"] == "0.250"
        press(page, f"Show all {SHOWN + 2} neurons")
        assert len(texts(page, "span", "place")) == SHOWN + 2
        press(page, "Tokens of mlp #9")
        assert len(every(page, "ol", "tokens")) == 2
        press(page, "Tokens of mlp #9")
        press(page, "Tokens of mlp #0")
        assert not every(page, "ol", "tokens")
        box = field(page, "Scale mlp #3")
        box.set_value(False)
        assert turned == [(Neuron("mlp", 3), False)]
        assert not scripts
    with tab() as page:
        table.draw(drawn)  # as it was left: all rows, and the focus on the box that was ticked
    assert len(texts(page, "span", "place")) == SHOWN + 2
    assert [field(page, "Scale mlp #3").html_id in told for told in scripts] == [True]


# -- edits ----------------------------------------------------------------------------------------


def session(*, edits: bool = True) -> Session:
    lm = tiny("llama")
    found = [replace(random_edit(lm, 4, seed), label=name) for seed, name in enumerate(LABELS)]
    strange = replace(random_edit(tiny("gpt2"), 3), label="strange")
    return Session(
        lm, [*found, strange] if edits else [], [task(20), replace(task(12), name="other")]
    )


def test_edits_are_switched_strengthened_and_compared() -> None:
    changed: list[int] = []
    with tab() as page:
        there = session()
        board = Switchboard(there, {}, lambda: changed.append(1))
        first, second = (EditSetting(edit) for edit in there.edits[:2])
        assert board.switches() == [first]
        assert board.state() == {"edits": {"one": 1.0}, "off": []}
        assert texts(page, "p", "count")[0] == "4 neurons"
        (complaint,) = texts(page, "p", "note", "bad")
        assert "does not fit llama" in complaint
        names = [switch.text for switch in every(page, "q-toggle")]
        assert names == [*LABELS, "strange", RANDOM]
        _, two, strange, random = every(page, "q-toggle")
        assert (two.enabled, strange.enabled) == (True, False)
        two.set_value(True)
        slider = field(page, "Strength of two")
        send(slider, "input", -0.5)
        assert board.switches() == [first, second]  # not before it is let go
        assert minus(-0.5) in texts(page, "span")
        send(slider, "change", -0.5)
        assert board.switches() == [first, replace(second, strength=-0.5)]
        assert board.control() is None
        random.set_value(True)
        assert board.control() == 0
        press(page, "Draw others")
        assert board.control() == 1
        neuron = first.edit.neurons[0]
        board.turn(neuron, False)
        assert {each.off for each in board.switches()} == {frozenset({neuron})}
        state = board.state()
        assert len(changed) == 5
    with tab():
        again = Switchboard(there, state, nothing)
    assert (again.state(), again.switches()) == (state, board.switches())
    board.turn(neuron, True)
    assert board.state()["off"] == []


def test_without_an_edit_the_page_says_how_to_find_one() -> None:
    with tab() as page:
        board = Switchboard(session(edits=False), {}, nothing)
    assert "snipbias find llama mini:age" in texts(page, "pre", "prompt")[0]
    assert (board.switches(), board.control()) == ([], None)
    assert not every(page, "q-toggle")
