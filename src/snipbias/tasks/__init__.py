"""Tasks by name: BBQ and similar benchmarks, GLUE, lm-eval, `mini`, and a user's own rows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from snipbias.base.errors import SnipbiasError
from snipbias.base.words import did_you_mean, quoted
from snipbias.tasks import bbq, benchmarks, facts, fetch, files, glue, harness, hub, mini, skills
from snipbias.tasks.items import Item, Task
from snipbias.tasks.prompts import (
    DEFAULT,
    PromptTemplate,
    general_instructions,
    prompt_template,
)

__all__ = ["Item", "Task", "available", "general_instructions", "task"]

# BBQ categories that share the instructions of a mini category.
MINI_OF_BBQ = {"Age": "age", "SES": "ses", "Disability_status": "disability"}


def task(
    spec: str | Path | Iterable[Mapping[str, Any]],
    *,
    data_dir: str | Path | None = None,
    instructions: Sequence[str] | None = None,
    columns: Mapping[str, str] | None = None,
    prompt: PromptTemplate | Mapping[str, Any] | str | Path = DEFAULT,
) -> Task:
    """Load the task that `spec` names.

    Args:
        spec: `bbq:SES` (or another of its eleven categories), `mini`, `mini:age`, `mrpc`, `rte` or
            `qnli`, the path of a JSONL, CSV or TSV file,
            `hf:owner/name[@revision][:config[:split]]`, `lm-eval:NAME`, another benchmark's file
            (`kobbq:PATH`, `cbbq:`, `mbbq:`, `stereoset:`, `crows-pairs:`), or rows in memory: a
            `datasets.Dataset`, or dictionaries.
        data_dir: folder with the BBQ or GLUE files; by default SNIPBIAS_DATA_DIR, the cache, or a
            download.
        instructions: replace those of the task or of the rows.
        columns: {our column: your column}, for your own rows.
        prompt: prompt template, in any form that `prompt_template` takes.

    Raises:
        SnipbiasError: there is no such task, or its data is missing or malformed.
    """
    wording = prompt_template(prompt)
    return replace(_read(spec, data_dir, _checked(instructions), columns), prompt=wording)


def _read(
    spec: str | Path | Iterable[Mapping[str, Any]],
    data_dir: str | Path | None,
    given: tuple[str, ...] | None,
    columns: Mapping[str, str] | None,
) -> Task:
    if not isinstance(spec, (str, Path)):
        return _in_memory(spec, given, columns)
    kind, _, rest = spec.partition(":") if isinstance(spec, str) else ("", "", "")
    if kind.lower() in benchmarks.KINDS and rest:
        return benchmarks.load(kind.lower(), rest, given)
    if f"{kind.lower()}:" == harness.PREFIX:
        return harness.load(rest, given, data_dir)
    if isinstance(spec, Path) or _is_own_file(spec):
        return files.load(spec, given, columns)
    if spec.lower().startswith("hf:"):
        return hub.load(spec, given, columns)
    if columns:
        raise SnipbiasError(f"{spec} does not take a column mapping: leave columns out.")
    named = _named(spec, given, data_dir)
    if named is None:
        raise _unknown(spec)
    return named


def available() -> list[tuple[str, int, str]]:
    """List (name, rows, description) of every named task, without downloading anything."""
    listed = [("mini", sum(len(mini.items(c)) for c in mini.CATEGORIES), "all categories of mini")]
    listed += [
        (f"mini:{category}", len(mini.items(category)), "embedded, in BBQ's format")
        for category in mini.CATEGORIES
    ]
    listed += [
        (name, len(neutral()), "embedded, neutral: skills that an edit must keep")
        for name, neutral in NEUTRAL.items()
    ]
    listed += [
        (f"bbq:{category}", official.rows, "BBQ (Parrish et al. 2021), downloaded on first use")
        for category, official in fetch.OFFICIAL.items()
    ]
    listed += [
        (name, rows, "GLUE (Wang et al. 2018), validation split, downloaded on first use")
        for name, rows in glue.ROWS.items()
    ]
    return listed


def _checked(instructions: Sequence[str] | None) -> tuple[str, ...] | None:
    if instructions is None:
        return None
    if not isinstance(instructions, Iterable):
        raise SnipbiasError(
            f"the instructions are {quoted(instructions)}: give texts; for the first few of a "
            "task's own, task.with_instructions(task.instructions[:3])."
        )
    texts = (instructions,) if isinstance(instructions, str) else tuple(instructions)
    if not texts or not all(isinstance(text, str) and text.strip() for text in texts):
        raise SnipbiasError(
            f"the instructions are {quoted(list(texts))}: give at least one, and leave none empty."
        )
    return texts


def _named(spec: str, given: Sequence[str] | None, data_dir: str | Path | None) -> Task | None:
    kind, _, rest = spec.partition(":")
    if kind.lower() == "bbq" and (category := _bbq_category(rest)):
        return bbq.load(category, given or _bbq_instructions(category), data_dir)
    if spec.lower() in glue.NAMES:
        return glue.load(spec.lower(), given, data_dir)
    found = _mini(spec.lower())
    return found.with_instructions(given) if found and given else found


def _in_memory(
    rows: Iterable[Mapping[str, Any]],
    given: Sequence[str] | None,
    columns: Mapping[str, str] | None,
) -> Task:
    rows = _from_table(rows)
    if hasattr(rows, "info") or _are_splits(rows):
        return hub.from_dataset(rows, given, columns)
    # Not Iterable: a torch Dataset has no __iter__.
    is_rows = hasattr(rows, "__iter__") or hasattr(rows, "__getitem__")
    if isinstance(rows, (Mapping, type)) or not is_rows:
        raise SnipbiasError(
            f"cannot make a task of {quoted(rows)}: give its name, a path, or a list of "
            "dictionaries, one per row."
        )
    numbered = [(f"row {number}", row) for number, row in enumerate(rows, start=1)]
    for where, row in numbered:
        if not isinstance(row, Mapping):
            raise SnipbiasError(f"{where} is {quoted(row)}: every row must be a dictionary.")
    return files.from_rows(numbered, "rows", given, columns, source="rows in memory")


def _from_table(rows: Any) -> Any:
    """The rows of an Arrow, polars or pandas table; anything else unchanged."""
    if hasattr(rows, "to_pylist"):
        return rows.to_pylist()
    if hasattr(rows, "to_dicts"):
        return rows.to_dicts()
    return rows.to_dict("records") if hasattr(rows, "iterrows") else rows


def _are_splits(rows: Any) -> bool:
    return isinstance(rows, Mapping) and all(hasattr(split, "features") for split in rows.values())


def _is_own_file(spec: str) -> bool:
    """Whether it looks like a path: none of our names has a suffix or a separator."""
    path = Path(spec)
    return not spec.lower().startswith("hf:") and (path.suffix != "" or len(path.parts) > 1)


def _bbq_category(name: str) -> str | None:
    """Find a category in any letter case, or by its first words: `disability`, `gender`."""
    wanted = name.lower().replace("-", "_")
    exact = [category for category in bbq.CATEGORIES if category.lower() == wanted]
    begun = [category for category in bbq.CATEGORIES if category.lower().startswith(f"{wanted}_")]
    found = exact or begun
    return found[0] if len(found) == 1 else None


def _bbq_instructions(category: str) -> Sequence[str]:
    counterpart = MINI_OF_BBQ.get(category)
    if counterpart is None:
        return general_instructions()
    return mini.load_category(counterpart)["instructions"]


def _mini(name: str) -> Task | None:
    if name == "mini":
        return mini.load_all()
    category = name.removeprefix("mini:")
    if name == f"mini:{category}" and category in mini.CATEGORIES:
        return mini.load(category)
    return NEUTRAL[name]() if name in NEUTRAL else None


NEUTRAL = {
    "mini:skills": lambda: Task(
        "mini:skills", skills.items(), skills.INSTRUCTIONS, source="embedded"
    ),
    "mini:facts": lambda: Task(
        "mini:facts", facts.items(), general_instructions(), source="embedded"
    ),
}


def _unknown(spec: str) -> SnipbiasError:
    names = [name for name, _, _ in available()]
    return SnipbiasError(
        f"there is no task {quoted(spec)}{did_you_mean(spec, names)}: use {', '.join(names)}, or "
        "the path of a .jsonl, .csv or .tsv file, or hf:owner/name, or lm-eval:NAME."
    )
