"""Plain HTML elements inside NiceGUI; texts are always texts, never markup."""

from __future__ import annotations

from nicegui.elements.mixins.text_element import TextElement

from snipbias.base.words import fixed

MINUS = "\N{MINUS SIGN}"


def html(tag: str, classes: str = "", *, text: str = "") -> TextElement:
    """An element of any tag; its text is escaped by the browser."""
    return TextElement(tag=tag, text=text).classes(classes)


def section(title: str = "") -> TextElement:
    """A card, labelled by its heading."""
    card = html("section", "panel")
    if title:
        with card:
            heading = html("h2", text=title)
        card.props["aria-labelledby"] = heading.html_id
    return card


def minus(number: float, digits: int = 2) -> str:
    """A number with a real minus sign, and none before a zero."""
    return fixed(number, digits).replace("-", MINUS)


def sentence(text: str) -> str:
    """A message of the command line, as a sentence of its own."""
    return text[:1].upper() + text[1:]
