"""The page: the question on one side, the answers on the other."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from jsonschema import Draft202012Validator
from nicegui import background_tasks, run, ui

from snipbias.base.errors import SnipbiasError
from snipbias.play.chooser import Chooser
from snipbias.play.elements import html
from snipbias.play.session import Session
from snipbias.play.switchboard import Switchboard
from snipbias.play.view import View

STATE = "state"  # the part of the address that stores the question and the edits
COPY = "navigator.clipboard?.writeText(location.href)"
STYLE = Path(__file__).with_name("style.css")


def _object(**fields: Any) -> dict[str, Any]:
    return {"type": "object", "properties": fields}


_TEXT = {"type": "string"}
_WHOLE = {"type": "integer", "minimum": -1, "maximum": 2**31}
_STRENGTH = {"type": "number", "minimum": -1, "maximum": 2}
_NEURON = {"type": "array", "prefixItems": [_TEXT, _WHOLE], "minItems": 2, "maxItems": 2}
# Anybody can write an address; a state that no page would write is not read.
VALID = _object(
    edits={"type": "object", "additionalProperties": _STRENGTH},
    off={"type": "array", "items": _NEURON},
    random=_WHOLE,
    row=_object(task=_TEXT, item=_TEXT, instruction=_WHOLE),
    own=_object(
        **dict.fromkeys(("instruction", "context", "question"), _TEXT),
        **dict.fromkeys(("gold", "biased"), _WHOLE),
        options={"type": "array", "items": _TEXT},
    ),
)


class Page:
    """The page of one browser tab; only the session is shared between tabs.

    Its address stores the question and the active edits, and restores them when opened again.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._turn = 0
        self._is_open = False
        state = _state(ui.context.client.request.query_params.get(STATE, ""))
        ui.add_css(STYLE)
        ui.colors(primary="#0f766e", negative="#b42318")
        _header(session)
        with html("div", "columns"):
            with html("div", "asking"):
                self._chooser = Chooser(session, state, self.refresh, self.compare)
                self._board = Switchboard(session, state, self.refresh)
            with html("div", "answers") as answers:
                self._view = View(self._board.turn)
        ui.skip_link("Skip to the answers", target=answers)
        self._is_open = True
        self.refresh()

    def refresh(self) -> None:
        """Ask again, without blocking the page."""
        if not self._is_open:  # its parts are still being filled
            return
        self._turn += 1
        state = json.dumps({**self._chooser.state(), **self._board.state()}, separators=(",", ":"))
        ui.navigate.history.replace(f"/?{urlencode({STATE: state})}")
        self._view.outdate("Asking again: this is the previous answer.")
        background_tasks.create(self._ask(self._turn), context=self._view.rest)

    def compare(self) -> None:
        """Show whether the answer still belongs to what is typed."""
        if not self._is_open:
            return
        try:
            same = self._chooser.question() == self._view.shown
        except SnipbiasError:
            same = False
        self._view.outdate("" if same else "The question has changed: press Ask to answer it.")

    async def _ask(self, turn: int) -> None:
        try:
            question, switches = self._chooser.question(), self._board.switches()
            control = self._board.control()
            self._view.wait()
            result = await run.io_bound(
                self._session.ask, question, switches, lambda: turn != self._turn, control
            )
        except SnipbiasError as error:
            if turn == self._turn:
                self._view.fail(str(error))
            return
        if result is not None and turn == self._turn:
            self._view.show(result)


def _state(text: str) -> dict[str, Any]:
    """The state in an address; empty if it has none that can be read."""
    try:
        found = json.loads(text, parse_constant=str)
        return found if Draft202012Validator(VALID).is_valid(found) else {}
    except (ValueError, RecursionError):
        return {}


def _header(session: Session) -> None:
    with ui.header(fixed=False, elevated=False).classes("top"):
        with html("div", "brand"):
            html("h1", text="snipbias playground")
            count = f"{sum(site.width for site in session.lm.sites):,} neurons"
            html("p", "model", text=f"{session.lm.name} · {count}")
        copy = ui.button("Copy link", on_click=lambda: ui.run_javascript(COPY))
        copy.props('flat dense no-caps size="sm"')
        mode = ui.dark_mode(value=None)
        choice = ui.toggle({"auto": "Auto", "light": "Light", "dark": "Dark"}, value="auto")
        choice.props('unelevated dense no-caps size="sm" role=group aria-label="Colours"')
        values = {"auto": None, "light": False, "dark": True}
        choice.on_value_change(lambda: mode.set_value(values[choice.value]))
