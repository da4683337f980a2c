"""The run record: everything needed to know what was run, and to repeat it."""

from __future__ import annotations

import json
import os
import platform
import sys
import time
from contextlib import suppress
from dataclasses import asdict, dataclass, field, fields
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from snipbias.base.errors import SnipbiasError
from snipbias.base.files import atomic_file
from snipbias.base.parallel import workers
from snipbias.base.words import clipped

FILE = "run.json"
PACKAGES = ("snipbias", "torch", "transformers", "tokenizers", "numpy", "scipy", "pyarrow", "gguf")


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
        self.peak_memory_mb = _peak_memory_mb()
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
            raise SnipbiasError(
                f"there is no edit or run record at {path}: give the folder of one."
            ) from None
        except (OSError, ValueError, TypeError, RecursionError) as error:
            why = getattr(error, "strerror", None) or error  # without repeating the path
            raise SnipbiasError(
                f"{clipped(str(path), 200)} is not a run record ({why}): give the folder of a run."
            ) from None


def package_versions() -> dict[str, str]:
    """Versions of Python and of the packages that affect results."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        with suppress(PackageNotFoundError):
            found[package] = version(package)
    return found


def machine() -> dict[str, Any]:
    """Processor, threads and accelerator."""
    import torch

    return {
        "platform": platform.platform(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "cuda": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "processes": workers().count,
    }


def _peak_memory_mb() -> dict[str, float]:
    """Largest memory use of this process so far."""
    import torch

    if sys.platform == "win32":  # which has no module resource
        return {}
    import resource

    unit = 1 if sys.platform == "darwin" else 1024  # bytes there, kilobytes elsewhere
    resident = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20
    found = {"resident": round(resident, 1)}
    if torch.cuda.is_available():
        found["cuda"] = round(torch.cuda.max_memory_allocated() / 2**20, 1)
    return found
