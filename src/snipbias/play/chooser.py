"""The question: picked from a task, or typed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from nicegui import ui

from snipbias.base.errors import SnipbiasError
from snipbias.edits.edit import NeuronEdit
from snipbias.play import questions
from snipbias.play.answers import Question
from snipbias.play.elements import html, section, sentence
from snipbias.play.typed import SWAP, Typed
from snipbias.tasks.items import Item, Task

PICKED, TYPED = "From a task", "Your own"
CONDITIONS = {"all": "All rows", "ambiguous": "Ambiguous", "disambiguated": "Disambiguated"}


class Chooser:
    """Both ways to ask a question; the open tab counts."""

    def __init__(
        self,
        tasks: Sequence[Task],
        edits: Sequence[NeuronEdit],
        opening: Item,
        state: Mapping[str, Any],
    ) -> None:
        self.on_change: Callable[[], None] = lambda: None
        self.on_typed: Callable[[], None] = lambda: None
        with section("Question"):
            with ui.tabs().props("dense no-caps align=justify") as tabs:
                ui.tab(PICKED)
                ui.tab(TYPED)
            with ui.tab_panels(tabs, value=PICKED, animated=False, keep_alive=True):
                with ui.tab_panel(PICKED):
                    self._picker = Picker(
                        tasks, edits, opening, lambda: self.on_change(), self._edit, self._swap
                    )
                with ui.tab_panel(TYPED):
                    self._typed = Typed(
                        lambda: self.on_change(), lambda: self.on_typed(), self._swap
                    )
        self._tabs = tabs
        self._picker.show(state.get("row", {}))
        self._typed.fill(self._picker.question)
        if "own" in state:
            self._typed.show(state["own"])
            tabs.set_value(TYPED)
        tabs.on_value_change(lambda: self.on_change())

    def question(self) -> Question:
        """The question to ask.

        Raises:
            SnipbiasError: part of it is missing.
        """
        if self._tabs.value == TYPED:
            return self._typed.question()
        return self._picker.question

    def state(self) -> dict[str, Any]:
        """The state from which `__init__` restores this view."""
        typed = self._tabs.value == TYPED
        return {"own": self._typed.state()} if typed else {"row": self._picker.state()}

    def _swap(self) -> None:
        """Swap the two people, and put the question into the tab for typed ones."""
        try:
            asked = self.question()
            turned = questions.swapped(asked.item)
        except SnipbiasError as error:
            ui.notify(sentence(str(error)), type="warning")
            return
        self._typed.fill(replace(asked, item=turned))
        if self._tabs.value == TYPED:
            self.on_change()
        else:
            self._tabs.set_value(TYPED)

    def _edit(self) -> None:
        self._typed.fill(self._picker.question)
        self._tabs.set_value(TYPED)


class Picker:
    """Picks a row of a task, starting with `opening`."""

    def __init__(
        self,
        tasks: Sequence[Task],
        edits: Sequence[NeuronEdit],
        opening: Item,
        changed: Callable[[], None],
        edit: Callable[[], None],
        swap: Callable[[], None],
    ) -> None:
        self._tasks = {task.name: task for task in tasks}
        self._edits = edits
        self._changed = changed
        self._task = tasks[0]
        self._rows: list[Item] = []
        self._place = 0
        if len(tasks) > 1:
            self._named = ui.select(list(self._tasks), value=self._task.name, label="Task")
            self._named.on_value_change(lambda: self._take(self._named.value))
        with html("div", "two"):
            self._condition = ui.select(CONDITIONS, value="all", label="Condition")
            self._containing = ui.input("Containing")
        self._containing.props("clearable debounce=300")
        self._only_held_out = ui.checkbox("Held-out rows only", value=True).props("dense")
        for choice in (self._only_held_out, self._condition, self._containing):
            choice.on_value_change(self._filter)
        with html("div", "walk"):
            self._previous = ui.button("Previous", on_click=lambda: self._step(-1))
            self._previous.props("outline no-caps")
            self._number = ui.number("Row", value=1, min=1, precision=0).props("debounce=300")
            self._next = ui.button("Next", on_click=lambda: self._step(1)).props("outline no-caps")
        self._number.on_value_change(self._jump)
        with html("div", "item"):
            self._context = html("p", "context")
            self._asked = html("p", "asked")
            self._note = html("p", "note")
        self._instruction = ui.select({}, label="Instruction").classes("instruction")
        self._instruction.on_value_change(lambda: self._changed())
        ui.button("Change this question", on_click=edit).props("flat dense no-caps")
        ui.button(SWAP, on_click=swap).props("flat dense no-caps")
        self._offer_instructions()
        self._find()
        self._go(self._rows.index(opening) if opening in self._rows else 0)

    @property
    def item(self) -> Item:
        """The row that is shown; the task's first if the filter leaves none."""
        return self._rows[self._place] if self._rows else self._task.items[0]

    @property
    def question(self) -> Question:
        """The row under the chosen instruction, in the task's prompt template."""
        instruction = self._task.instructions[self._instruction.value or 0]
        return Question(self.item, instruction, prompt=self._task.prompt)

    def state(self) -> dict[str, Any]:
        """The state from which `show` restores this view."""
        place = {"task": self._task.name, "item": self.item.id}
        return {**place, "instruction": self._instruction.value or 0}

    def show(self, state: Mapping[str, Any]) -> None:
        """Show the row of a state; if it does not exist, nothing changes."""
        task = self._tasks.get(state.get("task", ""), self._task)
        if item := next((item for item in task.items if item.id == state.get("item")), None):
            self._task = task
            self._offer_instructions()
            if 0 <= (number := int(state.get("instruction", 0))) < len(task.instructions):
                self._instruction.set_value(number)
            self._find()
            if item not in self._rows:
                self._only_held_out.set_value(False)
            self._go(self._rows.index(item))

    def _take(self, name: str) -> None:
        self._task = self._tasks[name]
        self._offer_instructions()
        self._find()
        self._go(questions.first(self._rows))
        self._changed()

    def _offer_instructions(self) -> None:
        texts = {i: f"{i + 1}. {text}" for i, text in enumerate(self._task.instructions)}
        self._instruction.set_options(texts, value=0)

    def _filter(self) -> None:
        self._find()
        self._changed()

    def _find(self) -> None:
        held_out = questions.held_out(self._task, self._edits)
        self._only_held_out.set_visibility(held_out is not None)
        pool = held_out if held_out and self._only_held_out.value else self._task
        self._condition.set_visibility(any(item.condition for item in pool.items))
        condition = self._condition.value if self._condition.visible else "all"
        self._rows = questions.rows(pool, condition, self._containing.value or "")
        self._go(0)

    def _step(self, by: int) -> None:
        self._number.set_value(self._place + 1 + by)

    def _jump(self) -> None:
        place = int(self._number.value or 1) - 1
        if 0 <= place < len(self._rows) and place != self._place:
            self._go(place)
            self._changed()

    def _go(self, place: int) -> None:
        self._place = place
        count = len(self._rows)
        self._number.max = max(count, 1)
        self._number.props["suffix"] = f"of {count}"
        self._number.set_value(self._place + 1)
        self._previous.set_enabled(self._place > 0)
        self._next.set_enabled(self._place + 1 < count)
        self._context.set_text(self.item.context)
        self._asked.set_text(self.item.question)
        seen = ", ".join(questions.found_with(self.item, self._edits))
        note = f"Not held out: {seen} was found on rows of its template." if seen else ""
        note = note if count else "No row matches: this is the task's first one."
        self._note.set_text(note)
        self._note.set_visibility(bool(note))
