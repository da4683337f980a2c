"""The question: picked from a task, or typed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from nicegui import ui

from snipbias.base.errors import SnipbiasError
from snipbias.play import questions
from snipbias.play.answers import Question
from snipbias.play.elements import html, section, sentence
from snipbias.play.session import Session
from snipbias.play.typed import Typed
from snipbias.tasks.items import Item, Task

SWAP = "Swap the two people"
LINK = "flat dense no-caps"
PICKED, TYPED = "From a task", "Your own"
CONDITIONS = {"all": "All rows", "ambiguous": "Ambiguous", "disambiguated": "Disambiguated"}


class Chooser:
    """Both ways to ask a question; the open tab counts.

    It calls `changed` when there is another question to ask, and `typed` while one is typed.
    """

    def __init__(
        self,
        session: Session,
        state: Mapping[str, Any],
        changed: Callable[[], None],
        typed: Callable[[], None],
    ) -> None:
        self._changed = changed
        with section("Question"):
            with ui.tabs().props("dense no-caps align=justify") as self._tabs:
                ui.tab(PICKED)
                ui.tab(TYPED)
            with ui.tab_panels(self._tabs, value=PICKED, animated=False, keep_alive=True):
                with ui.tab_panel(PICKED):
                    self._picker = Picker(session, changed)
                    ui.button("Change this question", on_click=self._edit).props(LINK)
                    ui.button(SWAP, on_click=self._swap).props(LINK)
                with ui.tab_panel(TYPED):
                    self._typed = Typed(typed)
                    with self._typed.buttons:
                        ui.button(SWAP, on_click=self._swap).props("flat no-caps")
                        ui.button("Ask", on_click=changed).props("unelevated no-caps")
        self._picker.show(state.get("row", {}))
        self._typed.fill(self._picker.question)
        if "own" in state:
            self._typed.show(state["own"])
            self._tabs.set_value(TYPED)
        self._tabs.on_value_change(changed)

    @property
    def _is_typed(self) -> bool:
        return self._tabs.value == TYPED

    def question(self) -> Question:
        """The question to ask.

        Raises:
            SnipbiasError: part of it is missing.
        """
        return self._typed.question() if self._is_typed else self._picker.question

    def state(self) -> dict[str, Any]:
        """The state from which `__init__` restores this view."""
        return {"own": self._typed.state()} if self._is_typed else {"row": self._picker.state()}

    def _swap(self) -> None:
        """Swap the two people, and put the question into the tab for typed ones."""
        try:
            asked = self.question()
            turned = questions.swapped(asked.item)
        except SnipbiasError as error:
            ui.notify(sentence(str(error)), type="warning")
            return
        self._typed.fill(replace(asked, item=turned))
        if self._is_typed:
            self._changed()
        else:
            self._tabs.set_value(TYPED)

    def _edit(self) -> None:
        self._typed.fill(self._picker.question)
        self._tabs.set_value(TYPED)


class Picker:
    """Picks a row of a task, starting with the session's opening row."""

    def __init__(self, session: Session, changed: Callable[[], None]) -> None:
        self._tasks = {task.name: task for task in session.tasks}
        self._edits = session.edits
        self._changed = changed
        self._task = session.tasks[0]
        self._rows: list[Item] = []
        self._place = 0
        if len(self._tasks) > 1:
            self._named = ui.select(list(self._tasks), value=self._task.name, label="Task")
            self._named.on_value_change(self._take)
        with html("div", "two"):
            self._condition = ui.select(CONDITIONS, value="all", label="Condition")
            self._containing = ui.input("Containing").props("clearable debounce=300")
        self._only_held_out = ui.checkbox("Held-out rows only", value=True).props("dense")
        for choice in (self._only_held_out, self._condition, self._containing):
            choice.on_value_change(self._filter)
        with html("div", "walk"):
            self._previous = ui.button("Previous", on_click=lambda: self._step(-1))
            self._number = ui.number("Row", value=1, min=1, precision=0).props("debounce=300")
            self._next = ui.button("Next", on_click=lambda: self._step(1))
        for button in (self._previous, self._next):
            button.props("outline no-caps")
        self._number.on_value_change(self._jump)
        with html("div", "item"):
            self._context = html("p", "context")
            self._asked = html("p", "asked")
            self._note = html("p", "note")
        self._instruction = ui.select({}, label="Instruction").classes("instruction")
        self._instruction.on_value_change(changed)
        self._open(self._task)
        if session.opening in self._rows:
            self._go(self._rows.index(session.opening))

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
            number = int(state.get("instruction", 0))
            self._open(task, number if 0 <= number < len(task.instructions) else 0)
            if item not in self._rows:
                self._only_held_out.set_value(False)
            self._go(self._rows.index(item))

    def _open(self, task: Task, instruction: int = 0) -> None:
        """Offer a task's instructions and rows."""
        self._task = task
        texts = {i: f"{i + 1}. {text}" for i, text in enumerate(task.instructions)}
        self._instruction.set_options(texts, value=instruction)
        self._find()

    def _take(self) -> None:
        self._open(self._tasks[self._named.value])
        self._go(questions.first(self._rows))
        self._changed()

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
