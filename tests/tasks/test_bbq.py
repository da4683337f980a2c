from __future__ import annotations

import os
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import pytest

from bbq_rows import Answer, dump, quartet
from snipbias.base.errors import SnipbiasError
from snipbias.tasks import bbq, task
from snipbias.tasks.items import Item

UNKNOWN = ("mystery", "unknown")
HERE = Path("made-up.jsonl")
DATA_DIR = os.environ.get("SNIPBIAS_DATA_DIR", "")


def parse(rows: list[dict[str, Any]], category: str = "Age") -> tuple[Item, ...]:
    return bbq.parse(dump(rows), HERE, category)[0]


def biased_names(rows: list[dict[str, Any]], category: str) -> list[str | None]:
    items = parse(rows, category)
    return [None if item.biased is None else item.options[item.biased] for item in items]


def test_every_field_of_an_item() -> None:
    rows = quartet([UNKNOWN, ("pensioner", "old"), ("trainee", "nonOld")], ["old"], first_id=40)
    first, second, third, fourth = parse(rows)
    assert first == Item(
        id="Age-00040",
        question="Who got wet?",
        options=("The mystery", "The pensioner", "The trainee"),
        gold=0,
        context="Two people stood in the rain.",
        template="Age-01",
        condition="ambiguous",
        polarity="neg",
        unknown=0,
        biased=1,
        twin="Age-00020",
    )
    assert (second.gold, second.condition, second.twin) == (1, "disambiguated", "Age-00020")
    assert (third.gold, third.polarity, third.biased, third.twin) == (0, "nonneg", 2, "Age-00021")
    assert (fourth.gold, fourth.biased, fourth.twin) == (2, 2, "Age-00021")


@pytest.mark.parametrize(
    ("category", "one", "other", "stereotyped"),
    [
        # "old" is inside "nonOld": a substring match would find both.
        ("Age", ("trainee", "nonOld"), ("pensioner", "old"), ["nonOld"]),
        ("SES", ("waiter", "lowSES"), ("banker", "highSES"), ["low SES"]),
        ("SES", ("waiter", "lowSES"), ("banker", ""), ["low SES"]),
        # The group decides, whatever the names are.
        ("SES", ("waiter", "lowSES"), ("Low-SES", "highSES"), ["low SES"]),
        (
            "Disability_status",
            ("guest with a cane", "disabled"),
            ("guest", "nonDisabled"),
            ["disabled", "physically disabled"],
        ),
        ("Gender_identity", ("girl", "girl"), ("boy", "boy"), ["F"]),
        ("Gender_identity", ("Ann", "F"), ("Ben", "M"), ["women"]),
        ("Gender_identity", ("trans man", "trans"), ("man", "nonTrans"), ["transgender men"]),
        ("Gender_identity", ("Ann", "trans_F"), ("Eve", "nonTrans_F"), ["Transgender women"]),
        # Regions as groups, nations as stereotyped groups: the name decides.
        ("Nationality", ("Somali", "Africa"), ("Dane", "Europe"), ["Somali", "Malian"]),
        ("Race_ethnicity", ("A. One", "F-Black"), ("B. Two", "F-White"), ["Black"]),
        ("Race_ethnicity", ("x", "African American"), ("y", "African"), ["African American"]),
        ("Physical_appearance", ("heavy guest", "obese"), ("guest", "nonObese"), ["Obese"]),
        ("Race_x_gender", ("x", "F-Black"), ("y", "F-White"), ["Black"]),
        ("Race_x_SES", ("x", "lowSES-M-Black"), ("y", "highSES-M-White"), ["Black"]),
    ],
)
def test_biased_is_the_target_when_negative_and_the_other_one_otherwise(
    category: str, one: Answer, other: Answer, stereotyped: list[str]
) -> None:
    for answers in ([one, other, UNKNOWN], [UNKNOWN, other, one]):
        target, counterpart = f"The {one[0]}", f"The {other[0]}"
        assert biased_names(quartet(answers, stereotyped), category) == [
            target,
            target,
            counterpart,
            counterpart,
        ]


def test_what_the_data_does_not_settle_is_counted_and_not_guessed() -> None:
    both = quartet([UNKNOWN, ("x", "old"), ("y", "old")], ["old"])
    neither = quartet([UNKNOWN, ("x", "tall"), ("y", "short")], ["old"], first_id=4)
    nothing = quartet([UNKNOWN, ("x", ""), ("y", "tall")], [""], first_id=8)
    clear = quartet([UNKNOWN, ("x", "old"), ("y", "nonOld")], ["old"], first_id=12)
    items, notes = bbq.parse(dump(both + neither + nothing + clear), HERE, "Age")
    assert [item.biased is None for item in items] == [True] * 12 + [False] * 4
    assert notes == ("in 12 of 16 rows the data does not say which is the biased option",)


def test_crossed_category_reads_the_second_target_off_its_sibling_rows() -> None:
    same_race = [UNKNOWN, ("x", "lowSES-Black"), ("y", "highSES-Black")]
    other_race = [UNKNOWN, ("x", "lowSES-Black"), ("y", "lowSES-White")]
    alone = quartet(same_race, ["Black"])
    assert biased_names(alone, "Race_x_SES") == [None] * 4
    settled = alone + quartet(other_race, ["Black"], first_id=4)
    assert biased_names(settled, "Race_x_SES")[:4] == ["The x", "The x", "The y", "The y"]
    contradicted = settled + quartet(
        [UNKNOWN, ("x", "highSES-Black"), ("y", "lowSES-White")], ["Black"], first_id=8
    )
    assert biased_names(contradicted, "Race_x_SES")[:4] == [None] * 4


def test_a_scene_told_again_with_names_is_the_same_template() -> None:
    answers = [UNKNOWN, ("x", "F"), ("y", "M")]
    first = quartet(answers, ["F"], template="2")
    again = quartet(answers, ["F"], template="27", first_id=4)
    other = quartet(answers, ["F"], template="28", first_id=8)
    for row in other:
        row["question"] = f"{row['question'][:-1]} at last?"
    items, notes = bbq.parse(dump(first + again + other), HERE, "Gender_identity")
    assert [item.template[-2:] for item in items[::4]] == ["02", "02", "28"]
    assert notes == ("templates merged with the one they repeat with proper names: 1",)

    # A question in two scenes that are not the same otherwise: nothing tells which is repeated.
    third = quartet(answers, ["F"], template="3", first_id=12)
    third[0]["question"] = third[1]["question"] = "Who is it?"
    items, notes = bbq.parse(dump(first + again + third), HERE, "Gender_identity")
    assert [item.template[-2:] for item in items[::4]] == ["02", "27", "03"]
    assert notes == ()


def test_scenes_that_ask_the_same_questions_are_one_template() -> None:
    answers = [UNKNOWN, ("x", "F"), ("y", "M")]
    scenes = [
        quartet(answers, ["F"], template=t, first_id=4 * k)
        for k, t in enumerate(["4", "20", "3", "27"])
    ]
    for row in scenes[0]:
        row["question"] = f"{row['question'][:-1]} at last?"
    items, notes = bbq.parse(dump(row for scene in scenes for row in scene), HERE, "SES")
    assert [item.template[-2:] for item in items[::4]] == ["04", "03", "03", "03"]
    assert notes == (
        "templates merged with the one they repeat with proper names: 1",
        "templates merged with an earlier one that asks the same: 1",
    )


def test_a_twin_must_be_the_same_question_without_and_with_the_fact() -> None:
    answers = [UNKNOWN, ("x", "old"), ("y", "nonOld")]
    rows = quartet(answers, ["old"]) + quartet(answers, ["old"], first_id=4)
    rows[1]["question"] = "Who is somebody else?"
    del rows[6]
    items, notes = bbq.parse(dump(rows), HERE, "Age")
    assert [item.twin for item in items] == [""] * 2 + ["Age-00001"] * 2 + ["Age-00002"] * 2 + [""]
    assert notes == ("in 3 of 7 rows the data does not say which is the twin",)


def test_repeated_rows_are_kept_under_ids_of_their_own() -> None:
    rows = quartet([UNKNOWN, ("x", "old"), ("y", "nonOld")], ["old"])
    items = parse(rows + rows)
    assert len(items) == 8
    assert len({item.id for item in items}) == 8


def test_the_unknown_option_is_told_whatever_its_wording_and_letter_case() -> None:
    rows = quartet([UNKNOWN, ("x", "old"), ("y", "nonOld")], ["old"])
    for row in rows:
        row["answer_info"]["ans0"] = ["Not enough info", "Unknown"]
    assert {item.unknown for item in parse(rows)} == {0}


def test_a_row_without_one_unknown_option_is_counted() -> None:
    rows = quartet([UNKNOWN, ("x", "old"), ("y", "nonOld")], ["old"])
    for row in rows:
        row["answer_info"]["ans1"] = ["x", "unknown"]
    items, notes = bbq.parse(dump(rows), HERE, "Age")
    assert {item.unknown for item in items} == {None}
    assert "in 4 of 4 rows the data does not say which is the unknown option" in notes


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"label": 3}, "has gold = 3"),
        ({"label": True}, "'label' is True; write a whole number, 0 or more."),
        ({"label": None}, "the field 'label' is wrong;"),
        ({"question": ["x"]}, "the field 'question' is wrong;"),
        ({"question_polarity": "negative"}, "'negative'; write neg or nonneg."),
        ({"context_condition": "none"}, "'none'; write ambig or disambig."),
        ({"answer_info": {}}, "the field 'ans0' is missing;"),
        ({"answer_info": {f"ans{i}": ["x"] for i in range(3)}}, "is not [name, group];"),
        ({"additional_metadata": {}}, "the field 'stereotyped_groups' is missing;"),
        ({"ans0": "The x"}, "has the same option twice"),
        ({"example_id": "first"}, "'example_id' is 'first'; write a whole number"),
    ],
)
def test_a_malformed_row_is_one_sentence_with_file_and_line(
    change: dict[str, Any], sentence: str
) -> None:
    rows = quartet([UNKNOWN, ("x", "old"), ("y", "nonOld")], ["old"])
    rows[2] |= change
    with pytest.raises(SnipbiasError) as error:
        parse(rows)
    assert str(error.value).startswith("made-up.jsonl, line 3: ")
    assert sentence in str(error.value)


def test_an_empty_file_is_an_error() -> None:
    with pytest.raises(SnipbiasError, match=r"made-up\.jsonl has no rows"):
        bbq.parse("\n\n", HERE, "Age")


@pytest.mark.skipif(not DATA_DIR, reason="SNIPBIAS_DATA_DIR is not set")
@pytest.mark.parametrize(
    ("name", "rows", "clusters", "official"),
    [
        ("Age", 3680, (32, 336), True),
        ("Disability_status", 1556, (8, 240), True),
        ("SES", 6864, None, False),
    ],
)
def test_real_categories(
    name: str, rows: int, clusters: tuple[int, int] | None, official: bool
) -> None:
    loaded = task(f"bbq:{name.lower()}", data_dir=DATA_DIR)
    assert len(loaded) == rows
    assert any("is not the official file" in note for note in loaded.notes) != official
    assert loaded.source.endswith(": the official file") == official
    assert len({item.id for item in loaded.items}) == rows

    sizes = Counter(item.template for item in loaded.items)
    assert len(sizes) == (24 if name == "SES" else 25)  # its 3 and 20 ask the same
    if clusters is not None:
        assert (min(sizes.values()), max(sizes.values())) == clusters

    assert Counter(item.condition for item in loaded.items) == {
        "ambiguous": rows // 2,
        "disambiguated": rows // 2,
    }
    # Always answering "unknown" scores exactly half.
    assert sum(item.gold == item.unknown for item in loaded.items) == rows // 2
    assert all(item.biased in item.named for item in loaded.items)
    assert not any(item.biased == item.unknown for item in loaded.items)
    twins: defaultdict[str, list[Item]] = defaultdict(list)
    for item in loaded.items:
        twins[item.twin].append(item)
    for ambiguous, with_fact in twins.values():
        assert (ambiguous.condition, with_fact.condition) == ("ambiguous", "disambiguated")
        assert ambiguous.question == with_fact.question
        assert ambiguous.options == with_fact.options
        assert with_fact.context.startswith(ambiguous.context)
