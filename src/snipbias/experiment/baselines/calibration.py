"""Calibration baselines: the original model's scores are changed, and no neuron is touched.

Each takes the rows of the original model and gives the same rows in the same order under its own
label, with a new `score` and the option it chooses; `logprob` stays as it was measured. The papers
calibrate a fixed set of single-token labels. Here options are texts of several tokens that change
from row to row, so a score is log P(option | prompt) less the log of what the option gets anyway.
The papers' last division, by the sum over the row's options, changes no figure and is left out.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from statistics import mean

import numpy as np
import pyarrow as pa
import torch
from jaxtyping import Float
from scipy.special import log_softmax, logsumexp

from snipbias.base.words import ORIGINAL
from snipbias.evaluation.evaluate import Evaluation
from snipbias.evaluation.margin import unknown_margin
from snipbias.evaluation.metrics import ByCondition
from snipbias.evaluation.offset_curve import ROUNDING, OffsetPoint, offset_curve
from snipbias.evaluation.reading import balanced_orders
from snipbias.models.batching import BatchSize
from snipbias.models.language_model import LanguageModel
from snipbias.models.score_all import score_queries
from snipbias.tasks.items import Item, Task
from snipbias.tasks.unanswerable import is_control

CONTENT_FREE = ("N/A", "", "[MASK]")  # Zhao et al. 2021
DOMAIN_TEXTS = 20  # Fei et al. 2023
_IMPOSSIBLE = -100.0  # log P of what is never said: finite, as an option's score must be

Scores = Float[np.ndarray, " options"]


@dataclass(frozen=True)
class Given:
    """The data that a calibration method may use.

    Attributes:
        task: the rows to answer.
        original: the unedited model's rows of the same task, alone in their order.
        dev: the development part, which shares no template with them.
        batch_size: prompts per pass, or `auto`; the result does not depend on it.
        seed: of DC's random words, the only thing that is drawn.
    """

    lm: LanguageModel
    task: Task
    original: Evaluation
    dev: Task
    batch_size: BatchSize = "auto"
    seed: int = 0

    @property
    def questions(self) -> list[tuple[str, Item]]:
        """The instruction and the item of each row of `original`, in its order."""
        return [(text, item) for item in self.task.items for text in self.task.instructions]

    @property
    def logprobs(self) -> list[Scores]:
        """The original model's log P of every option, row by row."""
        return [np.array(row) for row in self.original.table["logprob"].to_pylist()]


def cc(measured: Given) -> Evaluation:
    """Contextual calibration (Zhao et al. 2021): less the log of the mean P on contentless inputs.

    "N/A", "" and "[MASK]" stand where the question was, and also where the context was in a row
    that has one; an empty context has no line, as in every prompt.
    """
    texts = [(text, text) for text in CONTENT_FREE]
    return _less_prior("CC", measured, lambda item: texts)


def no_context(measured: Given) -> Evaluation:
    """Domain-conditional PMI (Holtzman et al. 2021): less log P of the option without the context.

    What a question suggests by itself, a stereotype or a wording of "unknown", is taken out.
    """
    return _less_prior("less no context", measured, lambda item: [("", item.question)])


def dc(measured: Given) -> Evaluation:
    """Domain-context calibration (Fei et al. 2023): the same with texts of random in-domain words.

    Twenty texts, the same for all rows. `domain_texts` says where their words come from.
    """
    texts = domain_texts(measured.dev.items, measured.seed)
    return _less_prior("DC", measured, lambda item: texts)


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


def batch_calibration(measured: Given) -> Evaluation:
    """Batch calibration (Zhou et al. 2023): less the log of the mean P over the batch, by position.

    The paper divides a label's probability by its mean over a batch of unlabelled inputs. Options
    here are other texts in every row, which share only their positions: so P is taken relative to
    the row's own options, and averaged by position over the data's own rows of the same
    instruction and number of options.
    """
    logprobs = measured.logprobs
    batches: dict[tuple[str, int], list[int]] = {}
    for row, (instruction, item) in enumerate(measured.questions):
        batches.setdefault((instruction, len(item.options)), []).append(row)
    scores = list(logprobs)
    for rows in batches.values():
        own = [row for row in rows if not is_control(measured.questions[row][1].condition)]
        batch = np.stack([logprobs[row] for row in own])
        prior = _log_mean_exp(log_softmax(batch, axis=1))
        for row in rows:
            scores[row] = logprobs[row] - prior
    return _answered("batch calibration", measured.original, scores)


def permutation_averaging(measured: Given) -> Evaluation:
    """Options listed in several orders; an option's score is its mean log-probability over them.

    What PriDe (Zheng et al. 2023) approximates by a prior estimated on few rows, done in full: in
    every order up to three options, in every rotation beyond, so that each option stood at every
    place as often. The order as given is the original's own row and not run again.
    """
    queries, turns = [], []
    for row, (instruction, item) in enumerate(measured.questions):
        for order in balanced_orders(len(item.options))[1:]:
            queries.append(measured.task.prompt.ask(instruction, item, order))
            turns.append((row, order))
    by_row = [[scores] for scores in measured.logprobs]
    for (row, order), by_place in zip(turns, _score(measured, queries), strict=True):
        by_option = np.empty(len(order))
        by_option[list(order)] = by_place
        by_row[row].append(by_option)
    scores = [np.mean(orders, axis=0) for orders in by_row]
    return _answered("permutation averaging", measured.original, scores)


def always_unknown(measured: Given) -> Evaluation:
    """Answers "unknown" whatever is asked: the floor that a useful method must beat.

    The unknown option is certain and the others are equal, so that every margin is the same and
    discrimination is a guess. A row without an unknown option gets no answer, which counts as
    wrong.
    """
    unknown = measured.original.table["unknown"].to_pylist()
    scores = [np.zeros(len(item.options)) for _, item in measured.questions]
    for row, index in zip(scores, unknown, strict=True):
        if index is not None:
            row[np.arange(len(row)) != index] = _IMPOSSIBLE
    chosen = [-1 if index is None else index for index in unknown]
    return _answered("always unknown", measured.original, scores, chosen)


def offset(
    original: Evaluation, constant: float | Sequence[float], label: str = "offset"
) -> Evaluation:
    """The offset control: add to the score of the unknown option.

    Args:
        constant: what is added, in nats; one number, or one per row.
        label: name of the new rows.
    """
    table = original.table
    scores = [np.array(row) for row in table["score"].to_pylist()]
    unknown, added = table["unknown"].to_pylist(), np.broadcast_to(constant, len(table))
    for row, index, number in zip(scores, unknown, added, strict=True):
        if index is not None:
            row[index] += number
    return _answered(label, original, scores)


def choose_offset(
    dev_original: Evaluation, objective: Callable[[ByCondition], float]
) -> OffsetPoint | None:
    """The constant whose accuracies on the development part have the highest objective.

    Tried is one constant in each stretch within which no answer changes; of equals the one nearest
    to 0 is taken. None where the rows have no unknown option or lack one of the conditions.
    """
    curve = offset_curve(dev_original.rows())
    if curve is None:
        return None
    points = [curve.point(i) for i in range(len(curve.offsets))]
    values = np.array([objective(point.accuracy) for point in points])
    equals = np.flatnonzero(values >= values.max() - ROUNDING)
    return min((points[i] for i in equals), key=lambda point: abs(point.offset))


def constants(dev_original: Evaluation, dev: Task) -> dict[str, float]:
    """By wording of "unknown", what brings its middle to where the middles are on average.

    Most of the margin's variance is between questions, and much of that is how they word the
    unknown option. The middle is that of the mean margins on ambiguous and on disambiguated rows,
    whatever the number of either. A wording that lacks one of them is left as it is.
    """
    rows, said = dev_original.rows(), _wordings(dev_original, dev)
    margin = unknown_margin(rows)
    middles: dict[str, float] = {}
    for wording in sorted(set(said) - {""}):
        here = [margin[(said == wording) & part] for part in (rows.ambiguous, rows.disambiguated)]
        if all(map(len, here)):
            middles[wording] = float(np.mean([part.mean() for part in here]))
    level = float(np.mean(list(middles.values()))) if middles else 0.0
    return {wording: level - middle for wording, middle in middles.items()}


def levelled(original: Evaluation, task: Task, by_wording: Mapping[str, float]) -> Evaluation:
    """The original's rows with a constant added per wording, still under the original's name.

    Args:
        by_wording: text of the unknown option -> constant in nats; others stay.
    """
    added = [by_wording.get(wording, 0.0) for wording in _wordings(original, task)]
    return offset(original, added, ORIGINAL)


def _wordings(evaluation: Evaluation, task: Task) -> np.ndarray:
    """The text of each row's unknown option; "" where it has none."""
    texts = {i.id: "" if i.unknown is None else i.options[i.unknown] for i in task.items}
    return np.array([texts[item] for item in evaluation.table["item"].to_pylist()])


def _less_prior(
    label: str, measured: Given, texts: Callable[[Item], Sequence[tuple[str, str]]]
) -> Evaluation:
    """score(c) = log P(c | x) - log mean_m P(c | x_m); x_m is x with another context, question.

    Rows with the same instruction and options share their x_m, which are scored once.
    """
    asked = [
        (text, item, tuple((c if item.context else "", q) for c, q in texts(item)))
        for text, item in measured.questions
    ]
    keys = [(text, item.options, others) for text, item, others in asked]
    distinct = dict(zip(keys, asked, strict=True))
    queries = [
        measured.task.prompt.ask(instruction, replace(item, context=context, question=question))
        for instruction, item, others in distinct.values()
        for context, question in others
    ]
    scored = iter(_score(measured, queries))
    priors = {key: _log_mean_exp(np.stack(list(islice(scored, len(key[2]))))) for key in distinct}
    scores = [row - priors[key] for row, key in zip(measured.logprobs, keys, strict=True)]
    return _answered(label, measured.original, scores)


def _log_mean_exp(logprobs: Float[np.ndarray, "texts options"]) -> Scores:
    """log of the mean over the rows of exp(logprobs), which itself would underflow."""
    return np.asarray(logsumexp(logprobs, axis=0)) - np.log(len(logprobs))


def _score(measured: Given, queries: Sequence[tuple[str, Sequence[str]]]) -> list[Scores]:
    """log P of the options after each prompt."""
    lm, nothing = measured.lm, lambda done: None
    with lm.frozen(), torch.inference_mode():
        rows = score_queries(lm, lm.queries(queries), measured.batch_size, nothing)
    return [np.array(row) for row in rows]


def _answered(
    label: str, original: Evaluation, scores: Sequence[Scores], chosen: Sequence[int] | None = None
) -> Evaluation:
    """The original's rows with other scores; the option that scores highest is chosen."""
    table = original.table
    answers = [int(row.argmax()) for row in scores] if chosen is None else chosen
    changed = {"method": label, "probabilities": False, "text": None}
    records = [
        {**record, **changed, "score": row.tolist(), "chosen": answer}
        for record, row, answer in zip(table.to_pylist(), scores, answers, strict=True)
    ]
    return Evaluation(pa.Table.from_pylist(records, schema=table.schema), original.reading)
