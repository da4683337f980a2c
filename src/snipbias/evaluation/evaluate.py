"""Answers of a model, with and without edits: one row per item, instruction and method."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import cached_property
from itertools import repeat
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch

from snipbias.base.errors import SnipbiasError
from snipbias.base.files import atomic_file
from snipbias.base.words import ORIGINAL
from snipbias.edits.edit import NeuronEdit
from snipbias.edits.given import (
    GivenEdits,
    GivenModel,
    GivenTask,
    Intervention,
    as_edits,
    as_model,
    as_task,
)
from snipbias.edits.provenance import found_otherwise
from snipbias.evaluation import metrics
from snipbias.evaluation.metrics import ByCondition
from snipbias.evaluation.neutral_text import TextShift
from snipbias.evaluation.reading import Reading, answered, balanced_orders
from snipbias.evaluation.rows import Rows
from snipbias.evaluation.summary import Summary, Trial
from snipbias.models.batching import BatchSize, Progress, Stage
from snipbias.models.fingerprint import Weights
from snipbias.models.language_model import LanguageModel, Query
from snipbias.models.score_all import ask, score_queries
from snipbias.tasks.items import Task


class _Prompt(NamedTuple):
    """A query of one item under one instruction; `order[j]` is the option at place j."""

    item: int
    instruction: int
    order: tuple[int, ...]
    answers: tuple[str, ...]
    query: Query


@dataclass(repr=False)
class Evaluation:
    """Rows of one or more methods (the original model, edits, controls) on one task.

    Attributes:
        table: one row per item, instruction and method, with every option's log-probability.
        reading: how the answers were read.
        text: perplexity and KL divergence on neutral text by method, where measured.
        chat: the same on the original's own answers to requests; the controls are left out.
        retention, elsewhere: the same methods, without the controls, on other tasks.
    """

    table: pa.Table
    reading: Reading
    text: Mapping[str, TextShift] = field(default_factory=dict)
    chat: Mapping[str, TextShift] = field(default_factory=dict)
    retention: Mapping[str, Evaluation] = field(default_factory=dict)
    elsewhere: Mapping[str, Evaluation] = field(default_factory=dict)

    def __repr__(self) -> str:
        return f"<Evaluation of {len(self.table):,} rows: {', '.join(self.methods)}>"

    @property
    def methods(self) -> list[str]:
        """Names of the methods in their order."""
        return self.table["method"].unique().to_pylist()

    def rows(self, method: str = ORIGINAL) -> Rows:
        """The rows of one method as arrays, for the metrics.

        Raises:
            SnipbiasError: there is no such method.
        """
        same = pc.equal(self.table["method"], method)  # type: ignore[attr-defined]
        part = self.table.filter(same).to_pydict()
        if not part["gold"]:
            raise SnipbiasError(f"there is no method {method!r} here: {', '.join(self.methods)}.")
        names = ("unknown", "biased", "chosen", "condition", "instruction", "template", "twin")
        labels: dict[str, Any] = {name: part.get(name) for name in names}
        labels["probabilities"] = all(part["probabilities"])
        return Rows.from_lists(part["score"], part["gold"], **labels)

    @cached_property
    def trials(self) -> dict[str, Trial]:
        """The answers of every method."""
        return {
            method: Trial(
                self.rows(method),
                self.text.get(method),
                self.chat.get(method),
                {k: each.rows(method) for k, each in self.retention.items() if method in each},
                {k: each.rows(method) for k, each in self.elsewhere.items() if method in each},
            )
            for method in self.methods
        }

    def __contains__(self, method: str) -> bool:
        return method in self.methods

    @property
    def summaries(self) -> dict[str, Summary]:
        """Every figure of every method."""
        return {method: trial.summary for method, trial in self.trials.items()}

    def save(self, path: str | Path) -> None:
        """Write the rows as Parquet."""
        with atomic_file(path) as new:
            pq.write_table(self.table, new)


def evaluate(
    lm: GivenModel,
    task: GivenTask,
    edits: GivenEdits = (),
    *,
    reading: Reading | None = None,
    batch_size: BatchSize = "auto",
    progress: Progress = lambda done: None,
    stage: Stage = lambda name, jobs: None,
) -> Evaluation:
    """Answer every item under every instruction by the original model and by each edit alone.

    Args:
        lm: a model, or what `sb.load` takes.
        task: a task, or what `sb.task` takes.
        edits: edits, or their folders; applied one after the other, each on the original model.
            Labels tell them apart.
        reading: how answers are read; by default sums of log-probabilities of the options' texts.
        batch_size: prompts per pass, or `auto`; no result depends on it.
        progress: called with the number of prompts just done.
        stage: called with what is about to be done, and with its number of prompts.

    Raises:
        SnipbiasError: two edits have one label, or an edit does not fit the model.
    """
    reading = reading or Reading()
    lm, task, edits = as_model(lm), as_task(task), as_edits(edits)
    names = method_names(lm, edits)
    for told in found_otherwise(edits, task):
        warnings.warn(f"{told}.", stacklevel=2)
    prompts = _prompts(lm, task, reading)
    tables: list[pa.Table] = []
    weights: Weights = {}  # an intervention of another kind may write to them
    for label, edit in zip(names, (None, *edits), strict=True):
        stage(f"{task.name}, {label}", len(prompts) * (1 + reading.generate))
        with (
            lm.frozen(),
            torch.inference_mode(),
            nullcontext() if edit is None else edit.applied(lm),
        ):
            queries = [prompt.query for prompt in prompts]
            same = edit is None or isinstance(edit, NeuronEdit)
            how: Any = {"weights": weights if same else None}
            how |= {"batch_size": batch_size, "progress": progress}
            logprobs = score_queries(lm, queries, **how)
            texts = ask(lm, queries, lm.generate, "writing", **how) if reading.generate else None
        tables.append(_table(label, task, prompts, logprobs, reading, texts))
    return Evaluation(pa.concat_tables(tables), reading)


def method_names(lm: LanguageModel, edits: Sequence[Intervention]) -> list[str]:
    """The original and the labels of edits that fit a model.

    Raises:
        SnipbiasError: two have one label, or one does not fit.
    """
    names = [ORIGINAL, *(edit.label for edit in edits)]
    if len(set(names)) < len(names):
        raise SnipbiasError(f"two edits have the same label ({', '.join(names[1:])}): relabel one.")
    for edit in edits:
        edit.check(lm)
    return names


def _prompts(lm: LanguageModel, task: Task, reading: Reading) -> list[_Prompt]:
    """Every query of the task."""
    letters = reading.options == "letters"
    wording = task.prompt.lettered() if letters else task.prompt
    places = [
        (i, j, order)
        for j in range(len(task.instructions))
        for i, item in enumerate(task.items)
        for order in balanced_orders(len(item.options))[: None if letters else 1]
    ]
    asked = [wording.ask(task.instructions[j], task.items[i], order) for i, j, order in places]
    return [
        _Prompt(*place, answers, query)
        for place, (_, answers), query in zip(places, asked, lm.queries(asked), strict=True)
    ]


def _table(
    label: str,
    task: Task,
    prompts: Sequence[_Prompt],
    logprobs: Sequence[Sequence[float]],
    reading: Reading,
    texts: Sequence[str] | None,
) -> pa.Table:
    by_row: dict[tuple[int, int], list[tuple[_Prompt, np.ndarray, str | None]]] = {}
    for prompt, scores, text in zip(prompts, logprobs, texts or repeat(None), strict=False):
        by_option = np.empty(len(scores))
        by_option[list(prompt.order)] = scores
        by_row.setdefault((prompt.item, prompt.instruction), []).append((prompt, by_option, text))
    records = []
    for i, j in sorted(by_row):
        item, orders = task.items[i], by_row[i, j]
        prompt, _, text = orders[-1]
        logprob = np.mean([by_option for _, by_option, _ in orders], axis=0)
        tokens = list(map(len, prompt.query.options))
        score = logprob / reading.lengths(prompt.answers, tokens)
        chosen = int(score.argmax()) if text is None else answered(task.prompt, item, text)
        records.append(
            {
                **{name: getattr(item, name) for name in _OF_ITEM},
                "method": label,
                "item": item.id,
                "instruction": j,
                "chosen": chosen,
                "logprob": logprob.tolist(),
                "score": score.tolist(),
                "probabilities": reading.options == "text" and reading.normalize == "sum",
                "tokens": tokens,
                "text": text,
            }
        )
    return pa.Table.from_pylist(records, schema=_SCHEMA)


_OF_ITEM = ("template", "condition", "polarity", "twin", "gold", "unknown", "biased")
_SCHEMA = pa.schema(
    [
        ("method", pa.string()),
        ("item", pa.string()),
        ("instruction", pa.int32()),
        ("template", pa.string()),
        ("condition", pa.string()),
        ("polarity", pa.string()),
        ("twin", pa.string()),  # what the rows of a question share, with and without its answer
        ("gold", pa.int32()),
        ("unknown", pa.int32()),
        ("biased", pa.int32()),
        ("chosen", pa.int32()),
        ("logprob", pa.list_(pa.float64())),
        ("score", pa.list_(pa.float64())),
        ("probabilities", pa.bool_()),  # whether exp(score) is the option's probability
        ("tokens", pa.list_(pa.int32())),
        ("text", pa.string()),
    ]
)


def rows_of(table: pa.Table) -> Rows:
    """The rows of one method, for the metrics."""
    (method,) = table["method"].unique().to_pylist()
    return Evaluation(table, Reading()).rows(method)


def accuracy(table: pa.Table) -> ByCondition:
    """Accuracy of one method's rows by condition."""
    return metrics.accuracy(rows_of(table))
