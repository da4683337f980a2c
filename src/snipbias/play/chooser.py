"""The question: picked from a task, or typed."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from nicegui import ui

from snipbias.edits.edit import NeuronEdit
from snipbias.play import questions
from snipbias.play.elements import html, section
from snipbias.play.session import Question
from snipbias.tasks.items import Item, Task
from snipbias.tasks.prompts import PromptTemplate

PICKED, TYPED = "From a task", "Your own"
CONDITIONS = {"all": "All rows", "ambiguous": "Ambiguous", "disambiguated": "Disambiguated"}


class Chooser:
    """Both ways to a question; the one whose tab is open counts."""

    def __init__(self, tasks: Sequence[Task], edits: Sequence[NeuronEdit], opening: Item) -> None:
        self.on_change: Callable[[], None] = lambda: None
        with section("Question"):
            with ui.tabs().props("dense no-caps align=justify") as tabs:
                ui.tab(PICKED)
                ui.tab(TYPED)
            with ui.tab_panels(tabs, value=PICKED, animated=False, keep_alive=True):
                with ui.tab_panel(PICKED):
                    self._picker = Picker(
                        tasks, edits, opening, lambda: self.on_change(), self._edit
                    )
                with ui.tab_panel(TYPED):
                    self._typed = Typed(lambda: self.on_change())
        self._tabs = tabs
        self._fill()
        tabs.on_value_change(lambda: self.on_change())

    def question(self) -> Question:
        """The question to ask.

        Raises:
            SnipbiasError: something of it is missing.
        """
        if self._tabs.value == TYPED:
            return self._typed.question()
        return Question(self._picker.item, self._picker.instruction, prompt=self._picker.prompt)

    def _fill(self) -> None:
        self._typed.fill(self._picker.item, self._picker.instruction, self._picker.prompt)

    def _edit(self) -> None:
        self._fill()
        self._tabs.set_value(TYPED)


class Picker:
    """One row of a task; first of all the one to open on."""

    def __init__(
        self,
        tasks: Sequence[Task],
        edits: Sequence[NeuronEdit],
        opening: Item,
        changed: Callable[[], None],
        edit: Callable[[], None],
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
        self._only_held_out.on_value_change(self._filter)
        self._condition.on_value_change(self._filter)
        self._containing.on_value_change(self._filter)
        with html("div", "walk"):
            self._previous = ui.button("Previous", on_click=lambda: self._step(-1))
            self._number = ui.number("Row", value=1, min=1, precision=0)
            self._next = ui.button("Next", on_click=lambda: self._step(1))
        for button in (self._previous, self._next):
            button.props("outline no-caps")
        self._number.props("debounce=300")
        self._number.on_value_change(self._jump)
        with html("div", "item"):
            self._context = html("p", "context")
            self._asked = html("p", "asked")
            self._note = html("p", "note")
        self._instruction = ui.select({}, label="Instruction").classes("instruction")
        self._instruction.on_value_change(lambda: self._changed())
        ui.button("Change this question", on_click=edit).props("flat dense no-caps")
        self._offer_instructions()
        self._find()
        self._go(self._rows.index(opening) if opening in self._rows else 0)

    @property
    def item(self) -> Item:
        """The row that is shown; the first of the task where the filter leaves none."""
        return self._rows[self._place] if self._rows else self._task.items[0]

    @property
    def instruction(self) -> str:
        """The instruction that is chosen."""
        return self._task.instructions[self._instruction.value or 0]

    @property
    def prompt(self) -> PromptTemplate:
        """The wording of the task that is chosen."""
        return self._task.prompt

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
        self._draw()

    def _draw(self) -> None:
        count = len(self._rows)
        self._number.max = max(count, 1)
        self._number.props["suffix"] = f"of {count}"
        self._number.set_value(self._place + 1)
        self._previous.set_enabled(self._place > 0)
        self._next.set_enabled(self._place + 1 < count)
        self._context.set_text(self.item.context)
        self._asked.set_text(self.item.question)
        seen = questions.found_with(self.item, self._edits)
        if not count:
            self._note.set_text("No row is like that: the task's first one is shown.")
        elif seen:
            self._note.set_text(f"Not held out: rows of its template found {', '.join(seen)}.")
        self._note.set_visibility(bool(seen) or not count)


class Typed:
    """A question by hand."""

    def __init__(self, changed: Callable[[], None]) -> None:
        self._instruction = ui.textarea("Instruction").props("autogrow")
        self._context = ui.textarea("Context").props("autogrow")
        self._asked = ui.input("Question")
        self._list = html("div", "own-options").props('role=group aria-label="Options"')
        self._options: list[ui.input] = []
        with html("div", "walk"):
            self._more = ui.button("Add an option", on_click=lambda: self._add(""))
            ask = ui.button("Ask", on_click=changed)
        self._more.props("flat no-caps")
        ask.props("unelevated no-caps")

    def question(self) -> Question:
        """The question that was typed.

        Raises:
            SnipbiasError: something of it is missing.
        """
        texts = [option.value or "" for option in self._options]
        item = questions.own(self._context.value or "", self._asked.value or "", texts)
        return Question(item, self._instruction.value or "", is_own=True, prompt=self._prompt)

    def fill(self, item: Item, instruction: str, prompt: PromptTemplate) -> None:
        """Begin from a row of a task, in its wording."""
        self._prompt = prompt
        self._instruction.set_value(instruction)
        self._context.set_value(item.context)
        self._asked.set_value(item.question)
        self._list.clear()
        self._options.clear()
        for option in item.options:
            self._add(option)

    def _add(self, text: str) -> None:
        with self._list:
            field = ui.input("Option", value=text)
        with field.add_slot("append"):
            remove = ui.button(icon="close", on_click=lambda: self._remove(field))
        remove.props('flat round dense size="sm"')
        self._options.append(field)
        self._number()

    def _remove(self, field: ui.input) -> None:
        self._options.remove(field)
        self._list.remove(field)
        self._number()
        # The button that had the keyboard's focus is gone.
        ui.run_javascript(f"document.getElementById('{self._more.html_id}')?.focus()")

    def _number(self) -> None:
        for number, field in enumerate(self._options, start=1):
            field.props["label"] = f"Option {number}"
            for button in field.slots["append"].children:
                button.props["aria-label"] = f"Remove option {number}"
