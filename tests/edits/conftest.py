"""A stand-in for the hub, and a client that knows it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import constants

from hub import TOKEN, Hub, hub
from shared_edit import point_to


@pytest.fixture(scope="module")
def server() -> Iterator[Hub]:
    with hub() as running:
        yield running


@pytest.fixture
def online(server: Hub, tmp_path: Path, monkeypatch) -> Hub:
    """The client's settings as HF_ENDPOINT, HF_HUB_OFFLINE, HF_HOME and HF_TOKEN make them.

    The library reads the first three when it is imported, hence its constants.
    """
    server.repositories.clear()
    server.requests.clear()
    point_to(server.url, monkeypatch)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.chdir(tmp_path)
    return server
