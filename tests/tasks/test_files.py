from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest

from row_files import ROW, jsonl, text_file
from snipbias.tasks import general_instructions, task
from snipbias.tasks.items import Item

FULL: dict[str, Any] = {
    "id": "race",
    "question": "Who won?",
    "options": ["Ann", "Ben", "No idea"],
    "gold": 2,
    "context": "Ann and Ben ran.",
    "template": "run",
    "condition": "ambig",
    "polarity": "neg",
    "unknown": "No idea",
    "biased": 0,
    "twin": "race-1",
}
FULL_ITEM = Item(
    id="race",
    question="Who won?",
    options=("Ann", "Ben", "No idea"),
    gold=2,
    context="Ann and Ben ran.",
    template="run",
    condition="ambiguous",
    polarity="neg",
    unknown=2,
    biased=0,
    twin="race-1",
)


def test_jsonl_with_every_column(tmp_path: Path) -> None:
    loaded = task(jsonl(tmp_path, FULL))
    assert loaded.items == (FULL_ITEM,)
    assert loaded.instructions == general_instructions()
    assert loaded.notes == ()


def test_a_right_answer_that_does_not_fit_its_condition_is_remarked_on(tmp_path: Path) -> None:
    answered = FULL | {"condition": "disambiguated", "gold": "Ann"}
    rows = [FULL, answered, FULL | {"gold": "Ann"}, answered | {"gold": 2}, ROW]
    for fits, row in zip((True, True, False, False, True), rows, strict=True):
        notes = task(jsonl(tmp_path, row)).notes
        assert any("in 1 of 1 rows the right answer does not" in note for note in notes) != fits


def test_a_template_is_the_same_however_its_letters_are_encoded(tmp_path: Path) -> None:
    names = ("caf\u00e9 1", "cafe\u0301 1", "caf\u00e9\u00a01 ")
    rows = [ROW | {"template": name, "twin": name} for name in names]
    found = task(jsonl(tmp_path, *rows)).items
    assert {(item.template, item.twin) for item in found} == {("caf\u00e9 1",) * 2}


@pytest.mark.parametrize(("name", "delimiter"), [("own.csv", ","), ("OWN.TSV", "\t")])
def test_csv_and_tsv_mean_the_same(tmp_path: Path, name: str, delimiter: str) -> None:
    path = tmp_path / name
    with path.open("w", newline="", encoding="utf-8-sig") as file:  # as Excel writes it
        writer = csv.writer(file, delimiter=delimiter)
        writer.writerow(FULL.keys())
        writer.writerow((FULL | {"options": "Ann | Ben|No idea"}).values())
    assert task(str(path)).items == (FULL_ITEM,)


def test_only_what_is_required(tmp_path: Path) -> None:
    other = ROW | {"context": "Another one."}
    loaded = task(jsonl(tmp_path, ROW, ROW, other))
    assert [(item.id, item.gold) for item in loaded.items] == [(f"row-{n}", 1) for n in (1, 2, 3)]
    first, again, different = (item.template for item in loaded.items)
    assert first == again != different  # the same row twice is one cluster, in any file
    assert loaded.items[0].condition is None
    assert loaded.items[0].unknown is None
    assert loaded.notes == ("there is no column 'template': every row counts as independent",)


def test_pairs_have_a_name_where_the_rows_give_them_none(tmp_path: Path) -> None:
    answered = FULL | {"condition": "disambiguated", "gold": "Ann"}
    nameless = (row | {"twin": "", "id": None} for row in (FULL, answered))
    found = task(jsonl(tmp_path, *nameless)).items
    assert [item.twin for item in found] == ["row-1"] * 2


def test_twins_stay_together_where_there_is_no_template(tmp_path: Path) -> None:
    rows = [ROW | {"twin": "t"}, ROW | {"twin": "t"}, ROW]
    templates = [item.template for item in task(jsonl(tmp_path, *rows)).items]
    assert templates[:2] == ["t", "t"]
    assert templates[2].startswith("row-")


@pytest.mark.parametrize("prefix", ["option_", "ans"])
def test_an_option_a_column_with_empty_cells_at_the_end(tmp_path: Path, prefix: str) -> None:
    head = ",".join(["question", *(f"{prefix}{i}" for i in range(3)), "label"])
    path = text_file(tmp_path, "own.csv", f"{head}\nWho?,Ann,Ben,Cleo,Cleo\nWho?,Ann,Ben,,0\n")
    assert [(item.options, item.gold) for item in task(path).items] == [
        (("Ann", "Ben", "Cleo"), 2),
        (("Ann", "Ben"), 0),
    ]


@pytest.mark.parametrize(
    ("gold", "index"),
    [(0, 0), (1.0, 1), ("1", 1), ("Ben", 1), (" Ben ", 1), ("Ann", 0)],
)
def test_gold_by_text_or_index(tmp_path: Path, gold: object, index: int) -> None:
    assert task(jsonl(tmp_path, ROW | {"gold": gold})).items[0].gold == index


def test_where_options_are_numbers_a_text_is_an_option_and_a_number_an_index(
    tmp_path: Path,
) -> None:
    row = ROW | {"options": ["2", "1", "0"]}
    loaded = task(jsonl(tmp_path, row | {"gold": "2"}, row | {"gold": 2}))
    assert [item.gold for item in loaded.items] == [0, 2]


def test_columns_are_renamed_and_a_mapped_one_wins(tmp_path: Path) -> None:
    path = jsonl(
        tmp_path,
        {"prompt": "Who?", "choices": ["Ann", "Ben"], "answer": 1, "label": 0, "context": "no"},
        {"prompt": "Who?", "choices": ["Ann", "Ben"], "answer": 0, "passage": "Ann ran."},
    )
    mapping = {"question": "prompt", "options": "choices", "gold": "answer", "context": "passage"}
    loaded = task(path, columns=mapping)
    assert [(item.gold, item.context) for item in loaded.items] == [(1, ""), (0, "Ann ran.")]


def test_instructions_given_then_those_of_the_rows_then_the_general_ones(tmp_path: Path) -> None:
    one, two = ROW | {"instruction": "Say who."}, ROW | {"instructions": ["Say who.", "Reply."]}
    assert task(jsonl(tmp_path, one, two, ROW)).instructions == ("Say who.", "Reply.")
    given = task(jsonl(tmp_path, one, two, ROW), instructions=["Mine."])
    assert given.instructions == ("Mine.",)
    assert "the rows' own instructions were replaced by those given" in given.notes
    assert task(jsonl(tmp_path, ROW), instructions=["Mine."]).instructions == ("Mine.",)
    assert task(jsonl(tmp_path, ROW), instructions="Mine.").instructions == ("Mine.",)
    path = text_file(
        tmp_path, "own.csv", "question,options,gold,instructions\nWho?,a|b,a,One. | Two.\n"
    )
    assert task(path).instructions == ("One.", "Two.")


def test_many_instructions_are_remarked_on(tmp_path: Path) -> None:
    rows = [ROW | {"instruction": f"Say who, please ({i})."} for i in range(21)]
    assert "the rows name 21 instructions: every row is asked under each of them" in (
        task(jsonl(tmp_path, *rows)).notes
    )


def test_rows_in_memory_and_as_a_file_are_the_same(tmp_path: Path) -> None:
    assert task([FULL, ROW]).fingerprint == task(jsonl(tmp_path, FULL, ROW)).fingerprint


def test_a_line_separator_inside_a_text_is_text(tmp_path: Path) -> None:
    loaded = task(jsonl(tmp_path, ROW | {"context": "Ann\u2028ran."}, ROW))
    assert [item.context for item in loaded.items] == ["Ann\u2028ran.", ""]


def test_source_has_the_hash(tmp_path: Path) -> None:
    path = text_file(tmp_path, "own.csv", "question,options,gold\nWho?,a|b,a\n")
    digest = "5b1f71d0e7cc876a"  # sha256sum of exactly these bytes
    assert digest in task(path).source
