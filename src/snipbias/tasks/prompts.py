"""Prompt templates: where the instruction, the input and the options go.

They are the paper's I, x and C. Neither version of the paper prints a whole prompt.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from functools import cache
from itertools import cycle
from pathlib import Path
from string import ascii_uppercase
from typing import Any

from snipbias.base.errors import SnipbiasError
from snipbias.base.files import shipped
from snipbias.base.words import did_you_mean, listed, quoted
from snipbias.tasks.item import Item

FIELDS = ("instruction", "context", "question", "options")
LETTER = "{letter}"
_FIELD = re.compile(r"\{([A-Za-z_]\w*)\}")


@dataclass(frozen=True)
class PromptTemplate:
    """How an item is presented to a model, and which part of an option is scored as the answer.

    Attributes:
        text: the prompt with the fields {instruction}, {context}, {question} and {options}. A line
            whose only field is {context} is left out for an item without context.
        mark: text before every option; {letter} in it becomes A, B, C and so on.
        between: text between two options.
        join: text that joins the lines of `text`; a space puts them on one line.
        answer: `text` scores the option's words, `letter` its letter.
        name: its name; templates with the same wording are equal whatever their names.
    """

    text: str
    mark: str = "- "
    between: str = "\n"
    join: str = "\n"
    answer: str = "text"
    name: str = field(default="own", compare=False)

    def __post_init__(self) -> None:
        for part in fields(self):
            value = getattr(self, part.name)
            if not isinstance(value, str) or any("\ud800" <= sign <= "\udfff" for sign in value):
                raise SnipbiasError(f"the prompt's {part.name} is {quoted(value)}: give a text.")
        # Trailing spaces would double the one that the answer brings.
        object.__setattr__(self, "text", self.text.strip())
        if fault := self._fault():
            raise SnipbiasError(f"the prompt {quoted(self.name)} {fault}.")

    def _fault(self) -> str | None:
        """What is wrong with it, in words."""
        used, every = set(_FIELD.findall(self.text)), _braced(FIELDS)
        if unknown := sorted(used - set(FIELDS)):
            meant = did_you_mean(unknown[0], FIELDS)
            return f"has a field {{{unknown[0]}}}{meant}: its fields are {every}"
        if missing := [name for name in FIELDS if name not in used]:
            return f"has no place for {_braced(missing)}: its text must contain each of {every}"
        if set(_FIELD.findall(self.mark)) - {"letter"} or _FIELD.search(self.between):
            return f"has a field next to an option: only {LETTER} may be in its mark"
        if not self.mark + self.between:
            how = "give it a mark before each option, or a text between them"
            return f"runs its options together: {how}"
        if self.answer not in ("text", "letter"):
            return f"cannot score {quoted(self.answer)} as the answer: use 'text' or 'letter'"
        if self.answer == "letter" and not self.has_letters:
            return f"scores letters but shows none: write {LETTER} into its mark"
        return None

    @property
    def has_letters(self) -> bool:
        """Whether a letter stands before every option."""
        return LETTER in self.mark

    def render(self, instruction: str, item: Item) -> str:
        """The prompt."""
        return self.ask(instruction, item)[0]

    def ask(
        self, instruction: str, item: Item, order: Sequence[int] | None = None
    ) -> tuple[str, tuple[str, ...]]:
        """The prompt, and the text that is scored for each of its options.

        Args:
            instruction: the instruction.
            item: the item.
            order: `order[j]` is the option at place j; by default the item's own order.

        Raises:
            SnipbiasError: the item has more options than there are letters.
        """
        shown = item.options if order is None else tuple(item.options[i] for i in order)
        if self.has_letters and len(shown) > len(ascii_uppercase):
            raise SnipbiasError(
                f"item {item.id!r} has {len(shown)} options and there are 26 letters: use a "
                "prompt without letters, such as 'list'."
            )
        letters = zip(cycle(ascii_uppercase), shown, strict=False)
        options = (self.mark.replace(LETTER, letter) + option for letter, option in letters)
        values = {
            "instruction": instruction,
            "context": item.context,
            "question": item.question,
            "options": self.between.join(options),
        }
        lines = self.text.split("\n")
        if not item.context:
            lines = [line for line in lines if set(_FIELD.findall(line)) != {"context"}]
        # In one pass, so that an item's own braces stay as they are.
        prompt = _FIELD.sub(lambda found: values[found[1]], self.join.join(lines))
        return prompt, tuple(ascii_uppercase[: len(shown)]) if self.answer == "letter" else shown

    def lettered(self) -> PromptTemplate:
        """The same template with letters before the options, scoring the letters."""
        mark = self.mark if self.has_letters else f"{LETTER}. "
        return replace(self, mark=mark, answer="letter", name=f"{self.name}, letters")

    @property
    def spec(self) -> str | dict[str, str]:
        """The argument that recreates this template: its name, or its settings."""
        return self.name if NAMED.get(self.name) == self else self.to_dict()

    def to_dict(self) -> dict[str, str]:
        """The fields, for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Any, name: str = "own") -> PromptTemplate:
        """Read a template from its JSON form, which needs only `text`.

        Raises:
            SnipbiasError: it is not an object, or a field is unknown, missing or malformed.
        """
        known = [part.name for part in fields(cls)]
        if not isinstance(data, Mapping) or "text" not in data:
            raise SnipbiasError(
                f"the prompt {quoted(name)} has no text: give an object with the field 'text', "
                f"such as {json.dumps(DEFAULT.text)}."
            )
        if unknown := sorted(str(key) for key in data if key not in known):
            meant = f"{quoted(unknown[0])}{did_you_mean(unknown[0], known)}"
            raise SnipbiasError(
                f"the prompt {quoted(name)} has no setting {meant}: use {', '.join(known)}."
            )
        return cls(**{"name": name, **data})


def _braced(names: Any) -> str:
    return ", ".join(f"{{{name}}}" for name in names)


NAMED = {
    name: PromptTemplate(**settings, name=name)
    for name, settings in json.loads(shipped("prompts.json")).items()
}
DEFAULT = NAMED["list"]


def prompt_template(spec: str | Path | Mapping[str, Any] | PromptTemplate) -> PromptTemplate:
    """The template that `spec` names.

    Args:
        spec: a name in `NAMED`; a text with fields; the path of a .txt file with such a text, or
            of a .json file with the settings of a `PromptTemplate`; or these settings in a
            dictionary.

    Raises:
        SnipbiasError: there is no such template, or it is malformed.
    """
    if isinstance(spec, PromptTemplate):
        return spec
    if isinstance(spec, Mapping):
        return PromptTemplate.from_dict(spec)
    if not isinstance(spec, (str, Path)):
        raise SnipbiasError(f"the prompt is {quoted(spec)}: give a name, a text or a file.")
    if spec in NAMED:
        return NAMED[str(spec)]
    if isinstance(spec, str) and _FIELD.search(spec):
        return PromptTemplate(spec)
    path = Path(spec)
    if path.suffix not in (".txt", ".json"):
        raise SnipbiasError(
            f"there is no prompt {quoted(str(spec))}{did_you_mean(str(spec), NAMED)}: use "
            f"{listed(list(NAMED))}, a text with the fields {_braced(FIELDS)}, or the path of a "
            ".txt or .json file."
        )
    try:
        text = path.read_text(encoding="utf-8-sig")
        data = json.loads(text) if path.suffix == ".json" else {"text": text}
    except (OSError, ValueError, RecursionError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise SnipbiasError(
            f"the prompt {quoted(str(path))} cannot be read ({reason}): give a text file, or JSON."
        ) from None
    return PromptTemplate.from_dict(data, path.stem)


@cache
def general_instructions(language: str = "en") -> tuple[str, ...]:
    """Paraphrases that fit any question with options; English if there is no translation."""
    known = json.loads(shipped("instructions.json"))
    return tuple(known.get(language, known["en"]))
