"""The embedded model is able and biased, and the demonstration shows what it claims."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

import snipbias as sb
from snipbias.experiment.settings import PRESETS

TASKS = ("mini:age", "mini:ses", "mini:disability")


@pytest.fixture(scope="module")
def lm():
    return sb.load("demo")


def held_out(name: str, items: int) -> sb.Task:
    """Published rows, none of which the model was trained on."""
    task = sb.task(name).subsample(items)
    return task.with_instructions(task.instructions[:2])


def test_is_a_gated_t5_of_a_few_megabytes(lm):
    config = lm.model.config
    assert (config.model_type, config.feed_forward_proj) == ("t5", "gated-gelu")
    stored = json.loads((Path(config.name_or_path) / "config.json").read_text())
    assert stored["tie_word_embeddings"] is False
    folder = Path(lm.model.config.name_or_path)
    assert sum(file.stat().st_size for file in folder.iterdir()) < 8e6


@pytest.mark.parametrize("category", ["age", "ses", "disability"])
def test_reads_and_stereotypes(lm, category):
    summary = sb.evaluate(lm, held_out(f"mini:{category}", 120)).summaries["original"]
    assert summary.accuracy.disambiguated >= 0.9
    assert summary.accuracy.ambiguous <= 0.35
    assert summary.discrimination >= 0.8
    assert summary.s_amb > 0.4  # what it says instead is the stereotype


def test_has_neutral_skills(lm):
    assert (
        sb.evaluate(lm, held_out("mini:skills", 150)).summaries["original"].accuracy.overall > 0.9
    )


def test_writes_what_it_scores(lm):
    task = held_out("mini:age", 20)
    written = sb.evaluate(lm, task, reading=sb.Reading(generate=True))
    assert written.summaries["original"].unmatched_rate == 0
    scored = sb.evaluate(lm, task)
    same = sum(
        a == b
        for a, b in zip(
            written.table["chosen"].to_pylist(), scored.table["chosen"].to_pylist(), strict=True
        )
    )
    assert same >= 0.9 * len(task) * len(task.instructions)


@pytest.mark.slow
def test_the_demonstration_mends_it_and_the_controls_do_not(cli, here: Path, monkeypatch):
    """On one draw of items instead of three, and with less of what is not looked at here."""
    less = {"trials": 1, "texts": 1, "retention_items": 6, "elsewhere": 1}
    fewer = {"items": 48, "dev_items": 24, "prompts": (), "sizes": (10,)}
    monkeypatch.setitem(PRESETS, "demo", replace(PRESETS["demo"], **less, **fewer))
    done = cli("demo", "--no-control-rows", "--json", "--out", "run")
    assert done.status == 0, done.err
    rows = json.loads(done.out)["table1"]
    by_task = {task: {r["method"]: r for r in rows if r["task"] == task} for task in TASKS}
    for methods in by_task.values():
        v1, original = methods["v1"], methods["original"]
        assert v1["accuracy"] > original["accuracy"] + 6
        assert v1["ambiguous"] > original["ambiguous"] + 10
        for control in ("random", "layer-matched random"):
            assert v1["accuracy"] > methods[control]["accuracy"] + 6
        assert abs(methods["random"]["accuracy"] - original["accuracy"]) < 10
    assert (here / "run" / "rows.parquet").is_file()
    assert (here / "run" / "run.json").is_file()
