"""A user's own rows: JSONL, CSV and TSV files, Hugging Face datasets, or rows in memory.

`docs/data.md` lists the columns, how their cells may be written and how they are renamed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from snipbias.base.errors import SnipbiasError
from snipbias.base.markdown import printable
from snipbias.base.words import did_you_mean, listed, quoted
from snipbias.tasks.cells import Row, as_texts, text_of
from snipbias.tasks.columns import COLUMNS, OPTION_COLUMN, is_ours, renamed
from snipbias.tasks.item import Condition, Item, looks, refuse_half_letters
from snipbias.tasks.items import Task
from snipbias.tasks.options import INDICES, Options, labelled, printed_list, read_options, settled
from snipbias.tasks.prompts import general_instructions
from snipbias.tasks.readers import Rows, at
from snipbias.tasks.unanswerable import with_twins

CONDITIONS: dict[str, Condition] = {
    "ambiguous": "ambiguous",
    "ambig": "ambiguous",
    "disambiguated": "disambiguated",
    "disambig": "disambiguated",
}
MOST_OPTIONS = 1_000
MANY_INSTRUCTIONS = 20


def from_rows(
    found: Rows, instructions: Sequence[str] | None = None, columns: Mapping[str, str] | None = None
) -> Task:
    """Make a task of rows.

    Args:
        found: the rows, the name of the task, and where they come from.
        instructions: replace those of the rows, or the general ones.
        columns: {our column: the rows' column}.

    Raises:
        SnipbiasError: a row is malformed; the message names its place.
    """
    found = found._replace(rows=list(found.rows))
    if not found.rows:
        raise SnipbiasError(
            f"{found.name} has no rows: give it at least one, with question and options."
        )
    rows = renamed(found, columns or {})
    places = [where for where, _ in found.rows]
    options = []
    for where, row in zip(places, rows, strict=True):
        with at(where):
            options.append(_options(row))
    options = settled(rows, options)
    items: list[Item] = []
    place_of: dict[str, str] = {}
    for where, row, theirs in zip(places, rows, options, strict=True):
        with at(where):
            item = _item(row, len(items) + 1, theirs)
            if item.id in place_of:
                raise SnipbiasError(
                    f"the id {quoted(item.id)} is already that of {place_of[item.id]}; give every "
                    "row its own id, or drop the column 'id'."
                )
        place_of[item.id] = where
        items.append(item)
    own: dict[str, None] = {}  # distinct, in order of first appearance
    for where, row in zip(places, rows, strict=True):
        with at(where):
            own |= dict.fromkeys(_instructions(row))
    return Task(
        found.name,
        with_twins(items),
        tuple(instructions or own or general_instructions()),
        source=found.source,
        notes=tuple(_notes(rows, items, tuple(own), instructions)),
    )


def _item(row: Row, number: int, options: Options) -> Item:
    twin, template = (looks(text_of(row, column)) for column in ("twin", "template"))
    question, context = text_of(row, "question"), text_of(row, "context")
    indices = {name: _index(row, name, options) for name in INDICES if name in row}
    if "label" in indices:
        indices.setdefault("gold", indices.pop("label"))
    identity = text_of(row, "id") or f"row-{number}"
    condition = text_of(row, "condition").lower()
    if condition and condition not in CONDITIONS:
        raise SnipbiasError(
            f"'condition' is {quoted(condition)}; write ambiguous or disambiguated, or leave it "
            "empty."
        )
    # By default a template is named by its row, so that a row in two files is one template.
    content = "\n".join([question, context, *options.texts]).encode(errors="surrogatepass")
    return Item(
        id=identity,
        question=question,
        options=options.texts,
        context=context,
        template=template or twin or f"row-{hashlib.sha256(content).hexdigest()[:12]}",
        condition=CONDITIONS.get(condition),
        polarity=text_of(row, "polarity") or None,
        twin=twin,
        **indices,
    )


def _options(row: Row) -> Options:
    """The options of a row, which must also have a question and say which option is right."""
    numbered = {int(match[2]): name for name in row if (match := OPTION_COLUMN.fullmatch(name))}
    ways = {
        "question": "question" in row,
        "options": "options" in row or numbered,
        "gold": "gold" in row or "label" in row,
    }
    if absent := [name for name, is_there in ways.items() if not is_there]:
        raise SnipbiasError(_what_is_absent(row, absent))
    if "options" in row:
        options = read_options(row["options"])
        if options is None or not options.texts:
            raise _no_list(row, "options")
    elif sorted(numbered) != list(range(len(numbered))):
        raise SnipbiasError(
            f"the options {', '.join(numbered[i] for i in sorted(numbered))} are not numbered 0, "
            "1, 2, ... without a gap; only the last ones may be empty."
        )
    else:
        options = labelled([text_of(row, numbered[i]) for i in range(len(numbered))])
    if len(options.texts) > MOST_OPTIONS:
        raise SnipbiasError(
            f"there are {len(options.texts):,} options, and each is a pass through the model; give "
            f"at most {MOST_OPTIONS:,}."
        )
    return options


def _what_is_absent(row: Row, absent: Sequence[str]) -> str:
    """All that a row lacks, and how to say which of its columns are meant."""
    others = [name for name in row if name not in COLUMNS and not OPTION_COLUMN.fullmatch(name)]
    wanted = ", ".join(f"{name!r}{did_you_mean(name, others)}" for name in absent)
    mapping = " ".join(f"--column {name}=YOURS" for name in absent)
    there = ", ".join(map(printable, list(row)[:20]))
    each = " (options=A,B,C: a column per option)" if "options" in absent else ""
    return (
        f"there is no value for {wanted}; the row has {there or 'nothing'}: rename the columns or "
        f"say which are meant, {mapping}{each}; in Python columns={{{absent[0]!r}: 'YOURS'}}. Also "
        "read: "
        f"{', '.join(ours for ours in COLUMNS if ours not in ('question', 'options', 'gold'))}."
    )


def _no_list(row: Row, column: str) -> SnipbiasError:
    return SnipbiasError(
        f"{column!r} is {quoted(row[column])}; write a list of texts, or texts separated by |."
    )


def _index(row: Row, column: str, options: Options) -> int:
    """The index of the option that a column names."""
    value, texts = row[column], options.texts
    index = options.choice(value)
    if index is not None:
        return index
    counted = (replace(options, first=first).choice(value) for first in (0, 1))
    if options.first is None and any(place is not None for place in counted):
        why = "which may count from 0 or as the options are numbered; write the text of the option"
    elif options.marks and isinstance(value, str) and options.by_text(value.strip()) is not None:
        why = "the text of one option and the letter of another; write the option's number, "
        why += "counting from 0"
    else:
        why = f"which is none of the options {listed(texts)}; write the text of one, or its number "
        why += f"from 0 to {len(texts) - 1}"
    raise SnipbiasError(f"{column!r} is {quoted(value)}, {why}.")


def _instructions(row: Row) -> Iterator[str]:
    """The instructions that a row names."""
    texts = as_texts(value := row.get("instructions", []))
    if isinstance(value, str):
        texts = printed_list(value) or [text.strip() for text in value.split("|")]
    if texts is None:
        raise _no_list(row, "instructions")
    for text in (*texts, text_of(row, "instruction")):
        refuse_half_letters(text)
        if text:
            yield text


def _notes(
    rows: Sequence[Row], items: Sequence[Item], own: Sequence[str], given: Sequence[str] | None
) -> Iterator[str]:
    """Say what is not read, and what a missing column means."""
    columns = dict.fromkeys(name for row in rows for name in row)
    if "template" not in columns and "twin" not in columns:
        yield "there is no column 'template': every row counts as independent"
    others = [name for name in columns if name.strip() and not is_ours(name)]
    others += ["label"] if any("label" in row and "gold" in row for row in rows) else []
    if others:
        yield f"columns that are not used: {listed(others)}"
    if own and given:
        yield "the rows' own instructions were replaced by those given"
    if len(own) > MANY_INSTRUCTIONS:
        yield f"the rows name {len(own)} instructions: every row is asked under each of them"
    told = [item for item in items if item.condition and item.unknown is not None]
    odd = sum((i.gold == i.unknown) != (i.condition == "ambiguous") for i in told)
    if odd:
        yield (
            f"in {odd:,} of {len(items):,} rows the right answer does not fit the condition: it is "
            "the unknown option in ambiguous rows, and only in these"
        )
