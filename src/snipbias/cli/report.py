"""The command `report`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from snipbias.cli import options as o


@dataclass(kw_only=True)
class Report(o.Command):
    """Write one HTML page of what runs found, changed and kept; it opens without a network.

    The texts of changed rows are read from the task again, on this machine only.
    """

    panel = o.LOOK
    examples = (
        "snipbias report snipbias-runs/evaluate --out report.html",
        "snipbias report edits/age evaluated --out both.html --no-texts",
    )
    runs: Annotated[
        list[Path],
        typer.Argument(
            metavar="RUN...",
            help="Folders of find, evaluate, demo or reproduce.",
            show_default=False,
        ),
    ]
    out: Annotated[Path, typer.Option(help="HTML file to write.")] = Path("report.html")
    title: Annotated[
        str | None, typer.Option(help="Title of the page.", show_default="models and tasks")
    ] = None
    no_texts: Annotated[
        bool,
        typer.Option("--no-texts", help="Leave out the rows' texts, if you may not share them."),
    ] = False
    data_dir: o.DataDir = None
    overwrite: o.Overwrite = False
    as_json: o.Json = False

    def __call__(self) -> None:
        from snipbias.cli.run import show
        from snipbias.report.write import write_report

        path = write_report(
            self.runs,
            self.out,
            title=self.title,
            data_dir=self.data_dir,
            texts=not self.no_texts,
            overwrite=self.overwrite,
        )
        size = path.stat().st_size
        said = f"written  {path} ({size / 1e6:.1f} MB)"
        show({"out": str(path), "bytes": size}, said, as_json=self.as_json)
