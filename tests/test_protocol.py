"""Several trials: the same test rows, other samples, means and deviations by hand."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache
from statistics import mean, stdev

import torch

from families import tiny
from snipbias.base.words import ALWAYS_UNKNOWN, BEST_OFFSET, ORIGINAL
from snipbias.evaluation.evaluate import count_prompts, evaluate
from snipbias.evaluation.reading import Reading
from snipbias.experiment.protocol import Protocol, Trials, _best_size, count_trials, run_trials
from snipbias.method.attribute import attribute
from snipbias.method.equations import Method
from snipbias.tasks.items import Task
from toys import INSTRUCTIONS, task

PROTOCOL = Protocol(method=Method.v2(), samples=3, trials=3, sizes=(40, 8), items=6)
TEXTS = ("the rain let up. she looked out", "a bridge carries its load")
OTHER = Task("other", task(3).items, ("say it.",))


@cache
def trials() -> tuple[Trials, int]:
    done: list[int] = []
    lm = tiny("flan-t5")
    result = run_trials(
        lm, task(12), PROTOCOL, texts=TEXTS, retention=[OTHER], progress=done.append
    )
    return result, sum(done)


def test_trials_share_their_test_rows() -> None:
    result, _ = trials()
    assert len(result.comparisons) == 3
    rows = {c.task.fingerprint for c in result.comparisons}
    assert rows == {task(12).test.subsample(6).fingerprint}
    originals = {c.evaluation.rows().scores.tobytes() for c in result.comparisons}
    assert len(originals) == 1


def test_trials_differ_in_their_samples(monkeypatch) -> None:
    drawn: list[Task] = []

    def watched(lm, sample: Task, *rest, **options):
        drawn.append(sample)
        return attribute(lm, sample, *rest, **options)

    monkeypatch.setattr("snipbias.experiment.protocol.attribute", watched)
    run_trials(tiny("flan-t5"), task(12), PROTOCOL)
    assert [len(part) for part in drawn] == [3, 3, 3]
    assert len({part.fingerprint for part in drawn}) == 3
    held_out = set(task(12).test.templates) | set(task(12).dev.templates)
    assert all(not set(part.templates) & held_out for part in drawn)


def test_the_table_is_mean_and_deviation_over_trials_by_hand() -> None:
    result, _ = trials()
    cells = {
        row[0]: dict(zip(result.grid().header, row, strict=True)) for row in result.grid().rows
    }
    assert list(cells)[:4] == [ORIGINAL, "v2", "random neurons", "random, same layers"]
    for place, name in enumerate(list(cells)[:4]):
        methods = [list(c.summaries)[place] for c in result.comparisons]
        summaries = [c.summaries[m] for c, m in zip(result.comparisons, methods, strict=True)]
        accuracies = [s.accuracy.overall for s in summaries]
        row = cells[name]
        assert row["acc."] == f"{100 * mean(accuracies):.1f}"
        assert row["±"] == ("" if place == 0 else f"{100 * stdev(accuracies):.1f}")
        assert row["amb."] == f"{100 * mean(s.accuracy.ambiguous for s in summaries):.1f}"
        assert row["KL"] == f"{mean(s.kl_per_token for s in summaries):.2f}"
        kept = [
            c.evaluation.retention["other"].summaries[m].accuracy.overall
            for c, m in zip(result.comparisons, methods, strict=True)
        ]
        assert row["other"] == f"{100 * mean(kept):.1f}"
        assert set(row["n"].split("/")) <= ({"0"} if place == 0 else {"8", "40"})
    printed = result.grid().markdown()
    assert ALWAYS_UNKNOWN in printed
    assert BEST_OFFSET in printed


def test_work_is_what_progress_sums_to() -> None:
    _, done = trials()
    assert done == count_trials(task(12), PROTOCOL, TEXTS, [OTHER])


def test_verdicts_name_their_trial_and_the_dictionary_is_strict_json() -> None:
    result, _ = trials()
    read = json.loads(json.dumps(result.to_dict(), allow_nan=False))
    assert len(read["trials"]) == 3
    assert read["table"][0]["method"] == ORIGINAL
    assert read["verdicts"] == result.verdicts()
    for line in result.verdicts():
        assert line.startswith(f"! {ORIGINAL}: ") or ", trial " in line
    assert sum(line.startswith(f"! {ORIGINAL}") for line in result.verdicts()) == 1


def test_the_number_with_the_best_dev_accuracy_is_chosen() -> None:
    lm, toy = tiny("flan-t5"), task(12)
    scores = attribute(lm, toy.sample(4))
    sizes = (100, 5, 60)
    # Gold is what the middle number makes the model say: it alone is always right.
    with scores.top(60).applied(lm):
        said = evaluate(lm, toy.dev.with_instructions(INSTRUCTIONS[:1])).rows().chosen
    items = [replace(i, gold=int(g)) for i, g in zip(toy.dev.items, said, strict=True)]
    dev = replace(toy.dev, items=tuple(items))
    summaries = evaluate(lm, dev, [scores.top(n) for n in sizes]).summaries
    accuracy = {n: summaries[f"v1 n={n}"].accuracy.overall for n in sizes}
    assert accuracy[60] > max(accuracy[5], accuracy[100])
    done: list[int] = []
    assert _best_size(lm, scores, dev, (*sizes, 5), done.append) == 60
    assert sum(done) == count_prompts(dev, 3, Reading())


def test_ties_go_to_the_smaller_number() -> None:
    lm, toy = tiny("llama"), task(6)
    scores = attribute(lm, toy.sample(2))
    done: list[int] = []
    with torch.no_grad():  # nothing can change what this model answers
        lm.model.lm_head.weight.zero_()
    assert _best_size(lm, scores, toy.dev, (9, 4, 6), done.append) == 4
