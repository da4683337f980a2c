"""Multiple-choice tasks of EleutherAI's lm-evaluation-harness as tasks (extra `lm-eval`)."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from snipbias.base.errors import SnipbiasError, require
from snipbias.base.words import did_you_mean, one_line
from snipbias.tasks import files
from snipbias.tasks.benchmarks import LIKELIER
from snipbias.tasks.items import Task
from snipbias.tasks.prompts import general_instructions

PREFIX = "lm-eval:"
LANGUAGES = {"esbbq": "es", "cabbq": "ca", "crows_pairs_french": "fr"}
CUE = re.compile(r"\n[^\n:]{1,20}:\s*$")  # the harness's "Answer:"; our prompt has its own


def load(
    name: str,
    given: Sequence[str] | None,
    include_path: str | Path | None,
) -> Task:
    """Load a task, group or tag of the harness, with its text, choices and target for each row.

    Args:
        name: its name in the harness.
        given: instructions to use instead of the general ones.
        include_path: folder with your own task files (YAML).

    Raises:
        SnipbiasError: the harness has no such task, or its data cannot be loaded.
    """
    require("lm_eval", "a task of lm-evaluation-harness needs", "lm-eval")
    from lm_eval.tasks import TaskManager

    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    own = None if include_path is None else str(include_path)
    manager = TaskManager(include_path=own, include_defaults=own is None)
    if name not in manager.all_tasks:
        raise SnipbiasError(
            f"lm-evaluation-harness has no task {name!r}{did_you_mean(name, manager.all_tasks)}: "
            "'lm-eval ls tasks' lists them; --data-dir names a folder with your own task files."
        )
    language = next((code for start, code in LANGUAGES.items() if name.startswith(start)), "en")
    try:
        rows = list(_rows(manager.load([name])["tasks"], language))
    except SnipbiasError:
        raise
    except Exception as error:  # data loaders and a task file's own code can raise anything
        raise SnipbiasError(
            f"lm-evaluation-harness could not load {name} ({one_line(error)}): check the task's "
            "data, and the connection to the hub."
        ) from error
    asked = tuple(given or general_instructions(language))
    return files.from_rows(rows, PREFIX + name, asked, source=f"lm-eval task {name}")


def _rows(tasks: Mapping[str, Any], language: str) -> Iterator[tuple[str, dict[str, Any]]]:
    for name, task in tasks.items():
        if task.OUTPUT_TYPE != "multiple_choice":
            raise SnipbiasError(
                f"{name} is a {task.OUTPUT_TYPE} task: only multiple_choice tasks are supported."
            )
        for number, doc in enumerate(task.eval_docs):
            row = _row(name, task, doc, language)
            yield f"{name}, row {number}", {"id": f"{name}-{number}", **row}


def _row(name: str, task: Any, doc: Mapping[str, Any], language: str) -> dict[str, Any]:
    text, choices, target = task.doc_to_text(doc), task.doc_to_choice(doc), task.doc_to_target(doc)
    if not isinstance(text, str):
        raise SnipbiasError(f"{name} gives each choice its own text, which is not supported.")
    right = choices.index(target) if isinstance(target, str) else int(target)
    row: dict[str, Any] = {"question": CUE.sub("", text).strip() or LIKELIER[language]}
    if name.startswith("crows_pairs"):  # its target is the more stereotyped sentence
        return {**row, "options": choices, "biased": right, "gold": 1 - right}
    if condition := doc.get("context_condition"):  # BBQ and its like
        choices = choices[:3]  # of EsBBQ's nine wordings of "unknown" the first
        groups = [str(info) for info in (doc.get("answer_info") or {}).values()]
        declines = [i for i, group in enumerate(groups[: len(choices)]) if "unknown" in group]
        template = doc.get("question_index", doc.get("template_id", ""))
        row |= {"condition": condition, "template": f"{name}-{template}" if template else ""}
        row |= {"unknown": declines[0] if len(declines) == 1 else 2}
    return {**row, "options": list(choices), "gold": right}
