"""The rows of one training step: one filling of a template, in all conditions."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from snipbias.method.attribute import asked
from snipbias.method.learned.below import Below
from snipbias.models.language_model import LanguageModel, Query
from snipbias.models.token_tree import TokenTree, takes_trees
from snipbias.tasks.items import Item, Task
from snipbias.tasks.unanswerable import no_pairs, twins, with_controls


@dataclass(frozen=True)
class Group:
    """Rows about the same people in one template, under one instruction."""

    items: tuple[Item, ...]  # in all conditions and controls, of both polarities if known
    queries: tuple[Query, ...]  # the prompt and options of each
    tree: TokenTree | None  # the queries as one tree, if the model accepts trees

    @cached_property
    def gold(self) -> Int[Tensor, " rows"]:
        """The right option of each row."""
        return torch.tensor([item.gold for item in self.items])

    @cached_property
    def unknown(self) -> Int[Tensor, " rows"]:
        """The option of each row that declines to answer."""
        return torch.tensor([item.unknown or 0 for item in self.items])

    @cached_property
    def unanswerable(self) -> Bool[Tensor, " rows"]:
        """Rows whose context does not answer their question."""
        return torch.tensor([item.condition != "disambiguated" for item in self.items])

    def score(self, below: Below) -> Float[Tensor, "rows options"]:
        """Log-probability of every option of every row."""
        if self.tree is None:
            return below.lm.score(self.queries).logprobs.float()
        below.lm.passes["forward"] += len(self.items)
        with below.of(id(self)):
            return self.tree.score(below.lm)


def groups(lm: LanguageModel, part: Task, fillings: int, seed: int) -> list[Group]:
    """Draw groups: several fillings of every template, with the instructions in turn.

    Args:
        part: `task.find` for training, `task.dev` for checks; rows in both conditions, paired.
        fillings: groups per template.
        seed: seed of the draw.

    Raises:
        SnipbiasError: the rows have no twins, or only one template.
    """
    rng = random.Random(seed)
    # A name per pair: own data may have none, or the same ones in every template.
    pairs = {item.id: pair[1].id for pair in twins(part.items) for item in pair}
    if not pairs:
        raise no_pairs(part)
    part = part._with_items(
        replace(item, twin=pairs[item.id]) for item in part.items if item.id in pairs
    )
    kinds: dict[str, dict[str | None, list[Item]]] = defaultdict(lambda: defaultdict(list))
    for ambiguous, _ in twins(part.items):
        kinds[ambiguous.template][ambiguous.polarity].append(ambiguous)
    drawn = [
        _filling(list(kinds[template].values()), rng)
        for template in sorted(kinds)
        for _ in range(fillings)
    ]
    chosen = {item.twin for filling in drawn for item in filling}
    rows = with_controls(
        part.where(lambda item: item.twin in chosen), lambda text: len(lm.tokenizer.tokenize(text))
    )
    by_twin: dict[str, list[Item]] = defaultdict(list)
    for item in rows.items:
        by_twin[item.twin].append(item)
    is_tree = takes_trees(lm) and not lm.reads_whole
    found = []
    for number, filling in enumerate(drawn):
        items = [row for item in filling for row in by_twin[item.twin]]
        instruction = part.instructions[number % len(part.instructions)]
        jobs = asked(lm, part._with_items(items).with_instructions([instruction]))
        queries = tuple(job.query for job in jobs)
        tree = TokenTree.of(queries, lm.device) if is_tree else None
        found.append(Group(tuple(job.item for job in jobs), queries, tree))
    return found


def _filling(by_polarity: Sequence[Sequence[Item]], rng: random.Random) -> list[Item]:
    """A row, and one about the same people with the other question if there is one."""
    first = rng.choice(by_polarity[0])
    chosen = [first]
    for others in by_polarity[1:]:
        same = [item for item in others if _people(item) == _people(first)]
        chosen.append(rng.choice(same or list(others)))
    return chosen


def _people(item: Item) -> frozenset[str]:
    return frozenset(item.options[i] for i in item.named)
