"""A user's own rows: JSONL, CSV and TSV files, Hugging Face datasets, or rows in memory.

`docs/data.md` lists the columns, how their cells may be written and how they are renamed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from snipbias.base.errors import SnipbiasError
from snipbias.base.markdown import printable
from snipbias.base.words import did_you_mean, listed, quoted
from snipbias.tasks.columns import (
    COLUMNS,
    OPTION_COLUMN,
    Columns,
    Label,
    Row,
    as_text,
    as_texts,
    checked_columns,
    notes,
    rename,
)
from snipbias.tasks.item import Condition, Item, looks, refuse_half_letters
from snipbias.tasks.items import Task
from snipbias.tasks.options import (
    Options,
    by_text,
    choice,
    first_number,
    labels_are_names,
    printed_list,
    read_options,
)
from snipbias.tasks.prompts import general_instructions
from snipbias.tasks.readers import csv_rows, decode, json_lines, placed, read_bytes
from snipbias.tasks.unanswerable import with_twins

SUFFIXES = (".jsonl", ".csv", ".tsv")
CONDITIONS: dict[str, Condition] = {
    "ambiguous": "ambiguous",
    "ambig": "ambiguous",
    "disambiguated": "disambiguated",
    "disambig": "disambiguated",
}
INDICES = ("gold", "label", "unknown", "biased")
MOST_OPTIONS = 1_000


def load(
    path: str | Path, instructions: Sequence[str] | None, columns: Columns | None = None
) -> Task:
    """Load the task of a JSONL, CSV or TSV file; the suffix decides which.

    Args:
        path: the file.
        instructions, columns: see `from_rows`.

    Raises:
        SnipbiasError: the file is missing, or a row is malformed; the message names it.
    """
    path = Path(path).expanduser()
    if path.suffix.lower() not in SUFFIXES and not path.is_dir():
        raise SnipbiasError(
            f"{path} does not end in {', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]}: save the rows "
            "in one of these formats."
        )
    content = read_bytes(path)
    text = decode(content, path)
    rows = json_lines(text, path) if path.suffix.lower() == ".jsonl" else csv_rows(text, path)
    source = f"{path}, sha256 {hashlib.sha256(content).hexdigest()}"
    return from_rows(rows, str(path), instructions, columns, source=source)


def from_rows(
    rows: Iterable[tuple[str, Row]],
    name: str,
    instructions: Sequence[str] | None,
    columns: Columns | None = None,
    *,
    source: str,
) -> Task:
    """Make a task of rows.

    Args:
        rows: (place that an error message names, row).
        name: name of the task.
        instructions: replace those of the rows, or the general ones.
        columns: {our column: the rows' column}.
        source: where the rows come from, for the record.

    Raises:
        SnipbiasError: a row is malformed; the message names its place.
    """
    read = list(rows)
    if not read:
        raise SnipbiasError(f"{name} has no rows: give it at least one, with question and options.")
    columns = checked_columns(name, read, columns or {})
    renamed = [(where, rename(row, columns)) for where, row in read]
    options = [_options(where, row) for where, row in renamed]
    first = _settle_indices([row for _, row in renamed], options)
    items: list[Item] = []
    places: dict[str, str] = {}
    for number, ((where, row), theirs) in enumerate(zip(renamed, options, strict=True), start=1):
        item = _item(where, row, number, theirs, first)
        if item.id in places:
            raise SnipbiasError(
                f"{where}: the id {quoted(item.id)} is already that of {places[item.id]}; give "
                "every row its own id, or drop the column 'id'."
            )
        places[item.id] = where
        items.append(item)
    own = _instructions(renamed)
    return Task(
        name,
        with_twins(items),
        tuple(instructions or own or general_instructions()),
        source=source,
        notes=tuple(notes([row for _, row in renamed], items, own, instructions)),
    )


def _settle_indices(rows: Sequence[dict[str, Any]], options: Sequence[Options]) -> int | None:
    """Replace class labels by names or indices; return what numbered options count from."""
    both = list(zip(rows, options, strict=True))
    for column in INDICES:
        labels = [(row[column], o) for row, o in both if isinstance(row.get(column), Label)]
        by_name = labels_are_names(labels)
        for row in rows:
            if isinstance(label := row.get(column), Label):
                row[column] = label.name if by_name and label.name is not None else label.place
    return first_number((row[column], o) for row, o in both for column in INDICES if column in row)


def _item(where: str, row: Row, number: int, options: Options, first: int | None) -> Item:
    twin, template = (looks(_text(where, row, column)) for column in ("twin", "template"))
    question, context = _text(where, row, "question"), _text(where, row, "context")
    # By default a template is named by its row, so that a row in two files is one template.
    content = "\n".join([question, context, *options.texts]).encode(errors="surrogatepass")
    own_template = f"row-{hashlib.sha256(content).hexdigest()[:12]}"
    indices = {name: _index(where, row, name, options, first) for name in INDICES if name in row}
    label = indices.pop("label", None)
    return placed(
        where,
        Item,
        id=_text(where, row, "id") or f"row-{number}",
        question=question,
        options=options.texts,
        gold=indices.pop("gold", label),
        context=context,
        template=template or twin or own_template,
        condition=_condition(where, row),
        polarity=_text(where, row, "polarity") or None,
        twin=twin,
        **indices,
    )


def _text(where: str, row: Row, column: str) -> str:
    value = row.get(column, "")
    text = as_text((value.name or "") if isinstance(value, Label) else value)
    if text is None:
        raise SnipbiasError(f"{where}: {column!r} is {quoted(value)}; write a text.")
    return text


def _refuse_incomplete(where: str, row: Row) -> None:
    """Refuse a row that lacks required columns, naming all of them at once."""
    numbered = [name for name in row if OPTION_COLUMN.fullmatch(str(name))]
    ways = {
        "question": "question" in row,
        "options": "options" in row or numbered,
        "gold": "gold" in row or "label" in row,
    }
    absent = [name for name, is_there in ways.items() if not is_there]
    if not absent:
        return
    there = [str(name) for name in row]
    others = [name for name in there if name not in (*COLUMNS, *numbered)]
    wanted = ", ".join(f"{name!r}{did_you_mean(name, others)}" for name in absent)
    mapping = " ".join(f"--column {name}=YOURS" for name in absent)
    each = " (options=A,B,C: a column per option)" if "options" in absent else ""
    raise SnipbiasError(
        f"{where}: there is no value for {wanted}; the row has "
        f"{', '.join(map(printable, there[:20])) or 'nothing'}: rename the columns or say which "
        f"are meant, {mapping}{each}; in Python columns={{{absent[0]!r}: 'YOURS'}}. Also read: "
        f"{', '.join(ours for ours in COLUMNS if ours not in ways)}."
    )


def _options(where: str, row: Row) -> Options:
    _refuse_incomplete(where, row)
    if "options" in row:
        options = read_options(row["options"])
        if options is None:
            raise _no_list(where, row, "options")
    else:
        named = {int(match[2]): name for name in row if (match := OPTION_COLUMN.fullmatch(name))}
        if sorted(named) != list(range(len(named))):
            raise SnipbiasError(
                f"{where}: the options {', '.join(named[i] for i in sorted(named))} are not "
                "numbered 0, 1, 2, ... without a gap; only the last ones may be empty."
            )
        options = Options(tuple(_text(where, row, named[i]) for i in range(len(named))))
    if len(options.texts) > MOST_OPTIONS:
        raise SnipbiasError(
            f"{where}: there are {len(options.texts):,} options, and each is a pass through the "
            f"model; give at most {MOST_OPTIONS:,}."
        )
    return options


def _no_list(where: str, row: Row, column: str) -> SnipbiasError:
    return SnipbiasError(
        f"{where}: {column!r} is {quoted(row[column])}; write a list of texts, or texts separated "
        "by |."
    )


def _index(where: str, row: Row, column: str, options: Options, first: int | None) -> int:
    """The index of the option that a column names."""
    value, texts = row[column], options.texts
    index = choice(value, options, first if options.are_numbered else 0)
    if index is not None:
        return index
    if options.are_numbered and first is None and choice(value, options, 1) is not None:
        why = "which may count from 0 or as the options are numbered; write the text of the option"
    elif options.marks and isinstance(value, str) and by_text(value.strip(), options) is not None:
        why = "the text of one option and the letter of another; write the option's number, "
        why += "counting from 0"
    else:
        why = f"which is none of the options {listed(texts)}; write the text of one, or its number "
        why += f"from 0 to {len(texts) - 1}"
    raise SnipbiasError(f"{where}: {column!r} is {quoted(value)}, {why}.")


def _condition(where: str, row: Row) -> Condition | None:
    value = _text(where, row, "condition").lower()
    if value and value not in CONDITIONS:
        raise SnipbiasError(
            f"{where}: 'condition' is {quoted(value)}; write ambiguous or disambiguated, or leave "
            "it empty."
        )
    return CONDITIONS.get(value)


def _instructions(rows: Iterable[tuple[str, Row]]) -> tuple[str, ...]:
    """The distinct instructions of all rows, in order of first appearance."""
    found: dict[str, None] = {}
    for where, row in rows:
        before = set(found)
        if (value := row.get("instructions")) is not None:
            texts = as_texts(value)
            if isinstance(value, str):
                texts = printed_list(value) or [text.strip() for text in value.split("|")]
            if texts is None:
                raise _no_list(where, row, "instructions")
            found |= dict.fromkeys(texts)
        if "instruction" in row:
            found[_text(where, row, "instruction")] = None
        for text in found.keys() - before:
            placed(where, refuse_half_letters, text)
    return tuple(text for text in found if text)
