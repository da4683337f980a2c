"""Files and rows that are refused: one sentence each, with file and line."""

from __future__ import annotations

import csv
import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from row_files import ROW, jsonl, text_file
from snipbias.base.errors import SnipbiasError
from snipbias.base.words import SCREEN
from snipbias.tasks import task
from snipbias.tasks.item import looks

BAD_ROWS: list[tuple[Any, str]] = [
    ([1, 2], "this line is not a JSON object; write"),
    ({"question": "Who?", "gold": 0}, "there is no value for 'options'; the row has question,"),
    ({"options": ["a", "b"], "gold": 0}, "there is no value for 'question';"),
    (ROW | {"question": " "}, "there is no value for 'question';"),
    ({**ROW, "qestion": "x", "question": None}, "'question' (did you mean 'qestion'?);"),
    ({"question": "Who?", "options": ["a", "b"]}, "there is no value for 'gold';"),
    (
        {"query": "Who?", "choices": ["a", "b"], "golden": 0, "condition": "ambig"},
        "there is no value for 'question', 'options', 'gold' (did you mean 'golden'?); the "
        "row has query, choices, golden, condition: rename the columns or say which "
        "are meant, --column question=YOURS --column options=YOURS --column gold=YOURS (options="
        "A,B,C: a column per option); in Python columns={'question': 'YOURS'}. Also read: context",
    ),
    (ROW | {"gold": 2}, "'gold' is 2, which is none of the options 'Ann', 'Ben'; write the text"),
    (ROW | {"gold": -1}, "'gold' is -1, which is none"),
    (ROW | {"gold": "Cleo"}, "'gold' is 'Cleo', which is none"),
    (ROW | {"gold": True}, "'gold' is True, which is none"),
    (ROW | {"gold": 0.5}, "'gold' is 0.5, which is none"),
    (ROW | {"gold": [0]}, "'gold' is [0], which is none"),
    (ROW | {"unknown": "?"}, "'unknown' is '?', which is none"),
    (ROW | {"biased": 9}, "'biased' is 9, which is none"),
    (ROW | {"options": ["Ann"], "gold": 0}, "has 1 option(s): give at least two."),
    (ROW | {"options": ["Ann", " Ann"]}, "has the same option twice: make its options differ."),
    (ROW | {"options": ["Ann", ""]}, "has an empty option: give every option a text."),
    (ROW | {"options": []}, "'options' is []; write a list of texts, or texts separated by |."),
    (ROW | {"options": 7}, "'options' is 7; write a list of texts, or texts separated by |."),
    (ROW | {"options": ["a", None]}, "'options' is ['a', None]; write a list of texts"),
    (ROW | {"condition": "vague"}, "'condition' is 'vague'; write ambiguous or disambiguated"),
    (ROW | {"context": {"a": 1}}, "'context' is {'a': 1}; write a text."),
    (ROW | {"context": True}, "'context' is True; write a text."),
    (ROW | {"id": "first"}, "the id 'first' is already that of"),
    ({"question": "?", "ans0": "a", "ans2": "b", "gold": 0}, "ans0, ans2 are not numbered 0, 1, 2"),
]


def test_a_bad_row_is_one_sentence_with_file_and_line(tmp_path: Path) -> None:
    for row, sentence in BAD_ROWS:
        path = jsonl(tmp_path, ROW | {"id": "first"}, row)
        with pytest.raises(SnipbiasError) as error:
            task(path)
        assert str(error.value).startswith(f"{path}, line 2: ")
        assert sentence in str(error.value)
        assert "\n" not in str(error.value)


HEAD = "question,options,gold\n"
BAD_FILES: list[tuple[str, str | bytes, str]] = [
    ("own.jsonl", '\n{"question": "Who?",\n', "line 2: this line is not valid JSON ("),
    ("own.jsonl", '{"question": ' + "[" * 100_000, "line 1: this line is not valid JSON ("),
    ("own.jsonl", "", "has no rows: give it at least one"),
    ("own.csv", "", "has no rows: give it at least one"),
    ("own.csv", HEAD, "has no rows: give it at least one"),
    ("own.jsonl", b'{}\n{"question": "\xe9"}', "line 2: this is not UTF-8 text; save"),
    ("own.csv", HEAD.encode("utf-16"), "line 1: this is not UTF-8 text; save"),
    ("own.json", "[]", "does not end in .jsonl, .csv or .tsv: save the rows"),
    ("own", "[]", "does not end in .jsonl, .csv or .tsv: save the rows"),
    (
        "own.csv",
        "question;options;gold\nWho, say?;a|b;a\n",
        "line 1: the only column is 'question;options;gold'; separate cells with commas, not "
        "semicolons.",
    ),
    ("own.csv", "question\toptions\n", "separate cells with commas, not tabs."),
    ("own.tsv", HEAD, "separate cells with tabs, not commas."),
    ("own.csv", HEAD + "Who?,a|b\n", "line 2: this row has 2 cells, but the first row 3;"),
    ("own.csv", HEAD + "Who, say?,a|b,a\n", "line 2: this row has 4 cells, but the first row 3;"),
    ("own.csv", HEAD + 'Who?,"a|b"c,a\n', "line 2: this is not valid CSV ("),
    ("own.csv", HEAD + 'Who?,"a|b,a\n', "line 2: this is not valid CSV ("),
    ("own.csv", "question,gold,gold\n", "line 1: the column 'gold' appears twice;"),
    (
        "own.jsonl",
        '{"question": "Who?", "options": ["a", "b"], "gold": 0, "gold": 1}',
        "line 1: this line is not valid JSON (the field 'gold' appears twice);",
    ),
    # The first row's question has a line break, so the bad second row is on line 4.
    ("own.csv", HEAD + '"Who\n?",a|b,a\nWho?,a|b,c\n', "line 4: 'gold' is 'c', which is none"),
]


def test_a_bad_file_is_one_sentence(tmp_path: Path) -> None:
    for name, text, sentence in BAD_FILES:
        path = text_file(tmp_path, name, text)
        with pytest.raises(SnipbiasError) as error:
            task(path)
        assert str(error.value).startswith(str(path))
        assert sentence in str(error.value)
        assert "\n" not in str(error.value)


def test_a_cell_may_be_a_whole_document(tmp_path: Path) -> None:
    document = "word " * 50_000
    path = text_file(tmp_path, "own.csv", HEAD.strip() + f",context\nWho?,a|b,a,{document}\n")
    assert task(path).items[0].context == document.strip()


def test_a_first_line_that_names_the_separator(tmp_path: Path) -> None:
    for name, separator in (
        ("own.csv", ";"),
        ("own.csv", ","),
        ("own.tsv", "\t"),
        ("own.tsv", "|"),
    ):
        rows = [["question", "options", "gold"], ["Who, say?", "Ann\nBen", "B"], ["Who?", "", "C"]]
        cells = "\n".join(separator.join(f'"{cell}"' for cell in row) for row in rows)
        path = text_file(tmp_path, name, f"sep={separator}\n{cells}\n")
        with pytest.raises(SnipbiasError, match="line 5: there is no value for 'options'"):
            task(path)
        path.write_text(path.read_text().rpartition('"Who?"')[0])
        assert task(path).items[0].options[1] == "Ben"


def test_half_a_letter_is_refused_by_row(tmp_path: Path) -> None:
    half = "Ann \ud800"
    for row in ({"question": half}, {"options": [half, "Ben"]}, {"twin": half}, {"polarity": half}):
        path = text_file(tmp_path, "own.jsonl", json.dumps(ROW | row))
        with pytest.raises(SnipbiasError, match=r"line 1: the text 'Ann .*' holds half a char"):
            task(path)
    with pytest.raises(SnipbiasError, match="holds half a character"):
        task([ROW], instructions=[half])
    with pytest.raises(SnipbiasError, match=r"row 2: the text .* holds half a character"):
        task([ROW, ROW | {"instructions": ["Say.", half]}])
    with pytest.raises(SnipbiasError, match="'instructions'"):
        task([ROW | {"instructions": 5}])


def test_a_mapped_column_does_not_fill_its_namesake_too() -> None:
    row = {"context": "Who won?", "options": ["Ann", "Ben"], "label": 0, "answer": 1, "x": 5}
    loaded = task([row], columns={"question": "context", "gold": "answer"})
    assert (loaded.items[0].question, loaded.items[0].context) == ("Who won?", "")
    assert loaded.notes[1:] == ("columns that are not used: 'x'",)
    swapped = task([ROW | {"context": "c"}], columns={"question": "context", "context": "question"})
    assert (swapped.items[0].question, swapped.items[0].context) == ("c", "Who won?")
    each = task(
        [{"q": "Who?", "a": "Ann", "b": "Ben", "gold": 1}],
        columns={"question": "q", "options": "a,b"},
    )
    assert each.items[0].options == ("Ann", "Ben")
    with pytest.raises(SnipbiasError, match="has no column 'c'"):
        task([ROW | {"a": "Ann"}], columns={"options": "a,c"})
    with pytest.raises(SnipbiasError, match="no value for 'gold'"):  # and not the label
        task([row | {"answer": None}], columns={"question": "context", "gold": "answer"})


def test_a_message_is_never_longer_than_a_screen(tmp_path: Path) -> None:
    long = "x" * 100_000
    rows = [{"condition": [long]}, {"gold": long}, {"options": long}, {"id": [long] * 9}]
    for row in (*rows, {"options": [long, long]}, {long: 1, "question": ""}):
        with pytest.raises(SnipbiasError) as error:
            task(jsonl(tmp_path, ROW | row))
        assert len(str(error.value)) <= SCREEN
    for columns in ({long: "question"}, {"question": long}):
        with pytest.raises(SnipbiasError) as error:
            task([ROW], columns=columns)
        assert len(str(error.value)) <= SCREEN


def test_a_folder_and_nothing_at_all(tmp_path: Path) -> None:
    with pytest.raises(SnipbiasError, match="is a folder: give the path of a file in it"):
        task(tmp_path)
    with pytest.raises(SnipbiasError, match=r"there is no file .*missing\.csv: check the path"):
        task(tmp_path / "missing.csv")
    (tmp_path / "rows").touch()
    with pytest.raises(SnipbiasError, match=r"rows.within\.csv cannot be read \(Not a directory\)"):
        task(tmp_path / "rows" / "within.csv")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root reads anything")
def test_a_file_one_may_not_read(tmp_path: Path) -> None:
    path = jsonl(tmp_path, ROW)
    path.chmod(0)
    with pytest.raises(SnipbiasError, match="cannot be read"):
        task(path)


@pytest.mark.parametrize(
    ("columns", "sentence"),
    [
        ({"questions": "q"}, "names 'questions', which is not one of our columns (did you mean"),
        ({"question": "qwestion"}, "has no column 'qwestion' (did you mean 'question'?)"),
    ],
)
def test_a_bad_mapping_is_one_sentence(
    tmp_path: Path, columns: Mapping[str, str], sentence: str
) -> None:
    with pytest.raises(SnipbiasError) as error:
        task(jsonl(tmp_path, ROW), columns=columns)
    assert sentence in str(error.value)


def test_a_row_in_memory_that_is_no_dictionary() -> None:
    with pytest.raises(SnipbiasError, match="row 2 is 'x': every row must be a dictionary"):
        task([ROW, "x"])  # pyright: ignore[reportArgumentType]


# "|" separates options, and text is stripped; everything else must come back as it was.
texts = st.text(
    st.characters(exclude_characters="|\0", exclude_categories=["Cs"]), min_size=1, max_size=8
).filter(lambda text: bool(looks(text)))


@given(
    rows=st.lists(
        st.tuples(texts, st.lists(texts, min_size=2, max_size=4, unique_by=looks), texts),
        min_size=1,
        max_size=4,
    )
)
def test_any_text_survives_jsonl_and_csv(rows: list[tuple[str, list[str], str]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = jsonl(
            Path(folder),
            *({"question": q, "options": o, "gold": o[-1], "context": c} for q, o, c in rows),
        )
        table = Path(folder) / "own.csv"
        with table.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(["question", "options", "gold", "context"])
            writer.writerows([q, "|".join(o), o[-1], c] for q, o, c in rows)
        from_jsonl, from_csv = task(path).items, task(table).items
    assert from_jsonl == from_csv
    assert [(i.question, list(i.options), i.context) for i in from_jsonl] == [
        (q.strip(), [option.strip() for option in o], c.strip()) for q, o, c in rows
    ]
    assert all(
        item.options[item.gold] == o[-1].strip()
        for item, (_, o, _) in zip(from_csv, rows, strict=True)
    )
