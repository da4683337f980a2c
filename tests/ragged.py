"""A task with options of unequal length, and scores compared site by site."""

from __future__ import annotations

import torch
from torch import Tensor

from snipbias.tasks.items import Item, Task

ITEMS = (
    Item(
        *("a", "who is it?", ("the old man", "him", "nobody"), 1, "a man and a dog", "t1"), biased=2
    ),
    Item("b", "what now?", ("yes we can", "no"), 0, "", "t2", biased=0),  # the right one
    Item(
        *("c", "which of the many?", ("ab", "cd", "ef", "gh it is"), 3, "one two three four", "t3"),
        biased=1,
    ),
)
TASK = Task("toy", ITEMS, ("say it.", "please choose the right one:"))


def assert_same(ours: dict[str, Tensor], theirs: dict[str, Tensor], rtol: float = 1e-5) -> None:
    """Equal to `rtol` of the largest score of the model."""
    assert ours.keys() == theirs.keys()
    scale = max(float(t.abs().max()) for t in theirs.values())
    assert scale > 0
    for site, expected in theirs.items():
        torch.testing.assert_close(ours[site], expected, rtol=rtol, atol=rtol * scale, msg=site)


def by_site(scores) -> dict[str, Tensor]:
    return {site.name: scores[site] for site in scores.sites}
