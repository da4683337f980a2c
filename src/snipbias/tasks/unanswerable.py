"""Unanswerable rows as long as the answerable ones, made from a task's own rows.

The fact that answers a disambiguated row also makes it longer, so a model that reacts only to
length seems to know which questions can be answered. Two kinds of rows rule that out:

- *filler*: the ambiguous context, followed by neutral sentences as long as the deciding fact;
- *mismatch*: the disambiguated context itself, under the question of another template.

Neither can be answered, so "unknown" is right. A length detector separates plain ambiguous rows
from answerable ones perfectly, but not these two.
"""

from __future__ import annotations

import random
from bisect import bisect
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import cache
from itertools import takewhile

from snipbias.base.errors import SnipbiasError
from snipbias.base.files import shipped
from snipbias.tasks.item import Condition, Item
from snipbias.tasks.items import Task

# Kinds of rows whose context does not hold the answer; the first kind is the data's own.
UNANSWERABLE: tuple[Condition, ...] = ("ambiguous", "filler", "mismatch")
# Number of draws from which the filler of the closest length is chosen.
TRIES = 60
# Default number of pairs with control rows. More would not help: certainty depends on templates.
PAIRS = 200


def with_controls(
    task: Task, length: Callable[[str], int] | None = None, pairs: int | None = None
) -> Task:
    """The task's rows, plus a filler and a mismatch row for every answerable one.

    Those that it has already are made anew.

    Args:
        task: rows in both conditions, paired by `twin` (or by template, question and options), with
            their `unknown` option. Take a part of it first (`task.test`), since questions are
            borrowed from the rows given.
        length: returns the tokens of a text; by default its words.
        pairs: the most pairs to use, spread over the templates; by default all.

    Raises:
        SnipbiasError: no row has a twin, or all rows share one template.
    """
    task = task.where(lambda item: not is_control(item.condition))
    every = list(twins(task.items))
    if not every:
        raise no_pairs(task)
    if pairs is not None and pairs < len(every):
        paired = {item.id for pair in every for item in pair}
        every = list(twins(task.where(lambda item: item.id in paired).subsample(2 * pairs)))
    length = length or (lambda text: len(text.split()))
    controls = [*filler_rows(task, every, length), *mismatch_rows(task, every)]
    return task._with_items([*task.items, *controls])


def asked(task: Task, length: Callable[[str], int]) -> tuple[Task, tuple[str, ...]]:
    """The default rows: the task's own and their controls, with a note if these cannot be made.

    A task without conditions, or with control rows already, is left as it is.
    """
    conditions = {item.condition for item in task.items}
    if conditions == {None} or any(map(is_control, conditions)):
        return task, ()
    try:
        return with_controls(task, length, PAIRS), ()
    except SnipbiasError as error:
        return task, (f"no filler and mismatch rows: {str(error).rstrip('.')}",)


def is_control(condition: str | None) -> bool:
    """Whether a row is a filler or mismatch row, and not one of the data's own."""
    return condition in UNANSWERABLE[1:]


def no_pairs(task: Task) -> SnipbiasError:
    """The error for a task without twins."""
    return SnipbiasError(
        f"task {task.name!r} has no pairs of an ambiguous and a disambiguated row: fill in "
        "'condition' and 'unknown' in both rows of a question, and give them the same 'twin'."
    )


def twins(items: Iterable[Item]) -> Iterator[tuple[Item, Item]]:
    """Pair every ambiguous row with the disambiguated row of its question.

    Rows without a `twin` are paired if template, question and options are the same. Where several
    rows could be a row's twin, it is the one whose question, options and context are most alike.
    Both name the option that declines.
    """
    items = [item for item in items if item.unknown is not None]
    answered = defaultdict(list)
    for item in items:
        if item.condition == "disambiguated":
            answered[_asks(item)].append(item)
    for could in answered.values():
        could.sort(key=_in_order)
    for item in items:
        if item.condition == "ambiguous" and (could := answered[_asks(item)]):
            at = bisect(could, _in_order(item), key=_in_order)
            near = range(max(at - 1, 0), min(at + 1, len(could)))  # the most alike is next to it
            yield item, could.pop(max(near, key=lambda i: _alike(item, could[i])))


def with_twins(items: Sequence[Item]) -> tuple[Item, ...]:
    """The items with a `twin` for each pair that has no name, or one that other rows have too."""
    named = Counter((item.template, item.twin) for item in items if item.twin)
    pairs = {item.id: pair[0].id for pair in twins(items) for item in pair}
    return tuple(
        replace(item, twin=pairs[item.id])
        if item.id in pairs and named[item.template, item.twin] != 2
        else item
        for item in items
    )


def _asks(item: Item) -> Hashable:
    return item.template, item.twin or (item.question, frozenset(item.options))


def _in_order(item: Item) -> tuple[str, list[str], str]:
    return item.question, sorted(item.options), item.context


def _alike(one: Item, other: Item) -> tuple[bool, bool, int]:
    """What two rows have in common: question, options, and the beginning of the context."""
    same = frozenset(one.options) == frozenset(other.options)
    both = zip(one.context, other.context, strict=False)
    begin = takewhile(lambda letters: letters[0] == letters[1], both)
    return one.question == other.question, same, len(list(begin))


def filler_rows(
    task: Task, pairs: Iterable[tuple[Item, Item]], length: Callable[[str], int]
) -> list[Item]:
    """The ambiguous rows, made as long as their twins with neutral sentences.

    Args:
        task: the task, whose name selects the vocabulary of the sentences.
        pairs: twins: (ambiguous, disambiguated).
        length: length of a text, in words or tokens.
    """
    pool = sentences("mini" if task.name.startswith("mini") else "")
    lengths = {sentence: length(sentence) for sentence in pool}
    used: Counter[str] = Counter()
    rows = []
    for ambiguous, answered in pairs:
        wanted = length(answered.context) - length(ambiguous.context)
        chosen = _filler(wanted, lengths, used, random.Random(f"filler {ambiguous.id}"))
        used.update(chosen)
        name, context = f"{answered.id}/filler", " ".join([ambiguous.context, *chosen])
        rows.append(replace(ambiguous, id=name, context=context, condition="filler"))
    return rows


def mismatch_rows(task: Task, pairs: Iterable[tuple[Item, Item]]) -> list[Item]:
    """The disambiguated rows under a question of another template, with the same polarity.

    Raises:
        SnipbiasError: the task has no such question.
    """
    asked: dict[str | None, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for item in task.items:
        asked[item.polarity][item.question].add(item.template)
    rows = []
    for _, answered in pairs:
        strange = sorted(
            question
            for question, templates in asked[answered.polarity].items()
            if answered.template not in templates
        )
        if not strange:
            part = "" if task.part == "all" else f" in its {task.part} part"
            raise SnipbiasError(
                f"task {task.name!r} has no question of another template{part} to ask about "
                f"{answered.id!r}: give rows of at least two templates, or of eight where they are "
                "split, so that every part has two."
            )
        assert answered.unknown is not None
        rows.append(
            replace(
                answered,
                id=f"{answered.id}/mismatch",
                question=random.Random(f"mismatch {answered.id}").choice(strange),
                gold=answered.unknown,  # not the twin's gold: its options may have another order
                condition="mismatch",
            )
        )
    return rows


@cache
def sentences(vocabulary: str = "") -> tuple[str, ...]:
    """The pool of neutral sentences; the one for `mini` uses only words the demo model knows."""
    return tuple(shipped(vocabulary, "filler.txt").splitlines())


def _filler(
    wanted: int, lengths: dict[str, int], used: Counter[str], rng: random.Random
) -> list[str]:
    """Sentences of about the wanted total length, from the less used half of the pool."""
    pool = sorted(lengths, key=lambda sentence: (used[sentence], rng.random()))
    pool = pool[: len(pool) // 2]
    about = max(1, round(wanted * len(lengths) / sum(lengths.values())))
    sizes = range(max(1, about - 1), min(len(pool), about + 2) + 1)
    drawn = [rng.sample(pool, rng.choice(sizes)) for _ in range(TRIES)]
    return min(drawn, key=lambda chosen: abs(sum(map(lengths.__getitem__, chosen)) - wanted))
