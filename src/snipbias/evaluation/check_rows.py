"""The rows that a check asks, and the columns that they lack."""

from __future__ import annotations

from snipbias.base.errors import SnipbiasError
from snipbias.base.words import plural
from snipbias.evaluation.interval import FEWEST_TEMPLATES
from snipbias.tasks import unanswerable
from snipbias.tasks.items import Task


def some_rows(task: Task, items: int) -> Task:
    """At most so many rows, not of the test part, under the first instruction."""
    task = task.with_instructions(task.instructions[:1])
    if task.part == "all" and len(task.templates) > 2 * FEWEST_TEMPLATES:
        unseen = set(task.test.templates)
        task = task.where(lambda item: item.template not in unseen)
    return task.subsample(items)


def missing(task: Task) -> dict[str, str]:
    """The columns that no row fills, and what cannot be measured without them."""
    needed = {
        "condition": "accuracy by condition, no AUROC, no probe",
        "unknown": 'answers "unknown", no AUROC, no probe',
        "biased": "count of how often the stereotyped person is named",
    }
    lacking = {
        name: what
        for name, what in needed.items()
        if all(getattr(item, name) in (None, "") for item in task.items)
    }
    named = any(item.twin for item in task.items)
    if not named and not any(unanswerable.twins(task.items)):
        lacking["twin"] = "filler and mismatch rows, no probe"
    if len(task.templates) < FEWEST_TEMPLATES:
        number = plural(len(task.templates), "template")
        lacking["template"] = f"intervals, and fewer than 3 cannot be split (there is {number})"
    return lacking


def controlled(task: Task) -> tuple[Task, str]:
    """The task with filler and mismatch rows; where there can be none, as it is, and why."""
    try:
        return unanswerable.with_controls(task), ""
    except SnipbiasError as error:
        return task, str(error)
