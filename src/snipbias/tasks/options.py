"""Read options as people write them, and find the option that a cell names."""

from __future__ import annotations

import ast
import json
import re
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from string import ascii_lowercase
from typing import Any

from snipbias.tasks.cells import Label, as_text, as_texts, plain
from snipbias.tasks.item import looks

# "A. x", "A: x", "A) x", "(A) x", "[A] x", and the same with numbers. A full stop or colon must be
# followed by a space: "A.M." and "1.5" are texts.
MARKED = re.compile(
    r"(?P<open>[(\[]?)(?P<mark>[A-Za-z]|[0-9]{1,3})(?P<close>[)\]]|[.:](?=\s|$))\s*(?P<text>.*)",
    re.DOTALL,
)
BULLET = re.compile(r"[-*\u2022]\s+(?P<text>\S.*)", re.DOTALL)
HEADING = re.compile(r"(options|choices|answers)\s*:?", re.IGNORECASE)
NUMBER = re.compile(r"([0-9]{1,9})(\.0*)?")
# An element of a list printed by Python or numpy: a quoted text or a number, a comma or a space.
ELEMENT = re.compile(
    r"\s*(?:np\.\w+\()?(?P<value>'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"|[-+]?[0-9][0-9.e+-]*)\)?"
    r"(?P<between>\s*,\s*|\s+|$)",
    re.DOTALL,
)


INDICES = ("gold", "label", "unknown", "biased")


@dataclass(frozen=True)
class Options:
    """The options of a row.

    Attributes:
        texts: their texts.
        marks: the letters or numbers printed before them, in lower case. Those that stay in the
            texts may be in any order.
        first: the number of the first option; None if a number names no option.
    """

    texts: tuple[str, ...]
    marks: tuple[str, ...] = ()
    first: int | None = 0

    @property
    def are_numbered(self) -> bool:
        """Whether they are numbered 1, 2, 3, ..., unlike their indices from 0."""
        return self.marks[:1] == ("1",) and _are_in_order(self.marks)

    def choice(self, value: Any) -> int | None:
        """The index of the option that a plain cell names; None if it names none, or two.

        A cell names an option by its text, by its printed letter or number, by its letter (unless
        an option is itself a letter), or by a number that counts from `first` (digits in a text
        count only if no option is itself a number).
        """
        text = as_text(value)
        if text is None:
            return None
        if not isinstance(value, str):
            return self._by_number(text)
        named, meant = self.by_text(text), self._by_letter(text.strip("()[].: ").lower())
        if named is not None:
            return None if self.marks and meant not in (None, named) else named
        if meant is not None:
            return meant
        marked = MARKED.fullmatch(text)
        if marked and (place := self.by_text(marked["text"].strip())) is not None:
            mark = self.marks[place] if self.marks else chr(ord("a") + place)
            return place if marked["mark"].lower() == mark else None
        return None if any(map(NUMBER.fullmatch, self.texts)) else self._by_number(text)

    def by_text(self, text: str) -> int | None:
        """The option with that text, or else the only one that looks like it in any letter case."""
        if text in self.texts:
            return self.texts.index(text)
        said = looks(text).casefold()
        alike = [i for i, option in enumerate(self.texts) if looks(option).casefold() == said]
        return alike[0] if len(alike) == 1 else None

    def _by_letter(self, letter: str) -> int | None:
        """The option of that letter, printed or counted."""
        if not re.fullmatch("[a-z]", letter):
            return None
        place = ascii_lowercase.index(letter)
        if self.marks:  # out of order, a letter may name one option and the place of another
            return place if self.marks[place : place + 1] == (letter,) else None
        if any(len(text) == 1 and text.isalpha() for text in self.texts):
            return None
        return place if place < len(self.texts) else None

    def _by_number(self, text: str) -> int | None:
        number = NUMBER.fullmatch(text.strip("()[]: "))
        if number is None or self.first is None:
            return None
        place = int(number[1]) - self.first
        return place if 0 <= place < len(self.texts) else None


def labelled(texts: Sequence[str]) -> Options:
    """Options that keep their texts, with the distinct marks that all of them print, if any.

    Numbers out of order are unclear if one of them could also count the options: "12. May" cannot.
    """
    marks, _ = _marks(texts)
    could_count = any(mark.isdigit() and int(mark) <= len(texts) for mark in marks)
    is_unclear = could_count and not _are_in_order(marks)
    return Options(tuple(texts), marks, None if is_unclear else 0)


def read_options(value: Any) -> Options | None:
    """Read the options of a plain cell; None if it is unclear where one option ends.

    A list stays as it is. A text is a printed list, has one option per line, or separates options
    with | or ; (the latter only if it holds no other separator). Letters, numbers or bullets in
    front of all options are removed.
    """
    if not isinstance(value, str):
        texts = as_texts(value)
        return None if texts is None else labelled(texts)
    text = value.strip()
    if text.startswith(("[", "(", "array(")):
        texts = printed_list(text)
        if texts is not None:
            return labelled(texts)
        if re.match(r"(array\()?[\[(]\s*(np\.\w+\()?[\"']", text) and text.endswith(("]", ")")):
            return None
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if lines and HEADING.fullmatch(lines[0]):
        lines, text = lines[1:], text.partition("\n")[2]
    if len(lines) == 1 and _unmarked(lines[0].split("\\n")):
        lines = lines[0].split("\\n")  # line breaks written as a backslash and an n
    if len(lines) > 1 and (unmarked := _unmarked(lines)):
        return unmarked
    if "|" in text:
        parts = [part.strip() for part in text.split("|")]
        return _unmarked(parts) or labelled(parts)
    if len(lines) > 1:  # an option of several lines is not told from several options
        marks = [match["mark"].lower() for line in lines if (match := MARKED.fullmatch(line))]
        return None if len(marks) > 1 and _are_in_order(marks) else labelled(lines)
    parts = [part.strip() for part in text.split(";")]
    if len(parts) < 2 or not all(parts):
        return None
    return _unmarked(parts) or (None if re.search(r"[,/&\t]", text) else labelled(parts))


def printed_list(text: str) -> tuple[str, ...] | None:
    """Read a list as JSON, Python or numpy prints it; None if the text is not one."""
    try:
        return as_texts(plain(json.loads(text)))
    except (ValueError, RecursionError):
        pass
    if text.startswith("array("):
        text = text[len("array(") : -1].partition(", dtype=")[0]
    if text[:1] + text[-1:] not in ("[]", "()"):
        return None
    inside = text[1:-1].strip().removesuffix(",")
    found = list(ELEMENT.finditer(inside))
    if not found or "".join(element[0] for element in found) != inside:
        return None
    if len({"," in element["between"] for element in found[:-1]}) > 1:
        return None  # Python joins 'b' 'c' to one text, numpy does not
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a backslash that escapes nothing
            return tuple(
                str(ast.literal_eval(value)).strip() if value[0] in "'\"" else value
                for value in (element["value"] for element in found)
            )
    except (ValueError, SyntaxError):
        return None


def _unmarked(parts: Sequence[str]) -> Options | None:
    """Remove letters, numbers or bullets; None unless all parts carry them, in order."""
    bullets = [BULLET.fullmatch(part) for part in parts]
    if len(parts) > 1 and all(bullets):
        return Options(tuple(match["text"] for match in bullets if match))
    marks, texts = _marks(parts)
    return Options(texts, marks) if marks and _are_in_order(marks) else None


def _marks(parts: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The distinct letters or numbers in front of all parts, and what follows them; or nothing."""
    matches = [match for part in parts if (match := MARKED.fullmatch(part))]
    marks = tuple(match["mark"].lower() for match in matches)
    styles = {(match["open"], match["close"], match["mark"].isdigit()) for match in matches}
    if len(set(marks)) < max(2, len(parts)) or len(styles) > 1:
        return (), ()
    return marks, tuple(match["text"].strip() for match in matches)


def _are_in_order(marks: Sequence[str]) -> bool:
    """Whether they are a, b, c, ... or count from 0 or 1."""
    numbers = [str(number) for number in range(len(marks) + 1)]
    return list(marks) in (list(ascii_lowercase[: len(marks)]), numbers[:-1], numbers[1:])


def settled(rows: Sequence[dict[str, Any]], options: Sequence[Options]) -> list[Options]:
    """Replace class labels by names or indices, and find out what numbered options count from."""
    both = list(zip(rows, options, strict=True))
    for column in INDICES:
        labelled = [(row, o) for row, o in both if isinstance(row.get(column), Label)]
        by_name = _labels_are_names((row[column], o) for row, o in labelled)
        for row, _ in labelled:
            label = row[column]
            row[column] = label.name if by_name and label.name is not None else label.place
    cells = ((row[column], o) for row, o in both for column in INDICES if column in row)
    first = _first_number(cells)
    return [replace(o, first=first) if o.are_numbered else o for o in options]


def _first_number(cells: Iterable[tuple[Any, Options]]) -> int | None:
    """Whether a column counts numbered options (1, 2, 3, ...) from 0 or from 1.

    A 0 in the column, or the number of a last option, decides; None if there is neither.
    """
    seen = {0: False, 1: False}
    for value, options in cells:
        if options.are_numbered and (number := NUMBER.fullmatch(as_text(value) or "")):
            seen[0] |= int(number[1]) == 0
            seen[1] |= int(number[1]) == len(options.texts)
    return 0 if seen[0] else 1 if seen[1] else None


def _labels_are_names(cells: Iterable[tuple[Label, Options]]) -> bool:
    """Whether a column's class labels name options rather than count them.

    They do if every row has an option with its label's name; or if some rows have one, unless the
    names are letters or numbers in order, such as MMLU's "A" to "D".
    """
    labelled = [(label, options) for label, options in cells if label.name is not None]
    found = [options.by_text(str(label.name)) is not None for label, options in labelled]
    if all(found):
        return bool(found)
    return any(found) and not _are_in_order([name.lower() for name in labelled[0][0].names])
