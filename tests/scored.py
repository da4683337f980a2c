"""The rows of a task as queries, and what the slow scorers have in common."""

from __future__ import annotations

import torch

import toys
from snipbias.tasks.prompts import DEFAULT

FAMILIES = ["flan-t5", "gpt2", "llama", "bart"]
TASK = toys.task(3)


def queries(lm, task):
    """(instruction, item, query) of every row, in order."""
    return [
        (number, item, lm.query(DEFAULT.render(instruction, item), item.options))
        for number, instruction in enumerate(task.instructions)
        for item in task.items
    ]


def assert_same(scores, expected, relative=1e-4):
    largest = max(values.abs().max().item() for values in expected.values())
    for site, values in expected.items():
        torch.testing.assert_close(
            scores[site], values, rtol=relative, atol=relative * largest, msg=site
        )


def mean(parts):
    return {site: torch.stack([part[site] for part in parts]).mean(0) for site in parts[0]}
