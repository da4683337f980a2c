"""One question with its options, and how items are told apart when some are drawn."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from snipbias.base.errors import SnipbiasError
from snipbias.base.words import quoted
from snipbias.tasks.draws import Levels

# Not the joiners, which shape letters and emoji.
INVISIBLE = re.compile("[\u00ad\u200b\u200e\u200f\u202a-\u202e\u2060\u2066-\u2069\ufeff]")

Condition = Literal["ambiguous", "disambiguated", "filler", "mismatch"]


@dataclass(frozen=True, slots=True)
class Item:
    """One question about one context, with its options.

    Items of one `template` are paraphrases, so they are split and resampled together. `unknown` is
    the index of the option that declines to answer, `biased` of the one that the stereotype names;
    None if not known. Items with the same `twin` ask the same, with and without the fact that
    answers it.
    """

    id: str
    question: str
    options: tuple[str, ...]
    gold: int
    context: str = ""
    template: str = ""
    condition: Condition | None = None
    polarity: str | None = None
    unknown: int | None = None
    biased: int | None = None
    twin: str = ""

    def __post_init__(self) -> None:
        texts = (self.id, self.question, self.context, self.template, self.twin)
        for text in (*texts, self.polarity or "", *self.options):
            refuse_half_letters(text)
        if fault := self._fault():
            raise SnipbiasError(f"item {quoted(self.id)} {fault}.")

    def _fault(self) -> str | None:
        """What is wrong with it, in words."""
        last = len(self.options) - 1
        if last < 1:
            return f"has {last + 1} option(s): give at least two"
        if not all(map(looks, self.options)):
            return "has an empty option: give every option a text"
        if len(set(map(looks, self.options))) <= last:
            return "has the same option twice: make its options differ"
        for field in ("gold", "unknown", "biased"):
            index = getattr(self, field)
            if index is not None and not 0 <= index <= last:
                return f"has {field} = {index}, but its options are numbered 0 to {last}"
        if self.biased is not None and self.biased == self.unknown:
            return (
                f"has {quoted(self.options[self.biased])} as its unknown and biased option: name "
                "the person whom the stereotype names, or nobody"
            )
        return None

    @property
    def named(self) -> tuple[int, ...]:
        """Indices of the options that name somebody: all except the unknown one."""
        return tuple(i for i in range(len(self.options)) if i != self.unknown)


def levels(twins: Sequence[Item]) -> tuple[Levels, Levels]:
    """What subsampling balances: polarity, condition and whom the fact favours; then the people
    and the places of the right answers.
    """
    polarity = tuple(item.polarity for item in twins)
    facts = tuple(sorted((item.condition or "", _favoured(item)) for item in twins))
    people = frozenset(twins[0].options[i] for i in twins[0].named)
    places = tuple(item.gold for item in twins)
    cell = (polarity, facts)
    # The cell counts twice: balanced margins alone could leave two of four cells empty.
    return (cell, cell, polarity, facts), (people, places)


def _favoured(item: Item) -> str:
    """Whom the right answer names, as far as the data tells."""
    roles = {item.unknown: "nobody", item.biased: "whom the stereotype names"}
    return roles.get(item.gold, "the other")


def looks(text: str) -> str:
    """How a text looks: one spelling of each accented letter and space, nothing invisible."""
    return unicodedata.normalize("NFC", " ".join(INVISIBLE.sub("", text).split()))


def refuse_half_letters(text: str) -> None:
    """Refuse half of a UTF-16 pair, which neither a tokenizer nor a file accepts.

    Raises:
        SnipbiasError: the text holds one.
    """
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise SnipbiasError(
            f"the text {quoted(text)} holds half a character ({quoted(text[error.start])}): save "
            "the rows again as UTF-8, or remove it."
        ) from None


def halves(items: Iterable[Item], balance: str) -> tuple[list[Item], list[Item]]:
    """Ambiguous and disambiguated rows; for `twins` only paired ones, in the same order."""
    ambiguous = [item for item in items if item.condition == "ambiguous"]
    disambiguated = [item for item in items if item.condition == "disambiguated"]
    if balance == "twins":
        by_twin = {(item.template, item.twin): item for item in disambiguated if item.twin}
        ambiguous = [item for item in ambiguous if (item.template, item.twin) in by_twin]
        disambiguated = [by_twin[item.template, item.twin] for item in ambiguous]
    return ambiguous, disambiguated
