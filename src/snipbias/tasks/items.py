"""Tasks, and their split by template: rows of one template always stay together."""

from __future__ import annotations

import hashlib
import json
import random
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any, Literal, get_args, overload

from snipbias.base.errors import SnipbiasError
from snipbias.base.table import SHOWN, Grid, Shown
from snipbias.base.words import plural
from snipbias.tasks.draws import balanced, draw, seed_of
from snipbias.tasks.item import Item, halves, levels, refuse_half_letters
from snipbias.tasks.prompts import DEFAULT, PromptTemplate, prompt_template

Balance = Literal["none", "condition", "twins", "biased"]


@dataclass(frozen=True, repr=False)
class Task(Shown):
    """Items with the instructions under which they are asked.

    Attributes:
        name: how the user named it (`bbq:SES`, a path).
        items: the rows.
        instructions: paraphrases; every item is asked under each, and results are means over them.
        source: where the rows come from, with their hash, for the run record.
        part: which part of the split this is; `find`, `dev` and `test` are taken from the whole.
        notes: remarks on the data, such as rows that it does not settle.
        split_over: all templates to split over. A filtered task has fewer, but must split as the
            whole does, or its `find` part would overlap with the `test` part of the whole.
        prompt: the template that makes a prompt of an instruction and an item.
    """

    name: str
    items: tuple[Item, ...]
    instructions: tuple[str, ...]
    source: str = ""
    part: Literal["all", "find", "dev", "test"] = "all"
    notes: tuple[str, ...] = ()
    split_over: tuple[str, ...] = ()
    prompt: PromptTemplate = DEFAULT

    def __post_init__(self) -> None:
        if not self.items:
            raise SnipbiasError(f"task {self.name!r} has no items: give it at least one row.")
        if not self.instructions:
            raise SnipbiasError(f"task {self.name!r} has no instruction: give it at least one.")
        for instruction in self.instructions:
            refuse_half_letters(instruction)

    def __len__(self) -> int:
        return len(self.items)

    def __iter__(self) -> Iterator[Item]:
        return iter(self.items)

    @overload
    def __getitem__(self, at: int) -> Item: ...
    @overload
    def __getitem__(self, at: slice) -> Task: ...
    def __getitem__(self, at: int | slice) -> Item | Task:
        """An item by its index, or the task with a slice of its items."""
        return self._with_items(self.items[at]) if isinstance(at, slice) else self.items[at]

    def __repr__(self) -> str:
        part = "" if self.part == "all" else f" ({self.part})"
        return f"<Task {self.name}{part}: {self._size}>"

    @property
    def _size(self) -> str:
        return (
            f"{plural(len(self), 'item')} of {plural(len(self.templates), 'template')}, "
            f"{plural(len(self.instructions), 'instruction')}"
        )

    def _shown(self) -> Iterator[Grid | str]:
        columns = ("condition", "context", "question", "options", "right")
        rows = tuple(
            (i.condition or "", i.context, i.question, " / ".join(i.options), i.options[i.gold])
            for i in self.items[:SHOWN]
        )
        yield Grid(f"{self.name}: {self._size}", columns, rows)
        if len(self) > SHOWN:
            yield f"... and {len(self) - SHOWN} more items."

    def _rows(self) -> Iterator[dict[str, Any]]:
        return map(asdict, self.items)

    @cached_property
    def templates(self) -> tuple[str, ...]:
        """The distinct templates, sorted."""
        return tuple(sorted({item.template for item in self.items}))

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over items (in any order), instructions and prompt template."""
        rows = sorted(json.dumps(asdict(item), sort_keys=True) for item in self.items)
        parts: list[Any] = [rows, self.instructions]
        if self.prompt != DEFAULT:  # so that older hashes stay valid
            parts.append({**self.prompt.to_dict(), "name": ""})
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()

    def where(self, keep: Callable[[Item], bool]) -> Task:
        """The task with only the items for which `keep` holds."""
        return self._with_items(filter(keep, self.items))

    def with_instructions(self, instructions: Sequence[str]) -> Task:
        """The same items under other instructions, or another one."""
        several = (instructions,) if isinstance(instructions, str) else tuple(instructions)
        return replace(self, instructions=several)

    def with_prompt(self, prompt: PromptTemplate | Mapping[str, Any] | Path | str) -> Task:
        """The same items under another prompt template; see `prompt_template`."""
        return replace(self, prompt=prompt_template(prompt))

    @property
    def find(self) -> Task:
        """The two fifths of the templates that neurons are found on."""
        return self._part("find")

    @property
    def dev(self) -> Task:
        """The fifth of the templates that settings, such as how many neurons, are chosen on."""
        return self._part("dev")

    @property
    def test(self) -> Task:
        """The two fifths of the templates that results are reported on."""
        return self._part("test")

    def _part(self, part: Literal["find", "dev", "test"]) -> Task:
        if self.part != "all":
            if self.part == part:
                return self
            raise SnipbiasError(
                f"this is the {self.part} part of {self.name!r} already: take {part} of the whole."
            )
        shuffled = list(self.split_over or self.templates)
        if len(shuffled) < 3:
            raise SnipbiasError(
                f"task {self.name!r} has {len(shuffled)} template(s), too few to hold any out: "
                "give the column 'template' at least three different values."
            )
        random.Random(0).shuffle(shuffled)
        fifth = max(1, round(len(shuffled) / 5))
        half = (len(shuffled) - fifth + 1) // 2
        dev, test = shuffled[half : half + fifth], shuffled[half + fifth :]
        chosen = set({"find": shuffled[:half], "dev": dev, "test": test}[part])
        items = [item for item in self.items if item.template in chosen]
        if not items:
            raise SnipbiasError(
                f"no row of the {part} part of {self.name!r} is left: filter out fewer rows."
            )
        return replace(self._with_items(items), part=part)

    def _with_items(self, items: Iterable[Item]) -> Task:
        """The task with only these rows, which still split as all of them do."""
        return replace(self, items=tuple(items), split_over=self.split_over or self.templates)

    def balances(self, by: Balance) -> bool:
        """Whether items can be drawn this way: the rows have both conditions, twins, ..."""
        if by == "biased":
            return any(item.biased is not None for item in self.find.items)
        return by == "none" or all(halves(self.find.items, by))

    def sample(self, n: int, seed: int = 0, *, balance: Balance = "none") -> Task:
        """Draw `n` items at random from the `find` part, never from a held-out template.

        Args:
            n: number of items.
            seed: seed of the draw.
            balance: `none` draws from all rows (the paper); `condition` draws as many ambiguous as
                disambiguated rows; `twins` draws pairs, a question with and without its answer;
                `biased` draws from the rows that say which option is biased.

        Raises:
            SnipbiasError: there are too few such rows.
        """
        pool = self.find
        if balance == "biased":
            if not self.balances("biased"):
                raise SnipbiasError(
                    f"no row of {self.name!r} says which option is biased: fill in the column "
                    "'biased', or use a method that does not need it, such as v1."
                )
            pool, balance = pool.where(lambda item: item.biased is not None), "none"
        if n < 1 or n > len(pool):
            raise SnipbiasError(
                f"cannot draw {n} items of {self.name!r}: {len(pool)} of its rows are set aside "
                f"for finding, so ask for 1 to {len(pool)} (--samples), or give more rows."
            )
        if balance not in get_args(Balance):
            raise SnipbiasError(
                f"cannot balance by {balance!r}: choose {' or '.join(get_args(Balance))}."
            )
        if balance == "none":
            return pool._with_items(draw(pool.items, n, seed))
        both = halves(pool.items, balance)
        most = 2 * min(map(len, both))
        if not most:
            raise SnipbiasError(
                f"{self.name!r} has no rows to balance by {balance}: use a method that draws from "
                "all rows, such as v1."
            )
        if n % 2 or n > most:
            raise SnipbiasError(
                f"cannot draw {n} items of {self.name!r} balanced by {balance}: ask for an even "
                f"number up to {most}."
            )
        if balance == "twins":
            drawn = list(draw(zip(*both, strict=True), n // 2, seed))
        else:  # one seed would draw the same places, and so twins, from both halves
            drawn = [draw(half, n // 2, seed_of(seed, str(k))) for k, half in enumerate(both)]
        return pool._with_items(chain.from_iterable(drawn))

    def subsample(self, n: int | None, seed: int = 0) -> Task:
        """Take at most `n` items, balanced and spread evenly over the templates.

        Polarity, condition, whom the fact favours and the people keep their shares, in the whole
        subsample and within every template. Twins stay together, so the result can be one item
        short of `n`.
        """
        if n is None or n >= len(self.items):
            return self
        asked: dict[str, dict[str, tuple[Item, ...]]] = defaultdict(lambda: defaultdict(tuple))
        for item in sorted(self.items, key=repr):
            asked[item.template][item.twin or item.id] += (item,)
        units = {template: questions.values() for template, questions in asked.items()}
        chosen: list[Item] = []
        for twins in balanced(units, levels, seed):
            if len(chosen) + len(twins) <= n:
                chosen += twins
        return self._with_items(chosen or draw(self.items, 1, seed))
