"""Rows that are in no file: Hugging Face datasets (extra `datasets`), tables and dictionaries."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from snipbias.base.errors import SnipbiasError, require
from snipbias.base.hub import offline
from snipbias.base.words import quoted
from snipbias.tasks.cells import Label, plain
from snipbias.tasks.readers import Rows

SPEC = re.compile(
    r"(?i:hf):(?P<path>[^:@]+)(@(?P<revision>[^:]+))?(:(?P<config>[^:]*)(:(?P<split>.+))?)?"
)


def download(spec: str) -> Any:
    """Load the dataset `hf:owner/name[@revision][:config[:split]]` from the hub or its cache.

    Raises:
        SnipbiasError: downloads are forbidden, or the dataset cannot be loaded.
    """
    match = SPEC.fullmatch(spec)
    if match is None:
        raise SnipbiasError(
            f"{quoted(spec)} does not name a dataset on the hub: write hf:owner/name, "
            "hf:owner/name:config or hf:owner/name:config:split."
        )
    require("datasets", f"reading {spec} needs")
    import datasets
    from huggingface_hub import constants

    # datasets reads HF_HUB_OFFLINE only on import, and does not know our variable.
    if offline() and not constants.HF_HUB_OFFLINE:
        raise SnipbiasError(
            f"{offline()} is set, so {spec} is not downloaded: start with HF_HUB_OFFLINE=1 to use "
            "a copy in the Hugging Face cache."
        )
    try:
        return datasets.load_dataset(
            match["path"], match["config"] or None, split=match["split"], revision=match["revision"]
        )
    except (OSError, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:300].rstrip(".")
        raise SnipbiasError(
            f"{spec} could not be loaded ({reason}): check owner, name, config and split, and the "
            "network."
        ) from error


def from_dataset(dataset: Any, name: str = "dataset") -> Rows:
    """The rows of a `datasets.Dataset`, or of a dict that holds a single split.

    Raises:
        SnipbiasError: there are several splits.
    """
    if isinstance(dataset, Mapping):
        if len(dataset) != 1:
            raise SnipbiasError(
                f"{name} has the splits {', '.join(dataset)}: name one as "
                "hf:owner/name:config:split (config may be empty), or give dataset['split']."
            )
        (dataset,) = dataset.values()
    form = getattr(dataset, "format", None) or {}
    if form.get("type") not in (None, "custom"):  # numpy, torch or pandas, not the user's own
        dataset = dataset.with_format(None, columns=form["columns"])
    found = ", ".join(str(x) for x in (dataset.split, dataset.info.version) if x)
    features = getattr(dataset, "features", None) or {}
    rows = (
        (
            f"{name}, row {number}",
            {column: _labels(value, features.get(column)) for column, value in row.items()},
        )
        for number, row in enumerate(dataset, start=1)
    )
    return Rows(rows, name, f"{name} ({found or 'in memory'})")


def in_memory(rows: Any) -> Rows:
    """Rows in memory: a dataset, a table of Arrow, polars or pandas, or dictionaries.

    Raises:
        SnipbiasError: it is none of these.
    """
    if hasattr(rows, "to_pylist"):  # an Arrow table
        rows = rows.to_pylist()
    elif hasattr(rows, "to_dicts"):  # polars
        rows = rows.to_dicts()
    elif hasattr(rows, "iterrows"):  # pandas
        rows = rows.to_dict("records")
    is_mapping = isinstance(rows, Mapping)
    are_splits = is_mapping and {hasattr(split, "features") for split in rows.values()} == {True}
    if hasattr(rows, "info") or are_splits:
        return from_dataset(rows)
    # Not Iterable: a torch Dataset has no __iter__.
    is_rows = hasattr(rows, "__iter__") or hasattr(rows, "__getitem__")
    if is_mapping or isinstance(rows, type) or not is_rows:
        raise SnipbiasError(
            f"cannot make a task of {quoted(rows)}: give its name, a path, or a list of "
            "dictionaries, one per row."
        )
    numbered = [(f"row {number}", row) for number, row in enumerate(rows, start=1)]
    for where, row in numbered:
        if not isinstance(row, Mapping):
            raise SnipbiasError(f"{where} is {quoted(row)}: every row must be a dictionary.")
    return Rows(numbered, "rows", "rows in memory")


def _labels(value: Any, feature: Any) -> Any:
    """Turn a ClassLabel's number into a `Label`, and a list of them into names."""
    names = getattr(feature, "names", None)
    if names is not None:
        number = plain(value)
        return Label(number, tuple(names)) if isinstance(number, int) else value
    names = getattr(getattr(feature, "feature", None), "names", None)
    if names is None or not isinstance(values := plain(value), list):
        return value
    return [Label(n, tuple(names)).name if isinstance(n, int) else n for n in values]
