"""The commands `show` and `tasks`, and how an edit is shown."""

from __future__ import annotations

import math
import os
import shlex
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import snipbias as sb
from snipbias.base.words import plural
from snipbias.cli import options as o
from snipbias.cli.ending import after_comparison, report
from snipbias.cli.run import show

if TYPE_CHECKING:
    from rich.console import Group, RenderableType

    from snipbias.base.record import RunRecord

SHOWN_SITES = 24
LEVELS = "·▁▂▃▄▅▆▇█"
BLOCKS = {"self": "self-attention", "cross": "cross-attention", "ffn": "FFN"}


class Show(o.Command):
    """Show what an edit holds and what it was found on, or what a run did."""

    examples = ("snipbias show age-edit",)
    path: str = o.argument("Folder of an edit or of a run, or owner/name.")
    as_json: bool = o.JSON

    def __call__(self) -> None:
        from snipbias.base.record import RunRecord
        from snipbias.edits.format import FILE as EDIT_FILE
        from snipbias.edits.sharing import hub_id

        path = Path(self.path)
        if os.path.isfile(path / EDIT_FILE) or path.name == EDIT_FILE or hub_id(self.path):
            edit = sb.NeuronEdit.load(self.path)
            found = edit.found_on
            words = ["evaluate", edit.model.name, found.task, "--edit", self.path] if found else []
            then = shlex.join(["snipbias", *words]) if found else ""
            show(self, edit.to_dict(), edit_table(edit), then=then)
            return
        record = RunRecord.read(path)
        seconds = record.seconds.get("total", 0)
        lines = (
            f"{record.command}, model {', '.join(record.models) or '-'}: {record.started}, "
            f"{seconds:.0f} s, snipbias {record.versions.get('snipbias', '?')}",
            shlex.join(["snipbias", *record.argv]),
        )
        parts, then = ([], "") if self.as_json else _answer(path, record)
        rest = " (all tables: its tables.md)" if parts else ""
        place = f"folder   {self.path}{rest}; the whole record: --json"
        show(self, asdict(record), *lines, *parts, place, then=then)


def _answer(path: Path, record: RunRecord) -> tuple[list[RenderableType], str]:
    """The first screen of a run's result and the next commands; nothing of other runs."""
    from snipbias.edits.run_folder import edit_places
    from snipbias.evaluation.answer import answer
    from snipbias.evaluation.compare import Comparison
    from snipbias.experiment.reading import read_experiment
    from snipbias.experiment.tables.answers import answers
    from snipbias.report.evaluated import changed
    from snipbias.report.write import readable

    if not (path / "rows.parquet").is_file():
        return [], ""
    with readable(str(path)):
        if record.command in ("demo", "reproduce"):
            return ["", answers(read_experiment(path))], report(path)
        if record.command != "evaluate":
            return [], ""
        found = Comparison.load(path)
        edits = found.edits_in(path)
        places = list(map(str, edit_places(path)))
        then = after_comparison(found, record.arguments["model"], places, edits, path)
        return [*map(changed, edits), "", answer(found)], then


class Tasks(o.Command):
    """List the tasks that have a name."""

    examples = ("snipbias tasks",)
    as_json: bool = o.JSON

    def __call__(self) -> None:
        from rich.table import Table

        from snipbias.tasks import available

        listed, table = available(), Table("task", box=None)
        table.add_column("rows", justify="right")
        table.add_column("what")
        for name, rows, what in listed:
            table.add_row(name, str(rows), what)
        result = {"tasks": [{"name": n, "rows": r, "description": d} for n, r, d in listed]}
        show(self, result, table)


def layer_map(edit: sb.NeuronEdit, sites: Sequence[sb.Site]) -> Group:
    """A row of bars per kind of block: one bar per layer, as high as its number of neurons."""
    from rich.console import Group
    from rich.text import Text

    from snipbias.models.places import count_places

    counts: dict[tuple[str, str], dict[int, float]] = {}
    for place, number in count_places(sites, [edit.neurons]).items():
        row = counts.setdefault((place.side, place.module.split()[0]), {})
        row[place.layer] = row.get(place.layer, 0) + number
    most = max(max(row.values()) for row in counts.values()) or 1
    sides = {side for side, _ in counts}
    lines = []
    for (side, block), row in counts.items():
        bars = "".join(LEVELS[math.ceil(n / most * (len(LEVELS) - 1))] for n in row.values())
        name = " ".join([side] * (len(sides) > 1) + [BLOCKS[block]])
        lines.append(Text.assemble(f"{name:<24} ", (bars, "cyan"), f" {sum(row.values()):g}"))
    of = "1 neuron" if most == 1 else f"{most:g} neurons"
    legend = f"{'':<24} first to last layer; a full bar is {of}"
    return Group(*lines, Text(legend, "dim"))


def edit_head(edit: sb.NeuronEdit) -> list[str]:
    """Lines that say what an edit is, and what it was found on."""
    from snipbias.tasks.prompts import DEFAULT

    lines = [f"{edit.label}: {len(edit)} of {edit.model.neurons} neurons of {edit.model.name}"]
    if (found := edit.found_on) is not None:
        lines.append(
            f"found on {plural(len(found.items), 'item')} of "
            f"{plural(len(found.templates), 'template')} of {found.task}, "
            f"{plural(found.instructions, 'instruction')}"
            + "".join(f", prompt {p.name!r}" for p in found.prompts if p != DEFAULT)
        )
    return lines


def edit_table(edit: sb.NeuronEdit) -> Group:
    """The neurons and factors of an edit, site by site."""
    from rich.console import Group
    from rich.table import Column, Table
    from rich.text import Text

    right = Column("neurons", justify="right")
    table = Table(Column("site", overflow="fold"), right, "units", box=None)
    crowded = sorted(edit.factors, key=lambda site: -len(edit.factors[site]))
    for site in crowded[:SHOWN_SITES]:
        units = edit.factors[site]
        found = sorted(set(units.values()))
        some = ", ".join(f"{f:g}" for f in found)
        few = some if len(found) <= 4 else f"{found[0]:.2f} to {found[-1]:.2f}"
        factors = "" if found == [0.0] else f" x {few}"
        shown = ", ".join(map(str, list(units)[:12])) + (" ..." if len(units) > 12 else "")
        first, last = min(units), max(units)
        shown = f"{first} to {last}" if last - first == len(units) - 1 > 1 else shown
        table.add_row(Text(site), str(len(units)), shown + factors)
    rest = crowded[SHOWN_SITES:]
    more = [f"and {len(rest)} more sites; --json shows all"] if rest else []
    return Group(*map(Text, edit_head(edit)), table, *more)
