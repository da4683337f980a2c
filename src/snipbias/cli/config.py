"""`--config run.toml`: the settings of a command from a file, and the file that every run writes.

What stands at the top of the file holds for every command that has such an option, what stands
under [find] for `find` alone, and [columns] says which of our columns is which of theirs:

    model = "demo"
    instructions = 3
    [columns]
    context = "text"
    [find]
    n = [10, 50]

The command line comes first, then the file, then the defaults.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Collection, Mapping
from dataclasses import MISSING, fields
from enum import Enum
from pathlib import Path
from typing import Any

import typer

from snipbias.base.errors import SnipbiasError
from snipbias.base.words import did_you_mean

FILE = "run.toml"
# Where a run wrote and what it said is no setting; code of others is never allowed by a file.
NOT_KEPT = ("out", "overwrite", "as_json", "quiet", "trust_remote_code", "lm_eval_path")


def take(context: typer.Context, path: Path | None) -> None:
    """Make what a file says the defaults of the command that is being read.

    Raises:
        SnipbiasError: there is no such file, or it says what no command or this one does not know.
    """
    if path is None:
        return
    found = _read(path)
    columns = found.pop("columns", {})
    tables = {name: part for name, part in found.items() if isinstance(part, dict)}
    every = {name: value for name, value in found.items() if name not in tables}
    options = {str(each.name): each for each in context.command.params}
    group = context.parent.command if context.parent else context.command
    commands: Mapping[str, Any] = getattr(group, "commands", {})
    _refuse(path, tables, commands)
    _refuse(path, every, {p.name for each in commands.values() for p in each.params})
    own = tables.get(str(context.info_name), {})
    _refuse(path, own, options)
    if columns and "column" in options:
        every["column"] = [f"{ours}={theirs}" for ours, theirs in columns.items()]
    given = {**every, **own}
    context.default_map = {
        name: ",".join(map(str, value)) if isinstance(value, list) and not many else value
        for name, value in given.items()
        if name in options and name not in NOT_KEPT[-2:]
        for many in [getattr(options[name], "multiple", False) or options[name].nargs == -1]
    }


def write(folder: Path, command: str, options: Any) -> None:
    """Write what a command was told, beyond its defaults, as a file that `--config` takes.

    Args:
        options: the command, whose fields are its options.
    """
    lines = []
    for field in fields(options):
        default = None if field.default is MISSING else field.default
        value = getattr(options, field.name)
        if value != default and field.name not in NOT_KEPT:
            lines.append(f"{field.name} = {_toml(value)}")
    text = "\n".join([f"# snipbias {command} --config {FILE}", f"[{command}]", *lines])
    (folder / FILE).write_text(text + "\n", encoding="utf-8")


def _toml(value: Any) -> str:
    """A text, number, truth or list; JSON writes these as TOML does."""
    plain = value.value if isinstance(value, Enum) else value
    return json.dumps(plain, default=str, ensure_ascii=False)


def _read(path: Path) -> dict[str, Any]:
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib  # pyright: ignore[reportMissingImports]
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeError, tomllib.TOMLDecodeError) as error:
        raise SnipbiasError(
            f"cannot read the settings in {path} ({error}): give a TOML file, such as the "
            f"{FILE} of a run."
        ) from None
    return _underscored(found)


def _underscored(found: Mapping[str, Any]) -> dict[str, Any]:
    """Names as Python has them, in the file as on the command line: batch-size or batch_size."""
    return {
        name.replace("-", "_"): _underscored(part) if isinstance(part, dict) else part
        for name, part in found.items()
    }


def _refuse(path: Path, given: Mapping[str, Any], known: Collection[str]) -> None:
    for name in given:
        if name not in known:
            raise SnipbiasError(
                f"{path} says {name}, which is no option here{did_you_mean(name, list(known))}: "
                "mend or drop it."
            )
