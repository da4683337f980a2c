"""What the benchmarks measure is what they say; not how long it takes here."""

from __future__ import annotations

import json

import pytest
import torch

from benchmarks import peers
from benchmarks.__main__ import main
from benchmarks.measure import Spread, in_turns, peak_memory, ratio
from benchmarks.workloads import workload
from snipbias import evaluate


def test_a_spread_and_a_ratio_on_paper():
    assert Spread.of([3.0, 1.0, 2.0, 10.0]) == Spread(1.0, 2.5, 10.0)
    taken = {"slow": [4.0, 9.0, 8.0], "fast": [2.0, 3.0, 8.0]}
    assert ratio(taken, "slow", "fast") == Spread(1.0, 2.0, 3.0)


def test_jobs_take_turns_and_every_second_round_goes_backwards():
    calls: list[str] = []
    taken = in_turns({name: lambda name=name: calls.append(name) for name in "ab"}, 3)
    assert "".join(calls) == "ab" + "ab" + "ba" + "ab"
    assert [len(times) for times in taken.values()] == [3, 3]


def test_peak_memory_sees_what_is_gone_afterwards():
    torch.ones(7_000_000)  # once freed, the allocator keeps blocks of this size
    freed, held = [torch.ones(250_000) for _ in range(400)], torch.ones(1_000_000)
    del freed  # resident still, below what is held
    found = [peak_memory(lambda: torch.ones(50_000_000).sum()) for _ in range(3)]
    # The system may take other pages back meanwhile.
    assert 190e6 < max(highest - before for before, highest in found) < 300e6
    assert len(held) == 1_000_000


@pytest.mark.parametrize("peer", [peers.plain_scores, peers.harness_scores])
def test_the_peers_give_the_same_log_probabilities(peer):
    if peer is peers.harness_scores:
        pytest.importorskip("lm_eval")
    work = workload("demo", 4, instructions=2)
    rows = evaluate(work.lm, work.task).table.to_pylist()
    torch.testing.assert_close(
        torch.tensor(peer(work, 3)), torch.tensor([row["logprob"] for row in rows]).float(),
        rtol=1e-5, atol=1e-4,
    )  # fmt: skip


def test_more_items_are_the_drawn_ones_again():
    work = workload("demo", 3).of(7)
    texts = [item.context for item in work.task.items]
    assert len(texts) == 7
    assert texts[:3] * 2 == texts[:6]
    assert len({item.id for item in work.task.items}) == 7


def test_the_file_holds_each_figure_of_each_model(tmp_path):
    out = tmp_path / "figures.json"
    options = ["--items", "2", "--repeats", "2", "--threads", "1", "--json", str(out)]
    main(["--models", "demo", "--parts", "floor,schedule,plain", *options])
    found = json.loads(out.read_text())
    for key in ("find_over_floor", "schedule_over_find", "plain_over_evaluate"):
        assert 0 < found[key]["min"] <= found[key]["median"] <= found[key]["max"]
        assert found[key]["models"]["demo"]["median"] == found[key]["median"]


def test_an_unknown_part_is_refused(capsys):
    with pytest.raises(SystemExit):
        main(["--parts", "flor"])
    assert "there is no part flor" in capsys.readouterr().err
