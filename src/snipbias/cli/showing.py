"""Shared parts of the commands that show one table, and write it to a file on request."""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from snipbias.base.errors import SnipbiasError
from snipbias.base.files import atomic_file, refuse_existing
from snipbias.cli import options as o

if TYPE_CHECKING:
    from rich.console import RenderableType

    from snipbias.cli.run import Run


@dataclass(kw_only=True)
class Showing(o.Command):
    """Where the table goes."""

    heading = "Output"
    save: Path | None = o.option("Also write it to this file: .json, .csv or .md.")
    overwrite: bool = o.OVERWRITE
    as_json: bool = o.JSON
    quiet: bool = o.QUIET

    def begin(self, command: str) -> Run:
        """Begin a run that loads models and tasks.

        Raises:
            SnipbiasError: the file to save cannot be written.
        """
        from snipbias.base.record import RunRecord
        from snipbias.cli.run import Run

        if self.save:
            if self.save.suffix not in (".json", ".csv", ".md"):
                raise SnipbiasError(f"cannot write {self.save}: name a .json, .csv or .md file.")
            refuse_existing(self.save, overwrite=self.overwrite, file=True)
        record = RunRecord(command, sys.argv[1:], vars(self))
        return Run(record, Path(), as_json=self.as_json, quiet=self.quiet)

    def end(
        self,
        run: Run,
        record: Mapping[str, Any],
        rows: Sequence[Mapping[str, Any]],
        markdown: str,
        *shown: RenderableType,
        then: str = "",
    ) -> None:
        """Write the file, if one was named, and show the result.

        Args:
            record: what a .json file holds.
            rows: what a .csv file holds.
            markdown: what a .md file holds.
            then: the next command.
        """
        if self.save:
            text = {
                ".json": lambda: json.dumps(record, indent=1) + "\n",
                ".csv": lambda: _as_csv(rows),
                ".md": lambda: markdown + "\n",
            }[self.save.suffix]()
            with atomic_file(self.save) as new:
                new.write_text(text, encoding="utf-8")
        run.show(record, *shown, then=then)


def _as_csv(rows: Sequence[Mapping[str, Any]]) -> str:
    file = io.StringIO()
    writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return file.getvalue()
