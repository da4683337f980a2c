"""What edits share: counts, and chances computed by going through every draw."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import pytest

import snipbias as sb
from families import FAMILIES, GENERIC, tiny
from snipbias.base.errors import SnipbiasError
from snipbias.cli import main
from snipbias.edits.edit import NeuronEdit
from snipbias.edits.overlap import overlap
from snipbias.edits.provenance import ModelId
from snipbias.evaluation.combinations import (
    combination_grids,
    compare_combinations,
)
from snipbias.evaluation.compare import compare
from snipbias.models.sites import Neuron, Site, find_sites, module_by_name
from test_algebra import found_on

MODEL = ModelId("toy", "Toy", 8, "f00")
FFN = Site("decoder.block.0.wo", 5, "decoder", 0, "ffn", (("down", 5),))
ATTENTION = Site(
    "encoder.block.1.attn.qkv_proj", 3, "encoder", 1, "self-attention", (("q", 1), ("k", 2))
)


def edit(label: str, ffn: tuple[int, ...], attention: tuple[int, ...] = (), factor: float = 0.0):
    neurons = [Neuron(FFN.name, u) for u in ffn] + [Neuron(ATTENTION.name, u) for u in attention]
    return NeuronEdit.of(neurons, MODEL, factor, label=label)


def test_two_edits_by_going_through_every_draw():
    a, b = edit("a", (0, 1, 2), (0, 1)), edit("b", (0, 1), (1,), factor=0.0)
    b = replace(b, factors={**b.factors, ATTENTION.name: {1: 0.5}})
    (pair,) = overlap(a, b, sites=(FFN, ATTENTION)).pairs
    assert (pair.sizes, pair.shared, pair.same_factor) == ((5, 3), 3, 2)
    assert pair.jaccard == 3 / 5
    anywhere = [len({*draw} & set(range(5))) for draw in combinations(range(8), 3)]
    assert pair.expected == pytest.approx(sum(anywhere) / len(anywhere))
    assert pair.p == pytest.approx(sum(n >= 3 for n in anywhere) / len(anywhere))
    within = [
        len({*ffn} & {0, 1, 2}) + len({*attention} & {0, 1})
        for ffn in combinations(range(5), 2)
        for attention in combinations(range(3), 1)
    ]
    assert pair.expected_in_sites == pytest.approx(sum(within) / len(within))
    assert pair.p_in_sites == pytest.approx(sum(n >= 3 for n in within) / len(within))
    (without,) = overlap(a, b).pairs
    assert (without.p, without.p_in_sites) == (pair.p, None)


def test_where_they_are_with_and_without_the_model():
    a, b = edit("a", (0, 1), (0, 2)), edit("b", (1, 2), (2,))
    c = edit("c", (4,))
    known = overlap(a, b, c, sites=(FFN, ATTENTION))
    assert [(*place, *counts) for place, counts in known.places.items()] == [
        ("encoder", 1, "self-attention k", 1, 1, 0, 1),
        ("encoder", 1, "self-attention q", 1, 0, 0, 0),
        ("decoder", 0, "ffn down", 2, 2, 1, 1),
    ]
    by_name = overlap(a, b, c).places
    assert [(*place, *counts) for place, counts in by_name.items()] == [
        ("encoder", 1, "self-attention q/k/v", 2, 1, 0, 1),
        ("decoder", 0, "ffn down", 2, 2, 1, 1),
    ]
    assert (known.in_any, known.in_all, len(known.pairs)) == (6, 0, 3)
    assert known.to_dict()["places"][0]["neurons"] == {"a": 1, "b": 1, "c": 0}


def test_edits_that_share_nothing():
    (pair,) = overlap(edit("a", (0,)), edit("b", (), (0,)), sites=(FFN, ATTENTION)).pairs
    assert (pair.shared, pair.jaccard, pair.p, pair.p_in_sites) == (0, 0.0, 1.0, 1.0)
    assert (pair.expected, pair.expected_in_sites) == (1 / 8, 0.0)


def test_refusals():
    a = edit("a", (0,))
    for edits, words in (
        ((a,), "at least two edits"),
        ((a, a), "same label"),
        ((a, replace(a, label="b", model=replace(MODEL, weights="f1"))), "same model"),
    ):
        with pytest.raises(SnipbiasError, match=words):
            overlap(*edits)
    with pytest.raises(SnipbiasError, match=r"'a' was found on .* does not fit the model given"):
        overlap(a, edit("b", (1,)), sites=(ATTENTION,))
    with pytest.raises(SnipbiasError, match=r"has no .* of that width"):
        overlap(a, edit("b", (FFN.width,)), sites=(FFN, ATTENTION))


@pytest.mark.parametrize("family", [*FAMILIES, *GENERIC])
def test_a_name_tells_what_the_model_tells(family):
    """Stack, layer and module; but for fused layers, whose roles stand together."""
    for site in find_sites(tiny(family).model):
        side, layer, module = module_by_name(site.name)
        roles = {role for role, _ in site.layout}
        block, told = module.rsplit(" ", 1)
        assert (side, layer, block) == (site.side, site.layer, site.block)
        assert set(told.split("/")) == roles


@pytest.fixture(scope="module")
def edits() -> tuple[sb.LanguageModel, list[NeuronEdit]]:
    lm = sb.load("demo")
    first, second = sb.random_edit(lm, 40, 1), sb.random_edit(lm, 40, 2)
    templates = sorted(sb.task("mini:age").test.templates)[:2]
    seen = replace(found_on("age"), templates=tuple(templates))
    return lm, [replace(first, label="a", found_on=seen), replace(second | first, label="b")]


def test_on_tasks_it_is_what_compare_says(edits, monkeypatch):
    monkeypatch.setattr("snipbias.evaluation.compare.chat_prompts", lambda: ("Name a tree.",))
    lm, (a, b) = edits
    tasks = [sb.task(name).with_instructions(["Answer."]) for name in ("mini:age", "mini:ses")]
    skills = sb.task("mini:skills").test.subsample(4)
    settings = {"items": 8, "texts": sb.passages()[:2], "retention": [skills]}
    done: list[int] = []
    told: list[int] = []
    found = compare_combinations(
        *(lm, tasks, [a, b]),
        **settings,
        progress=done.append,
        stage=lambda name, jobs: told.append(jobs),
    )
    assert sum(done) == sum(told)
    assert list(found) == ["mini:age", "mini:ses"]
    for task in tasks:
        together = found[task.name]
        assert together.edits == ("a", "b", "union", "intersection")
        assert together.neurons == {
            "original": 0,
            "a": 40,
            "b": len(b),
            "union": len(b),
            **({"intersection": 40}),
        }
        every = [a, b, replace(a | b, label="union"), replace(a & b, label="intersection")]
        alone = compare(lm, task, *every, controls=0, **settings)
        assert together.to_dict() == alone.to_dict()
        asked = set(together.evaluation.table["template"].to_pylist())
        assert asked <= set(task.templates)
        assert not asked & set(a.found_on.templates)  # type: ignore[union-attr]
    grid = combination_grids(found)[0]
    assert [row[0].removesuffix(" !") for row in grid.rows].count("union") == 2
    assert grid.rows[0] == ("mini:age", *[""] * (len(grid.header) - 1))


def test_the_command_lines(edits, tmp_path: Path, capfd, monkeypatch):
    monkeypatch.chdir(tmp_path)
    _lm, (a, b) = edits
    for name, one in (("age", a), ("ses", b)):
        replace(one, label="v1 n=10").save(f"found/{name}/n10")
    both = "found/age/n10 found/ses/n10"

    def run(words: str, status: int = 0) -> tuple[str, str]:
        with pytest.raises(SystemExit) as stop:
            main(words.split())
        assert stop.value.code == status
        return capfd.readouterr()

    out, _ = run(f"overlap {both} --json")
    assert json.loads(out)["pairs"][0]["shared"] == 40
    assert json.loads(out)["labels"] == ["age", "ses"]  # what their paths differ in
    out, _ = run(f"overlap {both} --model demo")
    assert "p in" in out
    task = "--model demo --task mini:age --items 4 --instructions 1 --no-text --no-retention"
    out, _ = run(f"overlap {both} {task} --out ov")
    assert out.count("union") >= 3
    written = {path.name for path in (tmp_path / "ov").iterdir()}
    assert written == {"mini-age", "overlap.json", "tables.md", "run.json", "run.toml"}
    record = json.loads((tmp_path / "ov/run.json").read_text())
    assert list(record["data"]["edits"].values()) == [a.fingerprint, b.fingerprint]

    run("combine found/ses/n10 found/age/n10 --how difference --strength 0.5 --out half")
    half = NeuronEdit.load("half")
    assert half.factors == (b - a).scaled(0.5).factors
    assert half.made_of[0].operation == "scaled by 0.5"
    run(f"combine {both} --out union --label both")
    assert NeuronEdit.load("union").label == "both"
    assert [part.label for part in NeuronEdit.load("union").made_of] == ["age", "ses"]
    run(f"combine found/age/n10 {tmp_path}/found/ses/n10 --out mixed")
    assert [part.label for part in NeuronEdit.load("mixed").made_of] == ["found/age", "ses"]
    row = {"question": "Who paid?", "options": ["Ann", "Bo"], "gold": 0, "template": "meal"}
    (tmp_path / "d").mkdir()
    for name in ("d/r.jsonl", "d-r.jsonl"):
        (tmp_path / name).write_text(json.dumps(row))
    own = "--model demo --task d/r.jsonl --task d-r.jsonl"
    for words, told in (
        (f"overlap {both} {own} --out x", "would share a folder"),
        (f"combine {both} --how difference --out x", "the difference is empty"),
        ("combine found/age/n10 --out x", "one edit at strength 1 stays as it is"),
        (f"overlap {both} --task mini:age", "name it with --model"),
        (f"overlap {both} --out x", "drop --out"),
        ("overlap found/age/n10", "at least two edits"),
    ):
        _, err = run(words, status=1)
        assert told in err
        assert err.count("\n") == 1
    assert not (tmp_path / "x").exists()
