"""Writing where there are no locks: whole files still, and nothing of another process removed."""

from __future__ import annotations

from pathlib import Path

import pytest

from snipbias.base import files
from snipbias.base.files import PARTIAL, atomic_file, atomic_folder


@pytest.mark.parametrize("locks", [True, False])
def test_without_locks_all_is_written_and_nothing_is_swept(
    tmp_path: Path, monkeypatch, locks: bool
) -> None:
    left = tmp_path / f".old.abcdefgh{PARTIAL}"
    left.mkdir()
    if not locks:
        monkeypatch.setattr(files, "fcntl", None)
    with atomic_file(tmp_path / "file") as new:
        new.write_text("whole")
    with atomic_folder(tmp_path / "folder") as new:
        (new / "part").write_text("whole")
    assert (tmp_path / "file").read_text() == (tmp_path / "folder" / "part").read_text() == "whole"
    assert left.exists() is not locks  # who knows whether its process is alive?
    assert {path.name for path in tmp_path.iterdir()} - {left.name} == {"file", "folder"}


def test_a_link_of_a_leftover_s_name_is_none(tmp_path: Path) -> None:
    other = tmp_path / "mine"
    other.mkdir()
    link = tmp_path / f".old.abcdefgh{PARTIAL}"
    link.symlink_to(other)
    files.sweep(tmp_path)
    assert not files.is_leftover(link)
    assert (link.is_symlink(), other.is_dir()) == (True, True)
