"""BBQ (Parrish et al. 2021): its eleven categories, read from the official JSONL files."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from snipbias.base.errors import SnipbiasError
from snipbias.base.words import quoted
from snipbias.tasks.fetch import OFFICIAL, fetch
from snipbias.tasks.item import Condition, Item
from snipbias.tasks.items import Task
from snipbias.tasks.mini import load_category
from snipbias.tasks.prompts import general_instructions
from snipbias.tasks.readers import at, decode, json_lines

CATEGORIES = tuple(OFFICIAL)
MINI = {"Age": "age", "SES": "ses", "Disability_status": "disability"}  # whose instructions fit
CONDITIONS: dict[str, Condition] = {"ambig": "ambiguous", "disambig": "disambiguated"}
TEMPLATES = 25
OPTIONS = ("ans0", "ans1", "ans2")

# BBQ writes one group in several ways; a row's `answer_info` says "woman" where its
# `stereotyped_groups` say "F".
SAME_GROUP: dict[str, str] = {
    **dict.fromkeys(("man", "men", "boy", "boys", "male"), "m"),
    **dict.fromkeys(("woman", "women", "girl", "girls", "female"), "f"),
}
# "F-Black", "lowSES-M-Black", "highSES-White"; never "nonOld", which is one word.
GROUP_PARTS = re.compile(r"(?:(?P<ses>lowSES|highSES)[-_])?(?:(?P<gender>[MF])[-_])?(?P<group>.*)")


def load(category: str, data_dir: str | Path | None = None) -> Task:
    """Load one category; `fetch` explains where its file comes from."""
    file = fetch(category, data_dir)
    items, found = parse(decode(file.content, file.path), file.path, category)
    notes = (*file.notes, *found)
    asked = general_instructions()
    if category in MINI:
        asked = tuple(load_category(MINI[category])["instructions"])
    return Task(f"bbq:{category}", items, asked, source=file.source, notes=notes)


def parse(text: str, path: Path, category: str) -> tuple[tuple[Item, ...], tuple[str, ...]]:
    """Parse a file's text into items, and notes on what the data does not settle.

    Args:
        text: content of the file, JSON Lines.
        path: the file, for messages.
        category: one of `CATEGORIES`, for the names of items, templates and twins.

    Raises:
        SnipbiasError: there are no rows, or one is malformed.
    """
    rows: list[Row] = []
    for where, record in json_lines(text, path):
        with at(where):
            rows.append(_row(where, record))
    if not rows:
        raise SnipbiasError(f"{path} has no rows: replace it by BBQ's {category}.jsonl.")
    second = _second_targets(rows) if "_x_" in category else {}
    same_questions, repeated_scenes = _merged_templates(rows)
    cluster = {**same_questions, **repeated_scenes}
    times: Counter[int] = Counter()
    items = []
    for row, twin in zip(rows, _twins(rows, category), strict=True):
        times[row.example_id] += 1
        again = "" if times[row.example_id] == 1 else f"-{times[row.example_id]}"
        scene = cluster.get(row.question_index, row.question_index)
        with at(row.where):
            item = Item(
                id=f"{category}-{row.example_id:05d}{again}",
                question=row.question,
                options=row.options,
                gold=row.label,
                context=row.context,
                template=f"{category}-{scene.zfill(2)}",
                condition=row.condition,
                polarity=row.polarity,
                unknown=row.unknown,
                biased=_biased(row, second.get(row.question_index, "")),
                twin=twin,
            )
        items.append(item)
    return tuple(items), tuple(_notes(items, len(repeated_scenes), len(same_questions)))


@dataclass(frozen=True)
class Row:
    """One line of a BBQ file, checked; `names` and `groups` are its `answer_info`."""

    where: str
    example_id: int
    question_index: str
    polarity: str
    condition: Condition
    context: str
    question: str
    options: tuple[str, ...]
    label: int
    names: tuple[str, ...]
    groups: tuple[str, ...]
    stereotyped: frozenset[str]

    @cached_property
    def unknown(self) -> int | None:
        """The option whose group is "unknown"; None unless exactly one is."""
        found = [i for i, group in enumerate(self.groups) if _normal(group) == "unknown"]
        return found[0] if len(found) == 1 else None

    @cached_property
    def targets(self) -> tuple[int, ...]:
        """The named options that are of a stereotyped group, by group or else by name.

        Matching is exact after normalisation ("old" is inside "nonOld"). Nationality needs the
        name: its groups are regions, its stereotyped groups nations.
        """
        named = [i for i in range(len(self.options)) if i != self.unknown]
        by_group = tuple(i for i in named if _group(self.groups[i]) in self.stereotyped)
        by_name = tuple(i for i in named if _normal(self.names[i]) in self.stereotyped)
        return by_group or by_name

    def second(self, option: int) -> str:
        """In Race_x_SES and Race_x_gender, the option's SES or else its gender."""
        parts = GROUP_PARTS.fullmatch(self.groups[option])
        return (parts["ses"] or parts["gender"] or "") if parts else ""


def _group(text: str) -> str:
    parts = GROUP_PARTS.fullmatch(text)
    return _normal(parts["group"] if parts else text)


def _normal(text: str) -> str:
    """Drop letter case, spaces and punctuation; spell men, women and trans in one way."""
    plain = "".join(character for character in text.casefold() if character.isalnum())
    return "trans" if plain.startswith("trans") else SAME_GROUP.get(plain, plain)


def _second_targets(rows: Iterable[Row]) -> dict[str, str]:
    """Infer the stereotyped SES or gender of each template of a crossed category.

    The file names only the stereotyped races. A template's target has the same SES or gender in all
    rows, so it can be read off the rows where race alone identifies the target. It then settles the
    rows where both people are of the stereotyped race. If the rows disagree, nothing is inferred.
    """
    seen: defaultdict[str, set[str]] = defaultdict(set)
    for row in rows:
        if len(row.targets) == 1:
            seen[row.question_index].add(row.second(row.targets[0]))
    return {index: next(iter(values)) for index, values in seen.items() if len(values) == 1}


def _biased(row: Row, second_target: str) -> int | None:
    """The option that the stereotype names: the target of a negative question, else the other."""
    targets = row.targets
    if len(targets) > 1 and second_target:
        targets = tuple(i for i in targets if row.second(i) == second_target)
    if row.unknown is None or len(targets) != 1:
        return None
    if row.polarity == "neg":
        return targets[0]
    return next(i for i in range(len(row.options)) if i not in (targets[0], row.unknown))


def _merged_templates(rows: Iterable[Row]) -> tuple[dict[str, str], dict[str, str]]:
    """Templates to merge with another, which a split must keep together.

    The first asks exactly what an earlier one asks: SES asks in 20 what it asks in 3. The second
    repeats another with proper names (from 26 on), and shares a question with no other one.
    """
    asked: defaultdict[str, set[str]] = defaultdict(set)
    for row in rows:
        asked[row.question_index].add(row.question)
    named = [i for i in asked if re.fullmatch(r"[0-9]{1,9}", i) and int(i) > TEMPLATES]
    first: dict[frozenset[str], str] = {}
    earlier: dict[str, str] = {}
    asks: defaultdict[str, set[str]] = defaultdict(set)
    for index in sorted(asked.keys() - named, key=lambda index: (index.zfill(9), index)):
        earlier[index] = first.setdefault(frozenset(asked[index]), index)
        for question in asked[index]:
            asks[question].add(earlier[index])
    repeats = {index: set[str]().union(*(asks[q] for q in asked[index])) for index in named}
    same_questions = {index: scene for index, scene in earlier.items() if scene != index}
    return same_questions, {i: scenes.pop() for i, scenes in repeats.items() if len(scenes) == 1}


def _twins(rows: Sequence[Row], category: str) -> list[str]:
    """A name per row, shared by its twin; "" for a row without a proper twin.

    Example 2k is a question without the fact, 2k + 1 the same with it; both rows must exist.
    """
    pairs: defaultdict[int, list[Row]] = defaultdict(list)
    for row in rows:
        pairs[row.example_id // 2].append(row)
    names = dict.fromkeys(pairs, "")
    for number, pair in pairs.items():
        asked = {(row.question_index, row.question, row.options) for row in pair}
        conditions = sorted(row.condition for row in pair)
        if conditions == ["ambiguous", "disambiguated"] and len(asked) == 1:
            names[number] = f"{category}-{number:05d}"
    return [names[row.example_id // 2] for row in rows]


def _notes(items: Sequence[Item], repeated_scenes: int, same_questions: int) -> Iterable[str]:
    if repeated_scenes:
        yield f"templates merged with the one they repeat with proper names: {repeated_scenes}"
    if same_questions:
        yield f"templates merged with an earlier one that asks the same: {same_questions}"
    counts = {
        "the biased option": sum(item.biased is None for item in items),
        "the unknown option": sum(item.unknown is None for item in items),
        "the twin": sum(not item.twin for item in items),
    }
    for what, count in counts.items():
        if count:
            yield f"in {count:,} of {len(items):,} rows the data does not say which is {what}"


def _row(where: str, record: Mapping[str, Any]) -> Row:
    info = _field(record, "answer_info", dict)
    pairs = [_field(info, name, list) for name in OPTIONS]
    for name, pair in zip(OPTIONS, pairs, strict=True):
        if [type(text) for text in pair] != [str, str]:
            raise SnipbiasError(
                f"{name!r} in 'answer_info' is not [name, group]; use BBQ's own file, or correct "
                "this row."
            )
    metadata = _field(record, "additional_metadata", dict)
    stereotyped = _field(metadata, "stereotyped_groups", list)
    return Row(
        where=where,
        example_id=_number(record, "example_id"),
        question_index=str(_field(record, "question_index", (str, int))),
        polarity=_one_of(record, "question_polarity", ("neg", "nonneg")),
        condition=CONDITIONS[_one_of(record, "context_condition", CONDITIONS)],
        context=_field(record, "context", str),
        question=_field(record, "question", str),
        options=tuple(_field(record, name, str) for name in OPTIONS),
        label=_number(record, "label"),
        names=tuple(name for name, _ in pairs),
        groups=tuple(group for _, group in pairs),
        stereotyped=frozenset(_normal(str(group)) for group in stereotyped) - {""},
    )


def _field(record: Mapping[str, Any], key: str, kind: Any) -> Any:
    if not isinstance(record.get(key), kind):
        state = "is wrong" if key in record else "is missing"
        raise SnipbiasError(f"the field {key!r} {state}; use BBQ's own file, or correct this row.")
    return record[key]


def _number(record: Mapping[str, Any], key: str) -> int:
    value = _field(record, key, (int, str))
    if isinstance(value, bool) or not re.fullmatch(r"[0-9]{1,9}", str(value)):
        raise SnipbiasError(f"{key!r} is {quoted(value)}; write a whole number, 0 or more.")
    return int(value)


def _one_of(record: Mapping[str, Any], key: str, allowed: Iterable[str]) -> str:
    value = _field(record, key, str)
    if value not in allowed:
        raise SnipbiasError(f"{key!r} is {quoted(value)}; write {' or '.join(allowed)}.")
    return value
