"""Plain HTML elements in NiceGUI; text is never interpreted as markup."""

from __future__ import annotations

from nicegui import ui
from nicegui.element import Element
from nicegui.elements.mixins.text_element import TextElement

from snipbias.base.words import fixed

MINUS = "\N{MINUS SIGN}"


def html(tag: str, classes: str = "", *, text: str = "") -> TextElement:
    """An element with any tag.

    Args:
        tag: name of the tag.
        classes: CSS classes.
        text: its text, which the browser escapes.
    """
    return TextElement(tag=tag, text=text).classes(classes)


def section(title: str = "") -> TextElement:
    """A card, labelled by its heading."""
    card = html("section", "panel")
    if title:
        with card:
            heading = html("h2", text=title)
        card.props["aria-labelledby"] = heading.html_id
    return card


def focus(element: Element) -> None:
    """Move the keyboard's focus to an element, if it is still there."""
    ui.run_javascript(f"document.getElementById('{element.html_id}')?.focus()")


def minus(number: float, digits: int = 2) -> str:
    """A number with a real minus sign, but none before zero."""
    return fixed(number, digits).replace("-", MINUS)


def percent(share: float) -> str:
    """A share in percent, never rounded to exactly 0 or 100."""
    if 0 < share < 0.0005:
        return "<0.1 %"
    if 0.9995 < share < 1:
        return ">99.9 %"
    return f"{share:.1%}".replace("%", " %")


def sentence(text: str) -> str:
    """A command-line message as a sentence that starts with a capital."""
    return text[:1].upper() + text[1:]
