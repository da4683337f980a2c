"""Hugging Face datasets, by name or in memory; needs the extra `datasets`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from snipbias.base.errors import SnipbiasError, require
from snipbias.base.hub import offline
from snipbias.base.words import quoted
from snipbias.tasks.columns import Label, plain
from snipbias.tasks.readers import Rows

SPEC = re.compile(
    r"(?i:hf):(?P<path>[^:@]+)(@(?P<revision>[^:]+))?(:(?P<config>[^:]*)(:(?P<split>.+))?)?"
)


def read(spec: str) -> Rows:
    """Load the dataset `hf:owner/name[@revision][:config[:split]]`.

    Raises:
        SnipbiasError: it cannot be loaded, or has several splits.
    """
    match = SPEC.fullmatch(spec)
    if match is None:
        raise SnipbiasError(
            f"{quoted(spec)} does not name a dataset on the hub: write hf:owner/name, "
            "hf:owner/name:config or hf:owner/name:config:split."
        )
    dataset = download(spec, match["path"], match["config"], match["split"], match["revision"])
    return from_dataset(dataset, spec)


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


def download(
    spec: str, path: str, config: str | None, split: str | None, revision: str | None
) -> Any:
    """Load a dataset from the hub or from the Hugging Face cache.

    Args:
        spec: the name in messages.
        path: repository, owner/name.
        config: configuration of the dataset; None or "" for the only one.
        split: one split; None for a dictionary of all.
        revision: branch, tag or commit; None for the main branch.

    Raises:
        SnipbiasError: downloads are forbidden, or the dataset cannot be loaded.
    """
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
        return datasets.load_dataset(path, config or None, split=split, revision=revision)
    except (OSError, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:300].rstrip(".")
        raise SnipbiasError(
            f"{spec} could not be loaded ({reason}): check owner, name, config and split, and the "
            "network."
        ) from error


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
