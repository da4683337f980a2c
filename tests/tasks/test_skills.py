"""The neutral skills: answered right, held out from training, the same every time."""

import os
import random
import subprocess
import sys
from collections import Counter
from pathlib import Path

from snipbias.tasks import mini, task
from training import skills

ITEMS = mini.skills().items


def of(*kinds):
    """The items of the templates whose names begin with one of these; there are some."""
    chosen = [item for item in ITEMS if item.template.startswith(kinds)]
    assert chosen
    return chosen


def test_the_same_number_of_rows_of_every_template():
    counts = {t: sum(item.template == t for item in ITEMS) for t in skills.templates()}
    assert set(counts.values()) == {skills.ROWS_PER_TEMPLATE}
    assert len(counts) >= 20


def test_nothing_says_who_is_biased():
    assert all(item.biased is item.unknown is item.condition is None for item in ITEMS)


def test_ids_and_prompts_differ():
    assert len({item.id for item in ITEMS}) == len(ITEMS)
    assert len({(i.context, i.question, frozenset(i.options)) for i in ITEMS}) == len(ITEMS)


def test_what_is_drawn_for_training_is_never_published():
    rng = random.Random(1)
    published = {(i.context, i.question, frozenset(i.options)) for i in ITEMS}
    for template in skills.templates():
        for _ in range(200):
            item = skills.draw(template, rng, published=False)
            assert (item.context, item.question, frozenset(item.options)) not in published


def test_the_order_of_the_options_does_not_say_whether_a_row_is_held_out():
    options = ["three", "five", "nine"]
    held = {
        skills._held_out("", "Which number is the largest?", rng.sample(options, 3))
        for rng in map(random.Random, range(20))
    }
    assert len(held) == 1


def test_places_in_a_list():
    for item in of("list"):
        place = {"first": 0, "second": 1, "last": -1}
        asked = next(place[word] for word in place if word in item.question)
        assert item.context.rstrip(".").split(", ")[asked] == item.options[item.gold]


def test_numbers():
    for item in of("number"):
        names = skills.load()["words"]["number"]
        best = max if "larg" in item.question else min
        assert item.options[item.gold] == best(item.options, key=names.index)


def test_the_odd_one_is_alone_of_its_kind():
    for item in of("odd"):
        words = skills.load()["words"]
        kind = {word: kind for kind in skills.KINDS for word in words[kind]}
        kinds = [kind[option] for option in item.options]
        assert kinds.count(kind[item.options[item.gold]]) == 1
        assert len(set(kinds)) == 2


def test_opposites():
    for item in of("opposite"):
        opposite = {a: b for pair in skills.load()["opposites"] for a, b in (pair, pair[::-1])}
        asked = next(word for word in opposite if f" {word}" in item.question.rstrip("?"))
        assert opposite[asked] == item.options[item.gold]


def test_reading_finds_the_answer_in_the_clause_of_the_question():
    for item in of("who", "what-1"):
        clauses = item.context.rstrip(".").replace(". ", ", ").split(", ")
        asked = item.question.rstrip("?").split()
        asked = asked[-2] if asked[-1] == "have" else asked[-1]
        clause = next(
            c
            for c in clauses
            if c.split()[-1] == asked or f"The {asked} " in f"{c} ".replace("the ", "The ")
        )
        assert item.options[item.gold].split()[-1] in clause


def test_the_rows_are_those_that_the_generator_draws_in_every_process() -> None:
    """Sets of texts are ordered by a hash that changes with the process."""
    code = "from training import skills; print(skills.published())"
    for seed in ("1", "3"):
        printed = subprocess.run(
            [sys.executable, "-c", code],
            cwd=Path(__file__).parents[2],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        assert printed == f"{ITEMS}\n"


def test_every_fact_is_a_cluster_of_its_own_and_the_places_are_even() -> None:
    facts = task("mini:facts")
    assert len(facts) == len(facts.templates) == len({item.question for item in facts.items}) == 508
    assert all(len(set(item.options)) == 3 for item in facts.items)
    places = Counter(item.gold for item in facts.items)
    assert max(places.values()) < 0.4 * len(facts)
    assert len(facts.test.subsample(100).templates) == 100
    by_question = {item.question: item.options[item.gold] for item in facts.items}
    assert by_question["What is the opposite of hot?"] == "cold"
