"""A typed question: its text, its options, and which is right or stereotyped."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from nicegui import ui

from snipbias.play import questions
from snipbias.play.answers import Question
from snipbias.play.elements import focus, html

NOBODY = -1  # no option
NOT_MARKED = {NOBODY: "not marked"}


class Typed:
    """The form for a typed question; `typed` is called at every change."""

    def __init__(self, typed: Callable[[], None]) -> None:
        self._on_change = typed
        self._fields: dict[str, Any] = {
            "instruction": ui.textarea("Instruction").props("autogrow"),
            "context": ui.textarea("Context").props("autogrow"),
            "question": ui.input("Question"),
        }
        self._list = html("div", "own-options").props('role=group aria-label="Options"')
        self._options: list[ui.input] = []
        with html("div", "two"):
            gold = ui.select(NOT_MARKED, value=NOBODY, label="Right answer")
            biased = ui.select(NOT_MARKED, value=NOBODY, label="Stereotype names")
        self._marks = {"gold": gold, "biased": biased}
        self._fields |= self._marks
        for field in self._fields.values():
            field.on_value_change(typed)
        with html("div", "walk") as self.buttons:
            self._more = ui.button("Add an option", on_click=lambda: self._add(""))
            self._more.props("flat no-caps")

    def question(self) -> Question:
        """The question that was typed.

        Raises:
            SnipbiasError: part of it is missing.
        """
        said = self.state()
        marks = {name: None if said[name] == NOBODY else said[name] for name in self._marks}
        item = questions.own(
            said["context"] or "", said["question"] or "", said["options"], **marks
        )
        known = marks["gold"] is not None
        return Question(item, said["instruction"] or "", gold_known=known, prompt=self._prompt)

    def state(self) -> dict[str, Any]:
        """The state from which `show` restores this view."""
        options = [option.value or "" for option in self._options]
        return {"options": options, **{name: f.value for name, f in self._fields.items()}}

    def show(self, state: Mapping[str, Any]) -> None:
        """Show the question of a state, in the current prompt template."""
        self._list.clear()
        self._options.clear()
        for text in state.get("options", ()):
            self._add(text)
        for name, field in self._fields.items():
            if name not in self._marks or state.get(name) in field.options:
                field.set_value(state.get(name, field.value))

    def fill(self, question: Question) -> None:
        """Start from an existing question."""
        item, self._prompt = question.item, question.prompt
        self.show(
            {
                "options": item.options,
                "instruction": question.instruction,
                "context": item.context,
                "question": item.question,
                "gold": item.gold if question.gold_known else NOBODY,
                "biased": NOBODY if item.biased is None else item.biased,
            }
        )

    def _add(self, text: str) -> None:
        with self._list:
            field = ui.input("Option", value=text)
        field.on_value_change(self._on_change)
        with field.add_slot("append"):
            remove = ui.button(icon="close", on_click=lambda: self._remove(field))
        remove.props('flat round dense size="sm"')
        self._options.append(field)
        self._number()

    def _remove(self, field: ui.input) -> None:
        gone = self._options.index(field)
        for mark in self._marks.values():  # a mark stays with its option
            if mark.value >= gone:
                mark.set_value(NOBODY if mark.value == gone else mark.value - 1)
        self._options.remove(field)
        self._list.remove(field)
        self._number()
        focus(self._more)  # the button that had the focus is gone

    def _number(self) -> None:
        for number, field in enumerate(self._options, start=1):
            field.props["label"] = f"Option {number}"
            for button in field.slots["append"].children:
                button.props["aria-label"] = f"Remove option {number}"
        names = {i: f"option {i + 1}" for i in range(len(self._options))}
        for mark in self._marks.values():
            kept = mark.value if mark.value in names else NOBODY
            mark.set_options(NOT_MARKED | names, value=kept)
