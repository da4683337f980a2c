"""How an answer is read off the model: by scores of options or by the text it writes."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from string import ascii_uppercase
from typing import Literal

import numpy as np

from snipbias.base.errors import SnipbiasError
from snipbias.tasks.items import Item
from snipbias.tasks.prompts import PromptTemplate


@dataclass(frozen=True)
class Reading:
    """How an answer is read off the model.

    Attributes:
        normalize: divide an option's log-probability by its tokens or bytes; `sum`, as in the
            paper, does not divide, which favours short options.
        options: `text` scores the option's own words; `letters` lists them as A, B, C and scores
            the letter, as the mean log-probability over the options' orders (all of them up to
            three options, the rotations beyond).
        generate: let the model write greedily and match its text to the options, instead of taking
            the option with the highest score. The scores are kept all the same.
    """

    normalize: Literal["sum", "token", "byte"] = "sum"
    options: Literal["text", "letters"] = "text"
    generate: bool = False

    def __post_init__(self) -> None:
        if self.normalize not in ("sum", "token", "byte"):
            raise SnipbiasError(f"cannot normalize by {self.normalize!r}: use sum, token or byte.")
        if self.options not in ("text", "letters"):
            raise SnipbiasError(f"cannot list options as {self.options!r}: use text or letters.")
        if self.generate and self.options == "letters":
            raise SnipbiasError("generated text is matched to options as text: drop the letters.")
        if self.normalize != "sum" and self.options == "letters":
            raise SnipbiasError("letters are all as long: drop the normalization, or the letters.")

    def lengths(self, answers: Sequence[str], tokens: Sequence[int]) -> np.ndarray:
        """The divisor of the log-probability of each option, of which text and tokens are given."""
        if self.normalize == "sum":
            return np.ones(len(answers))
        by_token = self.normalize == "token"
        return np.array(tokens if by_token else [len(a.encode()) for a in answers], dtype=float)


def balanced_orders(options: int) -> list[tuple[int, ...]]:
    """Orders in which every option stands at every place as often; the first is as given.

    All of them up to three options, the rotations beyond.
    """
    places = tuple(range(options))
    if options <= 3:
        return list(itertools.permutations(places))
    return [places[i:] + places[:i] for i in places]


def answered(prompt: PromptTemplate, item: Item, text: str) -> int:
    """Index of the option that a generated text gives, by its letter or its words; -1 if none.

    Args:
        prompt: how it was asked; letters count only if they were offered.
        item: the item, with its options.
        text: the text.
    """
    letters = ascii_uppercase[: len(item.options)] if prompt.has_letters else ""
    said = re.match(r"\W*([A-Z])(?=\W*$|[.:,)\]])", text)
    if said and said[1] in letters:
        return letters.index(said[1])
    return match(text, item.options)


def match(text: str, options: Sequence[str]) -> int:
    """Index of the option that a generated text gives, -1 if none.

    The text is the option, at most but for case, punctuation and a leading article; or else it
    holds just one option, or the option that it names first (of several there, the longest).
    """
    for plain in (str.strip, str.casefold, _words, _plain):
        said, wanted = plain(text), [plain(option) for option in options]
        if said and said in wanted:
            return wanted.index(said)
    places = [
        (found.start(), -len(option), index)
        for index, option in enumerate(wanted)
        if option and (found := re.search(rf"\b{re.escape(option)}\b", said))
    ]
    return min(places)[2] if places else -1


def _words(text: str) -> str:
    return " ".join(re.sub(r"[^\w\s']", " ", text.casefold().replace("\u2019", "'")).split())


def _plain(text: str) -> str:
    return re.sub(r"^(the|an?) ", "", _words(text))
