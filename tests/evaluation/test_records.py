"""Records of a run in the forms of others, read by their own validators and readers."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import pytest

import toys
from families import tiny
from snipbias.base.record import RunRecord
from snipbias.edits.controls import random_edit
from snipbias.edits.provenance import ModelId
from snipbias.evaluation.compare import compare
from snipbias.evaluation.compared import Compared
from snipbias.evaluation.neutral_text import TextShift
from snipbias.evaluation.records import every_eval_ever, write_records


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    folder, lm = tmp_path_factory.mktemp("run"), tiny("llama")
    comparison = compare(lm, toys.task(), random_edit(lm, 20), texts=("the dog met a man",))
    comparison.save(folder)
    record = RunRecord("evaluate", ["evaluate", "llama", "toy"], {})
    record.models["llama"] = {**asdict(ModelId.of(lm)), "dtype": "torch.float32"}
    record.write(folder)
    write_records(folder)
    return folder


def test_every_method_has_a_record_that_every_eval_ever_accepts(run: Path) -> None:
    core = pytest.importorskip("every_eval_ever.validator.validation_core")
    compared, records = Compared.load(run), run / "records/every_eval_ever"
    files = sorted(records.rglob("*.json"))
    assert len(files) == len(compared.summaries) == 4
    found = {}
    for file in files:
        place = file.relative_to(records).as_posix()
        report = core.validate_file(file, repo_path=place, run_semantic_checks=True)
        assert (report.errors, report.warnings) == ([], [])
        record = json.loads(file.read_text())
        details = record["model_info"]["additional_details"]
        found[details.get("edit", "original")] = record["evaluation_results"]
    for method, summary in compared.summaries.items():
        scores = {r["evaluation_result_id"]: r["score_details"]["score"] for r in found[method]}
        assert scores["accuracy.overall"] == summary.accuracy.overall
        assert scores["perplexity"] == pytest.approx(summary.perplexity)


def test_a_figure_that_is_no_number_has_no_record(run: Path) -> None:
    compared, record = Compared.load(run), RunRecord.read(run)
    compared.evaluation.text["original"] = TextShift(float("inf"), float("nan"), 5)
    made = every_eval_ever(compared, record, "original")
    names = {each["evaluation_result_id"] for each in made["evaluation_results"]}
    assert "accuracy.overall" in names
    assert not names & {"perplexity", "kl_per_token"}


def test_the_harness_s_readers_take_its_results_and_rows(run: Path) -> None:
    make_table = pytest.importorskip("lm_eval.utils").make_table
    compared = Compared.load(run)
    for folder in (run / "records/lm_eval").iterdir():
        (results,) = (json.loads(file.read_text()) for file in folder.glob("results_*.json"))
        (samples,) = folder.glob("samples_toy_*.jsonl")
        rows = [json.loads(line) for line in samples.read_text().splitlines()]
        method = results["config"]["model_args"].get("edit", "original")
        accuracy = compared.summaries[method].accuracy.overall
        assert sum(row["acc"] for row in rows) / len(rows) == pytest.approx(accuracy)
        assert results["n-samples"]["toy"]["effective"] == len(rows)
        assert all(bool(row["acc"]) == row["resps"][int(row["target"])][0][1] for row in rows)
        assert "|acc_ambiguous" in make_table(results)
