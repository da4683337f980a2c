"""The page: the question on one side, the answers on the other."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator
from nicegui import ui

from snipbias.play.chooser import Chooser
from snipbias.play.elements import html
from snipbias.play.session import Session
from snipbias.play.switchboard import Switchboard
from snipbias.play.view import STATE, View

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


def build(session: Session) -> None:
    """Build the page of one browser tab; only the session is shared between tabs.

    Its address stores the question and the active edits, and restores them when opened again.
    """
    state = _state(ui.context.client.request.query_params.get(STATE, ""))
    ui.add_css(STYLE)
    ui.colors(primary="#0f766e", negative="#b42318")
    _header(session)
    with html("div", "columns"):
        with html("div", "asking"):
            chooser = Chooser(session.tasks, session.edits, session.opening, state)
            board = Switchboard(session, state)
        with html("div", "answers") as answers:
            view = View(session, chooser, board)
    ui.skip_link("Skip to the answers", target=answers)
    chooser.on_change = view.refresh
    chooser.on_typed = view.compare
    board.on_change = view.refresh
    view.refresh()


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
