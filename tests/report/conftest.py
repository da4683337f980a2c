"""The runs that reports are made of, and their reports."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from filelock import FileLock

from report_runs import ALL, Read, make
from snipbias.report.write import write_report


@pytest.fixture(scope="session")
def runs(tmp_path_factory) -> Path:
    """A folder with every run of `ALL`, made once for all workers."""
    base = tmp_path_factory.getbasetemp()
    place = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "runs"
    with FileLock(f"{place}.lock"):
        if not (place / "made").exists():
            place.mkdir()
            make(place)
            (place / "made").touch()
    return place


@pytest.fixture(scope="session")
def pages(runs: Path, tmp_path_factory) -> dict[str, Read]:
    """The report of each of them."""
    place = tmp_path_factory.mktemp("pages")
    return {
        name: Read(write_report([runs / name], place / f"{name}.html").read_text()) for name in ALL
    }
