"""Models whose log-probabilities are a function, and what a calibration makes of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import torch

from reference import option_logprob
from snipbias.evaluation.evaluate import Evaluation
from snipbias.experiment.cell import Cell
from snipbias.experiment.settings import Settings
from snipbias.experiment.store import Store
from snipbias.models.language_model import LanguageModel, Query
from snipbias.models.scoring import Scored
from snipbias.tasks.items import Item, Task
from toys import rows

KINDS = ("flan-t5", "llama")
DEV = Task("dev", rows(4), ("say it.",))
LogP = Callable[[str, str], float]


class ByHand(LanguageModel):
    """A model whose log P(option | prompt) is a function; it keeps the prompts it has scored."""

    device = torch.device("cpu")
    model = torch.nn.Module()
    model.get_input_embeddings = lambda: torch.nn.Embedding(2, 8)  # type: ignore[method-assign]
    rows_differ = True
    is_encoder_decoder = False

    def __init__(self, logprob: LogP) -> None:
        self.logprob = logprob
        self.scored: list[str] = []
        self.passes = Counter()

    def frozen(self) -> AbstractContextManager[None]:
        return nullcontext()

    def queries(self, asked: Sequence[tuple[str, Sequence[str]]]) -> list[Query]:
        return [Query(tuple(map(ord, p)), tuple(tuple(map(ord, o)) for o in os)) for p, os in asked]

    def alike(self) -> Callable[[Query], int]:
        return lambda query: len(query.prompt)

    def score(self, queries: Sequence[Query], *, share_start: bool = False) -> Scored:
        most = max(len(query.options) for query in queries)
        logprobs = torch.full((len(queries), most), -torch.inf, dtype=torch.float64)
        for i, query in enumerate(queries):
            prompt = "".join(map(chr, query.prompt))
            self.scored.append(prompt)
            for j, option in enumerate(query.options):
                logprobs[i, j] = self.logprob(prompt, "".join(map(chr, option)))
        nothing = torch.empty(0, dtype=torch.long)
        return Scored(logprobs, nothing, nothing.bool(), nothing.bool())


def measured(lm: Any, asked: Task, dev: Task = DEV, seed: int = 0, **changes: Any) -> Cell:
    """A cell whose original is evaluated."""
    settings = Settings(seed=seed)
    cell = Cell(lm, settings, asked, dev, test=asked, retention=(), store=Store(), **changes)
    assert cell.original
    return cell


def by_hand(logprob: LogP, asked: Task, dev: Task = DEV) -> tuple[ByHand, Cell]:
    """The toy model with the original's prompts forgotten."""
    lm = ByHand(logprob)
    made = measured(lm, asked, dev)
    lm.scored.clear()
    return lm, made


def scores(evaluation: Evaluation) -> list[np.ndarray]:
    return [np.array(row) for row in evaluation.table["score"].to_pylist()]


def assert_near(found: Evaluation, expected: Sequence[Sequence[float]], tolerance: float) -> None:
    for row, wanted in zip(scores(found), expected, strict=True):
        np.testing.assert_allclose(row, wanted, atol=tolerance, rtol=0)


def one(*options: str, context: str = "he left.", **changes: Any) -> Task:
    item = Item("i", "who?", options, 0, context, "t", **changes)
    return Task("one", (item,), ("say.",))


def plain(
    lm: LanguageModel, instruction: str, item: Item, context: str, question: str, option: int
) -> float:
    """log P of one option alone, of a prompt put together here."""
    lines = [instruction, *([f"Context: {context}"] if context else []), f"Question: {question}"]
    lines += ["Options:", *(f"- {text}" for text in item.options), "Answer:"]
    query = lm.query("\n".join(lines), item.options)
    with torch.no_grad():
        return float(option_logprob(lm, query, query.options[option]))
