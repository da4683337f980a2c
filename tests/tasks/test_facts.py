"""The neutral questions: each by itself, each with one answer, in no order that gives it away."""

from __future__ import annotations

from collections import Counter

import snipbias as sb


def test_every_question_is_a_cluster_of_its_own_and_the_places_are_even() -> None:
    task = sb.task("mini:facts")
    assert len(task) == len(task.templates) == len({item.question for item in task.items}) == 508
    assert all(len(set(item.options)) == 3 for item in task.items)
    places = Counter(item.gold for item in task.items)
    assert max(places.values()) < 0.4 * len(task)
    assert len(task.test.subsample(100).templates) == 100
    by_question = {item.question: item.options[item.gold] for item in task.items}
    assert by_question["What is the opposite of hot?"] == "cold"
