"""The run record: written, read back, and refused where it is none."""

from __future__ import annotations

import json
import platform
from pathlib import Path

import pytest

import snipbias
from snipbias.base.errors import SnipbiasError
from snipbias.base.parallel import Workers
from snipbias.base.record import FILE, RunRecord

ARGV = ["find", "demo", "mini:age", "--n", "3", "--out", "here"]


def test_a_record_comes_back_as_it_was(tmp_path: Path) -> None:
    record = RunRecord("find", ARGV, {"out": Path("here"), "seed": 0})
    record.models["demo"] = {"weights": "abc"}
    record.data["mini:age"] = {"fingerprint": "def"}
    record.lap("load")
    record.lap("attribute")
    record.lap("load")
    assert record.write(tmp_path) == tmp_path / FILE
    assert [path.name for path in tmp_path.iterdir()] == [FILE]
    for place in (tmp_path, tmp_path / FILE):
        read = RunRecord.read(place)
        assert read.argv == ARGV
        assert read.arguments == {"out": "here", "seed": 0}
        assert read == RunRecord.read(tmp_path)
        assert (read.models, read.data) == (record.models, record.data)
    assert list(read.seconds) == ["load", "attribute", "total"]
    parts = read.seconds["load"] + read.seconds["attribute"]
    assert read.seconds["total"] == pytest.approx(parts)
    assert read.started == record.started


def test_a_record_says_with_what_and_at_what_cost_it_was_run(tmp_path: Path) -> None:
    RunRecord("find", [], {}).write(tmp_path)
    read = RunRecord.read(tmp_path)
    assert read.versions["python"] == platform.python_version()
    assert read.versions["snipbias"] == snipbias.__version__
    assert {"torch", "transformers", "numpy"} <= set(read.versions)
    assert 10 < read.peak_memory_mb["resident"] < 1e6
    assert read.machine["threads"] >= 1


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        "5",
        "{}",
        json.dumps({"command": "find"}),
        json.dumps({"command": "find", "argv": [], "arguments": {}, "strange": 1}),
        json.dumps({"command": "find", "argv": None, "arguments": {}}),
        json.dumps({"command": "find", "argv": "find demo", "arguments": {}}),
        json.dumps({"command": "find", "argv": [1], "arguments": {}}),
        json.dumps({"command": "find", "argv": [], "arguments": []}),
        json.dumps({"command": "find", "argv": [], "arguments": {}, "models": {"x": "y"}}),
        json.dumps({"command": "find", "argv": [], "arguments": {}, "data": None}),
        json.dumps({"command": "find", "argv": [], "arguments": {}, "seconds": []}),
        "[" * 100_000,
    ],
)
def test_what_is_no_record_is_one_sentence(tmp_path: Path, content: str) -> None:
    (tmp_path / FILE).write_text(content)
    with pytest.raises(SnipbiasError, match=r"run\.json is not a run record"):
        RunRecord.read(tmp_path)


def test_no_record_at_all_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(SnipbiasError, match="no edit or run record"):
        RunRecord.read(tmp_path)
    with pytest.raises(SnipbiasError, match="no edit or run record"):
        RunRecord.read(tmp_path / "nowhere")
    with pytest.raises(SnipbiasError, match="not a run record"):
        RunRecord.read("x" * 5000)
    (tmp_path / FILE).write_bytes(b"\xff\xfe")
    with pytest.raises(SnipbiasError, match="not a run record"):
        RunRecord.read(tmp_path)


def test_a_disk_that_refuses_leaves_no_part(tmp_path: Path, monkeypatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(SnipbiasError, match="No space left"):
        RunRecord("find", [], {}).write(tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_record_that_the_first_process_writes_by_itself_counts_all(tmp_path, monkeypatch):
    monkeypatch.setattr("snipbias.base.record.workers", lambda: Workers(0, 2))
    record = RunRecord("reproduce", [], {})
    monkeypatch.setattr("snipbias.base.record.workers", Workers)
    record.write(tmp_path)
    assert RunRecord.read(tmp_path).machine["processes"] == 2


def test_the_folder_of_one_of_several_edits_names_that_of_the_run(tmp_path: Path) -> None:
    RunRecord("find", ["find"], {}).write(tmp_path)
    (tmp_path / "n3").mkdir()
    with pytest.raises(SnipbiasError, match=f"give the folder of one, such as {tmp_path}"):
        RunRecord.read(tmp_path / "n3")
