"""What `combine` and `overlap` do; imported only when one runs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Group
from rich.text import Text

from snipbias.base.errors import SnipbiasError
from snipbias.base.files import refuse_alike, slug
from snipbias.base.table import Grid, number, p_value
from snipbias.cli.commands import TASK_OPTIONS, edit_table, output, pick, write_comparison
from snipbias.cli.run import Run, run, show
from snipbias.edits.algebra import COMBINE
from snipbias.edits.card.facts import without_folders
from snipbias.edits.edit import NeuronEdit
from snipbias.edits.overlap import Overlap, overlap
from snipbias.evaluation.combinations import (
    combination_grids,
    compare_combinations,
    count_combinations,
)
from snipbias.evaluation.compare import Comparison, distinct
from snipbias.evaluation.tables import LEGEND
from snipbias.evaluation.verdicts import alarms
from snipbias.models.loading import load
from snipbias.tasks.neutral_text import passages

Arguments = dict[str, Any]
SHOWN_PLACES = 24


def combine(arguments: Arguments) -> None:
    """Read edits, put them together, scale the result, and write it."""
    how, strength = arguments["how"].value, arguments["strength"]
    with run("combine", {**arguments, "how": how}, **output(arguments)) as (this, folder):
        edits = _read(arguments["edits"], this)
        if len(edits) == 1 and strength == 1:
            raise SnipbiasError("one edit at strength 1 is itself: name another, or a --strength.")
        edit = COMBINE[how](*edits) if len(edits) > 1 else edits[0]
        if not len(edit):
            none = "they share no neuron" if how == "intersection" else "the others hold all of it"
            raise SnipbiasError(f"the {how} is empty ({none}): there is nothing to write.")
        edit = edit.scaled(strength) if strength != 1 else edit
        edit = replace(edit, label=arguments["label"] or edit.label)
        edit.write_into(folder)
    result = {"out": str(this.folder), "neurons": len(edit), "edit": edit.to_dict()}
    this.show(result, Group(edit_table(edit), Text(f"\nwritten: {this.folder}")))


def overlap_edits(arguments: Arguments, model_options: Arguments) -> None:
    """Print what edits share; with tasks, evaluate them, their union and intersection too."""
    if arguments["task"]:
        _overlap_on_tasks(arguments, model_options)
        return
    if arguments["out"]:
        raise SnipbiasError("without --task nothing is written: drop --out, or name a task.")
    edits = _read(arguments["edits"])
    lm = load(arguments["model"], **model_options) if arguments["model"] else None
    found = overlap(*edits, sites=lm.sites if lm else ())
    show(found.to_dict(), Group(*_overlap_parts(found)), as_json=arguments["as_json"])


def _overlap_on_tasks(arguments: Arguments, model_options: Arguments) -> None:
    names = list(dict.fromkeys(arguments["task"]))
    if not arguments["model"]:
        raise SnipbiasError("tasks are evaluated on a model: name it with --model.")
    with run("overlap", arguments, **output(arguments)) as (this, folder):
        edits = _read(arguments["edits"], this)
        this.record.seeds = {"sample of items": 0}
        asked = pick(arguments, TASK_OPTIONS)
        tasks = [this.task(name, **asked) for name in names]
        refuse_alike(tuple(task.name for task in tasks))
        kept = [] if arguments["no_retention"] else ["mini:skills"]
        retained = [this.task(name, prompt=arguments["prompt"]).test for name in kept]
        settings: Arguments = {
            "items": arguments["items"],
            "texts": () if arguments["no_text"] else passages(),
            "retention": retained,
        }
        work = count_combinations(tasks, edits, **settings)
        lm = this.load(arguments["model"], model_options)
        found = overlap(*edits, sites=lm.sites)
        settings["batch_size"] = arguments["batch_size"]
        with this.progress("evaluating", work) as progress:
            comparisons = compare_combinations(lm, tasks, edits, **settings, progress=progress)
        this.record.lap("evaluate")
        result = {
            "out": str(this.folder),
            "overlap": found.to_dict(),
            "tasks": {task: comparison.to_dict() for task, comparison in comparisons.items()},
        }
        for task, comparison in comparisons.items():
            place = folder / slug(task)
            place.mkdir()
            write_comparison(comparison, place)
        text = json.dumps(result, indent=1, default=str)
        (folder / "overlap.json").write_text(text + "\n", encoding="utf-8")
        (folder / "tables.md").write_text(_markdown(found, comparisons), encoding="utf-8")
    grids = [part for grid in combination_grids(comparisons) for part in (grid.rich(), Text())]
    lines = [*map(Text, _lines(comparisons)), Text(LEGEND, "dim")]
    written = Text(f"\nwritten: {this.folder}")
    this.show(result, Group(*_overlap_parts(found), Text(), *grids, *lines, written))


def _read(paths: Sequence[str], this: Run | None = None) -> list[NeuronEdit]:
    """The edits; where labels do not tell them apart, called by what their paths differ in."""
    edits = [NeuronEdit.load(path) for path in paths]
    if this is not None:
        this.record.data["edits"] = {
            str(path): edit.fingerprint for path, edit in zip(paths, edits, strict=True)
        }
    if len({edit.label for edit in edits}) < len(edits):
        named = zip(edits, _differing(paths), strict=True)
        edits = [replace(edit, label=name or edit.label) for edit, name in named]
    return distinct(edits)


def _differing(paths: Sequence[str]) -> list[str]:
    """What is left of each path without the folders that all begin and end with.

    Labels are published, and so say nothing of where somebody works.
    """
    parts = [list(Path(path).parts) for path in paths]
    for end in (0, -1):
        while all(parts) and len({part[end] for part in parts}) == 1:
            for part in parts:
                part.pop(end)
    return [without_folders("/".join(part)) for part in parts]


def _overlap_parts(found: Overlap) -> list[Any]:
    head = (
        f"{len(found.labels)} edits of a model of {found.neurons} neurons: {found.in_any} neurons "
        f"in any, {found.in_all} in all"
    )
    pairs, places = _pair_grid(found), _place_grid(found, SHOWN_PLACES)
    parts: list[Any] = [Text(head), Text(), pairs.rich(), Text(), places.rich()]
    rest = len(found.places) - SHOWN_PLACES
    return [*parts, *([Text(f"and {rest} more places; --json shows all")] if rest > 0 else [])]


def _pair_grid(found: Overlap) -> Grid:
    rows = tuple(
        (
            f"{pair.first} & {pair.second}",
            "/".join(map(str, pair.sizes)),
            str(pair.shared),
            str(pair.same_factor),
            number(pair.jaccard),
            number(pair.expected, digits=2),
            p_value(pair.p),
            number(pair.expected_in_sites, digits=2),
            p_value(pair.p_in_sites),
        )
        for pair in found.pairs
    )
    header = ("edits", "neurons", "shared", "same factor", "Jaccard")
    chance = ("by chance", "p", "by chance in sites", "p in sites")
    return Grid("Shared neurons", (*header, *chance), rows).without_empty_columns()


def _place_grid(found: Overlap, most: int | None = None) -> Grid:
    """The places with the most neurons, in the model's order."""
    crowded = sorted(found.places, key=lambda place: -sum(found.places[place]))[:most]
    rows = tuple(
        (f"{place.stack} {place.layer} {place.module}", *(str(n) if n else "" for n in counts))
        for place, counts in found.places.items()
        if place in crowded
    )
    return Grid("Where they are", ("stack, layer, module", *found.labels, "shared"), rows)


def _lines(comparisons: Mapping[str, Comparison]) -> list[str]:
    """What is wrong on a task, what was kept (the same beside every task), and notes."""
    wrong = [
        f"! {task}, {method}: {'; '.join(map(str, said))}"
        for task, comparison in comparisons.items()
        for method in comparison.summaries
        if (said := alarms(comparison.verdicts(method)))
    ]
    first = next(iter(comparisons.values()))
    kept = [f"{m}: {part.what} {part.sentence}" for m in first.edits for part in first.retained(m)]
    notes = [f"note: {task}: {note}" for task, c in comparisons.items() for note in c.notes]
    return [*wrong, *kept, *notes]


def _markdown(found: Overlap, comparisons: Mapping[str, Comparison]) -> str:
    grids = [_pair_grid(found), _place_grid(found), *combination_grids(comparisons)]
    parts = [f"**{grid.title}**\n\n{grid.markdown()}" for grid in grids]
    lines = "\n".join(f"- {line}" for line in _lines(comparisons))
    return "\n\n".join([*parts, *([lines] if lines else []), LEGEND]) + "\n"
