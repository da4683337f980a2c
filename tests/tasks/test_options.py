"""Options and cells in the ways that people and libraries write them."""

from __future__ import annotations

from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch

from snipbias.base.errors import SnipbiasError
from snipbias.tasks import task
from snipbias.tasks.options import Options, read_options

ANN_BEN = ("Ann", "Ben")


def gold_of(options: Any, gold: Any) -> str:
    item = task([{"question": "Who?", "options": options, "gold": gold}]).items[0]
    return item.options[item.gold]


def test_one_text_that_holds_all_options() -> None:
    same = [
        "Ann|Ben",
        "Ann\nBen",
        "Ann\r\n\r\nBen\n",
        "A. Ann\nB. Ben",
        "A) Ann\nB) Ben",
        "(A) Ann\n(B) Ben",
        "[a] Ann\n[b] Ben",
        "A: Ann | B: Ben",
        "1. Ann\n2. Ben",
        r"A. Ann\nB. Ben",
        "0) Ann; 1) Ben",
        "- Ann\n- Ben",
        "Options:\n* Ann\n* Ben",
        "Ann; Ben",
        "['Ann', 'Ben']",
        '["Ann", "Ben"]',
        "('Ann', 'Ben')",
        "['Ann' 'Ben']",
        "['Ann'\n 'Ben']",
        "array(['Ann', 'Ben'], dtype=object)",
        "[np.str_('Ann'), np.str_('Ben')]",
    ]
    for text in same:
        found = read_options(text)
        assert found is not None, text
        assert found.texts == ANN_BEN, text
    texts = {
        "J. Smith\nK. Jones": ("J. Smith", "K. Jones"),  # initials are no letters in order
        "1.5\n2.5": ("1.5", "2.5"),
        "A.M.\nB.C.": ("A.M.", "B.C."),
        """["it's" 'say "x"']""": ("it's", 'say "x"'),
        "[1 2 3]": ("1", "2", "3"),
        "[0.5, 1e3]": ("0.5", "1000.0"),
        "A. x | y\nB. z": ("x | y", "z"),
        "a\nb | c": ("a\nb", "c"),
        "Options:\na|b": ("a", "b"),
    }
    for text, expected in texts.items():
        found = read_options(text)
        assert found is not None, text
        assert found.texts == expected, text


def test_where_it_is_unclear_where_an_option_ends_the_message_names_options() -> None:
    unclear = [
        "Ann",
        "Ann, Ben",
        "Paris, Texas; Ben",
        "Ann; ; Ben",
        "A. Ann\nwho ran\nB. Ben",
        "['Ann', 'Ben' 'Cleo']",
        "['Ann', None]",
        "['Ann' ... 'Ben']",
        "{'text': ['Ann', 'Ben']}",
        ["Ann", float("nan")],
        ["Ann", float("inf")],
        [["Ann"], ["Ben"]],
        {"Ann", "Ben"},
    ]
    for options in unclear:
        with pytest.raises(SnipbiasError, match=r"^row 1: 'options' is .*; write a list of texts"):
            gold_of(options, 0)


def test_gold_by_letter_number_or_text() -> None:
    lettered, numbered = "A. Xu\nB. Yi\nC. Zoe", "1. Xu\n2. Yi\n3. Zoe"
    for gold in ("B", "b", "(B)", "B.", "Yi", "yi", "B. Yi", "b) Yi", 1, "1", 1.0, "1.0"):
        assert gold_of(lettered, gold) == "Yi", gold
        assert gold_of(["Xu", "Yi", "Zoe"], gold) == "Yi", gold
    for gold, right in ((0, "Xu"), (3, "Zoe"), ("3", "Zoe"), ("2) Yi", "Yi"), ("Yi", "Yi")):
        assert gold_of(numbered, gold) == right, gold
    for gold in ("Ane\u0301 B", "an\u00e9\u00a0 b", "An\u00e9 \u200bB"):  # they look the same
        assert gold_of(["Xu", "An\u00e9 B"], gold) == "An\u00e9 B", gold
    with pytest.raises(SnipbiasError, match="'gold' is 1, which may count from 0 or as"):
        gold_of(numbered, 1)
    rows = [{"question": "?", "options": numbered, "gold": gold} for gold in (1, 2, 3)]
    assert [item.gold for item in task(rows).items] == [0, 1, 2]  # the 3 tells: from 1
    rows = [{"question": "?", "options": numbered, "gold": gold} for gold in (1, 2, 0)]
    assert [item.gold for item in task(rows).items] == [1, 2, 0]  # the 0 tells: from 0


def test_letters_and_numbers_that_stay_in_the_options() -> None:
    in_order, numbered = ["A. Xu", "B. Yi", "C. Zoe"], ["1. Xu", "2. Yi", "3. Zoe"]
    for gold in ("B", "b)", "B. Yi", 1):
        assert gold_of(in_order, gold) == "B. Yi", gold
    assert gold_of(numbered, 3) == gold_of(numbered, "3") == "3. Zoe"
    assert gold_of(["J. Xu", "K. Yi"], 1) == gold_of(["J. Xu", "K. Yi"], "k. yi") == "K. Yi"
    assert gold_of(["12. May", "13. May"], 0) == "12. May"  # 12 cannot count two options
    # A letter or number that names one option and the place of another is not guessed.
    shuffled, filtered = ["B. Yi", "A. Xu", "C. Zoe"], "A. Xu\nC. Zoe\nD. Al"
    unclear = ((shuffled, "A"), (filtered, "C"), (filtered, "B"), (["J. Xu", "K. Yi"], "A"))
    for options, gold in unclear:
        with pytest.raises(SnipbiasError, match=r"'gold' is .*, which is none of the options"):
            gold_of(options, gold)
    assert gold_of(shuffled, "C") == "C. Zoe"
    assert gold_of(shuffled, "A. Xu") == "A. Xu"
    for options in (numbered, ["2. Yi", "1. Xu"], "2) Yi | 1) Xu | 0) Zoe"):
        with pytest.raises(SnipbiasError, match="'gold' is 1, which may count from 0 or as"):
            gold_of(options, 1)
    with pytest.raises(SnipbiasError, match="'gold' is 0, which may count from 0 or as"):
        gold_of(["2. Yi", "1. Xu"], 0)
    columns = {"question": "?", "option_0": "B. Yi", "option_1": "A. Xu", "gold": "A"}
    with pytest.raises(SnipbiasError, match="'gold' is 'A', which is none"):
        task([columns])


def test_a_letter_or_number_that_is_an_option_too() -> None:
    assert gold_of(["B", "A"], "A") == "A"
    assert gold_of(["2", "1", "7"], "1") == "1"
    for options, gold in ((["A", "C"], "B"), (["7", "8", "9"], "1")):
        with pytest.raises(SnipbiasError, match=r"'gold' is .*, which is none of the options"):
            gold_of(options, gold)
    with pytest.raises(SnipbiasError, match="the text of one option and the letter of another"):
        gold_of("A. B\nB. A", "A")
    assert Options(("7", "8")).choice(1) == 1


def test_cells_of_numpy_torch_arrow_and_decimal() -> None:
    for options in (np.array(ANN_BEN), np.array(ANN_BEN, dtype=object), pa.array(ANN_BEN)):
        assert gold_of(options, 1) == "Ben"
    assert gold_of(pa.scalar(ANN_BEN, pa.large_list(pa.string())), 1) == "Ben"
    assert gold_of(torch.tensor([7, 8]), 1) == "8"
    ones = (np.int64(1), np.float32(1), np.array(1), torch.tensor(1), torch.tensor(1.0))
    for gold in (*ones, pa.scalar(1), Decimal(1), np.str_("Ben"), b"Ben"):
        assert gold_of(ANN_BEN, gold) == "Ben", repr(gold)
    for gold in (np.bool_(True), torch.tensor([1]), np.int64(-1), 10**5000, "1" * 5000):
        with pytest.raises(SnipbiasError, match="'gold' is"):
            gold_of(ANN_BEN, gold)
    absent = (np.nan, np.float32("nan"), np.datetime64("NaT"), Decimal("nan"), pa.scalar(None), " ")
    for gold in absent:
        with pytest.raises(SnipbiasError, match="no value for 'gold'"):
            gold_of(ANN_BEN, gold)


def test_pandas_rows_and_frames() -> None:
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame(
        {
            "question": ["Who?", "Who?"],
            "options": [np.array(ANN_BEN), list(ANN_BEN)],
            "gold": pd.array([1, None], dtype="Int64"),
            "label": pd.Categorical(["Ann", "Ann"]),
            "twin": [pd.NaT, "t"],
        }
    )
    polars = SimpleNamespace(to_dicts=lambda: frame.to_dict("records"))  # which may not be there
    for rows in (frame, frame.to_dict("records"), polars):
        assert [item.gold for item in task(rows).items] == [1, 0]
        assert [item.twin for item in task(rows).items] == ["", "t"]


def test_an_arrow_table_is_its_rows() -> None:
    rows = [{"question": "Who?", "options": list(ANN_BEN), "gold": gold} for gold in (1, 0)]
    assert [item.gold for item in task(pa.Table.from_pylist(rows)).items] == [1, 0]


def test_a_torch_dataset_of_rows() -> None:
    class Rows(torch.utils.data.Dataset[dict[str, Any]]):
        def __getitem__(self, index: int) -> dict[str, Any]:
            return [{"question": "Who?", "options": ANN_BEN, "gold": torch.tensor(1)}][index]

    assert task(Rows()).items[0].gold == 1  # pyright: ignore[reportArgumentType]


def test_what_is_no_rows_is_one_sentence() -> None:
    for rows in (5, None, {"question": ["Who?"], "options": [["a", "b"]]}, object(), list):
        with pytest.raises(SnipbiasError, match="a list of dictionaries, one per row"):
            task(rows)  # pyright: ignore[reportArgumentType]


def test_thousands_of_options_name_their_row() -> None:
    with pytest.raises(SnipbiasError, match="row 1: there are 5,000 options"):
        gold_of([f"o{i}" for i in range(5000)], 0)
    with pytest.raises(SnipbiasError, match=r"none of the options 'o0', .* and 892 more") as error:
        gold_of([f"o{i}" for i in range(900)], "nobody")
    assert len(str(error.value)) < 300
