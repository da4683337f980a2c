"""The texts of a run's rows: the run does not keep them, so its tasks are read again."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

from snipbias.base.errors import SnipbiasError
from snipbias.base.hub import OFFLINE
from snipbias.base.record import RunRecord
from snipbias.tasks import task as read_task
from snipbias.tasks.items import Item
from snipbias.tasks.prompts import DEFAULT, PromptTemplate


@dataclass(frozen=True)
class Texts:
    """Items, instructions and prompt of a task; `missing` says why there are no items."""

    items: Mapping[str, Item]
    instructions: tuple[str, ...]
    missing: str = ""
    prompt: PromptTemplate = DEFAULT


def texts_of(record: RunRecord, task: str, data_dir: Path | None = None) -> Texts:
    """The rows of a task as a run read them, from what is on this machine; nothing is fetched.

    Args:
        data_dir: where BBQ's or GLUE's files are, if not where the run had them.
    """
    kept = record.data.get(task)
    if not isinstance(kept, dict) or "instructions" not in kept:
        return Texts({}, (), f"The run does not say what {task} was.")
    instructions, given = tuple(kept["instructions"]), record.arguments
    pairs = given.get("column") or ()
    try:
        with patch.dict(os.environ, {OFFLINE: "1"}):
            found = read_task(
                task,
                data_dir=data_dir or given.get("data_dir"),
                instructions=instructions,
                columns=dict(pair.split("=", 1) for pair in pairs) or None,
                prompt=kept.get("prompt", DEFAULT),
            )
    except (SnipbiasError, OSError) as error:
        return Texts({}, instructions, f"The texts of {task} are not shown: {error}")
    if found.fingerprint != kept["fingerprint"]:
        said = f"The texts of {task} are not shown: its rows are no longer those of the run."
        return Texts({}, instructions, said)
    return Texts({item.id: item for item in found.items}, instructions, prompt=found.prompt)
