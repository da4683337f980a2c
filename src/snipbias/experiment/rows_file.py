"""`rows.parquet`: every row of an experiment, with the columns that tell its outcomes apart.

`part` is test, dev, retention or elsewhere. `found_on` is the task that a method was fitted on,
where the row belongs to another one. The metadata say what the outcomes of the tables took,
without seconds, which differ each time.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from snipbias.experiment.outcome import Cost, Outcome

COSTS = b"costs"
KEY = ("task", "method", "trial", "draw")
LABELS = {
    "task": pa.string(),
    "trial": pa.int32(),
    "draw": pa.int32(),
    "part": pa.string(),
    "found_on": pa.string(),
    "samples": pa.int32(),
    "prompt": pa.string(),
}


def all_rows(outcomes: Sequence[Outcome]) -> pa.Table:
    """The rows of all outcomes, one outcome after the other, with the costs as metadata."""
    tables = (table for outcome in outcomes for table in _tables(outcome))
    rows = pa.concat_tables(tables, promote_options="default")
    costs = [
        {name: getattr(each, name) for name in KEY} | asdict(each.cost) | {"seconds": None}
        for each in outcomes
        if each.cost is not None and each.part == "outcomes"
    ]
    metadata = {**(rows.schema.metadata or {}), COSTS: json.dumps(costs).encode()}
    return rows.replace_schema_metadata(metadata)


def _tables(of: Outcome) -> Iterator[pa.Table]:
    """Every table of an outcome with its labels."""
    there = [("test", of.task, of.test), ("dev", of.task, of.dev)]
    there += [("retention", task, table) for task, table in of.retention.items()]
    there += [("elsewhere", task, table) for task, table in of.elsewhere.items()]
    for part, task, table in there:
        if table is not None:
            found_on = of.found_on if part in ("test", "dev") else of.found_on or of.task
            values = (task, of.trial, of.draw, part, found_on, of.samples, of.prompt)
            labels = zip(values, LABELS.values(), strict=True)
            columns = [pa.array([value] * len(table), kind) for value, kind in labels]
            yield pa.table([*columns, *table.columns], names=[*LABELS, *table.column_names])


def outcomes_in(rows: pa.Table) -> Iterator[dict[str, Any]]:
    """The labels, tables and costs of every outcome: fields of `Outcome`."""
    metadata = dict(rows.schema.metadata or {})
    kept = json.loads(metadata.pop(COSTS, b"[]"))  # none in files of before it was kept
    costs = {tuple(each.pop(name) for name in KEY): Cost(**each) for each in kept}
    rows = rows.replace_schema_metadata(metadata or None)
    if "prompt" not in rows.column_names:  # of before there were several
        rows = rows.append_column("prompt", pa.nulls(len(rows), pa.string()))
    beside = ("found_on", "samples", "prompt")
    tests = _where(rows, part="test").group_by([*KEY, *beside], use_threads=False)
    for label in tests.aggregate([]).to_pylist():
        own = _where(rows, **label)
        dev = _where(own, part="dev")
        in_tables = all(label[name] is None for name in beside)
        # On another task the row's own stands in `task`, and the outcome's in `found_on`.
        near = label | {"found_on": label["found_on"] or label["task"]}
        del near["task"]
        yield {
            **label,
            "test": _bare(_where(own, part="test")),
            "dev": _bare(dev) if len(dev) else None,
            "retention": _by_task(_where(rows, part="retention", **near)),
            "elsewhere": _by_task(_where(rows, part="elsewhere", **near)),
            "cost": costs.get(tuple(label[name] for name in KEY)) if in_tables else None,
        }


def _by_task(rows: pa.Table) -> dict[str, pa.Table]:
    return {task: _bare(_where(rows, task=task)) for task in rows["task"].unique().to_pylist()}


def _bare(rows: pa.Table) -> pa.Table:
    return rows.drop_columns(list(LABELS))


def _where(rows: pa.Table, **wanted: Any) -> pa.Table:
    """The rows with these labels; None is a missing one."""
    for column, value in wanted.items():
        there = rows[column]
        same = there.is_null() if value is None else pc.equal(there, value)  # type: ignore[attr-defined]
        rows = rows.filter(same)
    return rows
