"""The text of a prompt: an instruction, the input, and the options (the paper's I, x and C)."""

from __future__ import annotations

from string import ascii_uppercase

from snipbias.base.errors import SnipbiasError
from snipbias.tasks.items import Item


def render(instruction: str, item: Item) -> str:
    """The prompt with options as text, to be answered by the text of an option."""
    return _assemble(instruction, item, [f"- {option}" for option in item.options])


def render_letters(instruction: str, item: Item, order: tuple[int, ...]) -> str:
    """The prompt with lettered options, `order[j]` being the option that stands at letter j."""
    if len(order) > len(ascii_uppercase):
        raise SnipbiasError(
            f"item {item.id!r} has {len(order)} options and there are 26 letters: "
            "list them as text."
        )
    lines = [
        f"{letter}. {item.options[i]}" for letter, i in zip(ascii_uppercase, order, strict=False)
    ]
    return _assemble(instruction, item, lines)


def _assemble(instruction: str, item: Item, option_lines: list[str]) -> str:
    parts = [instruction]
    if item.context:
        parts.append(f"Context: {item.context}")
    parts += [f"Question: {item.question}", "Options:", *option_lines, "Answer:"]
    return "\n".join(parts)
