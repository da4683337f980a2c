"""What the command `reproduce` does."""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Group
from rich.text import Text

from snipbias.base.errors import SnipbiasError
from snipbias.base.files import slug
from snipbias.cli.commands import pick
from snipbias.cli.run import Run, resumable_run
from snipbias.edits.run_folder import write_sites
from snipbias.experiment.outcome import Experiment
from snipbias.experiment.results import Results
from snipbias.experiment.run import count, reproduce
from snipbias.experiment.settings import ORIGINAL, Settings, preset
from snipbias.report.plots import write_plots
from snipbias.tasks.items import Task
from snipbias.tasks.mini import CATEGORIES

Arguments = dict[str, Any]
DEMO = "demo"
BBQ = ("bbq:SES", "bbq:Age", "bbq:Disability_status")
MINI = tuple(f"mini:{category}" for category in CATEGORIES)
# So that the demo model's experiment takes some ten minutes on two cores.
DEMO_LIMITS: Arguments = {
    "items": 32,
    "dev_items": 12,
    "sizes": (3, 10, 30, 100),
    "refine": 1,
    "layers": 2,
    "strengths": (1.0, 2.0, 4.0),
    "texts": 4,
    "retention_items": 24,
}


def run_reproduce(arguments: Arguments, model_options: Arguments) -> None:
    """Run the experiment in its folder, write tables and edits, and print the tables."""
    settings = settings_of(arguments)
    folder = arguments["out"] or default_folder(arguments["model"], settings)
    output = {name: arguments[name] for name in ("as_json", "quiet")}
    effective = {**arguments, "out": folder, "settings": settings.to_dict()}
    with resumable_run("reproduce", effective, folder, **output) as this:
        tasks = [_task(this, name, arguments) for name in settings.tasks]
        shared = pick(arguments, ("data_dir", "prompt"))
        retention = [this.task(name, **shared) for name in settings.retention]
        this.record.seeds = {
            "samples of items": list(range(settings.seed, settings.seed + settings.trials))
        }
        lm = this.load(arguments["model"], model_options)
        work = count(lm, tasks, settings, retention=retention)
        notes: list[str] = []

        def finish(experiment: Experiment, place: Path) -> None:
            this.record.lap("reproduce")
            notes.extend(write(Results(experiment), place))
            this.record.lap("tables")
            this.record.write(place)

        with this.progress("reproducing", work) as progress:
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
            )
    results = Results(experiment)
    this.show(
        {"out": str(folder), **results.to_dict()},
        Group(results.renderable(), *map(Text, notes), Text(f"\nwritten: {folder}")),
    )


def settings_of(arguments: Arguments) -> Settings:
    """The preset's settings with what the arguments say otherwise."""
    of_demo = arguments["model"] == DEMO
    base = preset(arguments["preset"], **(DEMO_LIMITS if of_demo else {}))
    plain = (
        *("items", "dev_items", "retention_items", "instructions", "samples", "trials", "draws"),
        *("refine", "layers", "transfer"),
    )
    changes = {name: arguments[name] for name in plain if arguments[name] is not None}
    changes |= _objective(arguments)
    changes["seed"] = arguments["seed"]
    changes["prompt"] = arguments["prompt"]
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
        changes["methods"] = tuple(dict.fromkeys((ORIGINAL, base.method, *named)))
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


def _task(this: Run, name: str, arguments: Arguments) -> Task:
    own = arguments["column"] if name.endswith((".csv", ".tsv", ".jsonl")) else None
    return this.task(
        name,
        **pick(arguments, ("data_dir", "instructions", "prompt")),
        column=own,
    )


def _objective(arguments: Arguments) -> Arguments:
    """The objective and its margin, of which there may be one."""
    asked = {
        "--objective": arguments["objective"],
        "--balanced": "balanced" if arguments["balanced"] else None,
        "--no-harm": None if arguments["no_harm"] is None else "no-harm",
    }
    given = {option: name for option, name in asked.items() if name is not None}
    if len(set(given.values())) > 1:
        raise SnipbiasError(f"{' and '.join(given)} contradict each other: drop one.")
    changes: Arguments = {}
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
