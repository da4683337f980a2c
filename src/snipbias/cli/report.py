"""The commands `report` and `audit`: HTML pages about runs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import snipbias as sb
from snipbias.cli import options as o
from snipbias.cli.run import show


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
    runs: list[Path] = o.argument("Folders of find, evaluate, demo or reproduce.", metavar="RUN...")
    out: Path = o.option("HTML file to write.", Path("report.html"))
    title: str | None = o.option("Title of the page.", show_default="models and tasks")
    no_texts: bool = o.flag("Leave out the rows' texts, if you may not share them.")
    data_dir: Path | None = o.DATA_DIR
    overwrite: bool = o.OVERWRITE
    as_json: bool = o.JSON

    def __call__(self) -> None:
        path = sb.write_report(
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


@dataclass(kw_only=True)
class Audit(o.Command):
    """Write an HTML page (and PDF) about one bias scenario: limits first, then the worst results.

    It is a measurement, not a certificate; the page says which legal duties it does not cover.
    """

    panel = o.LOOK
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
        show({"written": written}, f"written  {', '.join(written)}", as_json=self.as_json)
