"""Read text files: decoding, JSON lines, CSV, and errors that name file and line."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from snipbias.base.errors import SnipbiasError
from snipbias.base.files import fields_once
from snipbias.base.words import quoted

SUFFIXES = (".jsonl", ".csv", ".tsv")
SEPARATORS = {",": "commas", "\t": "tabs", ";": "semicolons"}
SEPARATOR_LINE = re.compile(r"\"?sep=([,;|:^~\t])\"?(?=\r|\n|$)", re.IGNORECASE)


class Rows(NamedTuple):
    """Rows to make a task of, each with the place that an error about it names."""

    rows: Iterable[tuple[str, Mapping[str, Any]]]
    name: str
    source: str


def read_bytes(path: Path) -> bytes:
    """Read a file.

    Raises:
        SnipbiasError: it is missing, unreadable or a folder.
    """
    if path.is_dir():
        raise SnipbiasError(f"{path} is a folder: give the path of a file in it.")
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise SnipbiasError(f"there is no file {path}: check the path.") from None
    except OSError as error:
        raise SnipbiasError(
            f"{path} cannot be read ({error.strerror}): check that you may read this file."
        ) from error


def decode(content: bytes, path: Path) -> str:
    """Decode UTF-8, with or without a byte order mark.

    Raises:
        SnipbiasError: the content is not UTF-8.
    """
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise SnipbiasError(
            f"{_at(path, line)}: this is not UTF-8 text; save the file as UTF-8."
        ) from None


def read_file(path: str | Path) -> Rows:
    """Read a JSONL, CSV or TSV file; the suffix decides which.

    Raises:
        SnipbiasError: the file is missing or malformed.
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
    return Rows(rows, str(path), f"{path}, sha256 {hashlib.sha256(content).hexdigest()}")


def json_lines(text: str, path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield (file and line, row) for every line that is not blank.

    Raises:
        SnipbiasError: a line is not a JSON object.
    """
    # Not splitlines(), which also splits at U+2028, allowed inside a JSON string.
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        where = _at(path, number)
        try:
            row = json.loads(line, object_pairs_hook=fields_once)
        except (ValueError, RecursionError) as error:
            reason = error.msg if isinstance(error, json.JSONDecodeError) else str(error)
            raise SnipbiasError(
                f"{where}: this line is not valid JSON ({reason}); write one JSON object per line."
            ) from None
        if not isinstance(row, dict):
            raise SnipbiasError(
                f'{where}: this line is not a JSON object; write {{"question": ...}} per line.'
            )
        yield where, row


def csv_rows(text: str, path: Path, *, quotes: bool = True) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield (file and line, row) for every row below the header.

    Cells are separated by tabs in .tsv and by commas elsewhere, unless a first line `sep=` says
    otherwise.

    Args:
        text: content of the file.
        path: the file, for messages.
        quotes: whether quotation marks quote cells, or are ordinary characters.

    Raises:
        SnipbiasError: a row has another number of cells than the header, or a quotation is open.
    """
    delimiter = "\t" if path.suffix.lower() == ".tsv" else ","
    said = SEPARATOR_LINE.match(text)
    if said:  # a hint for Excel; its line break stays, so that lines keep their numbers
        delimiter, text = said[1], text[said.end() :]
    quoting = csv.QUOTE_MINIMAL if quotes else csv.QUOTE_NONE
    csv.field_size_limit(max(csv.field_size_limit(), len(text)))  # a cell may be a whole document
    file = io.StringIO(text, newline="")
    reader = csv.reader(file, delimiter=delimiter, quoting=quoting, strict=True)
    header: list[str] | None = None
    start = 1  # a row whose cells contain line breaks is named by its first line
    try:
        for cells in reader:
            where, start = _at(path, start), reader.line_num + 1
            if not any(cell.strip() for cell in cells):
                continue
            if header is None:
                header = _header(where, cells, delimiter)
            elif len(cells) != len(header):
                raise SnipbiasError(
                    f"{where}: this row has {len(cells)} cells, but the first row {len(header)}; "
                    "put cells that contain a separator in double quotes."
                )
            else:
                yield where, dict(zip(header, cells, strict=True))
    except csv.Error as error:
        raise SnipbiasError(
            f"{_at(path, start)}: this is not valid {path.suffix[1:].upper()} ({error}); check "
            "the double quotes."
        ) from None


def _header(where: str, cells: Sequence[str], delimiter: str) -> list[str]:
    names = [cell.strip() for cell in cells]
    others = [name for name in SEPARATORS if name != delimiter and name in cells[0]]
    if len(cells) == 1 and others:
        wanted = SEPARATORS.get(delimiter, delimiter)
        raise SnipbiasError(
            f"{where}: the only column is {quoted(cells[0])}; separate cells with {wanted}, not "
            f"{SEPARATORS[others[0]]}."
        )
    if twice := [name for name in names if name and names.count(name) > 1]:
        raise SnipbiasError(
            f"{where}: the column {quoted(min(twice))} appears twice; give every column its own "
            "name."
        )
    return names


def _at(path: Path, line: int) -> str:
    """How every error message names a place in a file."""
    return f"{path}, line {line}"


@contextmanager
def at(where: str) -> Iterator[None]:
    """Name the place of a row in every error about it.

    Raises:
        SnipbiasError: the block raised it; the message begins with `where`.
    """
    try:
        yield
    except SnipbiasError as error:
        raise SnipbiasError(f"{where}: {error.args[0]}") from None
