"""Module paths of earlier versions still answer, and say where the module is now."""

from __future__ import annotations

import sys
from importlib import import_module

import pytest

import snipbias
from snipbias._moved import MOVED


@pytest.mark.parametrize(("old", "new"), MOVED.items())
def test_an_old_path_is_the_module_at_its_new_place(old: str, new: str, monkeypatch) -> None:
    monkeypatch.setattr(snipbias, old.rpartition(".")[2], None, raising=False)  # and away again
    monkeypatch.delitem(sys.modules, old, raising=False)
    with pytest.warns(DeprecationWarning, match=f"{old} is {new} now"):
        assert import_module(old) is import_module(new)
    monkeypatch.delitem(sys.modules, old)


def test_a_path_that_never_was_is_none() -> None:
    with pytest.raises(ModuleNotFoundError):
        import_module("snipbias.nowhere")
