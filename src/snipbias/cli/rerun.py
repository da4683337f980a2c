"""The command line that `rerun` runs: the recorded one, without other people's code."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

from snipbias.base.errors import SnipbiasError
from snipbias.base.record import RunRecord
from snipbias.cli import config

# The commands that can be repeated from the record they write.
RECORDED = ("find", "learn", "evaluate", "reproduce", "demo", "apply", "export", "combine")
RECORDED += ("overlap",)


def recorded_arguments(path: Path, out: Path, given: Mapping[str, object]) -> list[str]:
    """The arguments of a recorded run, with a new folder to write.

    Args:
        path: folder of the recorded run.
        out: the folder to write.
        given: the options that let other people's code run, as the user gives them now.

    Raises:
        SnipbiasError: there is no such run, or it ran code that the user has not allowed again.
    """
    argv = RunRecord.read(path).argv
    words = iter(argv)
    kept = [next(words, "")]
    if kept[0] not in RECORDED:
        raise SnipbiasError(
            f"{path} does not record a run that can be repeated: only {', '.join(RECORDED)} can."
        )
    given_by = [part for word in argv for part in word.split("=", 1)]
    files = [Path(file) for option, file in pairwise(given_by) if option == "--config"]
    named = [*argv, *(str(config.read(file)) for file in files)]
    has_folder = any("data-dir" in word.replace("_", "-") for word in named)
    if has_folder and config.names_task_files(named):
        raise SnipbiasError(
            "the recorded run read task files that may run code that someone else may have "
            f"written: read them, and run 'snipbias {kept[0]}' with them if you trust them."
        )
    for word in words:
        name, is_, value = word.partition("=")
        chosen = ("--method", "--methods")
        method = value if name in chosen else word if kept[-1] in chosen else ""
        if ":" in method:
            raise SnipbiasError(
                f"the recorded run scored neurons with {method}, which someone else may have "
                f"written: read that code, and run 'snipbias {kept[0]}' with it if you trust it."
            )
        if name in given and not given[name]:
            raise SnipbiasError(
                f"the recorded run was given {name}, which runs code that someone else may have "
                f"written: read that code, and give {name} to rerun too if you trust it."
            )
        if name in ("--out", "--lm-eval-path"):
            next(words if not is_ else iter(()), None)
        elif name not in ("--overwrite", "--trust-remote-code"):
            kept.append(word)
    for name, value in given.items():
        if value:
            kept += [name] if value is True else [name, str(value)]
    return [*kept, "--out", str(out)]


def changed_since(path: Path, out: Path) -> list[str]:
    """Warnings about tasks, edits and models that have changed since the recorded run."""
    before, after = RunRecord.read(path), RunRecord.read(out)
    return [
        f"{name} has changed since the recorded run: the result may differ"
        for then, now in ((before.data, after.data), (before.models, after.models))
        for name in then
        if _identity(then[name]) != _identity(now.get(name))
    ]


def _identity(entry: Any) -> Any:
    """The hash of a task or a model; any other entry itself."""
    if isinstance(entry, dict):
        return entry.get("fingerprint") or entry.get("weights") or entry
    return entry
