"""The table of an edit's neurons, each of which opens token by token."""

from __future__ import annotations

from collections.abc import Callable

from nicegui import ui
from nicegui.elements.mixins.text_element import TextElement

from snipbias.models.sites import Neuron
from snipbias.play.answers import Firing
from snipbias.play.elements import focus, html, minus
from snipbias.play.session import Result

SHOWN = 8  # the others on demand
STRONGEST = 3
COLUMNS = ("Neuron", "Factor", "Strongest h", "After", "At token", "Scaled", "Tokens")
EXPLAINED = (
    "h: the neuron's output in the original model, at the token where it is farthest from 0. "
    "After: h times the factor. Tokens: those that the neuron sees of the prompt and of the "
    "original's answer, with h below each and the three strongest framed."
)


class NeuronTable:
    """The neurons of the active edits; redrawn, it is as the user left it.

    It calls `turn` with a neuron and whether to scale it, when the user changes that.
    """

    def __init__(self, turn: Callable[[Neuron, bool], None]) -> None:
        self._turn = turn
        self._opened: set[Neuron] = set()  # neurons whose tokens are shown
        self._all_rows = False
        self._touched: Neuron | None = None  # the neuron whose box was just ticked

    def draw(self, result: Result) -> None:
        """Draw the neurons of a result, with their strongest activation."""
        firings = result.firings
        if not self._opened.intersection(firing.neuron for firing in firings):
            self._opened.add(firings[0].neuron)
        with html("table", "neurons").props("role=table"):
            with html("thead"), html("tr"):
                for title in COLUMNS:
                    html("th", text=title).props("scope=col")
            with html("tbody") as body:
                for firing in firings if self._all_rows else firings[:SHOWN]:
                    self._row(firing, firing.neuron not in result.off)

        def rest() -> None:
            self._all_rows = True
            more.delete()
            with body:
                for firing in firings[SHOWN:]:
                    self._row(firing, firing.neuron not in result.off)

        if len(firings) > SHOWN and not self._all_rows:
            more = ui.button(f"Show all {len(firings)} neurons", on_click=rest)
            more.props("outline no-caps")
        html("p", "legend", text=EXPLAINED)

    def _row(self, firing: Firing, is_on: bool) -> None:
        """A neuron's row, with its tokens below."""
        (peak,) = firing.top(1)
        neuron, h = firing.neuron, firing.outputs[peak]
        name = f"{neuron.site} #{neuron.unit}"
        with html("tr"):
            with _cell("Neuron", "th").props("scope=row"):
                html("span", "place", text=firing.place)
                html("code", text=name)
            _cell("Factor", text=f"{firing.factor:.4g}" if is_on else "1 (off)")
            _cell("Strongest h", text=minus(h))
            _cell("After", text=minus(firing.scaled(peak) if is_on else h))
            with _cell("At token"):
                html("code", "token", text=firing.tokens[peak])
            with _cell("Scaled"):
                box = ui.checkbox(
                    value=is_on, on_change=lambda e: self._tick(neuron, bool(e.value))
                )
                box.props("dense").props["aria-label"] = f"Scale {name}"
            with _cell("Tokens"):
                button = ui.button().props("flat dense no-caps")
                button.props["aria-label"] = f"Tokens of {name}"
        with html("tr", "details") as details, html("td") as inside:
            inside.props["colspan"] = len(COLUMNS)

        def draw() -> None:
            is_open = neuron in self._opened
            details.set_visibility(is_open)
            button.set_text("Hide" if is_open else "Show")
            button.props["aria-expanded"] = "true" if is_open else "false"
            if is_open and not inside.default_slot.children:
                with inside:
                    _tokens(firing)

        def toggle() -> None:
            self._opened ^= {neuron}
            draw()

        button.on_click(toggle)
        draw()
        if self._touched == neuron:
            self._touched = None
            focus(box)

    def _tick(self, neuron: Neuron, is_on: bool) -> None:
        self._touched = neuron
        self._turn(neuron, is_on)


def _cell(column: str, tag: str = "td", *, text: str = "") -> TextElement:
    cell = html(tag, text=text)
    cell.props["data-title"] = column
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
