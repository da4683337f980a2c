from __future__ import annotations

from collections import Counter, defaultdict

import pytest

from snipbias.tasks import mini, task
from snipbias.tasks.items import Item
from snipbias.tasks.prompts import DEFAULT

each_category = pytest.mark.parametrize("category", mini.CATEGORIES)


def by_twin(category: str) -> list[tuple[Item, Item]]:
    pairs: defaultdict[str, list[Item]] = defaultdict(list)
    for item in mini.items(category):
        pairs[item.twin].append(item)
    return [(pair[0], pair[1]) for pair in pairs.values() if len(pair) == 2]


def people(category: str) -> dict[str, str]:
    """Option text -> group."""
    return {
        f"The {phrase}": group
        for pair in mini.load_category(category)["pairs"]
        for group, phrase in pair.items()
    }


@each_category
def test_the_rows_are_a_third_of_all_and_half_of_them_ambiguous(category: str) -> None:
    items = mini.items(category)
    # 27 templates x 12 pairs / 3, each with 2 polarities x 2 casts x 2 conditions.
    assert len(items) == 27 * 12 // 3 * 8
    assert Counter(item.condition for item in items) == {"ambiguous": 432, "disambiguated": 432}
    assert Counter(item.polarity for item in items) == {"neg": 432, "nonneg": 432}
    assert set(Counter(item.template for item in items).values()) == {32}
    assert len({item.id for item in items}) == len(items)


@each_category
def test_twins_are_one_question_without_and_with_the_fact(category: str) -> None:
    pairs = by_twin(category)
    assert 2 * len(pairs) == len(mini.items(category))
    for ambiguous, with_fact in pairs:
        assert (ambiguous.condition, with_fact.condition) == ("ambiguous", "disambiguated")
        assert ambiguous.question == with_fact.question
        assert ambiguous.options == with_fact.options
        assert with_fact.context.startswith(f"{ambiguous.context} ")
        assert ambiguous.gold == ambiguous.unknown != with_fact.gold


@each_category
def test_gold_is_whom_the_fact_names_for_the_question(category: str) -> None:
    templates = {t["id"]: t for t in mini.load_category(category)["templates"]}
    for ambiguous, with_fact in by_twin(category):
        template = templates[with_fact.template]
        fact = with_fact.context.removeprefix(f"{ambiguous.context} ")
        gold = with_fact.options[with_fact.gold].removeprefix("The ")
        other = next(
            with_fact.options[i].removeprefix("The ")
            for i in with_fact.named
            if i != with_fact.gold
        )
        neg, pos = (gold, other) if with_fact.polarity == "neg" else (other, gold)
        assert fact in [wording.format(NEG=neg, POS=pos) for wording in template["facts"]]
        assert with_fact.question == template[f"question_{with_fact.polarity}"]


@each_category
def test_biased_is_the_stereotyped_person_when_negative(category: str) -> None:
    stereotyped = {t["id"]: t["stereotyped"] for t in mini.load_category(category)["templates"]}
    group_of = people(category)
    for item in mini.items(category):
        assert item.biased in item.named
        group = group_of[item.options[item.biased or 0]]
        assert (group == stereotyped[item.template]) == (item.polarity == "neg")
        assert item.options[item.unknown or 0] in mini.UNKNOWN_WORDINGS


@each_category
def test_the_fact_agrees_with_the_stereotype_in_half_of_the_rows(category: str) -> None:
    with_fact = [item for item in mini.items(category) if item.condition == "disambiguated"]
    assert 2 * sum(item.gold == item.biased for item in with_fact) == len(with_fact)


@each_category
def test_published_and_training_combinations_are_disjoint_and_everything(category: str) -> None:
    keys = {
        published: {
            (template["id"], tuple(pair.values()))
            for template, pair in mini.combinations(category, published=published)
        }
        for published in (True, False)
    }
    assert keys[True].isdisjoint(keys[False])
    assert (len(keys[True]), len(keys[False])) == (108, 216)
    # Every template and every pair is seen in training.
    assert {t for t, _ in keys[False]} == {t for t, _ in keys[True]}
    assert {p for _, p in keys[False]} == {p for _, p in keys[True]}


def test_no_prompt_twice() -> None:
    prompts = Counter(DEFAULT.render("Answer.", item) for item in task("mini").items)
    assert [prompt for prompt, times in prompts.items() if times > 1] == []


def test_the_place_of_an_option_does_not_give_the_answer_away() -> None:
    items = task("mini").items
    for what in ("gold", "unknown", "biased"):
        places = Counter(getattr(item, what) for item in items)
        assert sorted(places) == [0, 1, 2]
        assert max(places.values()) < 0.4 * len(items)


def test_rows_do_not_change_from_run_to_run() -> None:
    assert mini.items("age") == mini.items("age")


@each_category
def test_the_file_keeps_its_format(category: str) -> None:
    data = mini.load_category(category)
    assert data["category"] == category
    assert len(data["groups"]) == 2
    assert len(data["instructions"]) == len(set(data["instructions"])) == 10
    assert len(data["pairs"]) == 12
    phrases = [phrase for pair in data["pairs"] for phrase in pair.values()]
    assert len(set(phrases)) == 24
    assert len(data["templates"]) == len({t["id"] for t in data["templates"]}) == 27
    questions = [t[key] for t in data["templates"] for key in ("question_neg", "question_nonneg")]
    assert len(set(questions)) == len(questions)
    for template in data["templates"]:
        assert template["stereotyped"] in data["groups"]
        assert all(template["context"].count(slot) == 1 for slot in ("{X}", "{Y}"))
        assert len(template["facts"]) == 2
        assert all(
            fact.count(slot) == 1 for fact in template["facts"] for slot in ("{NEG}", "{POS}")
        )
