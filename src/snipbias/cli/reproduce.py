"""The command `reproduce`."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from snipbias.base.errors import SnipbiasError
from snipbias.base.files import slug
from snipbias.cli import config
from snipbias.cli import options as o
from snipbias.cli.answering import Answering
from snipbias.cli.tracking import Tracked

if TYPE_CHECKING:
    from snipbias.cli.run import Run
    from snipbias.experiment.outcome import Experiment
    from snipbias.experiment.results import Results
    from snipbias.experiment.settings import Settings
    from snipbias.tasks.items import Task

BBQ = ("bbq:SES", "bbq:Age", "bbq:Disability_status")
MINI = ("mini:age", "mini:ses", "mini:disability")
# So that the demo model's experiment takes some ten minutes on two cores.
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


@dataclass(kw_only=True)
class Reproduce(Tracked, o.Writing, o.Running, Answering, o.Reading):
    """The paper's whole experiment: every method on every task, with controls and ablations.

    Killed at any point, the same command goes on from what it has. Writes table1.csv, table2.csv,
    tables.md, rows.parquet, every edit, plots and run.json; settings are chosen on templates of
    their own, and everything is reported on others.
    """

    panel = o.FIND
    heading = "Experiment"
    examples = (
        "snipbias reproduce",
        "snipbias reproduce google/flan-t5-base --preset v2 --out flan",
        "snipbias reproduce demo --task mini:age --methods v1,random --trials 1",
    )
    model: Annotated[str, typer.Argument(help="Hub id, local folder, .gguf file.")] = "demo"
    preset: Annotated[str, typer.Option(help="v1 (arXiv 2023), v2 (ACL 2024) or snipbias.")] = "v1"
    task: Annotated[
        list[str] | None,
        typer.Option(
            help="bbq:SES, mini:age, a JSONL file ... (repeatable).",
            show_default="three of bbq; of mini for the demo model",
        ),
    ] = None
    methods: Annotated[
        str | None,
        typer.Option(
            help="Run these beside the original and the preset's own: CC,DC,random ...",
            show_default="all",
        ),
    ] = None
    items: Annotated[
        int | None, typer.Option("--items", "--limit", min=1, help="Test so many items per task.")
    ] = None
    no_control_rows: o.NoControlRows = False
    dev_items: Annotated[int | None, typer.Option(min=1, help="Choose n on at most so many.")] = (
        None
    )
    samples: Annotated[int | None, typer.Option(min=1, help="Items that neurons are found on.")] = (
        None
    )
    trials: Annotated[int | None, typer.Option(min=1, help="Draws of these items.")] = None
    draws: Annotated[int | None, typer.Option(min=1, help="Draws of each random control.")] = None
    seed: Annotated[int, typer.Option(help="Of the first draw.")] = 0
    sizes: Annotated[str | None, typer.Option(help="Numbers of neurons to try: 1,3,10,30.")] = None
    objective: Annotated[
        str | None, typer.Option(help="What n is chosen by: overall, balanced or no-harm.")
    ] = None
    balanced: Annotated[bool, typer.Option("--balanced", help="--objective balanced")] = False
    no_harm: Annotated[
        float | None,
        typer.Option(
            metavar="MARGIN",
            help="--objective no-harm: disambiguated accuracy and retention may lose this much.",
        ),
    ] = None
    transfer: Annotated[
        bool | None,
        typer.Option(
            "--transfer/--no-transfer",
            help="Also test each edit on the other tasks.",
            show_default="the preset's",
        ),
    ] = None
    sample_sizes: Annotated[
        str | None,
        typer.Option(help="Also find neurons on so many items: 5,10.", show_default="the preset's"),
    ] = None
    prompts: Annotated[
        str | None,
        typer.Option(
            help="Also evaluate the edits under these prompts, names or files; none: no other.",
            show_default="paper,letters",
        ),
    ] = None
    retention: Annotated[
        list[str] | None,
        typer.Option(help="Task that must not get worse (repeatable).", show_default="mini:skills"),
    ] = None
    retention_items: Annotated[
        int | None, typer.Option(min=1, help="Of each of these at most so many.")
    ] = None
    elsewhere: Annotated[
        int | None, typer.Option(min=0, help="Items of each small task elsewhere; 0: none.")
    ] = None
    refine: Annotated[int | None, typer.Option(min=0, help="Rounds of refining the sizes.")] = None
    layers: Annotated[int | None, typer.Option(min=1, help="Layers to try steering at.")] = None
    strengths: Annotated[str | None, typer.Option(help="Strengths to try it with: 0.5,1,2.")] = None
    no_retention: Annotated[bool, typer.Option("--no-retention", help="No such task.")] = False
    text: Annotated[
        bool, typer.Option("--text/--no-text", help="Perplexity and KL on neutral text.")
    ] = True
    out: o.Resumed = None

    def __call__(self) -> None:
        """Run the experiment in its folder, write tables and edits, and print the tables."""
        from rich.console import Group
        from rich.text import Text

        from snipbias.cli.run import resumable_run
        from snipbias.experiment.results import Results
        from snipbias.experiment.run import reproduce

        self.ready()
        arguments = vars(self)
        settings = settings_of(arguments)
        folder = arguments["out"] or default_folder(arguments["model"], settings)
        effective = {**arguments, "out": folder, "settings": settings.to_dict()}
        output = {name: arguments[name] for name in ("as_json", "quiet")}
        with resumable_run("reproduce", effective, folder, **output) as this:
            tasks = [_task(this, name, arguments) for name in settings.tasks]
            retention = [
                this.task(name, data_dir=self.data_dir, prompt=self.prompt)
                for name in settings.retention
            ]
            this.record.seeds = {
                "samples of items": list(range(settings.seed, settings.seed + settings.trials))
            }
            lm = this.load(arguments["model"], self.model_options)
            notes: list[str] = []

            def finish(experiment: Experiment, place: Path) -> None:
                this.record.lap("reproduce")
                notes.extend(write(Results(experiment), place))
                this.record.lap("tables")
                this.record.write(place)
                config.write(place, "reproduce", self)

            with this.progress("reproducing", 0) as progress:
                experiment = reproduce(
                    lm,
                    tasks,
                    settings,
                    retention=retention,
                    folder=folder,
                    overwrite=arguments["overwrite"],
                    write=finish,
                    batch_size=arguments["batch_size"],
                    progress=progress,
                    stage=progress.stage,
                )
        self.log(folder.name, settings.to_dict(), experiment.to_dict())
        this.show(
            {"out": str(folder), **experiment.to_dict()},
            Group(experiment.renderable(), *map(Text, notes), Text(f"\nwritten: {folder}")),
        )


def settings_of(arguments: Mapping[str, Any]) -> Settings:
    """The preset's settings with what the arguments say otherwise."""
    from snipbias.experiment.settings import preset

    of_demo = arguments["model"] == "demo"
    base = preset(arguments["preset"], **(DEMO_LIMITS if of_demo else {}))
    plain = (
        *("items", "dev_items", "retention_items", "instructions", "samples", "trials", "draws"),
        *("refine", "layers", "transfer", "elsewhere"),
    )
    changes = {name: arguments[name] for name in plain if arguments[name] is not None}
    changes |= _objective(arguments)
    changes["seed"] = arguments["seed"]
    changes["prompt"] = arguments["prompt"]
    changes["control_rows"] = not arguments["no_control_rows"]
    if (prompts := arguments["prompts"]) is not None:
        named = (name.strip() for name in prompts.split(","))
        changes["prompts"] = () if prompts == "none" else tuple(dict.fromkeys(named))
    changes["tasks"] = tuple(arguments["task"] or (MINI if of_demo else BBQ))
    for name in ("sizes", "sample_sizes"):
        if arguments[name] is not None:
            changes[name] = _numbers(name, arguments[name])
    if arguments["strengths"] is not None:
        changes["strengths"] = _strengths(arguments["strengths"])
    if "samples" in changes and arguments["sample_sizes"] is None:
        others = (n for n in base.sample_sizes if n != changes["samples"])
        changes["sample_sizes"] = tuple(others)
    if arguments["methods"] is not None:
        named = (name.strip() for name in arguments["methods"].split(","))
        changes["methods"] = tuple(dict.fromkeys(named))
    if arguments["no_retention"] or arguments["retention"]:
        changes["retention"] = tuple(arguments["retention"] or ())
    if arguments["no_retention"] and arguments["retention"]:
        raise SnipbiasError("--retention and --no-retention contradict each other: drop one.")
    if not arguments["text"]:
        changes["texts"] = 0
    return replace(base, **changes)


def _strengths(text: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise SnipbiasError(f"--strengths {text!r} is no list of numbers: write 0.5,1,2.") from None


def default_folder(model: str, settings: Settings) -> Path:
    """A folder that the same command names again, so that it goes on by itself."""
    digest = hashlib.sha256(json.dumps(settings.to_dict()).encode()).hexdigest()[:8]
    return Path("snipbias-runs") / f"reproduce-{slug(Path(model).name)}-{settings.preset}-{digest}"


def write(results: Results, folder: Path) -> tuple[str, ...]:
    """Tables, plots and edits: made beside, then moved in, so that each appears whole; notes."""
    from snipbias.edits.run_folder import write_sites
    from snipbias.report.plots import write_plots

    new = folder / ".new"
    shutil.rmtree(new, ignore_errors=True)  # of a run that was killed here
    new.mkdir()
    results.write(new)
    notes = write_plots(results, new)
    write_sites(results.experiment.sites, new)
    for outcome in results.experiment.outcomes:
        if outcome.edit is not None:
            place = new / "edits" / slug(outcome.task) / f"trial{outcome.trial}"
            place /= slug(outcome.method) + (f"-draw{outcome.draw}" if outcome.draw else "")
            place.mkdir(parents=True)
            outcome.edit.write_into(place)
    for made in sorted(new.iterdir()):
        there = folder / made.name
        if there.is_dir() and not there.is_symlink():
            shutil.rmtree(there)
        made.replace(there)
    new.rmdir()
    return notes


def _task(this: Run, name: str, arguments: Mapping[str, Any]) -> Task:
    own = arguments["column"] if name.endswith((".csv", ".tsv", ".jsonl")) else None
    names = ("data_dir", "instructions", "prompt")
    return this.task(name, column=own, **{name: arguments[name] for name in names})


def _objective(arguments: Mapping[str, Any]) -> Mapping[str, Any]:
    """The objective and its margin, of which there may be one."""
    asked = {
        "--objective": arguments["objective"],
        "--balanced": "balanced" if arguments["balanced"] else None,
        "--no-harm": None if arguments["no_harm"] is None else "no-harm",
    }
    given = {option: name for option, name in asked.items() if name is not None}
    if len(set(given.values())) > 1:
        raise SnipbiasError(f"{' and '.join(given)} contradict each other: drop one.")
    changes: dict[str, Any] = {}
    for name in given.values():
        changes["objective"] = name
    if arguments["no_harm"] is not None:
        changes["margin"] = arguments["no_harm"]
    return changes


def _numbers(name: str, text: str) -> tuple[int, ...]:
    try:
        return tuple(sorted({int(part) for part in text.split(",") if part.strip()}))
    except ValueError:
        option = f"--{name.replace('_', '-')}"
        raise SnipbiasError(f"{option} {text!r} is no list of numbers: write 3,10,30.") from None
