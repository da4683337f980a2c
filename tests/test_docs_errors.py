"""The messages on the page of errors are those of the source."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
LEFT_OUT = "…"  # what stands where a message has a value


def _texts() -> Iterator[str]:
    """Every text of the source, values left out: a message may be put together from several."""
    for path in (ROOT / "src/snipbias").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield node.value


def _on_the_page() -> list[str]:
    """The first cells of the page's tables: messages, each up to where the page cuts it."""
    page = (ROOT / "docs/errors.md").read_text(encoding="utf-8")
    return re.findall(r"^\| `([^`]+)` \|", page, re.MULTILINE)


def test_messages_on_the_page_are_in_the_source():
    source, shown = "\n".join(_texts()), _on_the_page()
    assert len(shown) > 25
    for text in shown:
        parts = [part.strip(" :,(") for part in text.split(LEFT_OUT)]
        assert sum(map(len, parts)) >= 12, text
        assert all(part in source for part in parts), text
