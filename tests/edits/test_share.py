"""To the hub and back, over HTTP to a stand-in of it; offline means offline."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from huggingface_hub import constants

from hub import READER, TOKEN, Hub
from shared_edit import EDIT, FOUND_ON, MODEL, refusal
from snipbias.base.record import RunRecord
from snipbias.edits.card.card import GENERATED
from snipbias.edits.card.figures import Figures
from snipbias.edits.edit import NeuronEdit
from snipbias.edits.sharing import (
    CARD_FILE,
    EXPORT_FILE,
    card_files,
    is_generated,
    record_of,
)


def test_pushed_and_loaded_it_is_the_same(online: Hub) -> None:
    commit = EDIT.push_to_hub("jane/an-edit", commit_message="first")
    repository = online.repositories["jane/an-edit"]
    assert commit.oid == repository.branches["main"]
    assert (repository.private, repository.messages) == (False, ["first"])
    assert set(online.files("jane/an-edit")) == {"edit.json", "README.md"}
    assert online.files("jane/an-edit")["edit.json"] == EDIT.to_json().encode()
    assert NeuronEdit.from_pretrained("jane/an-edit") == EDIT
    assert NeuronEdit.load("jane/an-edit") == EDIT
    card = online.files("jane/an-edit")["README.md"].decode()
    assert "NeuronEdit.from_pretrained('jane/an-edit')" in card
    assert "base_model: google/flan-t5-base" in card


def test_a_dense_edit_travels_with_its_factors(online: Hub, monkeypatch) -> None:
    monkeypatch.setattr("snipbias.edits.format.DENSE_FROM", len(EDIT))
    EDIT.push_to_hub("jane/dense")
    files = {"edit.json", "factors.safetensors", "README.md"}
    assert set(online.files("jane/dense")) == files
    assert NeuronEdit.load("jane/dense") == EDIT


def test_a_name_without_an_owner_is_the_users(online: Hub) -> None:
    commit = EDIT.push_to_hub("short")
    assert commit.repo_url.repo_id == "jane/short"
    assert "from_pretrained('jane/short')" in online.files("jane/short")["README.md"].decode()


def test_revisions_are_found_by_name_and_by_commit(online: Hub) -> None:
    first = EDIT.push_to_hub("jane/e").oid
    second = replace(EDIT, label="second")
    second.push_to_hub("jane/e")
    third = replace(EDIT, label="third")
    third.push_to_hub("jane/e", revision="try")
    assert NeuronEdit.load("jane/e") == second
    assert NeuronEdit.load(f"jane/e@{first}") == EDIT
    assert NeuronEdit.from_pretrained("jane/e", revision=first) == EDIT
    assert NeuronEdit.load("jane/e@try") == third
    refusal(lambda: NeuronEdit.load("jane/e@no"), "there is no edit at jane/e@no.*no such revision")


def test_the_base_s_licence_is_the_hub_s(online: Hub) -> None:
    online.put(MODEL.name, {"README.md": b"---\nlicense: mit\n---\n"})
    EDIT.push_to_hub("jane/e")
    card = online.files("jane/e")["README.md"].decode()
    assert "\nlicense: mit\n" in card
    assert "- The base: mit." in card
    assert "CC-BY-4.0" in card  # BBQ's


def test_a_private_one_is_for_those_who_may_read_it(online: Hub, monkeypatch) -> None:
    EDIT.push_to_hub("jane/secret", private=True)
    assert online.repositories["jane/secret"].private
    assert NeuronEdit.from_pretrained("jane/secret", token=READER, cache_dir="own") == EDIT
    assert list(Path("own").glob("models--jane--secret/snapshots/*/edit.json"))
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", "nowhere")
    said = refusal(
        lambda: NeuronEdit.from_pretrained("jane/secret", cache_dir="other"), "no such repository"
    )
    assert "hf auth login" in said


def test_what_is_public_is_not_taken_for_private(online: Hub) -> None:
    online.put("jane/open", {"edit.json": b"old"})
    refusal(lambda: EDIT.push_to_hub("jane/open", private=True), "public, so nothing was uploaded")
    assert online.files("jane/open") == {"edit.json": b"old"}


@pytest.mark.parametrize("token", [None, READER])
def test_who_may_not_write_is_told_so(token: str | None, online: Hub, monkeypatch) -> None:
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", "nowhere")
    refusal(lambda: EDIT.push_to_hub("jane/e", token=token), "cannot push.*hf auth login")
    assert not online.repositories


def test_no_path_of_this_machine_is_uploaded(online: Hub) -> None:
    model = replace(MODEL, name="/home/jane/private/flan", revision=None)
    found = replace(FOUND_ON, task="/home/jane/private/rows.jsonl + mini:age")
    replace(EDIT, model=model, found_on=found).push_to_hub("jane/e")
    for content in online.files("jane/e").values():
        assert b"private" not in content
        assert b"rows.jsonl" in content
    loaded = NeuronEdit.load("jane/e")
    assert (loaded.fingerprint, loaded.model.name) == (EDIT.fingerprint, "flan")


def test_save_pretrained_adds_to_a_folder_and_leaves_what_is_there(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    EDIT.save_pretrained(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"mine.txt", "edit.json", "README.md"}
    assert NeuronEdit.from_pretrained(tmp_path) == EDIT
    second = replace(EDIT, label="second")
    second.save_pretrained(tmp_path)
    assert NeuronEdit.load(tmp_path) == second
    assert "# second" in (tmp_path / CARD_FILE).read_text()
    (tmp_path / CARD_FILE).write_text("by hand")
    assert not is_generated(tmp_path)
    EDIT.save_pretrained(tmp_path)
    assert (tmp_path / CARD_FILE).read_text() == "by hand"


def test_what_cannot_be_written_whole_is_not_begun(tmp_path: Path) -> None:
    EDIT.save_pretrained(tmp_path)
    kept = {path.name: path.read_text() for path in tmp_path.iterdir()}
    damaged = dict.fromkeys(Figures.__dataclass_fields__, "x") | {"fingerprint": EDIT.fingerprint}
    figures = Figures(**damaged)  # type: ignore[arg-type]
    (tmp_path / "evaluation.json").write_text(figures.to_json())
    other = replace(EDIT, label="other")
    refusal(lambda: other.save_pretrained(tmp_path), "the figures of other are damaged")
    assert {name: (tmp_path / name).read_text() for name in kept} == kept
    (tmp_path / "evaluation.json").unlink()
    (tmp_path / CARD_FILE).unlink()
    (tmp_path / CARD_FILE).mkdir()
    refusal(lambda: other.save_pretrained(tmp_path), r"README\.md cannot be read")
    assert NeuronEdit.load(tmp_path) == EDIT


def test_impossible_names_are_names_of_nothing() -> None:
    for name in ("x" * 5000, "a\0b", "a/" * 3000):
        refusal(lambda name=name: NeuronEdit.load(name), "there is no edit at")


def test_a_record_is_that_of_the_edits_that_it_found(tmp_path: Path) -> None:
    """And not of what was made of them since, though it is as large and lies beside them."""
    record = RunRecord("find", ["find"], {"sizes": [3]})
    record.models["m"] = {"weights": MODEL.weights}
    record.data["edits"] = {"n3": EDIT.fingerprint}
    record.write(tmp_path)
    found = record_of(EDIT, tmp_path / "n3")
    assert found is not None
    assert found.argv == ["find"]
    for command, known in (("learn", True), ("evaluate", False)):
        replace(record, command=command).write(tmp_path)
        assert (record_of(EDIT, tmp_path / "n3") is not None) == known
    assert record_of(EDIT.scaled(0.5), tmp_path / "half") is None
    assert record_of(replace(EDIT, model=replace(MODEL, weights="f1")), tmp_path) is None
    record.data["edits"] = ["n3"]
    record.write(tmp_path)
    assert record_of(EDIT, tmp_path) is None


def test_the_card_of_an_export_is_not_replaced_by_that_of_an_edit(tmp_path: Path) -> None:
    EDIT.save(tmp_path / "export")
    for name in (EXPORT_FILE, CARD_FILE):
        (tmp_path / "export" / name).write_text(GENERATED)
    refusal(lambda: EDIT.save_pretrained(tmp_path / "export"), "is an export, whose card says")
    refusal(lambda: card_files(EDIT, tmp_path / "export", None), "is an export")
    assert (tmp_path / "export" / CARD_FILE).read_text() == GENERATED


def test_push_show_and_card_from_the_command_line(online: Hub, cli) -> None:
    EDIT.save_pretrained("local")
    status, out, err = cli("push", "local", "jane/e", "--private", "--license", "mit", "--json")
    assert (status, err) == (0, "")
    assert json.loads(out)["repository"] == "jane/e"
    assert online.repositories["jane/e"].private
    assert "license: mit" in online.files("jane/e")["README.md"].decode()
    status, out, err = cli("show", "jane/e", "--json")
    assert (status, json.loads(out)) == (0, json.loads(EDIT.to_json()))
    Path("local/README.md").write_text("---\ntags: [mine]\n---\nby hand")
    assert cli("push", "local", "jane/e")[0] == 0
    assert online.files("jane/e")["README.md"].endswith(b"by hand")
    assert "by hand: replace it" in cli("card", "local")[2]
    assert cli("card", "local", "--overwrite")[0] == 0
    assert is_generated(Path("local"))
    assert cli("card", "jane/e")[2].startswith("error: there is no folder jane/e")


def test_a_run_that_is_none_of_this_edit_is_refused(online: Hub, cli) -> None:
    EDIT.save("local")
    status, _, err = cli("push", "local", "jane/e", "--run", "nowhere")
    assert (status, "there is no evaluation at nowhere" in err) == (1, True)
    assert not online.repositories


def test_a_process_of_its_own_knows_the_hub_by_its_environment(online: Hub, tmp_path: Path) -> None:
    """HF_ENDPOINT is all that is changed; the edit of the hub is applied to a model."""
    code = """
import snipbias as sb
from snipbias.edits.provenance import ModelId
lm = sb.load("demo")
edit = sb.NeuronEdit.of([(lm.sites[0].name, 1)], ModelId.of(lm), label="one")
edit.push_to_hub("jane/one", private=True)
with sb.NeuronEdit.from_pretrained("jane/one").applied(lm):
    pass
from snipbias.cli import main
main(["apply", "demo", "jane/one", "--out", "baked", "--json"])
"""
    home = {"HF_ENDPOINT": online.url, "HF_HOME": str(tmp_path / "home"), "HF_TOKEN": TOKEN}
    environment = {**os.environ, **home, "HF_HUB_OFFLINE": "0", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert online.repositories["jane/one"].private
    assert (tmp_path / "baked" / "model.safetensors").is_file()
    assert NeuronEdit.load(tmp_path / "baked").label == "one"
