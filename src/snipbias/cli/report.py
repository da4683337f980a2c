"""The command `report`: its options (imports nothing heavy)."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from snipbias.cli import options as o


def report(
    runs: Annotated[
        list[Path],
        typer.Argument(
            metavar="RUN...",
            help="Folders of find, evaluate, demo or reproduce.",
            show_default=False,
        ),
    ],
    out: Annotated[Path, typer.Option(help="HTML file to write.")] = Path("report.html"),
    title: Annotated[
        str | None, typer.Option(help="Of the page.", show_default="models and tasks")
    ] = None,
    no_texts: Annotated[
        bool,
        typer.Option("--no-texts", help="Leave out the texts of rows, which you may not pass on."),
    ] = False,
    data_dir: o.DataDir = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the file if it is there.")
    ] = False,
    as_json: o.Json = False,
) -> None:
    """Write one HTML page of what runs found, changed and kept; it opens without a network.

    The texts of changed rows are read from the task again, from this machine alone.
    """
    from snipbias.cli.run import show
    from snipbias.report.write import write_report

    path = write_report(
        runs, out, title=title, data_dir=data_dir, texts=not no_texts, overwrite=overwrite
    )
    size = path.stat().st_size
    show(
        {"out": str(path), "bytes": size},
        f"written: {path} ({size / 1e6:.1f} MB)",
        as_json=as_json,
    )
