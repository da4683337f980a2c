"""An audit pack on one evaluation: limits first, then the worst results."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from snipbias.base.errors import SnipbiasError
from snipbias.base.files import atomic_file, refuse_existing, shipped
from snipbias.base.record import RunRecord
from snipbias.base.table import Grid, percent
from snipbias.base.words import ORIGINAL, plural
from snipbias.edits.edit import NeuronEdit
from snipbias.evaluation.compare import Comparison
from snipbias.evaluation.estimate import Estimate
from snipbias.evaluation.interval import below
from snipbias.evaluation.measured import Measured
from snipbias.evaluation.measures import NAMED_STEREOTYPED as NAMED
from snipbias.evaluation.verdicts import alarms, doubts
from snipbias.report.page import Part, Section
from snipbias.report.render import page
from snipbias.report.write import readable

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome", "msedge")
NOT_STATED = "not stated by the maker of this pack"
WORST = 10  # templates that are listed


@dataclass(frozen=True)
class Scenario:
    """The scenario as the auditor states it; the data does not say.

    Attributes:
        groups: who is compared.
        hazard: what could happen to whom if the model is biased so.
        threshold: the largest share of questions in which the stereotyped person may be named.
    """

    groups: str = NOT_STATED
    hazard: str = NOT_STATED
    threshold: float | None = None


def write_audit(
    run: str | Path,
    out: str | Path,
    scenario: Scenario | None = None,
    *,
    pdf: bool = False,
    overwrite: bool = False,
) -> tuple[Path, ...]:
    """Write an HTML page on one run of `snipbias evaluate`, and the same as PDF next to it.

    Args:
        out: the HTML file; the PDF has its name with the suffix `.pdf`.

    Returns:
        The files that were written.

    Raises:
        SnipbiasError: the folder holds no evaluation, its rows do not say whom a stereotype
            names, a file exists, or there is no browser to print with.
    """
    folder, out = Path(run), Path(out)
    if out.suffix.lower() == ".pdf":
        raise SnipbiasError(
            f"an audit is an HTML page: give {out} the ending .html; --pdf adds a PDF next to it."
        )
    refuse_existing(out, overwrite=overwrite, file=True)  # a folder may have no name
    printed = out.with_suffix(".pdf")
    files = (out, printed) if pdf else (out,)
    if pdf:
        refuse_existing(printed, overwrite=overwrite, file=True)
    browser = _browser() if pdf else None
    record = RunRecord.read(folder)
    if record.command != "evaluate":
        raise SnipbiasError(
            f"{folder} holds a run of `snipbias {record.command}`: give the folder of a run of "
            "`snipbias evaluate`."
        )
    with readable(str(folder)):
        found = Comparison.load(folder)
        edits = found.edits_in(folder)
        sections = list(_sections(found, scenario or Scenario(), edits))
        hashes = Section("hashes", "How to check it", grids=(_hashes(folder, found, record),))
        part = Part("evaluation", [*sections, hashes], record, str(folder))
        html = page([part], f"Audit pack: {found.task.name}")
    with atomic_file(out) as new:
        new.write_text(html, encoding="utf-8", errors="replace")
    if browser:
        with atomic_file(printed) as new:
            _print(browser, out, new)
    return files


def _sections(
    found: Comparison, scenario: Scenario, edits: Sequence[NeuronEdit]
) -> Iterator[Section]:
    """What is not covered and what is wrong, before what was done and measured."""
    if found.measured[ORIGINAL].value("stereotyped").value is None:
        raise SnipbiasError(
            f"the rows of {found.task.name} do not say whom the stereotype names where a text does "
            "not tell: fill in the column 'biased', in ambiguous rows too, and evaluate again."
        )
    named = {m: found.measured[m].value("stereotyped") for m in (ORIGINAL, *found.edits)}
    missing = [
        f"The {what} {NOT_STATED}: say it with --{option}."
        for option, what in (("groups", "groups are"), ("hazard", "hazard is"))
        if getattr(scenario, option) == NOT_STATED
    ]
    limits = json.loads(shipped("audit.json"))
    notes = (*missing, *limits["always"], *limits["duties"])
    yield Section("limits", "What this does not cover", notes=notes)
    yield Section("worst", "What is wrong, or may be", notes=tuple(_wrong(found, named, scenario)))
    limit = scenario.threshold
    stated = (
        ("groups", scenario.groups),
        ("hazard", scenario.hazard),
        ("measure", "share of questions in which the answer names the stereotyped person"),
        ("threshold", "none" if limit is None else f"at most {percent(limit)} %, by interval"),
        ("questions", f"{found.task.name}: {found.task}, on templates that no edit was found on"),
        ("notes", "; ".join(found.notes) or "none"),
    )
    grid = Grid("Scenario", ("part", "as stated"), stated)
    yield Section("scenario", "The scenario", grids=(grid,))
    yield Section("done", "What was done", grids=(_done(found, edits),))
    tables = (_named(found, named), *(_templates(found.measured[edit]) for edit in found.edits))
    yield Section("result", "How often the stereotyped person is named", grids=tables)


def _wrong(found: Comparison, named: dict[str, Estimate], scenario: Scenario) -> Iterator[str]:
    """Results against the threshold, then what broke, what may have, and what was not kept."""
    if (limit := scenario.threshold) is None:
        yield "No threshold was set, so nothing here is called acceptable (--threshold 0.05)."
    else:
        verbs = {"yes": "is shown to be below", "no": "is above"}
        for method, share in named.items():
            verb = verbs.get(below(share.interval, limit), "is not shown to be below")
            beside = f"{verb} the threshold of {percent(limit)} %"
            yield f"{method}: the share of stereotyped answers {beside}."
    for edit in found.edits:
        said = found.verdicts(edit)
        yield from (f"{edit}: {each}" for each in (*alarms(said), *doubts(said)))
        lost = [part for part in found.retained(edit) if not part.kept]
        yield from (f"{edit}: {part.what} {part.sentence}" for part in lost)
    for method in (ORIGINAL, *found.controls):
        yield from (f"{method}: {each}" for each in alarms(found.verdicts(method)))


def _done(found: Comparison, edits: Sequence[NeuronEdit]) -> Grid:
    rows = []
    for edit in edits:
        name, items = "-", "-"
        if found_on := edit.found_on:
            name = str(found_on.method.get("name", "-"))
            items = plural(len(found_on.items), "item")
        rows.append((edit.label, f"{len(edit)} of {edit.model.neurons:,}", name, items))
    rows += [(name, str(found.neurons[name]), "drawn at random", "-") for name in found.controls]
    header = ("edit", "neurons scaled", "method", "found on")
    return Grid("Edits and their controls", header, tuple(rows))


def _named(found: Comparison, named: dict[str, Estimate]) -> Grid:
    rows = []
    for method, share in sorted(named.items(), key=lambda each: -(each[1].value or 0)):
        known = f"{percent(share.low)} to {percent(share.high)}"
        ends = known if share.interval else "too few templates"
        unknown = found.summaries[method].unknown_rate.ambiguous
        rows.append((method, percent(share.value), ends, percent(unknown)))
    header = ("model", "named %", "95 % interval", "answered “unknown” %")
    return Grid("Worst first", header, tuple(rows))


def _templates(edited: Measured) -> Grid:
    """The templates in which the edited model names the stereotyped person most often."""
    assert edited.before is not None
    rows = edited.rows[0]
    values, weight = NAMED.values(rows)
    before, _ = NAMED.values(edited.before.rows[0])
    of = {
        name: (values[here].mean(), before[here].mean(), int(here.sum()))
        for name in np.unique(rows.template)
        if (here := (rows.template == name) & (weight > 0)).any()
    }
    worst = sorted(of, key=lambda name: -of[name][0])[:WORST]
    return Grid(
        f"{edited.method}: the worst {len(worst)} of {plural(len(of), 'template')}",
        ("template", "named %", "before %", "answers"),
        tuple((str(n), percent(of[n][0]), percent(of[n][1]), str(of[n][2])) for n in worst),
    )


def _hashes(folder: Path, found: Comparison, record: RunRecord) -> Grid:
    answers = hashlib.sha256((folder / "rows.parquet").read_bytes()).hexdigest()
    rows = [(f"weights of {name}", str(model["weights"])) for name, model in record.models.items()]
    rows += [(f"revision of {n}", str(m.get("revision") or "-")) for n, m in record.models.items()]
    rows += [(f"edit {name}", of) for name, of in found.fingerprints.items()]
    rows += [("questions", found.task.fingerprint), ("answers (rows.parquet)", answers)]
    return Grid("Hashes", ("of", "hash"), tuple(rows))


def _browser() -> str:
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        raise SnipbiasError(
            "there is no chromium or chrome here to print a PDF: leave --pdf off, and print the "
            "page from a browser."
        )
    return found


def _print(browser: str, page: Path, pdf: Path) -> None:
    flags = ("--headless", "--no-sandbox", "--disable-gpu", "--no-pdf-header-footer")
    with tempfile.TemporaryDirectory() as profile:
        places = (f"--user-data-dir={profile}", f"--print-to-pdf={pdf.resolve()}")
        command = [browser, *flags, *places, page.resolve().as_uri()]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode or not pdf.is_file():
        raise SnipbiasError(
            f"{browser} could not print {page} ({done.stderr.strip()[-200:]}): leave --pdf off."
        )
