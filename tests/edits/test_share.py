"""To the hub and back, over HTTP to a stand-in of it; offline means offline."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import pytest
from huggingface_hub import constants

from hub import READER, TOKEN, Hub, hub
from snipbias.base.errors import SnipbiasError
from snipbias.base.record import RunRecord
from snipbias.cli import main
from snipbias.edits.card.card import GENERATED
from snipbias.edits.card.figures import Figures
from snipbias.edits.edit import NeuronEdit
from snipbias.edits.provenance import ModelId, Provenance
from snipbias.edits.sharing import (
    CARD_FILE,
    EXPORT_FILE,
    hub_id,
    is_generated,
    record_of,
    write_card,
)
from snipbias.models.loading import load

COMMIT = "0123456789abcdef0123456789abcdef01234567"
MODEL = ModelId("google/flan-t5-base", "T5ForConditionalGeneration", 500, "f0f0", COMMIT)
FOUND_ON = Provenance("bbq:SES", ("t1", "t2"), ("a", "b"), 10, "f00", {"target": "prob"})
EDIT = NeuronEdit({"encoder.a": {3: 0.0, 1: 0.5}, "decoder.b": {0: 2.0}}, MODEL, FOUND_ON, "v1 n=3")


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
    _point_to(server.url, monkeypatch)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.chdir(tmp_path)
    return server


def _point_to(url: str, monkeypatch) -> None:
    template = url + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "ENDPOINT", url)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)


@pytest.fixture
def cli(capsys) -> Callable[..., tuple[int, str, str]]:
    def run(*argv: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as stop:
            main([str(word) for word in argv])
        printed = capsys.readouterr()
        return int(stop.value.code or 0), printed.out, printed.err

    return run


def refusal(use: Callable[[], object], match: str) -> str:
    with pytest.raises(SnipbiasError, match=match) as refused:
        use()
    said = str(refused.value)
    assert "\n" not in said
    assert said.endswith(".")
    return said


# -- there and back ---------------------------------------------------------------------------


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


# -- where it is looked for -------------------------------------------------------------------


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
    _point_to("http://127.0.0.1:9", monkeypatch)  # where nobody listens
    assert NeuronEdit.load("jane/e") == EDIT
    refusal(lambda: NeuronEdit.load("jane/f"), "cannot be reached: check the connection")
    refusal(lambda: EDIT.push_to_hub("jane/e"), "connection")


def test_a_model_comes_from_the_cache_where_the_hub_is_gone(online: Hub, monkeypatch) -> None:
    cached = Path("cache/models--jane--demo")  # the form of the hub's client
    shutil.copytree(str(files("snipbias") / "data" / "demo"), cached / "snapshots" / COMMIT)
    (cached / "refs").mkdir()
    (cached / "refs" / "main").write_text(COMMIT)
    _point_to("http://127.0.0.1:9", monkeypatch)
    monkeypatch.setattr("time.sleep", lambda _: pytest.fail("it tries again"))
    assert ModelId.of(load("jane/demo")).weights == ModelId.of(load("demo")).weights
    said = refusal(lambda: load("jane/other"), "cannot load the model jane/other")
    assert "(it is not in the local cache and the hub cannot be reached): check its name" in said


# -- in a folder ------------------------------------------------------------------------------


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
    refusal(lambda: write_card(EDIT, tmp_path / "export"), "is an export")
    assert (tmp_path / "export" / CARD_FILE).read_text() == GENERATED


# -- from the command line --------------------------------------------------------------------


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
