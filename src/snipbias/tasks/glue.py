"""MRPC, RTE and QNLI of GLUE (Wang et al. 2018), the language-understanding tasks of CRISPR v2.

Read from the hub, or from a local file with the columns of the hub's dataset or of the original
download (`dev.tsv`). We ask a question whose options are "yes" and "no": instruction-following
models answer with these words, and both are one token in nearly every vocabulary, so neither wins
by being short. There is no condition, no unknown option and no biased option.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from snipbias.base.errors import SnipbiasError
from snipbias.base.files import shipped
from snipbias.base.hub import offline
from snipbias.base.words import did_you_mean, one_line, quoted
from snipbias.tasks import hub
from snipbias.tasks.fetch import own_file
from snipbias.tasks.items import Item, Task
from snipbias.tasks.readers import Rows, at, csv_rows, decode, json_lines, read_bytes

REPOSITORY = "nyu-mll/glue"
REVISION = "bcdcba79d07bc864c1c254ccfcedcce55bcc9a8c"
SPLIT = "validation"
ROWS = {"mrpc": 408, "rte": 277, "qnli": 5463}  # of the hub's validation split
NAMES = tuple(ROWS)
SUFFIXES = (".jsonl", ".parquet", ".csv", ".tsv")

# The original download's columns -> the hub's. Those of RTE and QNLI differ only in `index`.
CLASSIC = {"Quality": "label", "#1 String": "sentence1", "#2 String": "sentence2", "index": "idx"}

Row = Mapping[str, Any]


def load(name: str, data_dir: str | Path | None = None) -> Task:
    """Load `mrpc`, `rte` or `qnli` from `data_dir`, SNIPBIAS_DATA_DIR, or the hub."""
    places = [f"{folder}{name}{suffix}" for folder in ("", "glue/") for suffix in SUFFIXES]
    path = own_file(data_dir, [*places, f"{name.upper()}/dev.tsv"])  # the last: classic download
    found = _from_hub(name) if path is None else _from_file(name, path)
    items, source = parse(found), found.source
    notes: tuple[str, ...] = ()
    if len(items) != ROWS[name]:
        notes = (f"{len(items):,} rows, the {SPLIT} split has {ROWS[name]:,}",)
        source += f": {notes[0]}"
    return Task(name, items, tuple(wording(name)["instructions"]), source=source, notes=notes)


@cache
def wording(name: str) -> dict[str, Any]:
    """The wording of one task: labels, the option for each, context, question, instructions."""
    return json.loads(shipped("glue.json"))[name]


def parse(found: Rows) -> tuple[Item, ...]:
    """Make items of a task's rows; rows that share a text get the same template.

    Raises:
        SnipbiasError: there are no rows, or one is malformed.
    """
    name, words = found.name, wording(found.name)
    columns = sorted(re.findall(r"\{(\w+)\}", words["context"]))  # as GLUE orders them
    read: list[tuple[str, dict[str, str], Row]] = []
    for where, row in found.rows:
        with at(where):
            read.append((where, _texts(row, columns), row))
    if not read:
        raise SnipbiasError(f"{found.source} has no rows: save the {SPLIT} split of {name} there.")
    templates = siblings([list(texts.values()) for _, texts, _ in read])
    items = []
    for number, (where, texts, row) in enumerate(read, start=1):
        with at(where):
            item = Item(
                id=f"{name}-{number:05d}",
                question=words["question"],
                options=tuple(words["options"]),
                gold=_gold(row, words["labels"]),
                context=words["context"].format(**texts),
                template=f"{name}-{templates[number - 1]}",
            )
        items.append(item)
    return tuple(items)


def siblings(rows: Sequence[Sequence[str]]) -> list[str]:
    """A template per row: rows that share a text, directly or through others, are siblings.

    A template is named by a hash of its texts, so the same rows get the same template in every
    file that holds all of them.
    """
    from scipy.sparse import coo_array  # not with this module: every start would wait for them
    from scipy.sparse.csgraph import connected_components

    keys = np.array(
        [[_sha256(" ".join(text.split()).casefold().encode()) for text in row] for row in rows]
    )
    names, number = np.unique(keys, return_inverse=True)  # sorted
    row_of = np.arange(len(rows)).repeat(keys.shape[1])
    size = len(rows) + len(names)
    edges = coo_array(
        (np.ones(keys.size, dtype=bool), (row_of, len(rows) + number.ravel())), shape=(size, size)
    )
    component = connected_components(edges, directed=False)[1]
    least = np.unique(component[len(rows) :], return_index=True)[1]  # first key of each component
    return [str(names[least[each]])[:12] for each in component[: len(rows)]]


def _texts(row: Row, columns: Sequence[str]) -> dict[str, str]:
    for column in columns:
        if column not in row:
            raise SnipbiasError(
                f"there is no column {column!r}{did_you_mean(column, map(str, row))}; give the "
                f"columns {', '.join((*columns, 'label'))}."
            )
        if not isinstance(row[column], str) or not row[column].strip():
            raise SnipbiasError(f"{column!r} is {quoted(row[column])}; write a text.")
    return {column: row[column].strip() for column in columns}


def _gold(row: Row, labels: Sequence[str]) -> int:
    """The right option, by the label's number or name."""
    label = row.get("label")
    text = str(label).strip()
    if text in labels:
        return labels.index(text)
    if text in ("0", "1"):
        return int(text)
    why = f"{quoted(label)}; write 0 or {labels[0]}, 1 or {labels[1]}"
    if text == "-1":
        why = "-1, so this is GLUE's test split, whose answers are not published: use the "
        why += f"{SPLIT} split"
    raise SnipbiasError(f"the label is {why}.")


def _from_file(name: str, path: Path) -> Rows:
    """The rows of a file, under the hub's column names."""
    content, suffix = read_bytes(path), path.suffix.lower()
    source = f"{path}, sha256 {_sha256(content)}"
    if suffix == ".parquet":
        try:
            table = pq.read_table(pa.BufferReader(content))
        except (pa.ArrowException, OSError) as error:
            raise SnipbiasError(
                f"{path} is not a complete Parquet file ({one_line(error)}): download it again."
            ) from None
        return Rows(_numbered(path, table.to_pylist()), name, source)
    text = decode(content, path)
    if suffix == ".jsonl":
        rows = json_lines(text, path)
    else:  # in the original dev.tsv a quotation mark is an ordinary character
        header = {cell.strip() for cell in text.split("\n", 1)[0].split("\t")}
        is_classic = suffix == ".tsv" and not header.isdisjoint(CLASSIC)
        rows = csv_rows(text, path, quotes=not is_classic)
    renamed = (
        (where, {CLASSIC.get(column, column): value for column, value in row.items()})
        for where, row in rows
    )
    return Rows(renamed, name, source)


def _from_hub(name: str) -> Rows:
    source = f"hf:{REPOSITORY}@{REVISION}:{name}:{SPLIT}"
    try:
        dataset = hub.download(source)
    except SnipbiasError as error:
        reason = f"{offline()} is set" if offline() else error.__cause__
        if reason is None:  # the library is missing, and the sentence says how to install it
            raise
        raise SnipbiasError(
            f"{name} is not on this machine and was not downloaded ({one_line(reason)}): save the "
            f"{SPLIT} split of {REPOSITORY} as {name}.parquet (or .jsonl, .csv, .tsv) in a folder "
            "that you give as data_dir or SNIPBIAS_DATA_DIR."
        ) from error
    return Rows(_numbered(f"hf:{REPOSITORY}:{name}:{SPLIT}", dataset), name, source)


def _numbered(place: object, rows: Iterable[Row]) -> Iterator[tuple[str, Row]]:
    return ((f"{place}, row {number}", row) for number, row in enumerate(rows, start=1))


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
