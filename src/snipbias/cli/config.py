"""`--config run.toml`: read a command's settings from a file, and write that file after each run.

Settings at the top of the file apply to every command that has the option, settings under [find]
to `find` only, and [columns] maps our column names to the file's:

    model = "demo"
    instructions = 3
    [columns]
    context = "text"
    [find]
    n = [10, 50]

The command line wins over the file, and the file over the defaults.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Collection, Iterable, Mapping
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

import typer

from snipbias.base.errors import SnipbiasError
from snipbias.base.words import did_you_mean

FILE = "run.toml"
# No file may allow other people's code. Where a run writes and what it prints are not settings.
RUNS_CODE = ("trust_remote_code", "lm_eval_path")
NOT_KEPT = ("out", "overwrite", "as_json", "quiet", *RUNS_CODE)


def take(context: typer.Context, path: Path | None) -> None:
    """Use a file's settings as the defaults of the current command.

    Raises:
        SnipbiasError: the file cannot be read, or has a setting that does not exist.
    """
    if path is None:
        return
    found = read(path)
    columns = found.pop("columns", {})
    if not isinstance(columns, dict):
        raise SnipbiasError(
            f"{path} gives columns a single value: write [columns], and below it a line per column."
        )
    options: dict[str, Any] = {str(each.name): each for each in context.command.params}
    group = context.parent.command if context.parent else context.command
    commands: Mapping[str, Any] = getattr(group, "commands", {})
    tables = {name: part for name, part in found.items() if isinstance(part, dict)}
    every = {name: value for name, value in found.items() if name not in tables}
    own = tables.get(str(context.info_name), {})
    _refuse(path, tables, commands)
    _refuse(path, every, {option.name for each in commands.values() for option in each.params})
    _refuse(path, own, options)
    if columns and "column" in options:
        every["column"] = [f"{ours}={theirs}" for ours, theirs in columns.items()]
    given = {**every, **own}
    for name in ("method", "methods"):
        if name in options and ":" in str(given.get(name, "")):
            raise SnipbiasError(
                f"{path} sets {name} to {given[name]}, which is code that someone else may have "
                f"written: delete it there, and give --{name} if you trust it."
            )
    if "data_dir" in given and names_task_files([*map(str, given.values()), *sys.argv]):
        raise SnipbiasError(
            f"{path} sets data_dir to {given['data_dir']}, whose task files may run code that "
            "someone else may have written: delete it there, and give --data-dir if you trust it."
        )
    may = options.keys() - set(RUNS_CODE)
    context.default_map = {n: _fit(options[n], value) for n, value in given.items() if n in may}


def names_task_files(words: Iterable[str]) -> bool:
    """Whether a task of the lm-evaluation-harness is named: its files may call code beside them."""
    return any("lm-eval:" in word.lower() for word in words)


def _fit(option: Any, value: Any) -> Any:
    """A setting as its option takes it: a list if it can be given several times, else one value."""
    if getattr(option, "multiple", False) or option.nargs == -1:
        return value if isinstance(value, list) else [value]
    return ",".join(map(str, value)) if isinstance(value, list) else value


def write(folder: Path, options: Any) -> None:
    """Write a command's settings that differ from their defaults, for `--config` to read again.

    Args:
        options: the command, whose fields are its options.
    """
    lines = []
    for field in fields(options):
        default = None if field.default is MISSING else field.default
        value = getattr(options, field.name)
        if value != default and field.name not in NOT_KEPT:
            # JSON writes strings, numbers, booleans and lists as TOML does, but for this character.
            text = json.dumps(value, default=str, ensure_ascii=False).replace("\x7f", "\\u007f")
            lines.append(f"{field.name} = {text}")
    text = "\n".join([f"# snipbias {options.name} --config {FILE}", f"[{options.name}]", *lines])
    (folder / FILE).write_text(text + "\n", encoding="utf-8")


def read(path: Path) -> dict[str, Any]:
    """The settings of a file, which may say batch-size or batch_size.

    Raises:
        SnipbiasError: the file cannot be read.
    """
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib  # pyright: ignore[reportMissingImports]

    def underscored(found: Mapping[str, Any]) -> dict[str, Any]:
        return {
            name.replace("-", "_"): underscored(part) if isinstance(part, dict) else part
            for name, part in found.items()
        }

    try:
        return underscored(tomllib.loads(path.read_text(encoding="utf-8-sig")))
    except (OSError, ValueError, RecursionError) as error:
        raise SnipbiasError(
            f"cannot read the settings in {path} ({error}): give a TOML file, such as a run's "
            f"{FILE}."
        ) from None


def _refuse(path: Path, given: Mapping[str, Any], known: Collection[str]) -> None:
    for name in given:
        if name not in known:
            raise SnipbiasError(
                f"{path} sets {name}, which is not an option here"
                f"{did_you_mean(name, list(known))}: correct or delete it."
            )
