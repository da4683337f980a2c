"""A comparison of a tiny model under two edits."""

from __future__ import annotations

from functools import cache

from families import tiny
from snipbias.edits.edit import NeuronEdit
from snipbias.evaluation.compare import Comparison, compare
from snipbias.method.find import find
from snipbias.tasks.items import Item, Task
from toys import task

TEXTS = ("the rain let up. she looked out", "a bridge carries its load")
OTHER = Task(
    "other",
    tuple(Item(f"o{i}", "what?", ("ab", "cd", "ef"), i % 3, template=f"o{i}") for i in range(6)),
    ("say it.",),
)


@cache
def found() -> tuple[NeuronEdit, NeuronEdit]:
    lm = tiny("flan-t5")
    return find(lm, task(), 5, samples=4), find(lm, task(), 12, samples=4)


@cache
def compared() -> Comparison:
    return compare(tiny("flan-t5"), task(), *found(), texts=TEXTS, chat=TEXTS, retention=[OTHER])


def task_of_two() -> Task:
    one = task().test
    return one.where(lambda item: item.template == one.templates[0])
