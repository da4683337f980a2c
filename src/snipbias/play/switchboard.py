"""The edits: which are on, how strongly, and which of their neurons are left alone."""

from __future__ import annotations

from collections.abc import Callable

from nicegui import ui

from snipbias.base.words import plural
from snipbias.edits.edit import NeuronEdit
from snipbias.models.sites import Neuron
from snipbias.play.answers import Switch
from snipbias.play.elements import MINUS, html, minus, section, sentence
from snipbias.play.session import Session

TICKS = (f"{MINUS}1", "0: nothing", "1: as found", "2")  # at -1, 0, 1 and 2


class Switchboard:
    """A switch and a strength an edit; the first edit is on."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._off: set[Neuron] = set()
        self._controls: list[tuple[NeuronEdit, ui.switch, Strength]] = []
        self.on_change: Callable[[], None] = lambda: None
        with section("Edits"):
            if not session.edits:
                _how_to_get_one(session.lm.name)
            with html("ul", "edits"):
                for number, edit in enumerate(session.edits):
                    with html("li"):
                        self._row(edit, is_on=number == 0)

    def _row(self, edit: NeuronEdit, *, is_on: bool) -> None:
        fits, note = self._session.notes[edit.label]
        switch = ui.switch(edit.label, value=is_on and fits)
        found_on = f", found on {edit.found_on.task}" if edit.found_on else ""
        html("p", "count", text=f"{count(edit)}{found_on}")
        if note:
            html("p", "note" if fits else "note bad", text=sentence(note))
        if not fits:
            switch.disable()
            return
        strength = Strength(f"Strength of {edit.label}", lambda: self.on_change())
        strength.box.bind_visibility_from(switch, "value")
        switch.on_value_change(lambda: self.on_change())
        self._controls.append((edit, switch, strength))

    def switches(self) -> list[Switch]:
        """The edits that are on, as they stand."""
        return [
            Switch(edit, strength.value, frozenset(self._off))
            for edit, switch, strength in self._controls
            if switch.value
        ]

    def turn(self, neuron: Neuron, is_on: bool) -> None:
        """Leave one neuron alone, or scale it again."""
        (self._off.discard if is_on else self._off.add)(neuron)
        self.on_change()


class Strength:
    """A slider from -1 to 2, at 1; the browser's own, which names itself where it has the focus."""

    def __init__(self, name: str, changed: Callable[[], None]) -> None:
        self.value = 1.0
        self._changed = changed
        with html("div", "strength") as self.box:
            with html("p"):
                html("span", text="Strength").props("aria-hidden=true")
                self._shown = html("span", text="1.00")
            self._slider = html("input").props('type=range min="-1" max=2 step="0.05"')
            # The attribute, where it begins, and not the property: what the user does with it
            # later is the browser's alone, and an answer that comes late cannot move it back.
            self._slider.props["^value"] = 1
            self._slider.props["aria-label"] = name
            with html("p", "ticks").props("aria-hidden=true"):
                for text in TICKS:
                    html("span", text=text)
        value = "event => emit(Number(event.target.value))"
        self._slider.on("input", lambda e: self._move(e.args), js_handler=value)
        self._slider.on("change", lambda e: self._let_go(e.args), js_handler=value)

    def _move(self, value: float) -> None:
        self._shown.set_text(minus(value))

    def _let_go(self, value: float) -> None:
        self._move(value)
        self.value = float(value)
        self._changed()


def count(edit: NeuronEdit) -> str:
    """How many neurons it holds."""
    return plural(len(edit), "neuron")


def _how_to_get_one(model: str) -> None:
    html("p", text="There is no edit, so this is the model alone. Find one, and open it here:")
    find = f"snipbias find {model} mini:age --n 10 --out age-edit"
    html("pre", "prompt", text=f"{find}\nsnipbias play {model} --edit age-edit")
