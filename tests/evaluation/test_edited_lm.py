"""A model of lm-evaluation-harness under an edit is the baked checkpoint."""

from __future__ import annotations

import gc
import json
import sys
import weakref
from pathlib import Path
from typing import Any

import pytest
import torch

import snipbias as sb
from families import tiny
from flan import flan_t5
from harness_tasks import by_document, run, same
from snipbias.base.errors import SnipbiasError
from snipbias.evaluation.harness import library


@pytest.mark.parametrize(("family", "n", "factor"), [("demo", 2000, 0.0), ("llama", 30, 30.0)])
def test_a_model_of_the_harness_is_the_baked_checkpoint(
    family: str, n: int, factor: float, folder: Path, unchanged: Any, tmp_path: Path
) -> None:
    """By every kind of request, against the harness's own loading of what `bake` wrote."""
    from lm_eval.models.huggingface import HFLM

    tasks = ["own_choice", "own_written", "own_rolling"]
    lm = sb.load("demo") if family == "demo" else tiny(family)
    edit = sb.random_edit(lm, n, 2, factor)
    edit.save(tmp_path / "edit")
    lm.model.train()
    with unchanged(lm.model):
        wrapped = sb.lm_eval_model(lm, tmp_path / "edit", batch_size=4)
        found = run(wrapped, folder, tasks)
        original = run(sb.lm_eval_model(lm), folder, tasks)
    baked = edit.bake(lm)
    lm.model.save_pretrained(tmp_path / "baked")
    lm.tokenizer.save_pretrained(tmp_path / "baked")
    baked.undo()
    plain = HFLM(pretrained=str(tmp_path / "baked"), dtype="float32", device="cpu", batch_size=4)  # type: ignore[call-arg]
    expected = run(plain, folder, tasks)
    for task in tasks:
        here, there, before = (answers(raw, task) for raw in (found, expected, original))
        assert same(here, there)
        assert not same(before, there), "the edit changes nothing, so this tests little"
    config = found["config"]
    assert config["snipbias_edit"] == edit.to_dict()
    assert config["snipbias_model"]["weights"] == edit.model.weights


def answers(raw: Any, task: str) -> list[Any]:
    """What the model answered to every request: numbers, or text."""
    samples = sorted(raw["samples"][task], key=by_document)
    flat = [answer for sample in samples for answers in sample["resps"] for answer in answers]
    return [answer[0] if isinstance(answer, tuple) else answer for answer in flat]


def test_the_harness_loads_it_by_name(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Any
) -> None:
    """The whole command line, but for the harness's own tasks, which take seconds to read."""
    from lm_eval.tasks import TaskManager

    from snipbias.lm_eval import main as harness_main

    lm = sb.load("demo")
    edit = sb.random_edit(lm, 2000, 2)
    monkeypatch.chdir(tmp_path)
    edit.save("10")  # which the harness reads as a number
    monkeypatch.setattr(
        "lm_eval.tasks.TaskManager",
        lambda **options: TaskManager(**{**options, "include_defaults": False}),
    )
    words = "--model snipbias --model_args pretrained=demo,edit=10 --tasks own_choice"
    places = f"--include_path {folder} --output_path {tmp_path / 'out'} --batch_size 4"
    monkeypatch.setattr(sys, "argv", ["lm_eval", *f"{words} {places}".split()])
    harness_main()
    (written,) = (tmp_path / "out").rglob("results_*.json")
    told = json.loads(written.read_text())
    expected = run(sb.lm_eval_model(lm, edit), folder, ["own_choice"])["results"]["own_choice"]
    assert told["results"]["own_choice"]["acc,none"] == expected["acc,none"]
    assert told["config"]["snipbias_edit"]["label"] == edit.label

    monkeypatch.setattr(sys, "argv", ["lm_eval", *words.replace("edit=", "edits=").split()])
    sys.argv += ["--include_path", str(folder)]
    capfd.readouterr()
    with pytest.raises(SystemExit) as stop:
        harness_main()
    assert stop.value.code == 1
    last = capfd.readouterr().err.strip().splitlines()[-1]
    assert last.startswith("error: the model 'snipbias' has no argument 'edits' (did you mean")


def test_what_the_harness_cannot_have_is_refused(
    lm_eval: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lm = tiny("llama")
    for options, words in (
        ({"parallelize": True}, "no argument 'parallelize'"),
        ({"batchsize": 4}, r"no argument 'batchsize' \(did you mean 'batch_size'\?\)"),
        ({"edit": tmp_path / "none"}, "there is no edit at"),
    ):
        with pytest.raises(SnipbiasError, match=words):
            sb.lm_eval_model(lm, **options)
    with pytest.raises(SnipbiasError, match="does not fit"):
        sb.lm_eval_model(lm, sb.random_edit(tiny("t5"), 5))
    with pytest.raises(SnipbiasError, match="no dtype 'int7'"):
        sb.EditedLM("demo", dtype="int7")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(SnipbiasError, match="runs in one process"):
        sb.lm_eval_model(lm)


def test_an_untied_head_stays_untied_there_too(folder: Path, unchanged: Any) -> None:
    lm = flan_t5()
    with unchanged(lm.model):
        run(sb.lm_eval_model(lm), folder, ["own_choice"])
    assert not torch.equal(lm.model.lm_head.weight, lm.model.shared.weight)


def test_a_model_that_nobody_holds_is_freed_at_once(lm_eval: Any) -> None:
    gc.disable()
    try:
        held = weakref.ref(sb.lm_eval_model(tiny("llama")))
        assert held() is None
    finally:
        gc.enable()


def test_what_the_harness_itself_lacks_is_said_in_one_sentence() -> None:
    with pytest.raises(SnipbiasError, match=r"package lm-eval: pip install 'snipbias\[lm-eval\]'"):
        library("lm_eval.not_there")


def test_it_is_declared_to_versions_that_look_for_plugins() -> None:
    from importlib.metadata import entry_points

    (entry,) = entry_points(group="lm_eval.models", name="snipbias") or [None]
    assert entry is None or entry.value == "snipbias.evaluation.edited_lm:EditedLM"


def test_cached_answers_are_of_the_same_reading(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A second model reads them from the cache, but not where it reads fewer tokens."""
    from lm_eval.api.instance import Instance
    from lm_eval.models.huggingface import HFLM

    monkeypatch.setenv("SNIPBIAS_CACHE", str(tmp_path))
    monkeypatch.delenv("SNIPBIAS_ANSWERS")
    asked: list[int] = []
    own = HFLM.loglikelihood

    def counted(model: Any, requests: Any, **options: Any) -> Any:
        asked.append(len(requests))
        return own(model, requests, **options)

    monkeypatch.setattr(HFLM, "loglikelihood", counted)
    lm = tiny("llama")
    request = Instance("loglikelihood", {}, ("one two three " * 9, " six"), 0)
    whole, again, short = (
        sb.lm_eval_model(lm, **reading).loglikelihood([request])
        for reading in ({}, {"batch_size": 2}, {"max_length": 16})
    )
    assert asked == [1, 1]
    assert again == whole != short
