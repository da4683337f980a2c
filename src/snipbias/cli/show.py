"""The commands `show` and `tasks`."""

from __future__ import annotations

import os
import shlex
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import snipbias as sb
from snipbias.cli import options as o
from snipbias.cli.ending import after_comparison, report
from snipbias.cli.run import show

if TYPE_CHECKING:
    from rich.console import RenderableType

    from snipbias.base.record import RunRecord


class Show(o.Command):
    """Show what an edit holds and what it was found on, or what a run did."""

    examples = ("snipbias show age-edit",)
    path: str = o.argument("Folder of an edit or of a run, or owner/name.")
    as_json: bool = o.JSON

    def __call__(self) -> None:
        from snipbias.base.record import RunRecord
        from snipbias.cli.edit_view import edit_table
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
