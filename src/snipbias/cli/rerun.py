"""The command line that `rerun` runs: that of a record, without the code of others."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from snipbias.base.errors import SnipbiasError

# The commands that write a record, and that can be run again from it.
RECORDED = ("find", "evaluate", "reproduce", "demo", "apply", "export", "combine", "overlap")


def recorded_arguments(path: Path, out: Path, given: Mapping[str, object]) -> list[str]:
    """The arguments of a recorded run, with another folder to write, which must be new.

    Args:
        path: folder of the recorded run.
        out: the folder to write.
        given: the options that let code of others run, with what the user says of them now.

    Raises:
        SnipbiasError: there is no such run, or it ran code that the user has not allowed again.
    """
    from snipbias.base.record import RunRecord

    words = iter(RunRecord.read(path).argv)
    kept = [next(words, "")]
    if kept[0] not in RECORDED:
        raise SnipbiasError(
            f"{path} records no run that can be made again: only {', '.join(RECORDED)} can."
        )
    for word in words:
        name, is_, value = word.partition("=")
        method = value if name == "--method" else word if kept[-1] == "--method" else ""
        if ":" in method:
            raise SnipbiasError(
                f"the recorded run scored neurons by {method}, which others may have written: read "
                "it, and run 'snipbias find' with it yourself if you trust it."
            )
        if name in given and not given[name]:
            raise SnipbiasError(
                f"the recorded run was given {name}, which runs code that others may have "
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
    """Which tasks, edits and models are not those of the recorded run, after running it again."""
    from snipbias.base.record import RunRecord

    before, after = RunRecord.read(path), RunRecord.read(out)
    return [
        f"{name} is not what it was in the recorded run: the result may differ"
        for then, now in ((before.data, after.data), (before.models, after.models))
        for name in then
        if _identity(then[name]) != _identity(now.get(name))
    ]


def _identity(entry: Any) -> Any:
    """The hash of a task or a model; of anything else, all of it."""
    if isinstance(entry, dict):
        return entry.get("fingerprint") or entry.get("weights") or entry
    return entry
