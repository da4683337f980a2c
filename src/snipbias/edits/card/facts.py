"""Facts about base models and data: where they come from, and their licences."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import PurePosixPath, PureWindowsPath

from snipbias.edits.provenance import ModelId

COMMIT = re.compile(r"[0-9a-f]{40}")
REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")
OWN_LICENCE = "apache-2.0"  # of this package, with the demo model and the task mini
GLUE = ("mrpc", "rte", "qnli")
LICENCES = {
    "bbq": "CC-BY-4.0 (BBQ, Parrish et al. 2022)",
    "mini": "Apache-2.0 (part of snipbias)",
}


@dataclass(frozen=True)
class Data:
    """A task's rows, as far as they are known."""

    task: str
    licence: str | None = None  # in words
    repository: str | None = None  # the dataset on the hub, if it is one
    language: str | None = None  # its code
    config: str | None = None  # of the dataset, if one is named


def base_on_hub(model: ModelId) -> str | None:
    """The repository of a base model; None if it may be a folder of the same name.

    Only a model from the hub has a commit.
    """
    from_hub = model.revision is not None and COMMIT.fullmatch(model.revision)
    return model.name if from_hub and REPOSITORY.fullmatch(model.name) else None


def data_of(task: str) -> Data:
    """Facts about a task's rows, from its name."""
    kind, _, rest = task.partition(":")
    if kind in LICENCES:
        return Data(task, LICENCES[kind], language="en")
    if task in GLUE:
        return Data(task, repository="nyu-mll/glue", language="en", config=task)
    if kind.lower() == "hf":
        place, _, parts = rest.partition(":")
        name, config = place.partition("@")[0], parts.partition(":")[0] or None
        return Data(task, repository=name if REPOSITORY.fullmatch(name) else None, config=config)
    return Data(without_folders(task))


def without_folders(name: str) -> str:
    """Reduce an absolute path, which could identify the user, to its last part."""
    if name.startswith(("/", "~")):
        return PurePosixPath(name).name
    return PureWindowsPath(name).name if PureWindowsPath(name).is_absolute() else name
