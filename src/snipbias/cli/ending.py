"""How a command ends: the folder that it wrote, and the next commands, each in full."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING

import snipbias as sb
from snipbias.cli import options as o
from snipbias.cli.run import Run

if TYPE_CHECKING:
    from snipbias.evaluation.compared import Compared

LARGEST_RANK = 64  # of a LoRA; an edit of more neurons in one layer is smaller as (IA)3


def written(folder: str | Path) -> str:
    """The line that names the folder."""
    return f"written  {folder} (all tables: --full, or its tables.md)"


def report(folder: str | Path) -> str:
    """The command that makes the page."""
    return shlex.join(["snipbias", "report", str(folder), "--out", f"{folder}.html"])


def after_comparison(
    compared: Compared,
    model: str,
    paths: Sequence[str],
    edits: Sequence[sb.NeuronEdit],
    folder: str | Path,
) -> str:
    """The report; and the export of the best edit, if one helps and harms nothing.

    Args:
        model: as it was named.
        paths: where the edits are; empty where only the original was asked.
    """
    from snipbias.evaluation.answer import worth_taking
    from snipbias.evaluation.apart import gained

    def rank(name: str) -> tuple[bool, float]:
        found = compared.measured[name]
        return gained(found.apart) != "yes", found.value("stereotyped").value or 0.0

    lines = [report(folder)]
    named = dict(zip(compared.edits, zip(paths, edits, strict=False), strict=False))
    if good := sorted(filter(lambda name: worth_taking(compared.measured[name]), named), key=rank):
        path, edit = named[good[0]]
        dense = max(map(len, edit.factors.values())) > LARGEST_RANK
        line = ["snipbias", "export", path, "--run", str(folder)]
        line += [] if edit.model.name == model else ["--model", model]
        line += ["--format", "ia3"] if dense else []
        lines.append(shlex.join([*line, "--out", f"{folder}-adapter"]))
    return "\n".join(lines)


def tell(this: Run, results: sb.Results, notes: Sequence[str], *, full: bool) -> None:
    """Print every table if asked for, then the answer and the next command.

    Args:
        this: the run.
        results: its results.
        notes: lines to print before the folder.
        full: whether to print every table.
    """
    from snipbias.experiment.tables.answers import answers

    folder = this.folder
    tables = [results.renderable(), ""] if full else []
    result = {"out": str(folder), **results.to_dict()}
    this.show(result, *tables, answers(results), *notes, written(folder), then=report(folder))


def again(command: str, options: o.Command, *words: str) -> str:
    """A command line to paste that loads the same model and reads the same task.

    Args:
        words: further options, for that command alone.
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
            line += [option, str(each)]
    return shlex.join([*line, *words])
