"""A user's own rows: JSONL, CSV and TSV files, Hugging Face datasets, or rows in memory.

Columns (any other is ignored; an empty cell counts as absent):

- `question`: required.
- `options`: a list, or in CSV "a | b | c"; or one column each, `option_0`, `option_1`, ... or
  `ans0`, `ans1`, ...
- `gold` (or `label`): the right option, by its text or its index from 0. Where the options
  themselves are numbers, a text that is one of them means that option.
- `context`, `template`, `condition` (ambiguous | disambiguated, also ambig | disambig),
  `polarity`, `unknown` and `biased` (text or index of the option), `id`, `twin`: optional.
  `template` names what sibling rows were made from; without it twins are siblings and any other
  row is on its own.
- `instruction` (a text) or `instructions` (a list, in CSV "a | b"): the distinct values over all
  rows become the task's instructions, under each of which every row is asked.

A mapping {our column: their column} renames columns for any reader.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from snipbias.base.errors import SnipbiasError
from snipbias.base.words import did_you_mean
from snipbias.tasks.items import Condition, Item, Task
from snipbias.tasks.readers import (
    csv_rows,
    decode,
    item_at,
    json_lines,
    read_bytes,
)

COLUMNS = (
    "question",
    "options",
    "gold",
    "context",
    "template",
    "condition",
    "polarity",
    "unknown",
    "biased",
    "id",
    "twin",
    "instruction",
    "instructions",
)
SUFFIXES = (".jsonl", ".csv", ".tsv")
CONDITIONS: dict[str, Condition] = {
    "ambiguous": "ambiguous",
    "ambig": "ambiguous",
    "disambiguated": "disambiguated",
    "disambig": "disambiguated",
}
OPTION_COLUMN = re.compile(r"(option_|ans)(\d+)")
MANY_INSTRUCTIONS = 20

Row = Mapping[str, Any]
Columns = Mapping[str, str]


def load(
    path: str | Path,
    instructions: Sequence[str] | None,
    columns: Columns | None = None,
    *,
    default_instructions: Sequence[str],
) -> Task:
    """The task of a JSONL, CSV or TSV file; its suffix says which it is."""
    path = Path(path).expanduser()
    if path.suffix.lower() not in SUFFIXES and not path.is_dir():
        raise SnipbiasError(
            f"{path} does not end in {', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]}: save the rows "
            "in one of these formats."
        )
    content = read_bytes(path)
    text = decode(content, path)
    rows = json_lines(text, path) if path.suffix.lower() == ".jsonl" else csv_rows(text, path)
    return from_rows(
        rows,
        str(path),
        instructions,
        columns,
        default_instructions=default_instructions,
        source=f"{path}, sha256 {hashlib.sha256(content).hexdigest()}",
    )


def from_rows(
    rows: Iterable[tuple[str, Row]],
    name: str,
    instructions: Sequence[str] | None,
    columns: Columns | None = None,
    *,
    default_instructions: Sequence[str],
    source: str,
) -> Task:
    """The task of rows, each with the words by which an error names its place."""
    read = list(rows)
    if not read:
        raise SnipbiasError(f"{name} has no rows: give it at least one, with question and options.")
    _check_columns(name, read, columns or {})
    renamed = [(where, _rename(row, columns or {})) for where, row in read]
    items: list[Item] = []
    places: dict[str, str] = {}
    for number, (where, row) in enumerate(renamed, start=1):
        item = _item(where, row, number)
        if item.id in places:
            raise SnipbiasError(
                f"{where}: the id {item.id!r} is already that of {places[item.id]}; give every row "
                "its own, or drop the column 'id'."
            )
        places[item.id] = where
        items.append(item)
    own = _instructions(renamed)
    return Task(
        name,
        tuple(items),
        tuple(instructions or own or default_instructions),
        source=source,
        notes=tuple(_notes(renamed, own, instructions)),
    )


def _check_columns(name: str, rows: Sequence[tuple[str, Row]], columns: Columns) -> None:
    there = list(dict.fromkeys(str(column) for _, row in rows for column in row))
    for ours, theirs in columns.items():
        if ours not in COLUMNS and not OPTION_COLUMN.fullmatch(ours):
            raise SnipbiasError(
                f"the column mapping names {ours!r}, which is no column of ours"
                f"{did_you_mean(ours, list(COLUMNS))}: use {', '.join(COLUMNS)}."
            )
        if theirs not in there:
            raise SnipbiasError(
                f"{name} has no column {theirs!r}{did_you_mean(theirs, there)}: correct what the "
                f"column mapping says for {ours!r}."
            )


def _rename(row: Row, columns: Columns) -> dict[str, Any]:
    """The row under our names, without empty cells; a mapped column replaces one of our name."""
    renamed = {**row, **{ours: row.get(theirs) for ours, theirs in columns.items()}}
    return {name: value for name, value in renamed.items() if not _is_absent(value)}


def _is_absent(value: Any) -> bool:
    if isinstance(value, str):
        return not value.strip()
    return value is None or (isinstance(value, float) and math.isnan(value))


def _own_template(question: str, context: str, options: Sequence[str]) -> str:
    """A name by content: the same row in two files is one template, two first rows are not."""
    content = "\n".join([question, context, *options])
    return f"row-{hashlib.sha256(content.encode()).hexdigest()[:12]}"


def _item(where: str, row: Row, number: int) -> Item:
    _refuse_incomplete(where, row)
    options = _options(where, row)
    gold = "gold" if "gold" in row else "label"
    identity = _text(where, row, "id") or f"row-{number}"
    twin = _text(where, row, "twin")
    question, context = _text(where, row, "question"), _text(where, row, "context")
    return item_at(
        where,
        id=identity,
        question=question,
        options=options,
        gold=_index(where, row, gold, options),
        context=context,
        template=_text(where, row, "template") or twin or _own_template(question, context, options),
        condition=_condition(where, row),
        polarity=_text(where, row, "polarity") or None,
        unknown=_index(where, row, "unknown", options) if "unknown" in row else None,
        biased=_index(where, row, "biased", options) if "biased" in row else None,
        twin=twin,
    )


def _text(where: str, row: Row, column: str) -> str:
    value = row.get(column)
    if value is None:
        return ""
    if isinstance(value, (str, int, float)) and not isinstance(value, bool):
        return str(value).strip()
    raise SnipbiasError(f"{where}: {column!r} is {value!r}; write a text.")


def _refuse_incomplete(where: str, row: Row) -> None:
    """Refuse a row without what is required, naming all of it at once."""
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
    raise SnipbiasError(
        f"{where}: there is no value for {wanted}; the row has {', '.join(there) or 'nothing'}: "
        f"rename the columns or map each, --column {absent[0]}=YOURS on the command line, "
        f"columns={{{absent[0]!r}: 'YOURS'}} in Python."
    )


def _options(where: str, row: Row) -> tuple[str, ...]:
    if "options" in row:
        return tuple(_list(where, row, "options"))
    numbered = {
        int(match[2]): name for name in row if (match := OPTION_COLUMN.fullmatch(str(name)))
    }
    if sorted(numbered) != list(range(len(numbered))):
        raise SnipbiasError(
            f"{where}: the options {', '.join(numbered[i] for i in sorted(numbered))} do not count "
            "0, 1, 2, ... without a gap; number them so, and leave empty cells at the end only."
        )
    return tuple(_text(where, row, numbered[i]) for i in range(len(numbered)))


def _list(where: str, row: Row, column: str) -> list[str]:
    """The texts of a list, or of one text with | between them."""
    value = row[column]
    parts = value.split("|") if isinstance(value, str) else value
    if not isinstance(parts, Sequence) or not all(
        isinstance(part, (str, int, float)) and not isinstance(part, bool) for part in parts
    ):
        raise SnipbiasError(
            f"{where}: {column!r} is {value!r}; write a list of texts, or texts with | between."
        )
    return [str(part).strip() for part in parts]


def _index(where: str, row: Row, column: str, options: Sequence[str]) -> int:
    """The option that a column names, by its text or by its index."""
    value = row[column]
    if isinstance(value, str):
        text = value.strip()
        if text in options:
            return options.index(text)
        value = int(text) if re.fullmatch(r"[0-9]+", text) else text
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < len(options):
        return value
    raise SnipbiasError(
        f"{where}: {column!r} is {value!r}, which is none of the options {_listed(options)}; write "
        f"the text of one, or its number from 0 to {len(options) - 1}."
    )


def _listed(options: Sequence[str]) -> str:
    return ", ".join(repr(option) for option in options)


def _condition(where: str, row: Row) -> Condition | None:
    value = _text(where, row, "condition").lower()
    if value and value not in CONDITIONS:
        raise SnipbiasError(
            f"{where}: 'condition' is {value!r}; write ambiguous or disambiguated, or nothing."
        )
    return CONDITIONS.get(value)


def _instructions(rows: Iterable[tuple[str, Row]]) -> tuple[str, ...]:
    """The distinct instructions of all rows, in the order in which they first come."""
    found: dict[str, None] = {}
    for where, row in rows:
        if "instructions" in row:
            found |= dict.fromkeys(_list(where, row, "instructions"))
        if "instruction" in row:
            found[_text(where, row, "instruction")] = None
    return tuple(text for text in found if text)


def _notes(
    rows: Sequence[tuple[str, Row]], own: Sequence[str], given: Sequence[str] | None
) -> Iterator[str]:
    if not any("template" in row or "twin" in row for _, row in rows):
        yield "there is no column 'template': every row counts as independent of all others"
    if own and given:
        yield "the rows bring their own instructions: those given were used instead"
    if len(own) > MANY_INSTRUCTIONS:
        yield f"the rows bring {len(own)} instructions: every row is asked under each of them"
