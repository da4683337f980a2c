"""What each outcome took, kept beside its rows; without seconds, which differ each time."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import pyarrow as pa

from snipbias.experiment.outcome import Cost, Outcome

KEY = b"costs"  # in the metadata of the rows
_LABELS = ("task", "method", "trial", "draw")

Costs = Mapping[tuple[Any, ...], Cost]


def with_costs(rows: pa.Table, outcomes: Sequence[Outcome]) -> pa.Table:
    """The rows with what the outcomes of the tables took as metadata."""
    costs = [
        {name: getattr(each, name) for name in _LABELS} | asdict(each.cost) | {"seconds": None}
        for each in outcomes
        if each.cost is not None
    ]
    metadata = {**(rows.schema.metadata or {}), KEY: json.dumps(costs).encode()}
    return rows.replace_schema_metadata(metadata)


def costs_of(rows: pa.Table) -> tuple[Costs, pa.Table]:
    """What was kept, by (task, method, trial, draw), and the rows without it."""
    metadata = dict(rows.schema.metadata or {})
    kept = json.loads(metadata.pop(KEY, b"[]"))  # none in files of before it was kept
    costs = {tuple(each.pop(name) for name in _LABELS): Cost(**each) for each in kept}
    return costs, rows.replace_schema_metadata(metadata or None)


def cost_of(costs: Costs, label: Mapping[str, Any]) -> Cost | None:
    """What the outcome with these labels took; None for those beside the tables."""
    beside = any(label[name] is not None for name in ("found_on", "samples", "prompt"))
    return None if beside else costs.get(tuple(label[name] for name in _LABELS))
