"""Debiasing prompts: the model is asked differently and is not changed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import pyarrow as pa
import torch

from snipbias.evaluation.evaluate import evaluate
from snipbias.experiment.cell import Cell
from snipbias.experiment.outcome import Outcome
from snipbias.models.batching import BatchSize, one_each
from snipbias.models.language_model import LanguageModel, Query
from snipbias.tasks.items import Item, Task

WRITTEN = 48  # tokens that a model may write before it answers


@dataclass(frozen=True)
class Prompting:
    """Another way of asking a task."""

    added: str = ""  # a sentence behind every instruction
    # What the model is first asked to write about an item and its prompt, and the item that is
    # then asked, made of the item and what was written.
    request: Callable[[Item, str], str] | None = None
    with_written: Callable[[Item, str], Item] = lambda item, written: item

    def answers(self, lm: LanguageModel, task: Task, batch_size: BatchSize = "auto") -> pa.Table:
        """Rows of the task asked this way, in the order of `evaluate`'s.

        Args:
            batch_size: prompts per pass, or `auto`.
        """
        task = task.with_instructions([f"{i} {self.added}".strip() for i in task.instructions])
        if self.request is None:
            return evaluate(lm, task, batch_size=batch_size).table
        tables = []
        for number, instruction in enumerate(task.instructions):
            prompts = [task.prompt.render(instruction, item) for item in task.items]
            requests = map(self.request, task.items, prompts)
            written = _written(lm, list(requests), batch_size)
            items = tuple(map(self.with_written, task.items, written))
            asked = replace(task, items=items, instructions=(instruction,))
            table = evaluate(lm, asked, batch_size=batch_size).table
            place = table.column_names.index("instruction")
            numbers = pa.array([number] * len(table), pa.int32())
            tables.append(table.set_column(place, "instruction", numbers))
        rows, count = len(task), len(tables)
        order = [j * rows + i for i in range(rows) for j in range(count)]
        return pa.concat_tables(tables).take(order)


def prompted(cell: Cell, way: Prompting) -> Outcome:
    """The original model, asked otherwise; there is nothing to choose."""
    texts, asked = cell.unedited.texts(), replace(cell, ask=way.answers)
    rows = asked.rows("test", cell.test)
    return cell.report(rows, **texts, retention=asked.held(), elsewhere=asked.elsewhere())


def _written(lm: LanguageModel, requests: Sequence[str], batch_size: BatchSize) -> list[str]:
    """The model's greedy continuation of each request."""
    queries = [Query(lm.query(request, ["-"]).prompt, ((0,) * WRITTEN,)) for request in requests]

    def do(batch: Sequence[Query]) -> list[str]:
        written = lm.written(batch, [WRITTEN] * len(batch))
        return lm.tokenizer.batch_decode(written, skip_special_tokens=True)

    with torch.inference_mode(), lm.frozen():
        texts = one_each(lm, queries, do, kind="writing", batch_size=batch_size)
    return [" ".join(text.split()) for text in texts]


PROMPTINGS = {
    # Ours: the plainest request that can be made of a model that follows instructions.
    "unknown is allowed": Prompting(
        added="If the text does not say, choose the option that says that it is not known."
    ),
    # Echterhoff et al. 2024 (arXiv 2403.00811): the model first rewrites what it is asked. Here it
    # rewrites the text alone: question and options, which are scored, stay.
    "self-help": Prompting(
        request=lambda item, prompt: (
            "Rewrite the text so that nobody is led to a biased answer. Keep every fact.\n"
            f"Text: {item.context}\nQuestion: {item.question}\nRewritten text:"
        ),
        with_written=lambda item, written: replace(item, context=written or item.context),
    ),
    # Kojima et al. 2022 (arXiv 2205.11916): a thought is written first. Here it then stands behind
    # the text, and the options are scored as everywhere.
    "chain of thought": Prompting(
        request=lambda item, prompt: f"{prompt}\nLet's think step by step.",
        with_written=lambda item, said: replace(item, context=f"{item.context} {said}".strip()),
    ),
}
