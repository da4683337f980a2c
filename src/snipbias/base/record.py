"""The run record: everything needed to know what was run, and to repeat it."""

from __future__ import annotations

import json
import os
import time
from dataclasses import asdict, dataclass, field, fields
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from snipbias.base.errors import SnipbiasError
from snipbias.base.files import atomic_file
from snipbias.base.machine import machine, package_versions, peak_memory_mb
from snipbias.base.parallel import workers
from snipbias.base.words import clipped

FILE = "run.json"


@dataclass
class RunRecord:
    """One run of a command.

    Attributes:
        command: the subcommand.
        argv: the arguments as given, from which the run can be repeated.
        arguments: every argument with the value that took effect.
        models: identity of each model (name, revision, hash of its weights).
        data: fingerprint of each task, by name, and of the edits that were read or found.
        seeds: seeds of all random draws.
        versions: of Python and of the packages that affect results.
        machine: processor, threads and accelerator.
        started: start time in ISO 8601 (UTC).
        seconds: wall-clock time of each part, and `total`.
        peak_memory_mb: largest resident size of the process, and of CUDA memory if used.
    """

    command: str
    argv: list[str]
    arguments: dict[str, Any]
    models: dict[str, Any] = field(default_factory=dict)
    data: dict[str, Any] = field(default_factory=dict)
    seeds: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    machine: dict[str, Any] = field(default_factory=dict)
    started: str = ""
    seconds: dict[str, float] = field(default_factory=dict)
    peak_memory_mb: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._clock = time.monotonic()
        self._processes = workers().count  # now: the first process writes it by itself
        self.started = self.started or datetime.now(timezone.utc).isoformat(timespec="seconds")

    def lap(self, part: str) -> None:
        """Add the time since the last lap to a part."""
        now = time.monotonic()
        self.seconds[part] = round(self.seconds.get(part, 0.0) + now - self._clock, 3)
        self._clock = now

    def write(self, folder: str | Path) -> Path:
        """Complete the record and write it into a folder as run.json."""
        self.seconds["total"] = round(sum(v for k, v in self.seconds.items() if k != "total"), 3)
        self.versions = package_versions()
        self.machine = machine() | {"processes": self._processes}
        self.peak_memory_mb = peak_memory_mb()
        path = Path(folder) / FILE
        with atomic_file(path) as new:
            new.write_text(json.dumps(asdict(self), indent=1, default=str) + "\n", encoding="utf-8")
        return path

    @classmethod
    def read(cls, path: str | Path) -> RunRecord:
        """Read a record from its file or from a run's folder.

        Raises:
            SnipbiasError: there is none, or it is malformed.
        """
        path = Path(path)
        path = path / FILE if os.path.isdir(path) else path
        try:
            record = cls(**json.loads(path.read_text(encoding="utf-8")))
            if type(record.argv) is not list or any(type(word) is not str for word in record.argv):
                raise TypeError("argv is not a list of strings")
            for part in fields(cls):
                is_object = isinstance(getattr(record, part.name), dict)
                if str(part.type).startswith("dict") and not is_object:
                    raise TypeError(f"{part.name} is not an object")
            if not all(isinstance(model, dict) for model in record.models.values()):
                raise TypeError("models holds something that is not an object")
            return record
        except FileNotFoundError:
            run = path.parent.parent  # of several edits of one run, each has a folder in the run's
            such = f", such as {run}" if (run / FILE).is_file() else ""
            raise SnipbiasError(
                f"there is no edit or run record at {path}: give the folder of one{such}."
            ) from None
        except (OSError, ValueError, TypeError, RecursionError) as error:
            why = getattr(error, "strerror", None) or error  # without repeating the path
            raise SnipbiasError(
                f"{clipped(str(path), 200)} is not a run record ({why}): give the folder of a run."
            ) from None
