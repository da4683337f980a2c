"""Tasks with as many templates and rows as asked for."""

from __future__ import annotations

import random

from hypothesis import strategies as st

from snipbias.tasks.items import Item, Task


def make(sizes: list[int], shuffled: int | None = None) -> Task:
    """A task with so many rows in each of its templates, every other one ambiguous."""
    items = [
        Item(
            id=f"{t}-{k}",
            question="Who?",
            options=("Ann", "Ben"),
            gold=0,
            template=f"t{t:03d}",
            condition="disambiguated" if k % 2 else "ambiguous",
        )
        for t, size in enumerate(sizes)
        for k in range(size)
    ]
    if shuffled is not None:
        random.Random(shuffled).shuffle(items)
    return Task("made up", tuple(items), ("Answer.",))


many_sizes = st.lists(st.integers(1, 6), min_size=3, max_size=30)


def ids(task: Task) -> set[str]:
    return {item.id for item in task.items}
