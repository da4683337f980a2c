"""What a run's results and cost depend on beside its arguments: packages and the machine."""

from __future__ import annotations

import os
import platform
import sys
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from snipbias.base.parallel import workers

PACKAGES = ("snipbias", "torch", "transformers", "tokenizers", "numpy", "scipy", "pyarrow", "gguf")


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


def peak_memory_mb() -> dict[str, float]:
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
