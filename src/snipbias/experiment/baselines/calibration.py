"""Calibration baselines: the original model's scores are changed, and no neuron is touched.

Each takes the rows of the original model and gives the same rows in the same order under its own
label, with a new `score` and the option it chooses; `logprob` stays as it was measured. The papers
calibrate a fixed set of single-token labels. Here options are texts of several tokens that change
from row to row, so a score is log P(option | prompt) less the log of what the option gets anyway.
The papers' last division, by the sum over the row's options, changes no figure and is left out.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import islice
from statistics import mean

import numpy as np
import pyarrow as pa
import torch
from jaxtyping import Float
from scipy.special import log_softmax, logsumexp

from snipbias.evaluation.evaluate import Evaluation
from snipbias.evaluation.reading import balanced_orders
from snipbias.experiment.cell import Cell
from snipbias.models.score_all import score_queries
from snipbias.tasks.items import Item
from snipbias.tasks.unanswerable import is_control

CONTENT_FREE = ("N/A", "", "[MASK]")  # Zhao et al. 2021
DOMAIN_TEXTS = 20  # Fei et al. 2023

Scores = Float[np.ndarray, " options"]


def _questions(cell: Cell) -> list[tuple[str, Item]]:
    """The instruction and the item of each row of the original, in its order."""
    return [(text, item) for item in cell.test.items for text in cell.test.instructions]


def _logprobs(cell: Cell) -> list[Scores]:
    """The original model's log P of every option, row by row."""
    return [np.array(row) for row in cell.original.table["logprob"].to_pylist()]


def cc(cell: Cell) -> Evaluation:
    """Contextual calibration (Zhao et al. 2021): less the log of the mean P on contentless inputs.

    "N/A", "" and "[MASK]" stand where the question was, and also where the context was in a row
    that has one; an empty context has no line, as in every prompt.
    """
    texts = [(text, text) for text in CONTENT_FREE]
    return _less_prior("CC", cell, lambda item: texts)


def no_context(cell: Cell) -> Evaluation:
    """Domain-conditional PMI (Holtzman et al. 2021): less log P of the option without the context.

    What a question suggests by itself, a stereotype or a wording of "unknown", is taken out.
    """
    return _less_prior("less no context", cell, lambda item: [("", item.question)])


def dc(cell: Cell) -> Evaluation:
    """Domain-context calibration (Fei et al. 2023): the same with texts of random in-domain words.

    Twenty texts, the same for all rows. `domain_texts` says where their words come from.
    """
    texts = domain_texts(cell.dev.items, cell.settings.seed)
    return _less_prior("DC", cell, lambda item: texts)


def domain_texts(items: Sequence[Item], seed: int) -> list[tuple[str, str]]:
    """Twenty (context, question) of random words, as long as those of the items are on average.

    Words are drawn with replacement from all contexts and questions together. A text's first words
    stand for the context, the rest for the question. Options give no words: the calibrated prompt
    lists the row's own.
    """
    contexts = [item.context.split() for item in items if item.context]
    questions = [item.question.split() for item in items]
    words = sorted(word for text in (*contexts, *questions) for word in text)
    in_context, in_question = _mean_length(contexts), _mean_length(questions)
    rng = random.Random(seed)
    texts = [rng.choices(words, k=in_context + in_question) for _ in range(DOMAIN_TEXTS)]
    return [(" ".join(text[:in_context]), " ".join(text[in_context:])) for text in texts]


def _mean_length(texts: Sequence[Sequence[str]]) -> int:
    """Mean number of words, at least 1; 0 if there is no text at all."""
    return max(1, round(mean(map(len, texts)))) if texts else 0


def batch_calibration(cell: Cell) -> Evaluation:
    """Batch calibration (Zhou et al. 2023): less the log of the mean P over the batch, by position.

    The paper divides a label's probability by its mean over a batch of unlabelled inputs. Options
    here are other texts in every row, which share only their positions: so P is taken relative to
    the row's own options, and averaged by position over the data's own rows of the same
    instruction and number of options.
    """
    questions, logprobs = _questions(cell), _logprobs(cell)
    batches: dict[tuple[str, int], list[int]] = {}
    for row, (instruction, item) in enumerate(questions):
        batches.setdefault((instruction, len(item.options)), []).append(row)
    scores = list(logprobs)
    for rows in batches.values():
        own = [row for row in rows if not is_control(questions[row][1].condition)]
        batch = np.stack([logprobs[row] for row in own])
        prior = _log_mean_exp(log_softmax(batch, axis=1))
        for row in rows:
            scores[row] = logprobs[row] - prior
    return answered("batch calibration", cell.original, scores)


def permutation_averaging(cell: Cell) -> Evaluation:
    """Options listed in several orders; an option's score is its mean log-probability over them.

    What PriDe (Zheng et al. 2023) approximates by a prior estimated on few rows, done in full: in
    every order up to three options, in every rotation beyond, so that each option stood at every
    place as often. The order as given is the original's own row and not run again.
    """
    queries, turns = [], []
    for row, (instruction, item) in enumerate(_questions(cell)):
        for order in balanced_orders(len(item.options))[1:]:
            queries.append(cell.test.prompt.ask(instruction, item, order))
            turns.append((row, order))
    by_row = [[scores] for scores in _logprobs(cell)]
    for (row, order), by_place in zip(turns, _score(cell, queries), strict=True):
        by_option = np.empty(len(order))
        by_option[list(order)] = by_place
        by_row[row].append(by_option)
    scores = [np.mean(orders, axis=0) for orders in by_row]
    return answered("permutation averaging", cell.original, scores)


def _less_prior(
    label: str, cell: Cell, texts: Callable[[Item], Sequence[tuple[str, str]]]
) -> Evaluation:
    """score(c) = log P(c | x) - log mean_m P(c | x_m); x_m is x with another context, question.

    Rows with the same instruction and options share their x_m, which are scored once.
    """
    asked = [
        (text, item, tuple((c if item.context else "", q) for c, q in texts(item)))
        for text, item in _questions(cell)
    ]
    keys = [(text, item.options, others) for text, item, others in asked]
    distinct = dict(zip(keys, asked, strict=True))
    queries = [
        cell.test.prompt.ask(instruction, replace(item, context=context, question=question))
        for instruction, item, others in distinct.values()
        for context, question in others
    ]
    scored = iter(_score(cell, queries))
    priors = {key: _log_mean_exp(np.stack(list(islice(scored, len(key[2]))))) for key in distinct}
    scores = [row - priors[key] for row, key in zip(_logprobs(cell), keys, strict=True)]
    return answered(label, cell.original, scores)


def _log_mean_exp(logprobs: Float[np.ndarray, "texts options"]) -> Scores:
    """log of the mean over the rows of exp(logprobs), which itself would underflow."""
    return np.asarray(logsumexp(logprobs, axis=0)) - np.log(len(logprobs))


def _score(cell: Cell, queries: Sequence[tuple[str, Sequence[str]]]) -> list[Scores]:
    """log P of the options after each prompt."""
    asked = cell.lm.queries(queries)
    with cell.lm.frozen(), torch.inference_mode():
        rows = score_queries(cell.lm, asked, batch_size=cell.batch_size)
    return [np.array(row) for row in rows]


def answered(
    label: str, original: Evaluation, scores: Sequence[Scores], chosen: Sequence[int] | None = None
) -> Evaluation:
    """The original's rows with other scores.

    Args:
        label: name of the new rows.
        original: the unedited model's rows.
        scores: score of each option, row by row.
        chosen: number of the option chosen in each row; by default the one that scores highest.
    """
    table = original.table
    answers = [int(row.argmax()) for row in scores] if chosen is None else chosen
    changed = {"method": label, "probabilities": False, "text": None}
    records = [
        {**record, **changed, "score": row.tolist(), "chosen": answer}
        for record, row, answer in zip(table.to_pylist(), scores, answers, strict=True)
    ]
    return Evaluation(pa.Table.from_pylist(records, schema=table.schema), original.reading)
