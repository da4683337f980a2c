"""Batches by themselves: similar lengths, what fits, halved when memory runs out."""

from __future__ import annotations

import pytest
import torch

from families import tiny
from snipbias.base.errors import SnipbiasError
from snipbias.base.parallel import Workers
from snipbias.evaluation.evaluate import evaluate
from snipbias.evaluation.reading import Reading
from snipbias.experiment.baselines.steering import mean_difference
from snipbias.method import margins as scorers
from snipbias.method.activations import magnitude
from snipbias.method.attribute import attribute
from snipbias.models import batching, memory
from snipbias.models.batching import one_each, run_batches
from snipbias.models.language_model import LanguageModel
from toys import RAGGED, task


class Greedy:
    """Makes a model run out of memory above so many prompts, and notes how many it got."""

    def __init__(self, lm: LanguageModel, most: int, error: BaseException) -> None:
        self.rows: list[int] = []
        self._original = lm.score

        def score(queries, **how):
            self.rows.append(len(queries))
            scored = self._original(queries, **how)  # in the middle of a pass, not before it
            if len(queries) > most:
                raise error
            return scored

        lm.score = score  # type: ignore[method-assign]


OUT_OF_MEMORY = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to"),
    MemoryError(),
]


@pytest.mark.parametrize("error", OUT_OF_MEMORY, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("kind", ["llama"])
def test_scores_do_not_depend_on_memory_running_out(kind, error):
    expected = attribute(tiny(kind), task(), batch_size=1)
    lm = tiny(kind)
    greedy = Greedy(lm, 3, error)
    done: list[int] = []
    found = attribute(lm, task(), batch_size=16, progress=done.append)
    torch.testing.assert_close(found.flat, expected.flat, rtol=1e-5, atol=1e-9)
    assert found.ranking(20) == expected.ranking(20)
    assert found.counts.tolist() == [20, 20]
    assert sum(done) == 40
    # 16 and 8 and 4 are too many, 2 is not; what was learnt is kept: no later batch is too large.
    assert greedy.rows[:4] == [16, 8, 4, 2]
    assert max(greedy.rows[4:]) <= 3


def test_rows_do_not_depend_on_memory_running_out():
    expected = evaluate(tiny("gpt2"), task(), batch_size=1).table
    lm = tiny("gpt2")
    Greedy(lm, 2, OUT_OF_MEMORY[0])
    found = evaluate(lm, task(), batch_size=7).table
    for name in ("item", "instruction", "chosen"):
        assert found[name] == expected[name]
    logprobs = [torch.tensor(t["logprob"].to_pylist()) for t in (found, expected)]
    torch.testing.assert_close(*logprobs, rtol=1e-5, atol=1e-5)


def test_one_prompt_that_does_not_fit_is_one_sentence():
    lm = tiny("gpt2")
    Greedy(lm, 0, OUT_OF_MEMORY[0])
    with pytest.raises(SnipbiasError, match=r"^memory ran out with 1 prompt: .*\.$"):
        attribute(lm, task())


def test_another_error_is_not_taken_for_memory():
    lm = tiny("gpt2")
    Greedy(lm, 3, RuntimeError("the sizes of tensors do not match"))
    with pytest.raises(RuntimeError, match="do not match"):
        attribute(lm, task(), batch_size=16)


@pytest.mark.parametrize("size", [0, -1])
def test_a_batch_size_of_nothing_is_refused(size):
    with pytest.raises(SnipbiasError, match="give at least 1"):
        evaluate(tiny("gpt2"), RAGGED, batch_size=size)


def test_every_loop_gives_the_same_by_itself_as_one_by_one():
    loops = {
        "gap": lambda lm, size: scorers.gap(lm, task(), batch_size=size).flat,
        "magnitude": lambda lm, size: magnitude(lm, task(), batch_size=size).flat,
        "steering": lambda lm, size: mean_difference(lm, task(), batch_size=size).vectors,
        "text": lambda lm, size: (
            scorers.text_utility(
                lm, ["a man and a dog", "him"], attribute(lm, RAGGED), batch_size=size
            ).flat
        ),
        "writing": lambda lm, size: torch.tensor(
            evaluate(lm, RAGGED, reading=Reading(generate=True), batch_size=size).rows().chosen
        ),
    }
    lm = tiny("flan-t5")
    for name, loop in loops.items():
        torch.testing.assert_close(
            loop(lm, "auto"), loop(lm, 1), rtol=1e-4, atol=1e-6, msg=lambda m, n=name: f"{n}: {m}"
        )


# -- how batches are cut --------------------------------------------------------------------------


def cut(lengths, size="auto"):
    order = sorted(range(len(lengths)), key=lengths.__getitem__)
    return batching._cut(order, [(length, 2) for length in lengths], size, batching.FASTEST["cpu"])


def test_auto_keeps_to_the_fastest_size_and_loses_nobody():
    lengths = [17 * i % 400 + 5 for i in range(500)]
    batches = cut(lengths)
    assert sorted(number for batch in batches for number in batch) == list(range(500))
    most = batching.FASTEST["cpu"]
    padded = [len(batch) * (max(lengths[i] for i in batch) + 2) for batch in batches]
    assert max(padded) <= most
    # Of similar length, so that little is padding, and not needlessly many.
    assert sum(padded) < 1.1 * sum(length + 2 for length in lengths)
    assert len(batches) < 1.5 * sum(padded) / most


def test_a_prompt_longer_than_the_fastest_batch_goes_alone():
    batches = cut([5000, 10, 10, 6000])
    assert [0] in batches
    assert [3] in batches


@pytest.mark.parametrize("jobs", [1, 2, 3, 5, 40, 400])
def test_up_to_four_processes_run_the_batches_of_one(jobs, monkeypatch):
    lengths = [30 + i % 50 for i in range(jobs)]
    alone = cut(lengths)
    for count in (2, 3, 4):
        monkeypatch.setattr(batching, "workers", lambda count=count: Workers(0, count))
        assert cut(lengths) == alone
        shares = [Workers(rank, count).share(alone) for rank in range(count)]
        assert sorted(b for share in shares for b in share) == sorted(alone)
        tokens = [sum(lengths[i] for batch in share for i in batch) for share in shares]
        if jobs >= 40 and count != 3:
            assert max(tokens) < 1.15 * sum(tokens) / count


def test_more_processes_get_more_batches(monkeypatch):
    monkeypatch.setattr(batching, "workers", lambda: Workers(0, 16))
    assert 13 < len(cut([50] * 40)) <= 16


def test_a_number_is_taken_at_its_word():
    assert [list(batch) for batch in cut([3, 1, 2, 9, 8], 2)] == [[1, 2], [0, 4], [3]]


# -- memory --------------------------------------------------------------------------------------


def test_batches_get_smaller_where_memory_is_short(monkeypatch):
    lm = tiny("llama")
    whole = attribute(lm, task())
    read = lm.passes.copy()
    per_token = {}
    original = memory.peaks

    def peaks(model, trial):
        per_token.update(original(model, trial))
        return per_token

    monkeypatch.setattr(memory, "peaks", peaks)
    monkeypatch.setattr(memory, "free", lambda place: 2_000_000)
    rows = Greedy(lm, 1000, MemoryError()).rows
    found = attribute(lm, task())
    assert len(per_token) == 1  # it was measured
    assert rows[0] == 1  # on one prompt
    assert len(rows) > 8  # more batches than before
    assert lm.passes == read + read  # which the trial does not count towards
    torch.testing.assert_close(found.flat, whole.flat, rtol=1e-5, atol=1e-9)


def test_a_trial_counts_what_is_held_at_once():
    model = torch.nn.Linear(4, 4)

    def trial():
        a = torch.zeros(1000)  # 4,000 bytes
        b = a + 1  # 8,000
        del a
        c = b.view(10, 100)  # no memory of its own
        return (c * 2).sum()  # 8,000 and 4 bytes, 4,000 before

    assert memory.peaks(model, trial) == {torch.device("cpu"): 8004}


def test_what_is_free_is_the_least_that_anybody_says(tmp_path, monkeypatch):
    info = tmp_path / "meminfo"
    info.write_text("MemTotal: 9 kB\nMemAvailable:    2000 kB\n")
    most, used = tmp_path / "max", tmp_path / "current"
    most.write_text("1500000\n")
    used.write_text("500000\n")
    monkeypatch.setattr(memory, "_MEMINFO", str(info))
    monkeypatch.setattr(memory, "_CGROUP", (str(most), str(used)))
    cpu = torch.device("cpu")
    assert memory.free(cpu) == 1_000_000
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    assert memory.free(cpu) == 250_000
    most.write_text("max\n")
    assert memory.free(cpu) == 512_000
    info.unlink()
    assert memory.free(cpu) is None


def test_memory_that_nobody_knows_limits_nothing(monkeypatch):
    monkeypatch.setattr(memory, "free", lambda place: None)
    assert memory.room(tiny("gpt2").model, "answers", lambda: None, 1, 10**12) == float("inf")


def test_run_batches_gives_every_job_once():
    seen: list[int] = []
    doubled = lambda batch: [2 * job for job in batch]  # noqa: E731
    how = {"size": lambda job: (job, 0), "kind": "answers"}
    for numbers, found in run_batches(tiny("gpt2"), list(range(50)), doubled, **how):
        assert found == [2 * number for number in numbers]
        seen.extend(found)
    assert sorted(seen) == [2 * job for job in range(50)]
    assert one_each(tiny("gpt2"), list(range(50)), doubled, **how) == [2 * n for n in range(50)]


def test_jobs_that_are_alike_go_together():
    run = run_batches(
        tiny("gpt2"),
        ["b2", "a9", "b1", "a1"],
        list,
        size=lambda job: (int(job[1]), 0),
        alike=lambda job: job,
        kind="answers",
        batch_size=2,
    )
    batches = [batch for _, batch in run]
    assert batches == [["a1", "a9"], ["b1", "b2"]]
