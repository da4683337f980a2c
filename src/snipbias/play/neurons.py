"""The table of an edit's neurons, each of which opens token by token."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from nicegui import ui
from nicegui.elements.mixins.text_element import TextElement

from snipbias.models.sites import Neuron
from snipbias.play.answers import Firing
from snipbias.play.elements import html, minus
from snipbias.play.session import Result

SHOWN = 8  # the others on demand
STRONGEST = 3
COLUMNS = ("Neuron", "Factor", "Strongest h", "After", "At token", "Scaled", "Tokens")
EXPLAINED = (
    "h: the neuron's output in the original model, at the token where it is farthest from 0. "
    "After: h times the factor. Tokens: those that the neuron sees of the prompt and of the "
    "original's answer, with h below each and the three strongest framed."
)


@dataclass
class Looks:
    """How the user left the table, for redrawing it.

    Attributes:
        opened: neurons whose tokens are shown.
        all_rows: whether all neurons are listed.
        touched: the neuron whose box was just ticked.
        focused: id of this box after redrawing.
    """

    opened: set[Neuron] = field(default_factory=set)
    all_rows: bool = False
    touched: Neuron | None = None
    focused: str | None = None


def show(result: Result, looks: Looks, turn: Callable[[Neuron, bool], None]) -> None:
    """Draw the neurons of the active edits, with their strongest activation.

    Args:
        result: the answers.
        looks: how the user left the table.
        turn: called with a neuron and whether to scale it, when the user changes that.
    """
    firings = result.firings
    if not looks.opened.intersection(firing.neuron for firing in firings):
        looks.opened.add(firings[0].neuron)

    def touched(neuron: Neuron, is_on: bool) -> None:
        looks.touched = neuron
        turn(neuron, is_on)

    def rows(some: tuple[Firing, ...]) -> None:
        for firing in some:
            _row(firing, firing.neuron not in result.off, looks, touched)

    def rest() -> None:
        looks.all_rows = True
        more.delete()
        with body:
            rows(firings[SHOWN:])

    with html("table", "neurons").props("role=table"):
        with html("thead"), html("tr"):
            for title in COLUMNS:
                html("th", text=title).props("scope=col")
        with html("tbody") as body:
            rows(firings if looks.all_rows else firings[:SHOWN])
    if len(firings) > SHOWN and not looks.all_rows:
        more = ui.button(f"Show all {len(firings)} neurons", on_click=rest)
        more.props("outline no-caps")
    html("p", "legend", text=EXPLAINED)


def _row(
    firing: Firing, is_on: bool, looks: Looks, touched: Callable[[Neuron, bool], None]
) -> None:
    """A neuron's row, with its tokens below."""
    (peak,) = firing.top(1)
    name = f"{firing.neuron.site} #{firing.neuron.unit}"
    after = firing.scaled(peak) if is_on else firing.outputs[peak]
    with html("tr"):
        with _cell(0, "th").props("scope=row"):
            html("span", "place", text=firing.place)
            html("code", text=name)
        _cell(1, text=f"{firing.factor:.4g}" if is_on else "1 (off)")
        _cell(2, text=minus(firing.outputs[peak]))
        _cell(3, text=minus(after))
        with _cell(4):
            html("code", "token", text=firing.tokens[peak])
        with _cell(5):
            box = ui.checkbox(
                value=is_on, on_change=lambda e: touched(firing.neuron, bool(e.value))
            )
            box.props("dense")
            box.props["aria-label"] = f"Scale {name}"
            if looks.touched == firing.neuron:
                looks.touched, looks.focused = None, box.html_id
        with _cell(6):
            button = ui.button().props("flat dense no-caps")
            button.props["aria-label"] = f"Tokens of {name}"
    with html("tr", "details") as details, html("td") as inside:
        inside.props["colspan"] = len(COLUMNS)

    def draw() -> None:
        is_open = firing.neuron in looks.opened
        details.set_visibility(is_open)
        button.set_text("Hide" if is_open else "Show")
        button.props["aria-expanded"] = "true" if is_open else "false"
        if is_open and not inside.default_slot.children:
            with inside:
                _tokens(firing)

    def toggle() -> None:
        looks.opened ^= {firing.neuron}
        draw()

    button.on_click(toggle)
    draw()


def _cell(column: int, tag: str = "td", *, text: str = "") -> TextElement:
    cell = html(tag, text=text)
    cell.props["data-title"] = COLUMNS[column]
    return cell


def _tokens(firing: Firing) -> None:
    """h at every token, as a number and a shade."""
    strongest = firing.top(STRONGEST)
    farthest = abs(firing.outputs[strongest[0]]) or 1.0
    with html("ol", "tokens"):
        for k, (token, h) in enumerate(zip(firing.tokens, firing.outputs, strict=True)):
            sign = "plus" if h >= 0 else "minus"
            with html("li", f"{sign} strong" if k in strongest else sign) as box:
                box.style(f"--heat: {abs(h) / farthest:.3f}")
                html("code", text=token)
                html("span", text=minus(h, 1))
