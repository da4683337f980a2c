"""The command that comes next, in full."""

from __future__ import annotations

import shlex
from dataclasses import fields
from enum import Enum

from snipbias.cli import options as o


def again(command: str, options: o.Command, *words: str) -> str:
    """A command line that reads the same model and task in the same way, to be pasted.

    Args:
        words: options of that command alone.
    """
    shared = {f.name: f for kind in (o.Running, o.Measuring, o.Asking) for f in fields(kind)}
    line = ["snipbias", command, *(getattr(options, name) for name in ("model", "task"))]
    for name, field in shared.items():
        value = getattr(options, name, field.default)
        if value == field.default:
            continue
        option = f"--{name.replace('_', '-')}"
        if isinstance(value, bool):
            line.append(option if value else option.replace("--", "--no-", 1))
            continue
        for each in value if isinstance(value, list) else [value]:
            line += [option, str(each.value if isinstance(each, Enum) else each)]
    return shlex.join([*line, *words])
