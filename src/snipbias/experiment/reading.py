"""Read a finished experiment from its folder, without the model or the tasks."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from snipbias.base.errors import SnipbiasError
from snipbias.base.files import missing
from snipbias.base.record import RunRecord
from snipbias.base.words import ORIGINAL
from snipbias.edits.edit import NeuronEdit
from snipbias.edits.format import FILE as EDIT_FILE
from snipbias.edits.provenance import ModelId
from snipbias.edits.run_folder import read_sites
from snipbias.evaluation.apart import own_rows
from snipbias.evaluation.neutral_text import Passage, TextShift
from snipbias.experiment.cell import TEXTS
from snipbias.experiment.choose import best
from snipbias.experiment.outcome import Outcome, Point, TaskInfo, in_parts
from snipbias.experiment.results import Results
from snipbias.experiment.rows_file import outcomes_in
from snipbias.experiment.settings import Settings
from snipbias.experiment.store import PARTS, SETTINGS, place_of

_MODEL = ("name", "architecture", "neurons", "weights", "revision")


def read_experiment(folder: str | Path) -> Results:
    """Read the folder of a finished `snipbias reproduce`.

    The pools that items were drawn from are not kept, so that `TaskInfo` counts no rows of `find`.

    Raises:
        SnipbiasError: the experiment is not finished, or a file is missing or damaged.
    """
    folder = Path(folder)
    try:
        identity = json.loads((folder / SETTINGS).read_text(encoding="utf-8"))
        rows = pq.read_table(folder / "rows.parquet")
        settings = Settings.from_dict(identity["settings"])
        model = ModelId(**{name: identity["model"][name] for name in _MODEL})
        record = RunRecord.read(folder)
        done = [_outcome(folder, kept) for kept in outcomes_in(rows)]
        tasks = tuple(_task(name, record.data[name], done) for name in settings.tasks)
        return Results(settings, model, read_sites(folder), tasks, **in_parts(done))
    except FileNotFoundError as error:
        raise SnipbiasError(
            f"{folder} is no finished experiment ({missing(error)} is missing): "
            "run the same `snipbias reproduce` again, which goes on from there."
        ) from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SnipbiasError(
            f"{folder} holds a damaged experiment ({type(error).__name__}: {error}): run the same "
            "`snipbias reproduce` with --overwrite."
        ) from None


def _outcome(folder: Path, kept: dict[str, Any]) -> Outcome:
    place = place_of(*(kept[name] for name in ("task", "method", "trial", "draw", "samples")))
    curve = tuple(Point(**point) for point in _read(folder, place, "curve") or ())
    # Where it was best to change nothing, the original's answers were taken and none were kept.
    unchanged = curve and not (folder / PARTS / place / "test.parquet").is_file()
    point = None if unchanged else best(curve)
    source = place_of(kept["task"], ORIGINAL, None) if unchanged else place
    moved = {}
    for part in TEXTS:
        if sums := _read(folder, source, part):
            moved[part] = TextShift.of([Passage(*each) for each in sums])
    chosen = dict(point.setting) if point else {}
    found = Outcome(**kept, **moved, chosen=chosen, curve=curve)
    # Only the edits of the tables are kept, and where they go to another task.
    is_kept = found.samples is None and (folder / found.edit_place / EDIT_FILE).is_file()
    return replace(found, edit=NeuronEdit.load(folder / found.edit_place)) if is_kept else found


def _read(folder: Path, place: str, part: str) -> Any:
    path = folder / PARTS / place / f"{part}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def _task(name: str, data: Mapping[str, Any], done: list[Outcome]) -> TaskInfo:
    original = next(o for o in done if o.task == name and o.method == ORIGINAL)
    rows = {"test": original.test, "dev": original.dev}
    kept = {part: own_rows(table).to_pydict() for part, table in rows.items() if table is not None}
    return TaskInfo(
        name=name,
        fingerprint=data["fingerprint"],
        instructions=tuple(data["instructions"]),
        items={"find": 0, **{part: len(set(table["item"])) for part, table in kept.items()}},
        templates={"find": 0, **{part: len(set(t["template"])) for part, t in kept.items()}},
        notes=tuple(data["notes"]),
    )
