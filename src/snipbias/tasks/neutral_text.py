"""Neutral text and ordinary requests that ship with the package, or your own file."""

from __future__ import annotations

from pathlib import Path

from snipbias.base.errors import SnipbiasError
from snipbias.base.files import shipped


def passages(path: str | Path | None = None) -> tuple[str, ...]:
    """Paragraphs of a text file, or of the text that ships with the package.

    Raises:
        SnipbiasError: the file cannot be read as UTF-8, or is empty.
    """
    if path is None:
        text = shipped("neutral.txt")
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
    """Paragraphs for choosing which neurons to spare; perplexity is measured on `passages`."""
    return _paragraphs(shipped("protected.txt"))


def chat_prompts() -> tuple[str, ...]:
    """Ordinary requests to an assistant, for measuring how far an edit moves the answers."""
    return tuple(shipped("chat.txt").splitlines()[::2])


def chat_prompts_to_protect() -> tuple[str, ...]:
    """Requests to train a method on; retention is measured on those of `chat_prompts`."""
    return tuple(shipped("chat.txt").splitlines()[1::2])


def _paragraphs(text: str) -> tuple[str, ...]:
    return tuple(" ".join(p.split()) for p in text.split("\n\n") if p.strip())
