"""A tiny model and an edit of it, on the disk."""

from __future__ import annotations

from pathlib import Path

import pytest

import snipbias as sb
from command_line import save


@pytest.fixture(scope="session")
def model(tmp_path_factory) -> Path:
    return save(tmp_path_factory.mktemp("models") / "tiny-t5")


@pytest.fixture(scope="session")
def edit(model: Path) -> Path:
    place = model.parent / "an-edit"
    sb.find(sb.load(model), sb.task("mini:age"), 7, samples=2).save(place)
    return place
