"""What the command line refuses: one sentence, and nothing written."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from command_line import TASK, assert_refused, save, tree

ROW = {"question": "who?", "options": ["ab", "cd", "ef"], "gold": 0}


def write_rows(path: Path, *rows: dict | str, many: int = 6) -> Path:
    """Good rows, then the given ones."""
    lines = [json.dumps({**ROW, "template": f"t{i}"}) for i in range(many)]
    lines += [row if isinstance(row, str) else json.dumps(row) for row in rows]
    path.write_text("".join(line + "\n" for line in lines))
    return path


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([{"question": "who?", "gold": 0}], "'options'"),
        ([{"options": ["a", "b"], "gold": 0}], "'question'"),
        ([{"question": "who?", "options": ["a", "b"]}], "'gold'"),
        ([{**ROW, "gold": 3}], "0 to 2"),
        ([{**ROW, "gold": -1}], "0 to 2"),
        ([{**ROW, "options": ["a"]}], "at least two"),
        ([{**ROW, "options": ["a", "a "]}], "same option twice"),
        (["{"], "valid JSON"),
        ([], "no rows"),
    ],
)
@pytest.mark.parametrize("command", ["find", "evaluate"])
def test_bad_rows(cli, here: Path, model: Path, command: str, rows: list, words: str) -> None:
    write_rows(here / "rows.jsonl", *rows, many=6 if rows else 0)
    rest = [] if command == "find" else ["--no-retention"]
    assert_refused(cli(command, model, "rows.jsonl", "--out", "o/p", *rest), words)
    assert tree(here) == {"rows.jsonl"}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["mini:age", "--n", "0"], "at least 1"),
        (["mini:age", "--n", "-3"], "at least 1"),
        (["mini:age", "--n", "3,0"], "at least 1"),
        (["mini:age", "--n", "abc"], "not a list of numbers"),
        (["mini:age", "--n", ""], "not a list of numbers"),
        (["mini:age", "--n", "99999", "--samples", "1"], "ask for 1 to"),
        (["mini:age", "--samples", "9999"], "cannot draw 9999"),
        (["mini:age", "--method", "v3"], "use v1, v2, "),
        (["mini:age", "--tokens", "median"], "max or prompt or mean or sum"),
        (["mini:age", "--target", "odds"], "prob or logprob"),
        (["mini:age", "--skill", "nan"], "number"),
        (["mini:age", "--column", "gold"], "ours=yours"),
        (["mini:age", "--column", "gold=label"], "not take a column mapping"),
        (["rows.jsonl", "--column", "gold=answer"], "no column 'answer'"),
        (["rows.jsonl", "--column", "glod=gold"], "did you mean 'gold'"),
        (["mini:age", "--instruction", " "], "leave none empty"),
        (["mini:aeg"], "there is no task"),
        (["nowhere.jsonl"], "there is no file"),
        (["bbq:SES", "--data-dir", "nowhere"], "nowhere does not exist"),
        (["mini:age", "--chat"], "no chat template"),
        (["mini:age", "--dtype", "float16"], "bfloat16"),
        (["mini:age", "--instruction", "long " * 200], "does not fit"),
    ],
)
def test_bad_arguments_of_find(
    cli, here: Path, model: Path, arguments: list[str], words: str
) -> None:
    write_rows(here / "rows.jsonl")
    if words == "does not fit":
        model = save(here / "gpt2", "gpt2")
    before = tree(here)
    assert_refused(cli("find", model, *arguments, "--out", "o/p"), words)
    assert tree(here) == before


@pytest.mark.parametrize(
    "arguments",
    [
        ["find"],
        ["find", "model", "mini:age", "--samples", "0"],
        ["find", "model", "mini:age", "--samples", "x"],
        ["find", "model", "mini:age", "--dtype", "int8"],
        ["find", "model", "mini:age", "--no-such-option"],
        ["evaluate", "model", "mini:age", "--normalize", "words"],
        ["evaluate", "model", "mini:age", "--items", "0"],
        ["no-such-command"],
        ["rerun", "somewhere"],
    ],
)
def test_misuse_is_one_sentence_too(cli, here: Path, arguments: list[str]) -> None:
    assert_refused(cli(*arguments), "", status=2)
    assert not tree(here)


def test_a_wrong_choice_is_told_the_near_one(cli, here: Path) -> None:
    said = "'lorra' is not one of 'lora', 'ia3', 'checkpoint' (did you mean 'lora'?)."
    done = cli("export", "edit", "--format", "lorra")
    assert_refused(done, f"error: Invalid value for '--format': {said}\n", status=2)
    done = cli("export", "edit", "--format", "xyz")
    assert_refused(done, "'xyz' is not one of 'lora', 'ia3', 'checkpoint'.\n", status=2)


def test_models_that_are_none(cli, here: Path) -> None:
    (here / "empty").mkdir()
    for model in ("nowhere/at/all", "./nowhere", "no-such-model", "none.gguf", "empty"):
        assert_refused(cli("find", model, "mini:age", "--out", "o"), model)
    assert tree(here) == {"empty"}


def test_weights_that_are_cut_short(cli, here: Path, model: Path) -> None:
    shutil.copytree(model, "broken")
    weights = Path("broken/model.safetensors")
    weights.write_bytes(weights.read_bytes()[:20_000])
    before = tree(here)
    assert_refused(cli("find", "broken", *TASK, "--out", "o"), "broken")
    assert tree(here) == before


def test_weights_that_are_not_numbers(cli, here: Path, model: Path, edit: Path) -> None:
    shutil.copytree(model, "broken")
    weights = load_file("broken/model.safetensors")
    weights["encoder.block.0.layer.0.SelfAttention.q.weight"][3, 3] = torch.nan
    save_file(weights, "broken/model.safetensors", metadata={"format": "pt"})
    before = tree(here)
    assert_refused(cli("find", "broken", *TASK, "--samples", 2, "--out", "o"), "no finite number")
    arguments = ["--items", 2, "--no-retention", "--out", "o"]
    assert_refused(cli("evaluate", "broken", *TASK, *arguments), "no finite number")
    assert tree(here) == before


def damaged(here: Path, edit: Path, change: Callable[[str], str]) -> Path:
    place = here / "damaged"
    place.mkdir()
    (place / "edit.json").write_text(change((edit / "edit.json").read_text()))
    return place


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text[: len(text) // 2],
        lambda text: "",
        lambda text: text.replace('"sites"', '"places"'),
        lambda text: text.replace('"format": 1', '"format": 9'),
        lambda text: text.replace('"factors"', '"shares"'),
        lambda text: json.dumps({**json.loads(text), "sites": {}}),
    ],
)
@pytest.mark.parametrize("command", ["apply", "export", "evaluate", "show"])
def test_damaged_edits(
    cli, here: Path, model: Path, edit: Path, command: str, change: Callable[[str], str]
) -> None:
    place = damaged(here, edit, change)
    words = {
        "apply": ["apply", model, place, "--out", "o"],
        "export": ["export", place, "--model", model, "--out", "o"],
        "evaluate": ["evaluate", model, "mini:age", "--edit", place, "--out", "o"],
        "show": ["show", place],
    }[command]
    assert_refused(cli(*words), "edit.json")
    assert tree(here) == {"damaged", "damaged/edit.json"}


def test_a_terminal_obeys_nothing_in_an_edit(cli, here: Path, edit: Path) -> None:
    """Neither control characters nor rich's own markup."""
    data = json.loads((edit / "edit.json").read_text())
    evil = "\x1b[2J\x9b31m\u202e[/red][bold]x"
    data["label"], data["model"]["name"] = evil, evil
    data["sites"][evil] = {"units": [0], "factors": [0.0]}
    for name in ("one", "two"):
        Path(name).mkdir()
        Path(name, "edit.json").write_text(json.dumps({**data, "label": evil + name}))
    said = [
        cli("show", "one"),
        cli("overlap", "one", "two"),
        cli("combine", "one", "two", "--out", "both"),
        cli("apply", "demo", "one"),
    ]
    assert [done.status for done in said] == [0, 0, 0, 1]
    for done in said:
        assert not re.search("[\x1b\x9b\u202e]", done.out + done.err)
        assert "[/red][bold]x" in "".join((done.out + done.err).split())


def test_an_edit_of_another_model(cli, here: Path, edit: Path) -> None:
    save(here / "llama", "llama")
    before = tree(here)
    assert_refused(cli("apply", "llama", edit, "--out", "o"), "does not fit")
    rest = ["--edit", edit, "--items", 2, "--no-retention", "--no-text", "--out", "o"]
    assert_refused(cli("evaluate", "llama", *TASK, *rest), "does not fit")
    assert tree(here) == before


def test_nothing_to_show_or_run_again(cli, here: Path, edit: Path) -> None:
    for command in (["show", "nowhere"], ["show", here], ["rerun", "nowhere", "--out", "o"]):
        assert_refused(cli(*command), "run record")
    for argv in (["show", "x"], ["rerun", "."], ["push", "x", "me/x"], []):
        record = {"command": "find", "argv": argv, "arguments": {}}
        (here / "run.json").write_text(json.dumps(record))
        assert_refused(cli("rerun", here, "--out", "o"), "not record a run that can be repeated")
    for word in ("a\0b", "\ud800"):
        record = {"command": "find", "argv": ["find", "demo", word], "arguments": {}}
        (here / "run.json").write_text(json.dumps(record))
        assert_refused(cli("rerun", here, "--out", "o"), "not valid text", status=2)
    (here / "run.json").write_text('{"command": "find", "argv": null, "arguments": {}}')
    assert_refused(cli("rerun", here, "--out", "o"), "not a run record")
    assert_refused(cli("show", here), "not a run record")
    (here / "run.json").write_text('{"command": "evaluate", "argv": [], "arguments": {}}')
    (here / "rows.parquet").write_bytes(b"")
    assert_refused(cli("show", here), "summary.json")
    assert tree(here) == {"run.json", "rows.parquet"}


def test_methods_and_roles_that_there_are_not(cli, here: Path) -> None:
    """A method is refused before the model is loaded, which may take long."""
    asked = ("nowhere", "mini:age", "--methods", "v1,gapp", "--save", "f.csv")
    assert_refused(cli("fidelity", *asked), "no method 'gapp'")
    asked = ("demo", "mini:age", "--roles", "gate,down,nope", "--out", "o/p")
    assert_refused(cli("learn", *asked), "no role 'nope'")
    assert not tree(here)
