"""Filler and mismatch rows: unanswerable, and as long as the answerable ones."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

import snipbias as sb
from snipbias.base.errors import SnipbiasError
from snipbias.evaluation import measures, metrics
from snipbias.evaluation.rows import Rows
from snipbias.tasks.item import halves
from snipbias.tasks.unanswerable import (
    UNANSWERABLE,
    asked,
    sentences,
    twins,
    with_controls,
    with_twins,
)


def words(text: str) -> int:
    return len(text.split())


def test_every_answerable_row_has_both_kinds_and_neither_can_be_answered():
    task = sb.task("mini:age").test
    made = with_controls(task)
    counts = Counter(item.condition for item in made.items)
    assert set(counts.values()) == {len(task) // 2}
    assert len({item.id for item in made.items}) == len(made)
    assert with_controls(made) == made
    questions = {item.question: item.template for item in task.items}
    for four in by_twin(made).values():
        plain, answered, filler, mismatch = (
            four[kind] for kind in ("ambiguous", "disambiguated", "filler", "mismatch")
        )
        assert filler.gold == mismatch.gold == filler.unknown != answered.gold
        assert filler.context.startswith(plain.context)
        assert filler.question == plain.question
        assert mismatch.context == answered.context
        assert questions[mismatch.question] != answered.template
        assert mismatch.options == answered.options


def test_lengths_match_and_no_sentence_recurs_much():
    made = with_controls(sb.task("mini").test)
    off = [
        words(four["filler"].context) - words(four["disambiguated"].context)
        for four in by_twin(made).values()
    ]
    assert np.abs(off).max() <= 3
    assert abs(np.mean(off)) < 0.2
    pool = sentences("mini")
    used = Counter(
        s for i in made.items for s in pool if i.condition == "filler" and s in i.context
    )
    assert max(used.values()) < 1.2 * np.mean(list(used.values()))


def test_the_same_rows_whatever_the_order():
    task = sb.task("mini:ses").test
    again = task._with_items(reversed(task.items))
    both = [
        {i.id: i for i in with_controls(t).items if i.condition == "mismatch"}
        for t in (task, again)
    ]
    assert both[0] == both[1]


def test_a_length_detector_tells_plain_rows_alone():
    """Its margin of "unknown" is the higher the shorter the context."""
    items = with_controls(sb.task("mini:age").test).items
    margin = [-float(words(item.context)) for item in items]
    rows = Rows.from_lists(
        [[0.0, 0.0, 0.0] for _ in items],
        [item.gold for item in items],
        unknown=[item.unknown for item in items],
        condition=[item.condition for item in items],
        template=[item.template for item in items],
        probabilities=False,
    )
    scores = rows.scores.copy()
    scores[np.arange(len(items)), rows.unknown] = margin
    rows = Rows(scores, rows.gold, rows.unknown, rows.biased, rows.chosen, rows.condition,
                rows.instruction, rows.template, probabilities=False)  # fmt: skip
    assert metrics.discrimination(rows) > 0.95
    for kind in ("filler", "mismatch"):
        assert measures.Discrimination(kind)(rows) == pytest.approx(0.5, abs=0.05)


def test_rows_without_twins_or_with_one_template_are_refused():
    task = sb.task("mini:age").test
    with pytest.raises(SnipbiasError, match="'twin'"):
        with_controls(task.where(lambda item: item.condition == "ambiguous"))
    with pytest.raises(SnipbiasError, match=r"in its test part .* at least two templates"):
        with_controls(task.where(lambda item: item.template == task.templates[0]))


def test_rows_that_name_no_twin_are_paired_by_what_they_ask_and_tell():
    task = sb.task("mini:age").test
    told = {i.twin: (i.question, {*i.options}, i.context) for i in task.items if is_ambiguous(i)}
    right = {item.id: told[item.twin] for item in task.items}  # two pairs may begin the same
    nameless = [replace(item, twin="") for item in task.items]
    scenes = [replace(item, twin=item.template) for item in task.items]  # a name for many pairs
    for rows in (nameless, scenes, scenes[::-1]):
        pairs = list(twins(rows))
        assert len({b.id for _, b in pairs}) == len(pairs) == len(task) // 2
        assert all(right[a.id] == right[b.id] for a, b in pairs)
        named = Counter(item.twin for item in with_twins(rows))
        assert set(named.values()) == {2}
    assert with_twins(task.items) == task.items
    assert len(with_controls(task._with_items(nameless))) == 2 * len(task)


def test_options_in_any_order_and_twins_named_anew_in_every_template():
    task = sb.task("mini:age").test
    turned = [
        replace(i, options=i.options[::-1], gold=2 - i.gold, unknown=2 - i.unknown, biased=None)
        for i in task.items
        if i.condition == "disambiguated"
    ]
    made = with_controls(task._with_items([*task.where(is_ambiguous).items, *turned]))
    assert all(item.gold == item.unknown for item in made.items if item.condition in UNANSWERABLE)
    numbers = {name: str(n) for n, name in enumerate(dict.fromkeys(i.twin for i in task.items))}
    size = len(task) // 2 // len(task.templates)
    again = task._with_items(
        replace(item, twin=str(int(numbers[item.twin]) % size)) for item in task.items
    )
    pairs = list(twins(again.items))
    assert len(pairs) == len(task) // 2
    assert all(a.template == b.template for a, b in pairs)
    assert all(a.template == b.template for a, b in zip(*halves(again.items, "twins"), strict=True))


def is_ambiguous(item):
    return item.condition == "ambiguous"


def test_what_is_asked_by_default():
    task = sb.task("mini:age").test
    rows, notes = asked(task, words)
    assert (len(rows), notes) == (2 * len(task), ())
    assert asked(rows, words) == (rows, ())  # they are there already
    some = with_controls(task, words, pairs=10)
    counts = Counter(item.condition for item in some.items)
    assert counts["filler"] == counts["mismatch"] == 10
    one = task.where(lambda item: item.template == task.templates[0])
    same, (note,) = asked(one, words)
    assert same is one
    assert note.startswith("no filler and mismatch rows: ")
    assert asked(sb.task("mini:skills").test, words)[1] == ()


def by_twin(task):
    found = {}
    for item in task.items:
        found.setdefault(item.twin, {})[item.condition] = item
    return found
