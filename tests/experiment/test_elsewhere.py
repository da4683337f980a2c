"""The small tasks beside a task, and what is read off them."""

from __future__ import annotations

import re

import numpy as np
import pytest

import bbq_rows
import experiments as made
from snipbias import task
from snipbias.evaluation.evaluate import rows_of
from snipbias.evaluation.measured import Measured
from snipbias.evaluation.measures import ACCURACY, ELSEWHERE
from snipbias.evaluation.summary import Trial
from snipbias.tasks import elsewhere as near
from snipbias.tasks import mini
from snipbias.tasks.items import Item, Task


def test_rows_with_names_tell_no_group_and_ask_the_same() -> None:
    test = task("mini:age").test
    named = near.name_only(test)
    assert named is not None
    assert len(named) == len(test)
    people = [person for pair in mini.load_category("age")["pairs"] for person in pair.values()]
    group = re.compile("|".join(map(re.escape, people)))
    for row, item in zip(named.items, test.items, strict=True):
        assert not group.search(" ".join((row.context, row.question, *row.options)))
        for field in ("gold", "unknown", "biased", "template", "twin", "condition"):
            assert getattr(row, field) == getattr(item, field)
    by_twin: dict[str, set[frozenset[str]]] = {}
    for row in named.items:
        by_twin.setdefault(row.twin, set()).add(frozenset(row.options))
    assert all(len(options) == 1 for options in by_twin.values())


@pytest.mark.parametrize(
    ("context", "options", "renamed"),
    [
        (
            "A boy and his old man met. The old man sang.",
            ("The boy", "The old man", "Unknown"),
            r"(\w+) and (\w+) met\. \2 sang\.",
        ),
        (
            "The poor left the poor man.",  # the longer name first
            ("The poor", "The poor man", "Unknown"),
            r"(?!.*man)\w+ left \w+\.",
        ),
        ("I met an heir and a friend of mine.", ("The heir", "The friend.", "Unknown"), None),
        ("All boys met the man.", ("The boy", "The man", "Unknown"), None),  # not one person
        ("Both met.", ("The boy", "The man", "Unknown"), None),
    ],
)
def test_people_are_renamed_where_the_context_tells_both(context, options, renamed) -> None:
    item = Item("1", "Who?", options, 2, context, unknown=2)
    named = near.name_only(Task("own", (item,), ("Answer.",)))
    if renamed is None and "mine" not in context:
        assert named is None
        return
    assert named is not None
    found = named.items[0]
    assert re.fullmatch(renamed or r"I met \w+ and \w+\.", found.context)
    assert set(found.options[:2]) <= {*near.GIVEN} | {f"{name}." for name in near.GIVEN}
    assert found.options[2] == "Unknown"


def test_the_small_tasks_of_mini_and_of_rows_of_ones_own() -> None:
    test = task("mini:ses").test
    found = near.elsewhere(test, 10)
    assert list(found) == [near.NAMES, near.OTHERS, near.DIFFER]
    assert all(len(each) <= 10 and len(each.instructions) == 1 for each in found.values())
    assert {item.id[:3] for item in found[near.OTHERS].items} == {"age", "dis"}
    for category in near.DIFFERING:
        for item in near.differing(category):
            assert item.gold != item.unknown
            assert item.options[item.gold].removeprefix("The ") in item.context
    own = Task("own", (Item("1", "2 + 2?", ("4", "5"), 0),), ("Answer.",))
    assert list(near.elsewhere(own)) == [near.DIFFER]


def test_other_categories_of_bbq_are_those_that_are_there(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("SNIPBIAS_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("SNIPBIAS_CACHE", str(tmp_path / "cache"))
    people = (("girl", "young"), ("lady", "old"), ("Unknown", "unknown"))
    rows = [
        row
        for n in range(3)
        for row in bbq_rows.quartet(people, ["old"], first_id=4 * n, template=str(n))
    ]
    for row in rows:  # templates that ask the same count as one
        row["question"] += row["question_index"]
    bbq_rows.write(tmp_path / "Age.jsonl", rows)
    assert near._others(task("bbq:Age").test) is None
    bbq_rows.write(tmp_path / "SES.jsonl", rows)
    others = near._others(task("bbq:Age").test)
    assert others is not None
    assert {item.id[:3] for item in others.items} == {"SES"}


def test_evidence_against_the_stereotype_is_followed_or_overridden() -> None:
    """Gold is the biased option (0) in even templates, the other one in odd templates."""

    def answer(condition: str, template: int, instruction: int) -> int:
        if condition == "ambiguous":
            return made.BIASED if template < 3 else made.UNKNOWN
        return made.OTHER if template == 1 else made.BIASED

    rows = rows_of(made.table("v1", answer))
    found = Measured("t", "v1", (Trial(rows, elsewhere={near.DIFFER: rows}),)).elsewhere
    assert found.pop("groups differ").value == ACCURACY(rows)
    values = {name: figure.value for name, figure in found.items()}
    assert values == {
        "stereotyped": 0.75,
        "evidence with": 1.0,
        "evidence against": 0.5,
        "overridden": 0.5,
    }
    assert set(values) < set(ELSEWHERE)
    assert np.isclose(values["evidence against"] + values["overridden"], 1)
