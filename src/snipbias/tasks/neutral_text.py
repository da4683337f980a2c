"""Neutral text and ordinary requests that come with the package, or a file of your own."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from snipbias.base.errors import SnipbiasError


def passages(path: str | Path | None = None) -> tuple[str, ...]:
    """Paragraphs of a text file, or of the page that ships with the package."""
    if path is None:
        text = _shipped("neutral.txt")
    else:
        try:
            text = Path(path).read_text(encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            raise SnipbiasError(
                f"cannot read the text {path} ({error}): give a UTF-8 file."
            ) from None
    found = _paragraphs(text)
    if not found:
        raise SnipbiasError(f"{path} holds no text: give a file with at least one paragraph.")
    return found


def passages_to_protect() -> tuple[str, ...]:
    """Other paragraphs than those of `passages`: whose use of neurons an edit may look at.

    What perplexity is measured on must not have told which neurons to spare.
    """
    return _paragraphs(_shipped("protected.txt"))


def chat_prompts() -> tuple[str, ...]:
    """Ordinary requests to an assistant, on which it is measured how far an edit moves answers."""
    return tuple(_shipped("chat.txt").splitlines()[::2])


def chat_prompts_to_protect() -> tuple[str, ...]:
    """Other requests of the same kinds, for a method that learns to leave chat answers alone.

    What retention is measured on must not have taught the edit.
    """
    return tuple(_shipped("chat.txt").splitlines()[1::2])


def _shipped(name: str) -> str:
    return (files("snipbias") / "data" / name).read_text(encoding="utf-8")


def _paragraphs(text: str) -> tuple[str, ...]:
    return tuple(" ".join(p.split()) for p in text.split("\n\n") if p.strip())
