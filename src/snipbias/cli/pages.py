"""The commands `report`, `audit` and `play`: pages to look at in a browser."""

from __future__ import annotations

import sys
import warnings
from dataclasses import replace
from pathlib import Path

import snipbias as sb
from snipbias.base.errors import require
from snipbias.cli import options as o
from snipbias.cli.run import Run, show


class Report(o.Command):
    """Write one HTML page of what runs found, changed and kept; it opens without a network.

    The texts of changed rows are read from the task again, on this machine only.
    """

    examples = (
        "snipbias report snipbias-runs/evaluate --out report.html",
        "snipbias report edits/age evaluated --out both.html --no-texts",
    )
    runs: list[Path] = o.argument("Folders of find, evaluate, demo or reproduce.", metavar="RUN...")
    out: Path = o.option("HTML file to write.", Path("report.html"))
    title: str | None = o.option("Title of the page.", show_default="models and tasks")
    no_texts: bool = o.flag("Leave out the rows' texts, if you may not share them.")
    data_dir: Path | None = o.DATA_DIR
    overwrite: bool = o.OVERWRITE
    as_json: bool = o.JSON

    def __call__(self) -> None:
        path = sb.write_report(
            texts=not self.no_texts, **self.given("runs", "out", "title", "data_dir", "overwrite")
        )
        size = path.stat().st_size
        show(self, {"out": str(path), "bytes": size}, f"written  {path} ({size / 1e6:.1f} MB)")


class Audit(o.Command):
    """Write an HTML page (and PDF) about one bias scenario: limits first, then the worst results.

    It is a measurement, not a certificate; the page says which legal duties it does not cover.
    """

    examples = (
        'snipbias audit evaluated --groups "older and younger people" --threshold 0.05',
        'snipbias audit evaluated --hazard "a chatbot that screens applicants" --pdf',
    )
    run: Path = o.argument("Folder of an evaluation.", metavar="RUN")
    groups: str | None = o.option("The groups that are compared.")
    hazard: str | None = o.option("What could happen, and to whom.")
    threshold: float | None = o.option(
        "Largest acceptable share of stereotyped answers, 0 to 1.", min=0.0, max=1.0
    )
    out: Path = o.option("HTML file to write.", Path("audit.html"))
    pdf: bool = o.flag("Also write a PDF (needs chromium).")
    overwrite: bool = o.OVERWRITE
    as_json: bool = o.JSON

    def __call__(self) -> None:
        from snipbias.report.audit import NOT_STATED, Scenario, write_audit

        scenario = Scenario(self.groups or NOT_STATED, self.hazard or NOT_STATED, self.threshold)
        files = write_audit(self.run, self.out, scenario, pdf=self.pdf, overwrite=self.overwrite)
        written = [str(file) for file in files]
        show(self, {"written": written}, f"written  {', '.join(written)}")


class Play(o.Running, o.Asking):
    """Open a page on this machine: ask a model one question, with and without its edits.

    Type or pick a question, switch edits on and off, change their strength, and see what the model
    answers and which neurons fired. Stop it with Ctrl-C.
    """

    heading = "Page"
    examples = (
        "snipbias play demo --edit age-edit",
        "snipbias play google/flan-t5-base --edit ses/n10 --edit ses/n50 --task bbq:SES",
    )
    model: str = o.MODEL
    edit: list[str] | None = o.EDITS
    task: list[str] | None = o.option(
        "Task to pick questions from (repeatable).", show_default="mini"
    )
    host: str = o.option("Address to serve at.", "127.0.0.1")
    port: int = o.option("Port to serve at; 0: any free one.", 8080, min=0, max=65535)
    browser: bool = o.option("Open the page in a browser.", True)

    def __call__(self) -> None:
        require("nicegui", "the playground needs", "play")  # guard.py imports what comes with it
        from snipbias.evaluation.compare import distinct
        from snipbias.play.guard import is_loopback
        from snipbias.play.server import serve
        from snipbias.play.session import Session

        # Named by their paths, since several may have the label "v1 n=10".
        edits = [replace(sb.NeuronEdit.load(place), label=place) for place in self.edit or ()]
        this = Run(self)
        tasks = [this.task(name) for name in self.task or ("mini",)]
        if not is_loopback(self.host):
            warnings.warn(
                f"with --host {self.host}, anyone who can read this machine's network traffic can "
                "use the page and read the tasks: leave --host out to keep them private.",
                stacklevel=2,
            )
        lm = sb.load(self.model, **self.given(*o.LOADING))
        serve(
            Session(lm, distinct(edits), tasks),
            host=self.host,
            port=self.port,
            open_browser=self.browser,
            say=lambda url: print(f"playing at {url} (stop with Ctrl-C)", flush=True),
        )
        print("stopped.", file=sys.stderr)
