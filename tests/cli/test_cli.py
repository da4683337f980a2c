"""The command line from end to end on a tiny saved model."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

import snipbias as sb
from command_line import TASK, strict, tree
from families import tokenizer
from snipbias.base.record import RunRecord


def test_find_evaluate_apply_show_rerun(cli, here: Path, model: Path) -> None:
    found = cli("find", model, *TASK, "--n", 9, "--samples", 3, "--out", "edit", "--json")
    assert (found.status, found.err) == (0, "")
    assert strict(found.out)["edits"] == ["edit"]
    assert tree(here) == {
        "edit",
        *(
            f"edit/{name}"
            for name in ("edit.json", "README.md", "run.json", "run.toml", "sites.json")
        ),
    }
    edit = sb.NeuronEdit.load("edit")
    assert len(edit) == 9
    lm = sb.load(model)
    drawn = sb.task("mini:age")
    drawn = drawn.with_instructions(drawn.instructions[:2]).sample(3, 0)
    assert edit.factors == sb.attribute(lm, drawn).top(9).factors

    arguments = ["--edit", "edit", "--items", 8, "--no-retention", "--elsewhere", 2]
    arguments += ["--out", "result", "--json"]
    evaluated = cli("evaluate", model, *TASK, *arguments)
    assert (evaluated.status, evaluated.err) == (0, "")
    printed = strict(evaluated.out)
    assert strict(Path("result/summary.json").read_text())["margin"] == 0.02
    assert tree(here / "result") == {
        *("rows.parquet", "summary.json", "tables.md", "run.json", "run.toml", "sites.json"),
        *("cards.json", "chat.json", "text.json", "elsewhere.parquet"),
        *("edits", "edits/0-edit", "edits/0-edit/edit.json"),
    }
    summary = strict(Path("result/summary.json").read_text())
    kept = {"rows.parquet", "chat.json", "text.json", "elsewhere.parquet"}
    assert summary.pop("files").keys() == kept
    assert {**summary, "out": "result"} == printed
    assert list(summary["methods"]) == [
        "original",
        "edit",
        "9 random neurons",
        "random in the same layers as edit",
    ]
    table = pq.read_table("result/rows.parquet")
    assert len(table) == (8 + 8) * 2 * 4  # as many filler and mismatch rows
    assert not set(table["template"].to_pylist()) & set(edit.found_on.templates)

    assert cli("apply", model, "edit", "--out", "fair", "--json").err == ""
    shown = cli("show", "fair")
    assert "9 of" in shown.out
    assert "mini:age" in shown.out
    assert sb.NeuronEdit.from_dict(strict(cli("show", "edit", "--json").out)) == edit
    assert strict(cli("show", "result", "--json").out)["command"] == "evaluate"
    assert len(cli("show", "result").out.splitlines()) <= 25
    assert "next     snipbias report result" in cli("show", "result").out

    card = Path("edit/README.md")
    assert "Its effect has not been measured" in card.read_text()
    assert "| seed of the draw of items | 0 |" in card.read_text()
    carded = cli("card", "edit", "--run", "result", "--json")
    assert strict(carded.out) == {"card": "edit/README.md", "figures": True}
    accuracy = summary["methods"]["edit"]["accuracy"]["overall"]
    assert f"→ {100 * accuracy:.1f} %" in card.read_text()
    assert cli("card", "edit").status == 0  # with the figures that were kept
    assert f"→ {100 * accuracy:.1f} %" in card.read_text()

    assert cli("rerun", "edit", "--out", "again").status == 0
    assert sb.NeuronEdit.load("again") == replace(edit, label="again")  # called as its folder
    assert cli("rerun", "result", "--out", "result-again").status == 0
    assert pq.read_table("result-again/rows.parquet").equals(table)
    # what was run again can be run again
    assert RunRecord.read("again").argv[0] == "find"
    assert cli("rerun", "again", "--out", "third", "--quiet").status == 0
    assert "--quiet" in RunRecord.read("third").argv
    assert sb.NeuronEdit.load("third") == replace(edit, label="third")


def test_several_numbers_of_neurons_give_several_edits(cli, here: Path, model: Path) -> None:
    done = cli("find", model, *TASK, "--n", "4,2,4", "--samples", 2, "--out", "edits")
    assert done.status == 0
    names = ("", "/edit.json", "/README.md")
    files = {f"edits/{size}{name}" for size in ("n2", "n4") for name in names}
    assert tree(here) == files | {"edits", "edits/run.json", "edits/run.toml", "edits/sites.json"}
    assert "edits n=4: 4 of " in done.out  # whose map is printed
    assert "edits n=2: " not in done.out
    assert "written  edits/n2, edits/n4 (list the neurons: snipbias show edits/n4)" in done.out
    card = Path("edits/n4/README.md").read_text()
    assert "from_pretrained('edits/n4')" in card
    assert cli("card", "edits/n4").status == 0
    assert Path("edits/n4/README.md").read_text() == card  # the record is in the folder above
    assert [len(sb.NeuronEdit.load(f"edits/n{n}")) for n in (2, 4)] == [2, 4]


def test_options_of_the_method_take_effect(cli, here: Path, model: Path) -> None:
    method = ["--method", "v2", "--tokens", "mean", "--target", "logprob", "--no-clamp"]
    rest = ["--skill", 0.5, "--aggregate", "max", "--weight", "none", "--factor", 0.25]
    command = ["find", model, *TASK, "--n", 3, "--samples", 2, "--seed", 5, "--out", "e"]
    assert cli(*command, *method, *rest).status == 0
    edit = sb.NeuronEdit.load("e")
    expected = sb.Method(
        target="logprob", tokens="mean", skill=0.5, clamp=False, weight="none", instructions="max"
    )
    assert edit.found_on.method == expected.to_dict()
    assert {f for units in edit.factors.values() for f in units.values()} == {0.25}
    assert edit.found_on.items == tuple(
        item.id for item in sb.task("mini:age").sample(2, seed=5).items
    )


def test_evaluate_measures_what_it_is_told_to(cli, here: Path, model: Path, edit: Path) -> None:
    Path("kept.jsonl").write_text(
        "".join(
            json.dumps({"question": f"q{i}", "options": ["ab", "cd"], "gold": 0}) + "\n"
            for i in range(5)
        )
    )
    Path("text.txt").write_text("a short text of mine\n\nand one more of them\n")
    asked = ["--retention", "kept.jsonl", "--text", "text.txt", "--options", "letters"]
    asked += ["--edit", edit, "--items", 2, "--controls", 2, "--elsewhere", 1]
    asked += ["--json", "--out", "r"]
    done = cli("evaluate", model, *TASK, *asked, "--margin", "0.3")
    assert done.err == ""
    result = strict(done.out)
    methods = result["methods"]
    assert result["margin"] == 0.3
    (edited,) = (m for m in methods if m != "original" and not methods[m]["control"])
    assert "worse by more than 30.0 points" in methods[edited]["retained"][0]["sentence"]
    rows = pq.read_table("r/retention.parquet").to_pydict()
    assert set(rows["task"]) == {"kept.jsonl"}
    assert set(rows["method"]) == {"original", edited}
    assert sum(method["control"] for method in methods.values()) == 4
    assert all(0 <= methods[m]["retention"]["kept.jsonl"] <= 1 for m in ("original", edited))
    assert all(method["perplexity"] > 1 for method in methods.values())
    assert set(RunRecord.read("r").data) >= {"mini:age", "kept.jsonl", "edits", "text"}


def test_an_edit_remembers_what_the_columns_were_called(cli, here: Path, model: Path) -> None:
    rows = [
        {"question": i.question, "context": i.context, "options": i.options, "answer": i.gold}
        | {"template": i.template, "condition": i.condition}
        for i in sb.task("mini:age").items
    ]
    Path("own.jsonl").write_text("\n".join(map(json.dumps, rows)))
    small = ("own.jsonl", "--instructions", 1)
    found = cli("find", model, *small, "--column", "gold=answer", "--samples", 2, "--out", "e")
    assert (found.status, found.err) == (0, "")
    asked = ("--edit", "e", "--items", 4, "--no-text", "--no-retention", "--elsewhere", 0)
    assert cli("evaluate", model, *small, *asked, "--out", "r").err == ""


@pytest.mark.parametrize("kind", ["lora", "ia3", "checkpoint"])
def test_export(cli, here: Path, model: Path, edit: Path, kind: str) -> None:
    """The edit knows its model; what was found by the check is printed and kept."""
    pytest.importorskip("peft")
    done = cli("export", edit, "--format", kind, "--out", "out", "--json")
    assert (done.status, done.err) == (0, "")
    printed = strict(done.out)
    kept = strict(Path("out/export.json").read_text())
    assert printed == {**printed, **kept, "out": "out"}
    assert kept["format"] == kind
    assert kept["check"]["difference"] <= 1e-5 < kept["check"]["effect"]
    assert kept["base"]["name"] == str(model)
    assert printed["bytes"] >= Path("out/edit.json").stat().st_size
    assert {file.stat().st_mode & 0o777 for file in Path("out").iterdir()} == {0o644}
    command = f"snipbias export {edit.name} --format {kind} --out out\n"
    assert command in Path("out/README.md").read_text()
    assert cli("rerun", "out", "--out", "again").err == ""
    again = {file.name: file.read_bytes() for file in Path("again").glob("*.safetensors")}
    assert again == {file.name: file.read_bytes() for file in Path("out").glob("*.safetensors")}
    assert again
    told = cli("export", edit, "--model", model, "--format", kind, "--no-check", "--out", "o").out
    assert "7 neurons" in told
    assert "not checked" in told


def test_the_folder_of_apply_is_a_plain_checkpoint(
    cli, here: Path, model: Path, edit: Path
) -> None:
    assert cli("apply", model, edit, "--out", "fair").status == 0
    lm = sb.load(model)
    ids = torch.tensor([tokenizer()("who was it in the end?")["input_ids"]])
    with sb.NeuronEdit.load(edit).applied(lm), torch.no_grad():
        hooked = lm.model(input_ids=ids, labels=ids).logits
    plain = AutoModelForSeq2SeqLM.from_pretrained("fair").eval()
    with torch.no_grad():
        baked = plain(input_ids=ids, labels=ids).logits
    assert AutoTokenizer.from_pretrained("fair")("who was it?") == tokenizer()("who was it?")
    torch.testing.assert_close(baked, hooked, rtol=1e-4, atol=1e-4)
    with torch.no_grad():
        original = lm.model(input_ids=ids, labels=ids).logits
    assert (baked - original).abs().max() > 0.01
    assert tree(here / "fair") >= {"model.safetensors", "config.json", "edit.json", "run.json"}


@pytest.mark.parametrize("size", ["0", "-2", "half"])
def test_a_batch_size_is_a_number_or_auto(cli, here: Path, size: str) -> None:
    said = cli("find", "demo", "mini:age", "--batch-size", size)
    assert said.status == 2
    assert "neither 'auto' nor a number" in said.err


def test_a_record_says_all(cli, here: Path, model: Path) -> None:
    command = ["find", str(model), *TASK, "--n", "3", "--samples", "2", "--seed", "4"]
    assert cli(*command, "--out", "e").status == 0
    record = RunRecord.read("e")
    assert record.argv == [*command, "--out", "e"]
    assert record.arguments["seed"] == 4
    assert record.arguments["batch_size"] == "auto"
    assert record.arguments["sizes"] == [3]
    assert record.arguments["method"] == sb.Method.v1().to_dict()
    loaded = record.models[str(model)]
    assert loaded["weights"] == sb.NeuronEdit.load("e").model.weights
    assert (loaded["dtype"], loaded["device"], loaded["chat"]) == ("torch.float32", "cpu", False)
    task = sb.task("mini:age")
    data = record.data["mini:age"]
    assert data["fingerprint"] == task.with_instructions(task.instructions[:2]).fingerprint
    assert data["source"] == task.source
    assert {"python", "torch", "transformers", "snipbias"} <= set(record.versions)
    assert {"load", "attribute", "total"} <= set(record.seconds)
    assert record.peak_memory_mb["resident"] > 10
