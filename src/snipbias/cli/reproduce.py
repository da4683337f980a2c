"""The command `reproduce`."""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import snipbias as sb
from snipbias.base.errors import SnipbiasError
from snipbias.base.files import slug
from snipbias.cli import config
from snipbias.cli import options as o
from snipbias.cli.ending import Tracked, report, written
from snipbias.cli.run import Run, kept_in, show

BBQ = ("bbq:SES", "bbq:Age", "bbq:Disability_status")
MINI = ("mini:age", "mini:ses", "mini:disability")
# Keep the demo model's experiment to about ten minutes on two cores.
DEMO_LIMITS: dict[str, Any] = {
    "items": 32,
    "dev_items": 12,
    "sizes": (3, 10, 30, 100),
    "refine": 1,
    "layers": 2,
    "strengths": (1.0, 2.0, 4.0),
    "texts": 4,
    "retention_items": 24,
}


class Experiment(o.Writing):
    """What `reproduce` and `demo` share."""

    label: ClassVar[str]  # of the progress bar

    def _run(
        self, this: Run, model: str, settings: sb.Settings, folder: Path
    ) -> tuple[sb.Results, list[str]]:
        """Run the experiment in a folder; return notes on what could not be written too."""
        asked, tasks = self.given("data_dir", "prompt"), []
        read = {"instructions": settings.instructions, **self.given("instructions")}
        for name in settings.tasks:
            columns = self.given("column") if name.endswith((".csv", ".tsv", ".jsonl")) else {}
            tasks.append(this.task(name, **asked, **read, **columns))
        retention = [this.task(name, **asked) for name in settings.retention]
        seeds = range(settings.seed, settings.seed + settings.trials)
        this.record.seeds = {"samples of items": list(seeds)}
        lm = this.load(model)
        notes: list[str] = []

        def finish(results: sb.Results, place: Path) -> None:
            this.record.lap("reproduce")
            notes.extend(write(results, place))
            this.record.lap("tables")
            this.record.write(place)
            config.write(place, self)

        kept = {"retention": retention, "folder": folder, "overwrite": self.overwrite}
        with this.progress(self.label, 0) as hooks:
            return sb.reproduce(lm, tasks, settings, **kept, write=finish, **hooks), notes

    def _tell(self, folder: Path, results: sb.Results, notes: list[str], *, full: bool) -> None:
        """Print every table if asked for, then the answer, the notes and the next command."""
        from snipbias.experiment.tables.answers import answers

        tables = [results.renderable(), ""] if full else []
        result = {"out": str(folder), **results.to_dict()}
        parts = (*tables, answers(results), *notes, written(folder))
        show(self, result, *parts, then=report(folder))


class Reproduce(Tracked, Experiment, o.Running, o.Answering, o.TaskReading):
    """Run the paper's whole experiment: every method on every task, with controls and ablations.

    If it is killed, the same command resumes it. Writes table1.csv, table2.csv, tables.md,
    rows.parquet, every edit, plots and run.json. Settings are chosen on one set of templates and
    everything is reported on another.
    """

    heading, label = "Experiment", "reproducing"
    examples = (
        "snipbias reproduce",
        "snipbias reproduce google/flan-t5-base --preset v2 --out flan",
        "snipbias reproduce demo --task mini:age --methods v1,random --trials 1",
    )
    model: str = o.argument("Hub id, local folder, .gguf file.", "demo")
    preset: str = o.option("v1 (arXiv 2023), v2 (ACL 2024) or snipbias.", "v1")
    task: list[str] | None = o.option(
        "bbq:SES, mini:age, a JSONL file ... (repeatable).",
        show_default="three of bbq; of mini for the demo model",
    )
    methods: str | None = o.option(
        "Run only these, besides the original and the preset's own: CC,DC,random ...",
        show_default="all",
    )
    items: int | None = o.option(
        "Test at most N items per task.", None, "--items", "--limit", min=1
    )
    no_control_rows: bool = o.NO_CONTROL_ROWS
    dev_items: int | None = o.option("Choose settings on at most N items.", min=1)
    samples: int | None = o.option("Items to find neurons on.", min=1)
    trials: int | None = o.option("Independent draws of these items.", min=1)
    draws: int | None = o.option("Draws of each random control.", min=1)
    seed: int = o.option("Seed of the first draw.", 0)
    sizes: str | None = o.option("Numbers of neurons to try: 1,3,10,30.")
    objective: str | None = o.option("How n is chosen: overall, balanced or no-harm.")
    balanced: bool = o.flag("Same as --objective balanced.")
    no_harm: float | None = o.option(
        "Same as --objective no-harm: disambiguated accuracy and retention may drop by this much.",
        metavar="MARGIN",
    )
    transfer: bool | None = o.option(
        "Also test each edit on the other tasks.", show_default="the preset's"
    )
    sample_sizes: str | None = o.option(
        "Also find neurons on these numbers of items: 5,10.", show_default="the preset's"
    )
    prompts: str | None = o.option(
        "Also evaluate the edits under these prompt templates (names or files), or none.",
        show_default="paper,letters",
    )
    retention: list[str] | None = o.option(
        "Task on which the model must not get worse (repeatable).", show_default="mini:skills"
    )
    retention_items: int | None = o.option("Use at most N rows of each retention task.", min=1)
    elsewhere: int | None = o.option(
        "Items of each small task that shows side effects elsewhere; 0: none.", min=0
    )
    refine: int | None = o.option("Rounds of trying sizes around the best one.", min=0)
    layers: int | None = o.option("Number of layers to try steering at.", min=1)
    strengths: str | None = o.option("Strengths to try steering with: 0.5,1,2.")
    steps: int | None = o.option("Training steps of learned factors or their LoRA.", min=1)
    no_retention: bool = o.NO_RETENTION
    text: bool = o.option("Measure perplexity and KL on neutral text.", True)
    full: bool = o.FULL
    out: Path | None = o.option(
        "Folder to write, or to resume.",
        show_default="snipbias-runs/reproduce-<model>-<preset>-<settings>",
    )

    def __call__(self) -> None:
        self.ready()
        settings = self.settings()
        folder = self.out or default_folder(self.model, settings)
        this = Run(self, folder, out=folder, settings=settings.to_dict())
        with kept_in(folder):
            results, notes = self._run(this, self.model, settings, folder)
        self.log(folder.name, settings.to_dict(), results.to_dict())
        self._tell(folder, results, notes, full=self.full)

    def settings(self) -> sb.Settings:
        """The preset's settings, changed by the options that were given.

        Raises:
            SnipbiasError: two options contradict each other, or one has no valid value.
        """
        of_demo = self.model == "demo"
        base = sb.preset(self.preset, **(DEMO_LIMITS if of_demo else {}))
        if self.no_retention and self.retention:
            raise SnipbiasError("--retention and --no-retention contradict each other: drop one.")
        same = ("items", "dev_items", "retention_items", "instructions", "samples", "trials")
        same += ("draws", "refine", "layers", "steps", "transfer", "elsewhere", "seed", "prompt")
        sample_sizes = o.numbers("--sample-sizes", self.sample_sizes)
        if sample_sizes is None:
            sample_sizes = tuple(n for n in base.sample_sizes if n != self.samples)
        changes = {
            **self.given(*same),
            **self._objective(),
            "control_rows": not self.no_control_rows,
            "tasks": tuple(self.task or (MINI if of_demo else BBQ)),
            "prompts": () if self.prompts == "none" else o.names(self.prompts),
            "sizes": o.numbers("--sizes", self.sizes),
            "sample_sizes": sample_sizes,
            "strengths": o.numbers("--strengths", self.strengths, float, "0.5,1,2"),
            "methods": o.names(self.methods),
            "retention": () if self.no_retention else tuple(self.retention or ()) or None,
            "texts": None if self.text else 0,
        }
        return replace(base, **{name: v for name, v in changes.items() if v is not None})

    def _objective(self) -> dict[str, Any]:
        """The objective, which several options can name, and its margin."""
        asked = {
            "--objective": self.objective,
            "--balanced": "balanced" if self.balanced else None,
            "--no-harm": None if self.no_harm is None else "no-harm",
        }
        given = {option: name for option, name in asked.items() if name is not None}
        if len(set(given.values())) > 1:
            raise SnipbiasError(f"{' and '.join(given)} contradict each other: drop one.")
        margin = {} if self.no_harm is None else {"margin": self.no_harm}
        return {"objective": next(iter(given.values())), **margin} if given else {}


def default_folder(model: str, settings: sb.Settings) -> Path:
    """A folder that depends only on the settings, so that the same command resumes in it."""
    digest = hashlib.sha256(json.dumps(settings.to_dict()).encode()).hexdigest()[:8]
    return Path("snipbias-runs") / f"reproduce-{slug(Path(model).name)}-{settings.preset}-{digest}"


def write(results: sb.Results, folder: Path) -> tuple[str, ...]:
    """Write tables, plots and edits, each moved into the folder once complete; return notes."""
    from snipbias.edits.run_folder import write_sites
    from snipbias.report.plots import write_plots
    from snipbias.report.reproduced import plots_of

    new = folder / ".new"
    shutil.rmtree(new, ignore_errors=True)  # left by a killed run
    new.mkdir()
    results.write(new)
    drawn = (plot for task in results.tasks for plot in plots_of(results, task.name))
    notes = write_plots(drawn, new)
    write_sites(results.sites, new)
    for outcome in results.outcomes:
        if outcome.edit is not None:
            place = new / outcome.edit_place
            place.mkdir(parents=True)
            outcome.edit.write_into(place)
    for made in sorted(new.iterdir()):
        there = folder / made.name
        if there.is_dir() and not there.is_symlink():
            shutil.rmtree(there)
        made.replace(there)
    new.rmdir()
    return notes
