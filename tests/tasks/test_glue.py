"""MRPC, RTE and QNLI: read in every layout alike, split by siblings, and usable in every step."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import snipbias as sb
from snipbias.base.errors import SnipbiasError
from snipbias.base.table import plain_text
from snipbias.evaluation.answer import answer
from snipbias.evaluation.glossary import legend
from snipbias.evaluation.tables import comparison_grids
from snipbias.tasks import available, glue, task

MRPC = [
    ('The mayor said "no" twice.', '"No," said the mayor, and again: "No."', 1),
    ("Rain fell on Monday.", "It was dry on Monday.", 0),
    ("The bridge opened in May.", "In May the bridge was opened.", 1),
    ("Prices rose by 3 %, {sic}.", "Prices went up.", 1),
    ("The team won.", "The team's coach resigned.", 0),
]
RTE = [
    ("Lena moved from Oslo to Rome.", "Lena lived in Oslo.", 0),
    ("Lena moved from Oslo to Rome.", "Lena was born in Rome.", 1),
    ("The ship sank near the coast.", "A ship sank.", 0),
]
QNLI = [
    ("Who built the mill?", "The mill was built by two brothers.", 0),
    ("When did it burn down?", "It has forty windows.", 1),
    ("How many windows are there?", "It has forty windows.", 0),
]
DATA = {"mrpc": MRPC, "rte": RTE, "qnli": QNLI}
COLUMNS = {
    "mrpc": ("sentence1", "sentence2"),
    "rte": ("sentence1", "sentence2"),
    "qnli": ("question", "sentence"),
}


def hub_rows(name: str) -> list[dict[str, Any]]:
    keys = (*COLUMNS[name], "label")
    return [{**dict(zip(keys, row, strict=True)), "idx": i} for i, row in enumerate(DATA[name])]


def classic_tsv(name: str) -> str:
    """As the classic download has it: tabs, no quoting, labels of RTE and QNLI by name."""
    if name == "mrpc":
        lines = ["Quality\t#1 ID\t#2 ID\t#1 String\t#2 String"]
        lines += [f"{label}\t{i}\t{i + 9}\t{a}\t{b}" for i, (a, b, label) in enumerate(MRPC)]
    else:
        lines = ["\t".join(("index", *COLUMNS[name], "label"))]
        names = ("entailment", "not_entailment")
        lines += [f"{i}\t{a}\t{b}\t{names[n]}" for i, (a, b, n) in enumerate(DATA[name])]
    return "\r\n".join(lines) + "\r\n"


def write(folder: Path, name: str, layout: str) -> None:
    rows = hub_rows(name)
    if layout == "classic folder":
        (folder / name.upper()).mkdir()
        (folder / name.upper() / "dev.tsv").write_text(classic_tsv(name), newline="")
    elif layout == "classic file":
        (folder / f"{name}.tsv").write_text(classic_tsv(name), newline="")
    elif layout == "jsonl":
        (folder / f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    elif layout == "parquet in glue":
        (folder / "glue").mkdir()
        pq.write_table(pa.Table.from_pylist(rows), folder / "glue" / f"{name}.parquet")
    else:
        with open(folder / f"{name}.{layout}", "w", newline="") as file:
            writer = csv.DictWriter(
                file, list(rows[0]), delimiter={"csv": ",", "tsv": "\t"}[layout]
            )
            writer.writeheader()
            writer.writerows(rows)


LAYOUTS = ("jsonl", "csv", "tsv", "classic file", "classic folder", "parquet in glue")


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", glue.NAMES)
def test_every_layout_is_the_same_task(name: str, layout: str, tmp_path: Path) -> None:
    write(tmp_path, name, layout)
    read = task(name.upper(), data_dir=tmp_path)
    assert read.name == name
    words = {"mrpc": ("no", "yes")}.get(name, ("yes", "no"))
    assert [item.options[item.gold] for item in read.items] == [words[n] for *_, n in DATA[name]]
    for item, (a, b, _) in zip(read.items, DATA[name], strict=True):
        assert a in item.context
        assert b in item.context
        assert (item.condition, item.unknown, item.biased) == (None, None, None)
    assert f"{len(read)} rows, the validation split has {glue.ROWS[name]:,}" in read.source
    (tmp_path / "other").mkdir()
    write(tmp_path / "other", name, "jsonl")
    assert read.items == task(name, data_dir=tmp_path / "other").items


def test_a_row_as_a_prompt(tmp_path: Path) -> None:
    write(tmp_path, "qnli", "jsonl")
    item = task("qnli", data_dir=tmp_path).items[0]
    assert item.context == (
        "Sentence: The mill was built by two brothers.\nWhat is asked: Who built the mill?"
    )
    assert item.question == "Does the sentence contain the answer to what is asked?"


@pytest.mark.parametrize("name", glue.NAMES)
def test_ten_instructions_that_differ(name: str) -> None:
    instructions = glue.wording(name)["instructions"]
    assert len(set(instructions)) == len(instructions) == 10
    assert all(text == text.strip() for text in instructions)


def test_own_instructions(tmp_path: Path) -> None:
    write(tmp_path, "rte", "csv")
    assert task("rte", data_dir=tmp_path, instructions=["Well?"]).instructions == ("Well?",)


def test_rows_that_share_a_text_are_siblings(tmp_path: Path) -> None:
    for name in ("rte", "qnli"):
        write(tmp_path, name, "jsonl")
    a, b, c = (item.template for item in task("rte", data_dir=tmp_path).items)
    assert a == b != c
    a, b, c = (item.template for item in task("qnli", data_dir=tmp_path).items)
    assert a != b == c


def test_siblings_by_a_plain_search() -> None:
    """Over chains (a-b, b-c), columns, letter case and spaces; a row alone is on its own."""
    rows = [("a", "b"), ("x", "y"), ("B ", "c"), ("d", "e"), ("e", "C"), ("z", "z"), ("y", "x")]
    plain = [[text.strip().lower() for text in row] for row in rows]
    groups: list[set[str]] = []
    for texts in map(set, plain):
        touching = [group for group in groups if group & texts]
        groups = [g for g in groups if not g & texts] + [texts.union(*touching)]
    expected = [
        next(i for i, g in enumerate(groups) if row[0].strip().lower() in g) for row in rows
    ]
    found = glue.siblings(rows)
    assert [[x == y for x in found] for y in found] == [
        [x == y for x in expected] for y in expected
    ]
    assert glue.siblings(rows[::-1]) == found[::-1]


def test_the_folder_of_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, "rte", "csv")
    monkeypatch.setenv("SNIPBIAS_DATA_DIR", str(tmp_path))
    assert len(task("rte")) == 3


def test_from_the_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    datasets = pytest.importorskip("datasets")
    asked: list[tuple[Any, ...]] = []

    def load_dataset(*where: Any, **which: Any) -> Any:
        asked.append((*where, which))
        columns = {key: [row[key] for row in hub_rows("rte")] for key in hub_rows("rte")[0]}
        label = datasets.ClassLabel(names=["entailment", "not_entailment"])
        return datasets.Dataset.from_dict(columns).cast_column("label", label)

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    assert [item.gold for item in task("rte").items] == [0, 1, 0]
    assert asked == [
        ("nyu-mll/glue", "rte", {"split": "validation", "revision": glue.REVISION}),
    ]


@pytest.mark.parametrize("name", glue.NAMES)
def test_offline_one_sentence_says_what_to_save(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SNIPBIAS_OFFLINE", "1")
    monkeypatch.delenv("SNIPBIAS_DATA_DIR", raising=False)
    with pytest.raises(SnipbiasError) as error:
        task(name)
    assert str(error.value) == (
        f"{name} is not on this machine and was not downloaded (SNIPBIAS_OFFLINE is set): save "
        f"the validation split of nyu-mll/glue as {name}.parquet (or .jsonl, .csv, .tsv) in a "
        "folder that you give as data_dir or SNIPBIAS_DATA_DIR."
    )


def test_a_hub_that_cannot_be_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    datasets = pytest.importorskip("datasets")
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)

    def load_dataset(*_: Any, **__: Any) -> Any:
        raise ConnectionError("no route\nto the hub.")

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    with pytest.raises(SnipbiasError, match=r"not downloaded \(no route to the hub\): save the"):
        task("rte")


def test_without_the_library_the_pip_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(SnipbiasError, match=r"pip install 'snipbias\[datasets\]'"):
        task("rte")


@pytest.mark.parametrize(
    ("file", "content", "words"),
    [
        ("rte.jsonl", "", "has no rows: save the validation split of rte there"),
        ("rte.jsonl", '{"sentence1": "a", "sentence2": "b"}', "line 1: the label is None; write 0"),
        ("rte.jsonl", '{"sentence1": "a", "sentence2": "b", "label": -1}', "GLUE's test split"),
        ("rte.jsonl", '{"sentence1": "a", "sentence2": "b", "label": 2}', "the label is 2; write"),
        ("rte.jsonl", '{"sentence": "a", "label": 0}', "no column 'sentence1'.*did you mean"),
        ("qnli.jsonl", '{"label": 0}', "no column 'question'.*columns question, sentence, label"),
        ("rte.jsonl", '{"sentence1": "a", "sentence2": " ", "label": 0}', "'sentence2' is ' '"),
        (
            "rte.tsv",
            "index\tsentence1\tsentence2\tlabel\n0\ta\tb\n",
            "line 2: this row has 3 c",
        ),
        ("rte.parquet", "PAR1", "is not a complete Parquet file"),
    ],
)
def test_malformed_files(file: str, content: str, words: str, tmp_path: Path) -> None:
    (tmp_path / file).write_text(content)
    with pytest.raises(SnipbiasError, match=words) as error:
        task(Path(file).stem, data_dir=tmp_path)
    assert str(tmp_path) in str(error.value)
    assert "\n" not in str(error.value)


def test_listed() -> None:
    assert {name: rows for name, rows, _ in available() if name in glue.NAMES} == glue.ROWS


def test_found_compared_and_printed_without_conditions(tmp_path: Path) -> None:
    """The whole job on rows that have no condition, no unknown option and no biased one."""
    rows = [
        {"sentence1": f"The {a} is red.", "sentence2": f"Red is the {b}.", "label": int(a == b)}
        for a in ("ball", "box", "car", "cup", "hat")
        for b in ("ball", "box", "car")
    ]
    for i, row in enumerate(rows):  # texts of their own, or all would be one template
        row["sentence1"] += f" And {i} more."
        row["sentence2"] += f" And {i} more."
    (tmp_path / "mrpc.jsonl").write_text("\n".join(map(json.dumps, rows)))
    whole = task("mrpc", data_dir=tmp_path)
    whole = whole.with_instructions(whole.instructions[:2])
    assert len(whole.templates) == len(rows)
    lm = sb.load("demo")
    edit = sb.attribute(lm, whole.sample(4), sb.Method.v2()).top(5)
    comparison = sb.compare(lm, whole, edit, texts=(), retention=[whole.dev])
    by_hand = comparison.evaluation.rows("original")
    right = (by_hand.scores.argmax(1) == by_hand.gold).mean()
    summary = comparison.original
    assert summary.accuracy.overall == pytest.approx(right)
    assert (summary.accuracy.ambiguous, summary.discrimination, summary.offset_curve) == (None,) * 3
    printed = str(comparison)
    assert f"{100 * right:.1f}" in printed
    assert f"{100 * summary.gold_probability.overall:.1f}" in printed  # type: ignore[operator]
    for absent in ("always unknown", "ambig", "AUROC", "s_AMB", "P(gold) a"):
        assert absent not in printed  # nor is it explained
    assert "stereotyped" not in plain_text(answer(comparison), 80)  # a column of dashes
    table, _explained = printed.split(legend(comparison_grids(comparison))[:40])
    for absent in ("nan", "None"):  # "unanswerable" is a word of the explanation
        assert absent not in table
    json.dumps(comparison.to_dict(), allow_nan=False)
