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
from families import tiny
from flan import flan_t5
from harness_tasks import ROWS, by_document, run
from snipbias.base.errors import SnipbiasError
from snipbias.cli import main
from snipbias.evaluation.harness import _change, _samples, harness_scores
from snipbias.evaluation.harness_scores import HarnessScore
from snipbias.evaluation.stats import Interval


def by_hand(lm: sb.LanguageModel, folder: Path, task: str) -> Any:
    """The harness as its own documentation says to run it."""
    from lm_eval.models.huggingface import HFLM

    kind = "seq2seq" if lm.is_encoder_decoder else "causal"
    wrapped = HFLM(pretrained=lm.model, tokenizer=lm.tokenizer, backend=kind, batch_size=5)  # type: ignore[call-arg]
    return run(wrapped, folder, [task])


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
    assert all(word in str(found) for word in ("own_choice", "own_written", "exact_match"))


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
    with pytest.raises(SnipbiasError, match="no task of lm-evaluation-harness is named"):
        harness_scores(lm, [], include_path=folder)
    with pytest.raises(SnipbiasError, match="there is no folder"):
        harness_scores(lm, ["own_choice"], include_path=folder / "none")
    (folder.parent / "rows.json").unlink()
    with pytest.raises(SnipbiasError, match=r"could not run own_choice .*check the task's data"):
        harness_scores(lm, ["own_choice"], include_path=folder)


def test_samples_that_are_no_numbers_or_whose_mean_is_not_the_metric_give_no_change() -> None:
    def samples(*values: object, metric: float = 0.5, chosen: str = "none") -> list | None:
        logged = [{"filter": "none", "doc_id": -n, "acc": v} for n, v in enumerate(values)]
        result = {"samples": {"t": logged}, "results": {"t": {f"acc,{chosen}": metric}}}
        found = _samples(result, "t", f"acc,{chosen}")
        return None if found is None else found.tolist()

    assert samples(1, 0.0, True, 0) == [0.0, 1.0, 0.0, 1.0]  # in the order of the documents
    assert samples(1, 0, metric=0.7) is None
    assert samples("1", 0) is samples() is samples(1, 0, chosen="strict") is None


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
