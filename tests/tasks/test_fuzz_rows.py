"""Whatever the rows are, every reader gives a task or one short sentence."""

from __future__ import annotations

import csv
import io
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import torch
from hypothesis import strategies as st

import fuzz
from bbq_rows import quartet
from snipbias.tasks import bbq, glue, task
from snipbias.tasks.columns import COLUMNS
from snipbias.tasks.readers import Rows, csv_rows, json_lines

HERE = Path("made-up.csv")
NAMES = (*COLUMNS, "label", "option_0", "option_1", "ans0", "ans1", "other", "")
GOOD: dict[str, Any] = {"question": "Who?", "options": ["Ann", "Ben"], "gold": 1}

lists = st.lists(fuzz.scalars | st.sampled_from(["Ann", "A. x", "B. y", "1", "2"]), max_size=4)
written = st.builds(
    lambda parts, between, form: form.format(between.join(map(str, parts))),
    lists,
    st.sampled_from(["|", "\n", ";", ", ", " ", "', '", "' '", "\nB. "]),
    st.sampled_from(["{}", "['{}']", "[{}]", "A. {}", "array([{}], dtype=object)", "({})"]),
)
foreign = st.one_of(
    lists.map(lambda value: np.array(value, dtype=object)),
    st.floats(width=32).map(lambda value: torch.tensor(value)),
    st.sampled_from([np.int64(1), np.bool_(True), np.array(1), Decimal("sNaN"), {"Ann"}, b"\xff"]),
    st.sampled_from(
        [np.datetime64("NaT"), torch.empty(2, device="meta"), object(), type, 10**5000]
    ),
)
cells = fuzz.values | lists | written | st.sampled_from(["Ann", "B", "ambig", 0, 1, -1, "2.0"])


def rows(values: st.SearchStrategy[Any]) -> st.SearchStrategy[list[Any]]:
    changes = st.dictionaries(st.sampled_from(NAMES) | fuzz.texts, values, max_size=4)
    changed = st.builds(lambda change: {**GOOD, **change}, changes)
    return st.lists(changed | changes | fuzz.scalars, min_size=1, max_size=3)


def as_csv(table: list[list[Any]]) -> str:
    file = io.StringIO()
    csv.writer(file, escapechar="\\").writerows(table)
    return file.getvalue()


@fuzz.amounts(6)
def test_rows_in_memory_and_mappings(examples: int) -> None:
    columns = st.none() | st.dictionaries(st.sampled_from(NAMES), st.sampled_from(NAMES))
    instructions = st.none() | lists | fuzz.texts
    fuzz.attack(
        lambda given: task(given[0], columns=given[1], instructions=given[2]),
        st.tuples(rows(cells | foreign), columns, instructions),
        examples,
    )


@fuzz.amounts(6)
def test_files(examples: int, tmp_path: Path) -> None:
    tables = st.lists(st.lists(written | fuzz.texts, min_size=3, max_size=3), max_size=3)
    header = st.permutations(["question", "options", "gold"])
    texts = st.one_of(
        rows(cells).map(lambda value: "\n".join(map(json.dumps, value))),
        st.builds(lambda head, table: as_csv([head, *table]), header, tables),
        st.builds("sep={}\n{}".format, st.characters(), fuzz.texts),
        fuzz.texts,
    )
    contents = texts.map(lambda text: text.encode(errors="surrogatepass")) | st.binary()

    def read(given: tuple[str, bytes]) -> object:
        path = tmp_path / f"own{given[0]}"
        path.write_bytes(given[1])
        return task(path)

    fuzz.attack(read, st.tuples(st.sampled_from([".jsonl", ".csv", ".tsv"]), contents), examples)


@fuzz.amounts(6)
def test_bbq_and_glue(examples: int) -> None:
    row = quartet([("x", "unknown"), ("y", "old"), ("z", "nonOld")], ["old"])[0]
    row |= {"sentence1": "a", "sentence2": "b", "sentence": "c", "label": 0}

    def read(given: tuple[str, dict[str, Any], bool]) -> object:
        name, change, as_table = given
        changed = row | change
        text = as_csv([list(changed), list(changed.values())]) if as_table else json.dumps(changed)
        read_rows = csv_rows(text, HERE) if as_table else json_lines(text, HERE)
        if name in glue.NAMES:
            return glue.parse(Rows(read_rows, name, "x"))
        return bbq.parse(text, HERE, name)

    changes = st.dictionaries(st.sampled_from(list(row)), cells, max_size=2)
    names = st.sampled_from([*glue.NAMES, "Age", "Race_x_SES"])
    fuzz.attack(read, st.tuples(names, changes, st.booleans()), examples)
