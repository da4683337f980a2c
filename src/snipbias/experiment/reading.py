"""A finished experiment read back from its folder, without the model or the tasks' rows."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from snipbias.base.errors import SnipbiasError
from snipbias.base.files import slug
from snipbias.base.record import RunRecord
from snipbias.base.words import ORIGINAL
from snipbias.edits.edit import NeuronEdit
from snipbias.edits.format import FILE as EDIT_FILE
from snipbias.edits.provenance import ModelId
from snipbias.edits.run_folder import read_sites
from snipbias.evaluation.apart import own_rows
from snipbias.evaluation.neutral_text import Passage, TextShift
from snipbias.experiment.choose import best
from snipbias.experiment.costs import Costs, cost_of, costs_of
from snipbias.experiment.outcome import Outcome, Point, TaskInfo
from snipbias.experiment.results import Results
from snipbias.experiment.settings import Settings
from snipbias.experiment.store import PARTS, SETTINGS

_MODEL = ("name", "architecture", "neurons", "weights", "revision")
_LABELS = ("task", "trial", "draw", "part", "found_on", "samples", "prompt")

Beside = Mapping[str, Mapping[str, pa.Table]]  # "retention" and "elsewhere": rows by task


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
        costs, rows = costs_of(rows)
        if "prompt" not in rows.column_names:  # of before there were several
            rows = rows.append_column("prompt", pa.nulls(len(rows), pa.string()))
        settings = Settings.from_dict(identity["settings"])
        model = ModelId(**{name: identity["model"][name] for name in _MODEL})
        record = RunRecord.read(folder)
        done = [_outcome(folder, costs, *each) for each in _outcomes(rows)]
        return Results(
            settings=settings,
            model=model,
            sites=read_sites(folder),
            tasks=tuple(_task(name, record.data[name], done) for name in settings.tasks),
            outcomes=tuple(o for o in done if (o.found_on, o.samples, o.prompt) == (None,) * 3),
            transfer=tuple(o for o in done if o.found_on is not None),
            sample_curve=tuple(o for o in done if o.samples is not None),
            prompts=tuple(o for o in done if o.prompt is not None),
        )
    except FileNotFoundError as error:
        raise SnipbiasError(
            f"{folder} is no finished experiment ({Path(str(error.filename)).name} is missing): "
            "run the same `snipbias reproduce` again, which goes on from there."
        ) from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SnipbiasError(
            f"{folder} holds a damaged experiment ({type(error).__name__}: {error}): run the same "
            "`snipbias reproduce` with --overwrite."
        ) from None


def _outcomes(rows: pa.Table) -> Iterator[tuple[dict[str, Any], pa.Table, Beside]]:
    """Labels of every outcome, its rows on the test and dev part, and those on other tasks."""
    test = _where(rows, part="test")
    keys = ("task", "method", "trial", "draw", "found_on", "samples", "prompt")
    for label in test.group_by(list(keys), use_threads=False).aggregate([]).to_pylist():
        yield label, _where(rows, **label), _beside(rows, label)


def _beside(rows: pa.Table, label: Mapping[str, Any]) -> Beside:
    """Their `task` is the other task, and the outcome's own stands in `found_on`."""
    where = {name: label[name] for name in ("method", "trial", "draw", "samples", "prompt")}
    found_on = label["found_on"] or label["task"]
    found = {}
    for part in ("retention", "elsewhere"):
        there = _where(rows, part=part, found_on=found_on, **where)
        found[part] = {
            task: _where(there, task=task).drop_columns(list(_LABELS))
            for task in there["task"].unique().to_pylist()
        }
    return found


def _where(rows: pa.Table, **wanted: Any) -> pa.Table:
    """The rows with these labels; None is a missing one."""
    for column, value in wanted.items():
        same = (
            pc.is_null(rows[column])  # type: ignore[attr-defined]
            if value is None
            else pc.equal(rows[column], value)  # type: ignore[attr-defined]
        )
        rows = rows.filter(same)
    return rows


def _outcome(
    folder: Path, costs: Costs, label: dict[str, Any], rows: pa.Table, beside: Beside
) -> Outcome:
    parts = {
        name: table.drop_columns(list(_LABELS)) if len(table) else None
        for name in ("test", "dev")
        for table in (_where(rows, part=name),)
    }
    assert parts["test"] is not None
    place = _place(label)
    curve = tuple(Point(**point) for point in _read(folder, place, "curve") or ())
    edit = _edit(folder, label)
    # Where it was best to change nothing, the original's answers were taken and none were kept.
    unchanged = curve and not folder.joinpath(PARTS, *place, "test.parquet").is_file()
    point = None if unchanged else best(curve)
    text = _read(folder, [slug(label["task"]), ORIGINAL] if unchanged else place, "text")
    return Outcome(
        **label,
        test=parts["test"],
        dev=parts["dev"],
        chosen=dict(point.setting) if point else {},
        curve=curve,
        edit=edit,
        text=TextShift.of([Passage(*passage) for passage in text]) if text else None,
        retention=beside["retention"],
        elsewhere=beside["elsewhere"],
        cost=cost_of(costs, label),
    )


def _place(label: Mapping[str, Any]) -> list[str]:
    """The folder of an outcome's parts, as `Bench.key` names it."""
    place = [slug(label["task"])]
    if label["trial"] is not None:
        other = "" if label["samples"] is None else f"-samples{label['samples']}"
        place.append(f"trial{label['trial']}{other}")
    place.append(slug(label["method"]))
    if label["draw"]:
        place.append(f"draw{label['draw']}")
    return place


def _read(folder: Path, place: list[str], part: str) -> Any:
    path = folder.joinpath(PARTS, *place, f"{part}.json")
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def _edit(folder: Path, label: Mapping[str, Any]) -> NeuronEdit | None:
    if label["samples"] is not None:  # only the edits of the tables are kept
        return None
    method = slug(label["method"]) + (f"-draw{label['draw']}" if label["draw"] else "")
    task = slug(label["found_on"] or label["task"])
    path = folder / "edits" / task / f"trial{label['trial']}" / method
    return NeuronEdit.load(path) if (path / EDIT_FILE).is_file() else None


def _task(name: str, data: Mapping[str, Any], done: list[Outcome]) -> TaskInfo:
    original = next(o for o in done if o.task == name and o.method == ORIGINAL)
    rows = {"test": original.test, "dev": original.dev}
    kept = {part: own_rows(table).to_pydict() for part, table in rows.items() if table is not None}
    return TaskInfo(
        name=name,
        fingerprint=data["fingerprint"],
        source=data["source"],
        instructions=tuple(data["instructions"]),
        items={"find": 0, **{part: len(set(table["item"])) for part, table in kept.items()}},
        templates={"find": 0, **{part: len(set(t["template"])) for part, t in kept.items()}},
        conditions=any(kept["test"]["condition"]),
        notes=tuple(data["notes"]),
    )
