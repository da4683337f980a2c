"""The edits: which are on, how strongly, and which of their neurons are switched off."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from nicegui import ui

from snipbias.base.words import plural
from snipbias.edits.edit import NeuronEdit
from snipbias.models.sites import Neuron
from snipbias.play.answers import EditSetting
from snipbias.play.elements import MINUS, html, minus, section, sentence
from snipbias.play.session import Session

RANDOM = "Compare with as many random neurons"
TICKS = (f"{MINUS}1", "0: nothing", "1: as found", "2")  # at -1, 0, 1 and 2


class Switchboard:
    """A switch and a strength per edit; the first edit is on."""

    def __init__(
        self, session: Session, state: Mapping[str, Any], changed: Callable[[], None]
    ) -> None:
        self._changed = changed
        self._off = {Neuron(site, unit) for site, unit in state.get("off", ())}
        self._seed = int(state.get("random", 0))
        self._controls: list[tuple[NeuronEdit, ui.switch, Strength]] = []
        strengths = state.get("edits", {edit.label: 1.0 for edit in session.edits[:1]})
        with section("Edits"):
            if not session.edits:
                _how_to_get_one(session.lm.name)
            with html("ul", "edits"):
                for edit in session.edits:
                    with html("li"):
                        self._row(edit, session.notes[edit.label], strengths.get(edit.label))
            if session.edits:
                self._random = ui.switch(RANDOM, value="random" in state, on_change=changed)
                draw = ui.button("Draw others", on_click=self._draw_others)
                draw.props("flat dense no-caps").bind_visibility_from(self._random, "value")

    def _row(self, edit: NeuronEdit, note: tuple[bool, str], strength: float | None) -> None:
        """An edit with its note; its strength is None where it is off."""
        fits, said = note
        switch = ui.switch(edit.label, value=strength is not None and fits)
        found_on = f", found on {edit.found_on.task}" if edit.found_on else ""
        html("p", "count", text=f"{plural(len(edit), 'neuron')}{found_on}")
        if said:
            html("p", "note" if fits else "note bad", text=sentence(said))
        if not fits:
            switch.disable()
            return
        begin = 1.0 if strength is None else strength
        slider = Strength(f"Strength of {edit.label}", begin, self._changed)
        slider.box.bind_visibility_from(switch, "value")
        switch.on_value_change(self._changed)
        self._controls.append((edit, switch, slider))

    def switches(self) -> list[EditSetting]:
        """The active edits with their settings."""
        return [
            EditSetting(edit, strength.value, frozenset(self._off))
            for edit, switch, strength in self._controls
            if switch.value
        ]

    def control(self) -> int | None:
        """Seed of the random neurons that are shown; None if none are."""
        return self._seed if self._controls and self._random.value else None

    def state(self) -> dict[str, Any]:
        """The state from which `__init__` restores this view."""
        edits = {switch.edit.label: switch.strength for switch in self.switches()}
        drawn = {} if self.control() is None else {"random": self._seed}
        off = [[neuron.site, neuron.unit] for neuron in sorted(self._off)]
        return {"edits": edits, "off": off, **drawn}

    def turn(self, neuron: Neuron, is_on: bool) -> None:
        """Switch one neuron off or on."""
        (self._off.discard if is_on else self._off.add)(neuron)
        self._changed()

    def _draw_others(self) -> None:
        self._seed += 1
        self._changed()


class Strength:
    """A slider from -1 to 2: the browser's own, which is accessible."""

    def __init__(self, name: str, value: float, changed: Callable[[], None]) -> None:
        self.value = value

        def let_go(value: float) -> None:
            self.value = float(value)
            changed()

        with html("div", "strength") as self.box:
            with html("p"):
                html("span", text="Strength").props("aria-hidden=true")
                shown = html("span", text=minus(value))
            slider = html("input").props('type=range min="-1" max=2 step="0.05"')
            # Set the attribute (the initial value), not the property: later moves stay in the
            # browser, so that a late answer cannot move the slider back.
            slider.props["^value"] = value
            slider.props["aria-label"] = name
            with html("p", "ticks").props("aria-hidden=true"):
                for text in TICKS:
                    html("span", text=text)
        sent = "event => emit(Number(event.target.value))"
        slider.on("input", lambda e: shown.set_text(minus(e.args)), js_handler=sent)
        slider.on("change", lambda e: let_go(e.args), js_handler=sent)


def _how_to_get_one(model: str) -> None:
    html("p", text="There is no edit yet, so this is only the model. Find one and open it here:")
    find = f"snipbias find {model} mini:age --n 10 --out age-edit"
    html("pre", "prompt", text=f"{find}\nsnipbias play {model} --edit age-edit")
