"""Parts of the playground's page without a browser: what they show, and what a user does."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlencode

from nicegui import Client, events, ui
from nicegui.element import Element
from starlette.requests import Request


@contextmanager
def tab(**query: str) -> Iterator[Client]:
    """A browser's tab, inside which elements are made, at an address with this query."""
    scope = {"type": "http", "path": "/", "headers": [], "query_string": urlencode(query).encode()}
    with Client(ui.page(""), request=Request(scope)) as client:
        yield client


def every(inside: Any, tag: str, *classes: str) -> list[Any]:
    """The visible elements of a kind, in the order of the page."""
    top = inside.layout if isinstance(inside, Client) else inside
    return [e for e in _walk(top) if e.tag == tag and set(classes) <= {*e._classes}]


def _walk(element: Element) -> Iterator[Element]:
    for slot in element.slots.values():
        for child in slot.children:
            if child.visible:
                yield child
                yield from _walk(child)


def texts(inside: Any, tag: str, *classes: str) -> list[str]:
    return [element.text for element in every(inside, tag, *classes)]


def field(inside: Any, label: str) -> Any:
    """The field with that label."""
    names = ("label", "aria-label")
    fields = [e for e in _walk(inside.layout) if label in (e.props.get(name) for name in names)]
    (found,) = fields
    return found


def press(inside: Any, name: str) -> None:
    """Press the button of that text or name."""
    buttons = every(inside, "q-btn")
    (button,) = (b for b in buttons if name in (b.text, b.props.get("aria-label")))
    assert button.enabled
    send(button, "click")


def send(element: Any, event: str, value: Any = None) -> None:
    """What the browser sends of an element."""
    handlers = [each for each in element._event_listeners.values() if each.type == event]
    assert handlers
    for each in handlers:
        given = events.GenericEventArguments(sender=element, client=element.client, args=value)
        each.handler(given)
