"""How a command ends: the folder that it wrote, the next commands in full, and a tracker's log."""

from __future__ import annotations

import math
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import snipbias as sb
from snipbias.base.errors import require
from snipbias.base.parallel import workers
from snipbias.cli import options as o

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

    named = dict(zip(compared.edits, zip(paths, edits, strict=False), strict=False))
    good = [name for name in named if worth_taking(compared.measured[name])]
    if not good:
        return report(folder)
    path, edit = named[min(good, key=rank)]
    line = ["snipbias", "export", path, "--run", str(folder)]
    line += [] if edit.model.name == model else ["--model", model]
    line += ["--format", "ia3"] if max(map(len, edit.factors.values())) > LARGEST_RANK else []
    return f"{report(folder)}\n{shlex.join([*line, '--out', f'{folder}-adapter'])}"


def again(command: str, options: Any, *words: str) -> str:
    """A command line to paste that loads the same model and reads the same task.

    Args:
        command: its name.
        options: the command that has run.
        words: further options, for that command alone.
    """
    line = ["snipbias", command, options.model, options.task]
    shared = {f.name: f for kind in (o.Running, o.Measuring, o.Asking) for f in fields(kind)}
    for name, field in shared.items():
        value = getattr(options, name, field.default)
        if value == field.default:
            continue
        option = name.replace("_", "-")
        if isinstance(value, bool):
            line.append(f"--{option}" if value else f"--no-{option}")
            continue
        for each in value if isinstance(value, list) else [value]:
            line += [f"--{option}", str(each)]
    return shlex.join([*line, *words])


class Tracked(o.Command):
    """Where else results go."""

    heading = "Output"
    log_to: Literal["trackio"] | None = o.option("Also log every figure there (extra 'trackio').")

    def ready(self) -> None:
        """Refuse before the work if the tracker is not installed."""
        if self.log_to:
            require(self.log_to, "--log-to needs")

    def log(self, name: str, settings: Mapping[str, Any], result: Mapping[str, Any]) -> None:
        """Log the figures of a result under the project `snipbias`, if that was asked for.

        Args:
            name: name of the run.
            settings: its settings.
            result: the result; every number in it is logged.
        """
        if self.log_to is None or not workers().is_main:
            return
        import trackio  # type: ignore[import-not-found]

        told = {
            key: value if isinstance(value, (int, float)) else str(value)
            for key, value in settings.items()
            if value is not None
        }
        trackio.init(project="snipbias", name=name, config=told)
        trackio.log(dict(_figures(result)))
        trackio.finish()


def _figures(result: Mapping[str, Any], place: str = "") -> Iterator[tuple[str, float]]:
    """Every finite number in nested objects, by its path: methods/edit/accuracy/overall."""
    for name, value in result.items():
        if isinstance(value, Mapping):
            yield from _figures(value, f"{place}{name}/")
        elif isinstance(value, (int, float)) and math.isfinite(value):
            yield f"{place}{name}", float(value)
