"""The page: what is asked on one side, what is answered on the other."""

from __future__ import annotations

from pathlib import Path

from nicegui import ui

from snipbias.play.chooser import Chooser
from snipbias.play.desk import Desk
from snipbias.play.html import html
from snipbias.play.switchboard import Switchboard
from snipbias.play.view import View

STYLE = Path(__file__).with_name("style.css")


def build(desk: Desk) -> None:
    """One tab's page; everything here is its own, and the desk is everybody's."""
    ui.add_css(STYLE)
    ui.colors(primary="#0f766e", negative="#b42318")
    _header(desk)
    with html("div", "columns"):
        with html("div", "asking"):
            chooser = Chooser(desk.tasks, desk.edits, desk.opening)
            board = Switchboard(desk)
        with html("div", "answers") as answers:
            view = View(desk, chooser.question, board.switches)
    ui.skip_link("Skip to the answers", target=answers)
    chooser.on_change = view.refresh
    board.on_change = view.refresh
    view.on_neuron = board.turn
    view.refresh()


def _header(desk: Desk) -> None:
    with ui.header(fixed=False, elevated=False).classes("top"):
        with html("div", "brand"):
            html("h1", text="snipbias playground")
            count = f"{sum(site.width for site in desk.lm.sites):,} neurons"
            html("p", "model", text=f"{desk.lm.name} · {count}")
        mode = ui.dark_mode(value=None)
        choice = ui.toggle({"auto": "Auto", "light": "Light", "dark": "Dark"}, value="auto")
        choice.props('unelevated dense no-caps size="sm" role=group aria-label="Colours"')
        values = {"auto": None, "light": False, "dark": True}
        choice.on_value_change(lambda: mode.set_value(values[choice.value]))
