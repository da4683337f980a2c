"""Fixtures for tests of the harness: its package, and a folder of tasks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import toys
from harness_tasks import ROWS, TASKS


@pytest.fixture(scope="session")
def lm_eval() -> Any:
    return pytest.importorskip("lm_eval")


@pytest.fixture
def folder(lm_eval: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Task files over a JSON file, and a cache that goes away."""
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    items = toys.rows(ROWS // 2)  # their options are all as long, so that answers vary
    rows = [
        {"text": f"{x.context} {x.question}", "choices": list(x.options), "gold": x.gold}
        for x in items
    ]
    data = tmp_path / "rows.json"
    data.write_text(json.dumps(rows))
    (tmp_path / "tasks").mkdir()
    for name, text in TASKS.items():
        (tmp_path / "tasks" / f"{name}.yaml").write_text(text.format(data=data))
    return tmp_path / "tasks"
