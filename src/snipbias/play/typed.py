"""A typed question: its text, its options, and which is right or stereotyped."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from nicegui import ui

from snipbias.play import questions
from snipbias.play.answers import Question
from snipbias.play.elements import html

SWAP = "Swap the two people"
NOBODY = -1  # no option


class Typed:
    """The form for a typed question."""

    def __init__(
        self, changed: Callable[[], None], typed: Callable[[], None], swap: Callable[[], None]
    ) -> None:
        self._typed = typed
        self._instruction = ui.textarea("Instruction").props("autogrow")
        self._context = ui.textarea("Context").props("autogrow")
        self._asked = ui.input("Question")
        self._list = html("div", "own-options").props('role=group aria-label="Options"')
        self._options: list[ui.input] = []
        with html("div", "two"):
            self._gold = ui.select({NOBODY: "not marked"}, value=NOBODY, label="Right answer")
            self._biased = ui.select({NOBODY: "not marked"}, value=NOBODY, label="Stereotype names")
        self._fields: dict[str, Any] = {
            "instruction": self._instruction,
            "context": self._context,
            "question": self._asked,
            "gold": self._gold,
            "biased": self._biased,
        }
        for field in self._fields.values():
            field.on_value_change(typed)
        with html("div", "walk"):
            self._more = ui.button("Add an option", on_click=lambda: self._add(""))
            self._more.props("flat no-caps")
            ui.button(SWAP, on_click=swap).props("flat no-caps")
            ui.button("Ask", on_click=changed).props("unelevated no-caps")

    def question(self) -> Question:
        """The question that was typed.

        Raises:
            SnipbiasError: part of it is missing.
        """
        texts = [option.value or "" for option in self._options]
        gold, biased = (None if m.value == NOBODY else m.value for m in (self._gold, self._biased))
        item = questions.own(
            self._context.value or "", self._asked.value or "", texts, gold, biased
        )
        known = gold is not None
        return Question(item, self._instruction.value or "", gold_known=known, prompt=self._prompt)

    def state(self) -> dict[str, Any]:
        """The state from which `show` restores this view."""
        options = [option.value or "" for option in self._options]
        return {"options": options, **{name: f.value for name, f in self._fields.items()}}

    def show(self, state: Mapping[str, Any]) -> None:
        """Show the question of a state, in the current prompt template."""
        self._set_options([str(text) for text in state.get("options", ())])
        for name, field in self._fields.items():
            is_mark = field in (self._gold, self._biased)
            if not is_mark or state.get(name) in field.options:
                field.set_value(state.get(name, field.value))

    def fill(self, question: Question) -> None:
        """Start from an existing question."""
        item, self._prompt = question.item, question.prompt
        self._instruction.set_value(question.instruction)
        self._context.set_value(item.context)
        self._asked.set_value(item.question)
        self._set_options(item.options)
        self._gold.set_value(item.gold if question.gold_known else NOBODY)
        self._biased.set_value(NOBODY if item.biased is None else item.biased)

    def _set_options(self, texts: Sequence[str]) -> None:
        self._list.clear()
        self._options.clear()
        for text in texts:
            self._add(text)

    def _add(self, text: str) -> None:
        with self._list:
            field = ui.input("Option", value=text)
        field.on_value_change(self._typed)
        with field.add_slot("append"):
            remove = ui.button(icon="close", on_click=lambda: self._remove(field))
        remove.props('flat round dense size="sm"')
        self._options.append(field)
        self._number()

    def _remove(self, field: ui.input) -> None:
        gone = self._options.index(field)
        for mark in (self._gold, self._biased):  # a mark stays with its option
            if mark.value >= gone:
                mark.set_value(NOBODY if mark.value == gone else mark.value - 1)
        self._options.remove(field)
        self._list.remove(field)
        self._number()
        # The button with the keyboard focus is gone.
        ui.run_javascript(f"document.getElementById('{self._more.html_id}')?.focus()")

    def _number(self) -> None:
        for number, field in enumerate(self._options, start=1):
            field.props["label"] = f"Option {number}"
            for button in field.slots["append"].children:
                button.props["aria-label"] = f"Remove option {number}"
        names = {i: f"option {i + 1}" for i in range(len(self._options))}
        for mark in (self._gold, self._biased):
            kept = mark.value if mark.value in names else NOBODY
            mark.set_options({NOBODY: "not marked", **names}, value=kept)
