"""Where an edit is looked for: here, in the cache, on the hub."""

from __future__ import annotations

import shutil
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import pytest
from huggingface_hub import constants

from hub import Hub
from shared_edit import COMMIT, EDIT, point_to, refusal
from snipbias.edits.edit import NeuronEdit
from snipbias.edits.provenance import ModelId
from snipbias.edits.sharing import (
    hub_id,
)
from snipbias.models.loading import load


def test_what_is_here_comes_first(online: Hub) -> None:
    replace(EDIT, label="on the hub").push_to_hub("jane/e")
    EDIT.save("jane/e")
    online.requests.clear()
    assert NeuronEdit.load("jane/e") == EDIT
    assert online.requests == []


@pytest.mark.parametrize(
    "place", ["edits", "./a/b", "../a/b", "/a/b", "~/b", "a/b/c", "a/b.json", "-a/b", "a/b@"]
)
def test_paths_are_never_asked_for_on_the_hub(place: str, online: Hub) -> None:
    refusal(lambda: NeuronEdit.load(place), "there is no edit at")
    assert online.requests == []


def test_names_of_the_hub() -> None:
    assert hub_id("jane/an-edit_2.0") == ("jane/an-edit_2.0", None)
    assert hub_id("jane/e@v1/x") == ("jane/e", "v1/x")


def test_a_folder_of_several_is_not_the_hub_s(online: Hub) -> None:
    EDIT.save("jane/edits/n3")
    refusal(lambda: NeuronEdit.load("jane/edits"), "name one of jane/edits/n3")
    assert online.requests == []


@pytest.mark.parametrize("place", ["money/n11", "a/money/n11", "money/n11/edit.json"])
def test_a_mistyped_folder_is_told_of_those_beside_it(place: str, online: Hub) -> None:
    parent = place.partition("/n11")[0]
    EDIT.save(f"{parent}/n10")
    EDIT.save(f"{parent}/n30")
    said = refusal(lambda: NeuronEdit.load(place), f"name one of {parent}/n10, {parent}/n30")
    assert "hub" not in said


def test_a_folder_of_edits_hides_no_repository(online: Hub) -> None:
    EDIT.push_to_hub("jane/e")
    replace(EDIT, label="here").save("jane/other")
    assert NeuronEdit.load("jane/e") == EDIT


def test_what_is_no_edit_on_the_hub_says_so(online: Hub) -> None:
    online.put("jane/model", {"config.json": b"{}"})
    online.put("jane/broken", {"edit.json": b"{"})
    refusal(lambda: NeuronEdit.load("jane/model"), "has no edit.json")
    refusal(lambda: NeuronEdit.load("jane/nothing"), "it is not a folder, and the hub has no such")
    refusal(lambda: NeuronEdit.load("jane/broken"), "is damaged")


def test_offline_is_the_cache_or_a_sentence(online: Hub, monkeypatch) -> None:
    EDIT.push_to_hub("jane/e")
    NeuronEdit.load("jane/e")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    online.requests.clear()
    assert NeuronEdit.load("jane/e") == EDIT
    said = refusal(lambda: NeuronEdit.load("jane/other"), "there is no edit at jane/other")
    assert "HF_HUB_OFFLINE is set" in said
    refusal(lambda: EDIT.push_to_hub("jane/e"), "cannot push to jane/e, and HF_HUB_OFFLINE is set")
    assert online.requests == []


def test_a_hub_that_is_gone_is_a_sentence(online: Hub, monkeypatch) -> None:
    EDIT.push_to_hub("jane/e")
    NeuronEdit.load("jane/e")
    point_to("http://127.0.0.1:9", monkeypatch)  # where nobody listens
    assert NeuronEdit.load("jane/e") == EDIT
    refusal(lambda: NeuronEdit.load("jane/f"), "cannot be reached: check the connection")
    refusal(lambda: EDIT.push_to_hub("jane/e"), "connection")


def test_a_model_comes_from_the_cache_where_the_hub_is_gone(online: Hub, monkeypatch) -> None:
    cached = Path("cache/models--jane--demo")  # the form of the hub's client
    shutil.copytree(str(files("snipbias") / "data" / "demo"), cached / "snapshots" / COMMIT)
    (cached / "refs").mkdir()
    (cached / "refs" / "main").write_text(COMMIT)
    point_to("http://127.0.0.1:9", monkeypatch)
    monkeypatch.setattr("time.sleep", lambda _: pytest.fail("it tries again"))
    assert ModelId.of(load("jane/demo")).weights == ModelId.of(load("demo")).weights
    said = refusal(lambda: load("jane/other"), "cannot load the model jane/other")
    assert "(it is not in the local cache and the hub cannot be reached): check its name" in said
