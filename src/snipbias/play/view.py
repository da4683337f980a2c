"""The answers' side of the page, redrawn whenever the question or an edit changes."""

from __future__ import annotations

import json
from urllib.parse import urlencode

from nicegui import background_tasks, run, ui

from snipbias.base.errors import SnipbiasError
from snipbias.play import neurons, panels
from snipbias.play.answers import Question
from snipbias.play.chooser import Chooser
from snipbias.play.elements import html, section, sentence
from snipbias.play.session import Result, Session
from snipbias.play.switchboard import Switchboard

STATE = "state"  # the part of the address that stores the question and the edits


class View:
    """Both answers to the current question."""

    def __init__(self, session: Session, chooser: Chooser, board: Switchboard) -> None:
        self._session = session
        self._chooser = chooser
        self._board = board
        self._shown: Question | None = None
        self._turn = 0
        self._looks = neurons.Looks()
        with section("Answers") as self._card:
            # Polite: screen readers announce changes without moving the focus.
            self._status = html("p", "status").props("role=status aria-live=polite")
            self._stale = html("p", "stale-note").props("aria-live=polite")
            self._error = html("p", "error").props("role=alert")
            self._bars = html("div")
        self._rest = html("div", "rest")

    def refresh(self) -> None:
        """Ask again, without blocking the page."""
        self._turn += 1
        state = json.dumps({**self._chooser.state(), **self._board.state()}, separators=(",", ":"))
        ui.navigate.history.replace(f"/?{urlencode({STATE: state})}")
        self._outdate("Asking again: this is the previous answer.")
        background_tasks.create(self._ask(self._turn), context=self._rest)

    def compare(self) -> None:
        """Show whether the answer still belongs to what is typed."""
        try:
            same = self._chooser.question() == self._shown
        except SnipbiasError:
            same = False
        self._outdate("" if same else "The question has changed: press Ask to answer it.")

    def _outdate(self, why: str) -> None:
        """Mark the shown answer as outdated, if there is one."""
        why = why if self._shown else ""
        self._stale.set_text(why)
        self._card.classes(**{"add" if why else "remove": "stale"})
        self._rest.classes(**{"add" if why else "remove": "stale"})

    async def _ask(self, turn: int) -> None:
        self._card.props("aria-busy=true")
        try:
            question, switches = self._chooser.question(), self._board.switches()
            control = self._board.control()
            self._error.set_text("")  # the last answer stays until the next one
            if not self._status.text:
                self._status.set_text("The model is being asked.")
            result = await run.io_bound(
                self._session.ask, question, switches, lambda: turn != self._turn, control
            )
        except SnipbiasError as error:
            if turn == self._turn:
                self._fail(str(error))
            return
        if result is not None and turn == self._turn:
            self._show(result)

    def _fail(self, message: str) -> None:
        self._begin(None, "", sentence(message))
        self._bars.clear()
        self._rest.clear()

    def _begin(self, shown: Question | None, status: str, error: str = "") -> None:
        """Replace the texts above an answer."""
        self._card.props("aria-busy=false")
        self._shown = shown
        self._outdate("")
        self._status.set_text(status)
        self._error.set_text(error)

    def _show(self, result: Result) -> None:
        self._begin(result.question, panels.verdict(result))
        self._bars.clear()
        with self._bars:
            panels.options(result)
        self._rest.clear()
        with self._rest:
            with section("Generated text"):
                panels.written(result)
            if result.firings:
                with section("Neurons that the edits change"):
                    neurons.show(result, self._looks, self._board.turn)
            with section(), html("details"):
                html("summary", text="Exact prompt")
                html("pre", "prompt", text=result.prompt).props("tabindex=0")
        if self._looks.focused is not None:  # the box just ticked was redrawn
            ui.run_javascript(f"document.getElementById('{self._looks.focused}')?.focus()")
            self._looks.focused = None
