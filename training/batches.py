"""Examples as tensors, with the reading hints that only training sees."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from snipbias.tasks.prompts import DEFAULT
from training.examples import Example, Source
from training.vocabulary import Words

NONE, CLAUSE, QUESTION, RIGHT, WRONG = range(5)
POOL = 8  # batches that are sorted by length together, to pad less


@dataclass(frozen=True)
class Batch:
    """B prompts of up to S tokens, their answers of up to T, and hints at H of the B*S tokens.

    Attributes:
        kinds: what a token is part of: a clause, the question, the right or a wrong option.
        hinted: row and column of the tokens that are to say whom they are about.
        owners: for each pair of a hinted token and a word of its name, the index of that token.
        words: that word.
        weights: 1 / the number of the name's words.
    """

    inputs: Tensor
    targets: Tensor
    kinds: Tensor
    hinted: tuple[Tensor, Tensor]
    owners: Tensor
    words: Tensor
    weights: Tensor


@dataclass(frozen=True)
class Piece:
    """Part of a prompt; `about` is what its tokens are to say they are about, "" if nothing."""

    text: str
    kind: int = NONE
    about: str = ""


def pieces(example: Example) -> list[Piece]:
    """The rendered prompt, cut so that the hints can be attached."""
    item = example.item
    answer = item.options[example.answer]
    found = [Piece(example.instruction)] if example.instruction else []
    if item.context:
        found.append(Piece("Context:"))
        found += [Piece(text, CLAUSE if about else NONE, about) for text, about in example.context]
    found += [Piece("Question:"), Piece(item.question, QUESTION, answer)]
    found.append(Piece("Options:"))
    for i, option in enumerate(item.options):
        kind = example.kinds[i] if example.kinds else ""
        found.append(Piece(f"- {option}", RIGHT if i == example.answer else WRONG, kind))
    return [*found, Piece("Answer:")]


def collate(examples: Sequence[Example], words: Words) -> Batch:
    """Pad the examples on the right; targets are padded with -100, which the loss leaves out."""
    cut = [[(piece, words.ids(piece.text)) for piece in pieces(example)] for example in examples]
    inputs = [[i for _, ids in row for i in ids] + [1] for row in cut]
    kinds = [[piece.kind for piece, ids in row for _ in ids] + [NONE] for row in cut]
    answers = [[*words.ids(example.item.options[example.answer]), 1] for example in examples]

    rows, columns, owners, named, weights = [], [], [], [], []
    for row, parts in enumerate(cut):
        column = 0
        for piece, ids in parts:
            name = words.ids(_content(piece.about))
            for offset in range(len(ids) if name else 0):
                owners += [len(rows)] * len(name)
                named += name
                weights += [1 / len(name)] * len(name)
                rows.append(row)
                columns.append(column + offset)
            column += len(ids)
    return Batch(
        _padded(inputs, 0),
        _padded(answers, -100),
        _padded(kinds, NONE),
        (torch.tensor(rows), torch.tensor(columns)),
        torch.tensor(owners),
        torch.tensor(named),
        torch.tensor(weights),
    )


def batches(source: Source, size: int, words: Words, rng: random.Random) -> Iterator[Batch]:
    """Endless batches of examples of about the same length."""
    while True:
        pool = [source(rng) for _ in range(size * POOL)]
        pool.sort(key=lambda example: len(DEFAULT.render(example.instruction, example.item)))
        ready = [pool[i : i + size] for i in range(0, len(pool), size)]
        rng.shuffle(ready)
        for examples in ready:
            yield collate(examples, words)


def _content(about: str) -> str:
    """What tells an option from the others: not its article."""
    return about.removeprefix("In ").removeprefix("the ").removeprefix("The ")


def _padded(rows: Sequence[Sequence[int]], value: int) -> Tensor:
    longest = max(map(len, rows))
    return torch.tensor([[*row, *[value] * (longest - len(row))] for row in rows])
