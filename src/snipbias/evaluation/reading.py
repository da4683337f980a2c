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
from snipbias.models.batching import BatchSize, Progress
from snipbias.models.fingerprint import Weights
from snipbias.models.language_model import LanguageModel
from snipbias.models.score_all import ask
from snipbias.tasks.items import Item, Task
from snipbias.tasks.prompts import PromptTemplate


@dataclass(frozen=True)
class Reading:
    """How an answer is read off the model.

    Attributes:
        normalize: divide an option's log-probability by its tokens or bytes; `sum` divides by
            nothing, which favours short options, as the paper does.
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


def lengths(answers: Sequence[str], tokens: Sequence[int], reading: Reading) -> np.ndarray:
    """The divisor of each option's log-probability.

    Args:
        answers: option texts.
        tokens: number of tokens of each.
        reading: divide by tokens, by bytes or by 1.
    """
    if reading.normalize == "token":
        return np.array(tokens, dtype=float)
    if reading.normalize == "byte":
        return np.array([len(option.encode()) for option in answers], dtype=float)
    return np.ones(len(answers))


def written_by(
    lm: LanguageModel,
    task: Task,
    batch_size: BatchSize,
    progress: Progress,
    weights: Weights | None = None,
) -> dict[tuple[int, int], str]:
    """Generate an answer to every prompt of a task.

    Args:
        lm: the model, with any edit applied.
        task: the task.
        batch_size: prompts per pass, or `auto`.
        progress: called with the number of prompts just done.
        weights: fingerprints of the model's weights, if they need not be computed again.

    Returns:
        (item, instruction) -> text.
    """
    places = [(i, j) for j in range(len(task.instructions)) for i in range(len(task.items))]
    queries = [lm.query(*task.prompt.ask(task.instructions[j], task.items[i])) for i, j in places]
    texts = ask(lm, queries, lm.generate, "writing", batch_size, progress, weights)
    return dict(zip(places, texts, strict=True))
