"""What each command does; imported only when one runs, so that --help stays quick."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from rich.console import Group
from rich.table import Table
from rich.text import Text

from snipbias.base.errors import SnipbiasError
from snipbias.base.parallel import workers
from snipbias.base.record import RunRecord
from snipbias.base.words import plural
from snipbias.cli.run import Run, run, show
from snipbias.edits.card.card import model_card
from snipbias.edits.edit import NeuronEdit
from snipbias.edits.format import FILE as EDIT_FILE
from snipbias.edits.run_folder import write_edits, write_sites
from snipbias.edits.sharing import CARD_FILE, hub_id
from snipbias.evaluation import tables
from snipbias.evaluation.compare import Comparison, compare, count_work, distinct
from snipbias.evaluation.harness import harness_scores
from snipbias.evaluation.harness_scores import HarnessScores, harness_markdown, harness_renderable
from snipbias.evaluation.reading import Reading
from snipbias.method.equations import Method
from snipbias.method.find import as_recipe
from snipbias.models.language_model import LanguageModel
from snipbias.tasks import available
from snipbias.tasks.neutral_text import passages
from snipbias.tasks.prompts import DEFAULT

Arguments = dict[str, Any]
SHOWN_SITES = 24
# The commands that write a record, and that can be run again from it.
RECORDED = ("find", "evaluate", "reproduce", "demo", "apply", "export", "combine", "overlap")
TASK_OPTIONS = ("data_dir", "instruction", "instructions", "prompt", "column")


def find(
    arguments: Arguments, model_options: Arguments, *, sizes: list[int], changes: Arguments
) -> None:
    """Attribute, select, and write one edit for each number of neurons."""
    method = _method(arguments["method"], changes)
    how = method.to_dict() if isinstance(method, Method) else method
    effective = {**arguments, "sizes": sizes, "method": how}
    chosen = as_recipe(method)
    with run("find", effective, **output(arguments)) as (this, folder):
        this.record.seeds = {"sample of items": arguments["seed"]}
        task = this.task(arguments["task"], **pick(arguments, TASK_OPTIONS))
        drawn = task.sample(arguments["samples"], arguments["seed"], balance=chosen.balance)
        lm = this.load(arguments["model"], model_options)
        with this.progress("attributing", len(drawn) * len(drawn.instructions)) as progress:
            scores = chosen.scores(lm, drawn, batch_size=arguments["batch_size"], progress=progress)
        this.record.lap("attribute")
        edits = {n: scores.top(n, arguments["factor"]) for n in sizes}
        this.record.data["edits"] = {f"n{n}": edit.fingerprint for n, edit in edits.items()}
        for n, edit in edits.items():
            place = folder if len(edits) == 1 else folder / f"n{n}"
            place.mkdir(exist_ok=True)
            edit.write_into(place)
            shown = this.folder / place.relative_to(folder)
            text = model_card(edit, record=this.record, place=str(shown))
            (place / CARD_FILE).write_text(text, encoding="utf-8")
        write_sites(lm.sites, folder)
        written = [this.folder if len(edits) == 1 else this.folder / f"n{n}" for n in edits]
    largest = max(edits)
    notes = "".join(f"\nnote: {note}" for note in task.notes)
    more = f"\nthis is n{largest} only; to see another: snipbias show {written[0]}\n"
    this.show(
        {
            "edits": list(map(str, written)),
            "found_on": asdict(scores.found_on),
            "notes": list(task.notes),
        },
        Group(
            edit_table(edits[largest]),
            Text(
                f"{notes}{more if len(edits) > 1 else ''}\nwritten: {', '.join(map(str, written))}"
            ),
        ),
    )


def evaluate(arguments: Arguments, model_options: Arguments) -> None:
    """Compare edits with the original and the controls, and write rows and tables."""
    with run("evaluate", arguments, **output(arguments)) as (this, folder):
        edits = distinct([NeuronEdit.load(path) for path in arguments["edit"] or []])
        this.record.data["edits"] = {
            str(path): edit.fingerprint
            for path, edit in zip(arguments["edit"] or [], edits, strict=True)
        }
        this.record.data["text"] = str(arguments["text"] or "shipped with the package")
        this.record.seeds = {"sample of items": 0, "controls": list(range(arguments["controls"]))}
        task = this.task(arguments["task"], **pick(arguments, TASK_OPTIONS))
        retention = _retention(arguments, this)
        settings: Arguments = {
            "reading": Reading(
                arguments["normalize"].value, arguments["options"].value, arguments["generate"]
            ),
            "items": arguments["items"],
            "controls": arguments["controls"],
            "texts": () if arguments["no_text"] else passages(arguments["text"]),
            "retention": retention,
        }
        work = count_work(task, edits, **settings)
        lm = this.load(arguments["model"], model_options)
        harness = _harness(arguments, this, lm, edits)  # first: its data may not be to be had
        with this.progress("evaluating", work) as progress:
            comparison = compare(
                lm,
                task,
                *edits,
                **settings,
                margin=arguments["margin"],
                batch_size=arguments["batch_size"],
                progress=progress,
            )
        this.record.lap("evaluate")
        write_comparison(comparison, folder)
        write_sites(lm.sites, folder)
        write_edits(edits, folder)
        if harness:
            _write_harness(harness, folder, arguments["margin"])
    margin = arguments["margin"]
    parts = [tables.comparison_renderable(comparison)]
    parts += [Group(Text(), harness_renderable(harness, margin))] if harness else []
    this.show(
        {
            "out": str(this.folder),
            **comparison.to_dict(),
            **({"lm_eval": harness.to_dict(margin)} if harness else {}),
        },
        Group(*parts, Text(f"\nwritten: {this.folder}")),
    )


def _method(name: str, changes: Arguments) -> Method | str:
    """A version of CRISPR with single deviations, or the name of another recipe."""
    versions = {"v1": Method.v1, "v2": Method.v2}
    if name in versions:
        return versions[name](**changes)
    if changes:
        raise SnipbiasError(f"{name!r} has no such settings: they belong to v1 and v2.")
    return name


def _harness(
    arguments: Arguments, this: Run, lm: LanguageModel, edits: list[NeuronEdit]
) -> HarnessScores | None:
    """Scores on the tasks of the lm-evaluation-harness, if any are asked for."""
    if arguments["lm_eval"] is None:
        return None
    names = [name.strip() for name in arguments["lm_eval"].split(",") if name.strip()]
    with this.progress("lm-evaluation-harness", 1 + len(edits)) as progress:
        scores = workers().from_main(  # the harness has ways of its own to use several
            lambda: harness_scores(
                lm,
                names,
                edits,
                limit=arguments["lm_eval_limit"],
                batch_size=arguments["batch_size"],
                include_path=arguments["lm_eval_path"],
                progress=progress,
            )
        )
    this.record.data["lm-eval"] = dict(scores.versions)
    this.record.lap("lm-eval")
    return scores


def _write_harness(scores: HarnessScores, folder: Path, margin: float) -> None:
    """A file of their own, and a table more beside those of the comparison."""
    text = json.dumps(scores.to_dict(margin), indent=1)
    (folder / "lm_eval.json").write_text(text + "\n", encoding="utf-8")
    with open(folder / "tables.md", "a", encoding="utf-8") as file:
        file.write("\n" + harness_markdown(scores, margin))


def write_comparison(comparison: Comparison, folder: Path) -> None:
    """Rows as Parquet, figures as JSON, tables as Markdown."""
    comparison.evaluation.save(folder / "rows.parquet")
    if retention := comparison.evaluation.retention:
        named = [
            answers.table.add_column(0, "task", pa.array([task] * len(answers.table)))
            for task, answers in retention.items()
        ]
        pq.write_table(pa.concat_tables(named), folder / "retention.parquet")
    text = json.dumps(comparison.to_dict(), indent=1)
    (folder / "summary.json").write_text(text + "\n", encoding="utf-8")
    (folder / "tables.md").write_text(tables.comparison_markdown(comparison), encoding="utf-8")


def show_path(place: str, *, as_json: bool) -> None:
    """An edit, here or on the hub, a comparison, or the record of any run."""
    path = Path(place)
    if os.path.isfile(path / EDIT_FILE) or path.name == EDIT_FILE or hub_id(place):
        edit = NeuronEdit.load(place)
        show(edit.to_dict(), edit_table(edit), as_json=as_json)
        return
    record = RunRecord.read(path)
    table = Table(box=None, show_header=False)
    for name, value in asdict(record).items():
        table.add_row(name, Text(json.dumps(value, default=str)))
    parts: list[Any] = [table]
    summary = path / "tables.md"
    if summary.is_file():
        parts.append(Text("\n" + summary.read_text(encoding="utf-8")))
    show(asdict(record), Group(*parts), as_json=as_json)


def list_tasks(*, as_json: bool) -> None:
    """The named tasks with their sizes."""
    listed = available()
    table = Table(box=None)
    for name in ("task", "rows", "what"):
        table.add_column(name, justify="right" if name == "rows" else "left")
    for name, rows, what in listed:
        table.add_row(name, str(rows), what)
    result = {"tasks": [{"name": n, "rows": r, "description": d} for n, r, d in listed]}
    show(result, table, as_json=as_json)


def recorded_arguments(path: Path, out: Path, given: Mapping[str, object]) -> list[str]:
    """The arguments of a recorded run, with another folder to write, which must be new.

    Args:
        path: folder of the recorded run.
        out: the folder to write.
        given: the options that let code of others run, with what the user says of them now.

    Raises:
        SnipbiasError: there is no such run, or it ran code that the user has not allowed again.
    """
    words = iter(RunRecord.read(path).argv)
    kept = [next(words, "")]
    if kept[0] not in RECORDED:
        raise SnipbiasError(
            f"{path} records no run that can be made again: only {', '.join(RECORDED)} can."
        )
    for word in words:
        name, is_, _ = word.partition("=")
        if name in given and not given[name]:
            raise SnipbiasError(
                f"the recorded run was given {name}, which runs code that others may have "
                f"written: read that code, and give {name} to rerun too if you trust it."
            )
        if name in ("--out", "--lm-eval-path"):
            next(words if not is_ else iter(()), None)
        elif name not in ("--overwrite", "--trust-remote-code"):
            kept.append(word)
    for name, value in given.items():
        if value:
            kept += [name] if value is True else [name, str(value)]
    return [*kept, "--out", str(out)]


def _retention(arguments: Arguments, this: Any) -> list[Any]:
    if arguments["no_retention"]:
        return []
    names = arguments["retention"] or ["mini:skills"]
    shared = pick(arguments, ("data_dir", "prompt"))
    return [this.task(name, **shared).test for name in names]


def edit_table(edit: NeuronEdit) -> Group:
    head = f"{edit.label}: {len(edit)} of {edit.model.neurons} neurons of {edit.model.name}"
    lines = [head]
    if edit.found_on is not None:
        found = edit.found_on
        lines.append(
            f"found on {plural(len(found.items), 'item')} of "
            f"{plural(len(found.templates), 'template')} of {found.task}, "
            f"{plural(found.instructions, 'instruction')}"
            + "".join(f", prompt {p.name!r}" for p in found.prompts if p != DEFAULT)
        )
    table = Table(box=None)
    table.add_column("site")
    table.add_column("neurons", justify="right")
    table.add_column("units")
    crowded = sorted(edit.factors, key=lambda site: -len(edit.factors[site]))
    for site in crowded[:SHOWN_SITES]:
        units = edit.factors[site]
        counts = Counter(units.values())
        factors = "" if set(counts) == {0.0} else f" x {', '.join(f'{f:g}' for f in counts)}"
        shown = ", ".join(map(str, list(units)[:12])) + (" ..." if len(units) > 12 else "")
        table.add_row(Text(site), str(len(units)), shown + factors)
    rest = crowded[SHOWN_SITES:]
    more = [f"and {len(rest)} more sites; --json shows all"] if rest else []
    return Group(*map(Text, lines), table, *map(Text, more))


def pick(arguments: Arguments, names: tuple[str, ...]) -> Arguments:
    return {name: arguments[name] for name in names}


def output(arguments: Arguments) -> Arguments:
    return pick(arguments, ("out", "overwrite", "as_json", "quiet"))


def changed_since(path: Path, out: Path) -> list[str]:
    """Which tasks, edits and models are not those of the recorded run, after running it again."""
    before, after = RunRecord.read(path), RunRecord.read(out)
    return [
        f"{name} is not what it was in the recorded run: the result may differ"
        for then, now in ((before.data, after.data), (before.models, after.models))
        for name in then
        if _identity(then[name]) != _identity(now.get(name))
    ]


def _identity(entry: Any) -> Any:
    """The hash of a task or a model; of anything else, all of it."""
    if isinstance(entry, dict):
        return entry.get("fingerprint") or entry.get("weights") or entry
    return entry
