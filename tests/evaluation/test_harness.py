"""The lm-evaluation-harness on tasks of our own: its figures are those it gives by itself."""

from __future__ import annotations

import importlib
import json
import math
import random
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import snipbias as sb
import toys
from families import tiny
from flan import flan_t5
from snipbias.base.errors import SnipbiasError
from snipbias.cli import main
from snipbias.evaluation.harness import _change, harness_scores
from snipbias.evaluation.harness_scores import HarnessScore
from snipbias.evaluation.stats import Interval

CHOICE = """
task: own_choice
dataset_path: json
dataset_kwargs:
  data_files:
    test: {data}
test_split: test
output_type: multiple_choice
doc_to_text: "{{{{text}}}}"
doc_to_choice: "{{{{choices}}}}"
doc_to_target: "{{{{gold}}}}"
metric_list:
  - metric: acc
    aggregation: mean
    higher_is_better: true
"""
WRITTEN = """
task: own_written
dataset_path: json
dataset_kwargs:
  data_files:
    test: {data}
test_split: test
output_type: generate_until
doc_to_text: "{{{{text}}}}"
doc_to_target: "{{{{choices[gold]}}}}"
generation_kwargs:
  max_gen_toks: 4
  until: ["."]
metric_list:
  - metric: exact_match
    aggregation: mean
    higher_is_better: true
"""
ROLLING = """
task: own_rolling
dataset_path: json
dataset_kwargs:
  data_files:
    test: {data}
test_split: test
output_type: loglikelihood_rolling
doc_to_text: ""
doc_to_target: "{{{{text}}}}"
metric_list:
  - metric: word_perplexity
"""
TASKS = {"choice": CHOICE, "written": WRITTEN, "rolling": ROLLING}
ROWS = 24


@pytest.fixture(scope="session")
def lm_eval() -> Any:
    return pytest.importorskip("lm_eval")


@pytest.fixture
def folder(lm_eval: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Task files over a JSON file, and a cache that goes away."""
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    items = toys.rows(ROWS // 2)  # their options are all as long, so that answers vary
    rows = [
        {"text": f"{x.context} {x.question}", "choices": list(x.options), "gold": x.gold}
        for x in items
    ]
    data = tmp_path / "rows.json"
    data.write_text(json.dumps(rows))
    (tmp_path / "tasks").mkdir()
    for name, text in TASKS.items():
        (tmp_path / "tasks" / f"{name}.yaml").write_text(text.format(data=data))
    return tmp_path / "tasks"


def by_hand(lm: sb.LanguageModel, folder: Path, task: str) -> Any:
    """The harness as its own documentation says to run it."""
    from lm_eval.models.huggingface import HFLM

    kind = "seq2seq" if lm.is_encoder_decoder else "causal"
    wrapped = HFLM(pretrained=lm.model, tokenizer=lm.tokenizer, backend=kind, batch_size=5)  # type: ignore[call-arg]
    return run(wrapped, folder, [task])


def run(model: Any, folder: Path, tasks: list[str]) -> Any:
    from lm_eval import simple_evaluate
    from lm_eval.tasks import TaskManager

    manager = TaskManager(include_path=str(folder), include_defaults=False)
    return simple_evaluate(  # type: ignore[call-arg]
        model=model, tasks=tasks, task_manager=manager, bootstrap_iters=10
    )


def by_document(sample: Any) -> int:
    return sample["doc_id"]


@pytest.mark.parametrize(("family", "n", "factor"), [("demo", 2000, 0.0), ("llama", 30, 30.0)])
def test_before_and_after_are_what_the_harness_says_of_a_baked_model(
    family: str, n: int, factor: float, folder: Path, unchanged: Any
) -> None:
    lm = sb.load("demo") if family == "demo" else tiny(family)
    edit = sb.random_edit(lm, n, 2, factor)
    with unchanged(lm.model):
        found = harness_scores(lm, ["own_choice"], [edit], include_path=folder, batch_size=4)
    before = by_hand(lm, folder, "own_choice")
    edit.bake(lm)
    after = by_hand(lm, folder, "own_choice")
    assert [score.method for score in found.scores] == ["original", edit.label]
    for score, raw in zip(found.scores, (before, after), strict=True):
        entry = raw["results"]["own_choice"]
        assert score.value == entry["acc,none"]
        assert score.stderr == pytest.approx(entry["acc_stderr,none"])
        assert (score.metric, score.n, score.higher_is_better) == ("acc", ROWS, True)
    logged = [sorted(raw["samples"]["own_choice"], key=by_document) for raw in (before, after)]
    gains = [b["acc"] - a["acc"] for a, b in zip(*logged, strict=True)]
    change = found.scores[1].change
    assert change is not None
    assert change.estimate == pytest.approx(sum(gains) / ROWS)
    assert sum(gains), "the edit changes nothing, so this tests little"
    assert change.low < change.estimate < change.high


def test_an_untied_head_stays_untied(folder: Path, unchanged: Any) -> None:
    """The harness ties weights anew, and for transformers a T5's head is always tied."""
    lm = flan_t5()
    before = lm.score([lm.query("who was it?", ["man", "boy"])]).logprobs
    with unchanged(lm.model):
        harness_scores(lm, ["own_choice"], include_path=folder, limit=2)
    assert not torch.equal(lm.model.lm_head.weight, lm.model.shared.weight)
    assert torch.equal(lm.score([lm.query("who was it?", ["man", "boy"])]).logprobs, before)
    assert "tie_weights" not in vars(lm.model)


def test_generated_text_and_a_limit(folder: Path) -> None:
    lm = sb.load("demo")
    found = harness_scores(lm, ["own_written", "own_choice"], include_path=folder, limit=3)
    assert {(score.task, score.metric, score.n) for score in found.scores} == {
        ("own_choice", "acc", 3),
        ("own_written", "exact_match", 3),
    }


def test_seeds_and_tokenizer_are_left_alone(folder: Path) -> None:
    lm = tiny("llama")
    lm.tokenizer = copy_without_padding(lm.tokenizer)
    torch.manual_seed(5)
    states = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()  # type: ignore[index]
    harness_scores(lm, ["own_choice"], include_path=folder, limit=2)
    assert lm.tokenizer.pad_token is None
    assert states == (
        random.getstate(),
        np.random.get_state()[1].tolist(),  # type: ignore[index]
        torch.get_rng_state().tolist(),
    )


def copy_without_padding(tokenizer: Any) -> Any:
    import copy

    other = copy.deepcopy(tokenizer)
    other.pad_token = None
    return other


def test_the_interval_of_paired_differences() -> None:
    """By hand: differences -1, 0, 0, 1, 1 have mean 0.2, s = 0.83666, t(4) = 2.776445."""
    before, after = np.array([1.0, 1, 0, 0, 0]), np.array([0.0, 1, 0, 1, 1])
    change = _change(after, before, True)
    assert change is not None
    reach = 2.776445 * 0.836660 / math.sqrt(5)
    assert (change.estimate, change.low, change.high) == pytest.approx(
        (0.2, 0.2 - reach, 0.2 + reach), abs=1e-5
    )
    assert _change(after[:1], before[:1], True) is None


def test_where_no_sample_differs_few_samples_rule_out_little() -> None:
    """0 of n: Clopper and Pearson's upper bound solves (1 - p) ** n = 0.025."""
    for n in (3, 1000):
        same = np.ones(n)
        change = _change(same, same, True)
        assert change is not None
        bound = 1 - 0.025 ** (1 / n)
        assert (change.low, change.estimate, change.high) == pytest.approx(
            (-bound, 0, bound), rel=1e-3
        )
    perplexities = np.full(4, 7.0)
    assert _change(perplexities, perplexities, False) == Interval(
        0, 0, 0, 0.95, 4, 1, False, unit="sample"
    )


def interval(estimate: float, low: float, high: float, n: int = 100) -> Interval:
    return Interval(estimate, low, high, 0.95, n, 1, False, (low, high), (-1, 1), "sample")


def score(**changes: Any) -> HarnessScore:
    fields = {
        "task": "piqa",
        "metric": "acc",
        "method": "v1",
        "value": 0.5,
        "stderr": 0.01,
        "n": 100,
        "higher_is_better": True,
        "is_share": True,
        "change": interval(-0.004, -0.019, 0.01),
    }
    return HarnessScore(**{**fields, **changes})


def test_what_the_sentence_says_of_a_margin() -> None:
    assert score().sentence(0.02) == (
        "v1, piqa acc: not worse by more than 2.0 points: -0.4 [-1.9, +1.0] points"
    )
    assert "may be worse by more than 1.9 points: -0.4" in score().sentence(0.019)
    falling = score(higher_is_better=False, change=interval(0.01, -0.05, 0.03))
    assert (falling.loss_within(0.02), falling.loss_within(0.04)) == (False, True)
    assert (
        score(change=None)
        .sentence(0.02)
        .endswith("no margin in points applies: no interval can be given")
    )
    wild = score(is_share=False, change=interval(-1.5, -2.5, -0.5))
    assert wild.sentence(0.02).endswith("no margin in points applies: -1.5 [-2.5, -0.5]")
    assert score(method="original", change=None).sentence(0.02) == ""


def test_refusals(lm_eval: Any, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lm = tiny("llama")
    with pytest.raises(SnipbiasError, match=r"no task 'own_chose' \(did you mean 'own_choice'\?\)"):
        harness_scores(lm, ["own_chose"], include_path=folder)
    with pytest.raises(SnipbiasError, match="there is no folder"):
        harness_scores(lm, ["own_choice"], include_path=folder / "none")
    (folder.parent / "rows.json").unlink()
    with pytest.raises(SnipbiasError, match=r"could not run own_choice .*check the task's data"):
        harness_scores(lm, ["own_choice"], include_path=folder)


def test_without_the_package_the_pip_command(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(sys.modules):
        if name.split(".")[0] == "lm_eval":
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "lm_eval", None)
    importlib.invalidate_caches()
    with pytest.raises(SnipbiasError, match=r"pip install 'snipbias\[lm-eval\]'"):
        harness_scores(tiny("llama"), ["piqa"])


def test_the_command_line(
    folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    lm = sb.load("demo")
    sb.random_edit(lm, 60, seed=1).save("edit")
    words = "evaluate demo mini:age --edit edit --items 2 --instructions 1 --no-text --no-retention"
    words += " --elsewhere 0"
    harness = f"--lm-eval own_choice --lm-eval-path {folder} --lm-eval-limit 8 --margin 0.5"
    for form in ("", "--json"):
        with pytest.raises(SystemExit) as stop:
            main(f"{words} {harness} --out run{form} {form} --quiet".split())
        assert stop.value.code == 0
        out, err = capfd.readouterr()
        assert err == ""
        if form:
            told = json.loads(out)["lm_eval"]
            assert [entry["n"] for entry in told["scores"]] == [8, 8]
            assert told["margin"] == 0.5
        else:
            assert "own_choice" in out
            assert "worse by more than 50.0 points" in out
    assert "lm-evaluation-harness" in (tmp_path / "run" / "tables.md").read_text()
    written = json.loads((tmp_path / "run" / "lm_eval.json").read_text())
    assert written["scores"] == told["scores"]


# -- an edited model as a model of the harness --------------------------------------------------


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


def same(a: list[Any], b: list[Any]) -> bool:
    texts = [isinstance(answer, str) for answer in a]
    return a == b if any(texts) else np.allclose(a, b, rtol=1e-5, atol=1e-5)


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


def test_it_is_declared_to_versions_that_look_for_plugins() -> None:
    from importlib.metadata import entry_points

    (entry,) = entry_points(group="lm_eval.models", name="snipbias") or [None]
    assert entry is None or entry.value == "snipbias.evaluation.edited_lm:EditedLM"
