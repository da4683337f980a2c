"""The messages on the page of errors are those of the source."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
LEFT_OUT = "…"  # what stands where a message has a value


def _text(node: ast.expr) -> str:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(map(_text, node.values))
    return LEFT_OUT


def _messages() -> Iterator[str]:
    """What each SnipbiasError of the source says, values left out."""
    for path in (ROOT / "src/snipbias").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "SnipbiasError":
                yield re.sub(f"(?:{LEFT_OUT})+", LEFT_OUT, _text(node.args[0]))


def _on_the_page() -> list[str]:
    """The first cells of the page's tables: messages, each up to where the page cuts it."""
    page = (ROOT / "docs/errors.md").read_text(encoding="utf-8")
    return re.findall(r"^\| `([^`]+)` \|", page, re.MULTILINE)


def test_messages_on_the_page_are_in_the_source():
    messages, shown = list(_messages()), _on_the_page()
    assert len(messages) > 100
    assert len(shown) > 25
    for text in shown:
        assert any(text in message for message in messages), text
