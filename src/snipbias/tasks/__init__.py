"""Tasks by name: BBQ and similar benchmarks, GLUE, lm-eval, `mini`, and a user's own rows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from snipbias.base.errors import SnipbiasError
from snipbias.base.words import did_you_mean, quoted
from snipbias.tasks import bbq, benchmarks, fetch, glue, hub, mini
from snipbias.tasks.items import Item, Task
from snipbias.tasks.prompts import DEFAULT, PromptTemplate, general_instructions, prompt_template
from snipbias.tasks.readers import read_file
from snipbias.tasks.rows import from_rows

__all__ = ["Item", "Task", "available", "general_instructions", "task"]

_SKILLS = "embedded, neutral: skills that an edit must keep"
# The tasks that ship with the package, with their descriptions.
EMBEDDED: dict[str, tuple[Callable[[], Task], str]] = {
    "mini": (mini.load, "all categories of mini"),
    **{f"mini:{c}": (partial(mini.load, c), "embedded, in BBQ's format") for c in mini.CATEGORIES},
    "mini:skills": (mini.skills, _SKILLS),
    "mini:facts": (mini.facts, _SKILLS),
}


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
    wording, given = prompt_template(prompt), _checked(instructions)
    spelled = spec if isinstance(spec, str) else ""
    name, rest = spelled.lower(), spelled.partition(":")[2]
    kind = name.partition(":")[0]
    if not isinstance(spec, (str, Path)):
        found = from_rows(hub.in_memory(spec), given, columns)
    elif kind in benchmarks.KINDS and rest:
        found = benchmarks.load(kind, rest)
    elif f"{kind}:" == benchmarks.HARNESS:
        found = benchmarks.load_harness(rest, data_dir)
    elif isinstance(spec, str) and name.startswith("hf:"):
        found = from_rows(hub.from_dataset(hub.download(spec), spec), given, columns)
    elif isinstance(spec, Path) or Path(spec).suffix or len(Path(spec).parts) > 1:
        found = from_rows(read_file(spec), given, columns)
    elif columns:
        raise SnipbiasError(f"{spec} does not take a column mapping: leave columns out.")
    elif kind == "bbq" and (category := _bbq_category(rest)):
        found = bbq.load(category, data_dir)
    elif name in glue.NAMES:
        found = glue.load(name, data_dir)
    elif name in EMBEDDED:
        found = EMBEDDED[name][0]()
    else:
        names = [name for name, _, _ in available()]
        raise SnipbiasError(
            f"there is no task {quoted(spec)}{did_you_mean(spec, names)}: use {', '.join(names)}, "
            "or the path of a .jsonl, .csv or .tsv file, or hf:owner/name, or lm-eval:NAME."
        )
    return replace(found, prompt=wording, instructions=given or found.instructions)


def available() -> list[tuple[str, int, str]]:
    """List (name, rows, description) of every named task, without downloading anything."""
    by_bbq, by_glue = "BBQ (Parrish et al. 2021)", "GLUE (Wang et al. 2018), validation split"
    return [
        *((name, len(load()), said) for name, (load, said) in EMBEDDED.items()),
        *(
            (f"bbq:{category}", rows, f"{by_bbq}, downloaded on first use")
            for category, (rows, _) in fetch.OFFICIAL.items()
        ),
        *((name, rows, f"{by_glue}, downloaded on first use") for name, rows in glue.ROWS.items()),
    ]


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


def _bbq_category(name: str) -> str | None:
    """Find a category in any letter case, or by its first words: `disability`, `gender`."""
    wanted = name.lower().replace("-", "_")
    by_lower = {category.lower(): category for category in bbq.CATEGORIES}
    begun = [by_lower[lower] for lower in by_lower if lower.startswith(f"{wanted}_")]
    return by_lower.get(wanted) or (begun[0] if len(begun) == 1 else None)
