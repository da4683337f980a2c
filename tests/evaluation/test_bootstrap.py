"""Intervals and differences: by hand, by slow plain code, and by what must hold."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import norm
from scipy.stats import t as student

from crossed import Slow, crossed_rows, of, taken
from snipbias.base.errors import SnipbiasError
from snipbias.evaluation import measures, metrics, stats
from snipbias.evaluation.bootstrap import Draws, _stretch
from snipbias.evaluation.interval import Interval
from snipbias.evaluation.measures import ACCURACY, DISCRIMINATION, Mean

QUICK = {
    "accuracy": (ACCURACY, lambda rows: metrics.accuracy(rows).overall),
    "ambiguous": (measures.AMBIGUOUS_ACCURACY, lambda rows: metrics.accuracy(rows).ambiguous),
    "disambiguated": (
        measures.DISAMBIGUATED_ACCURACY,
        lambda rows: metrics.accuracy(rows).disambiguated,
    ),
    "named": (measures.NAMED_ACCURACY, metrics.named_accuracy),
    "unknown": (measures.UNKNOWN_RATE, lambda rows: metrics.unknown_rate(rows).overall),
    "unknown, ambiguous": (
        measures.UNKNOWN_RATE.of("ambiguous"),
        lambda rows: metrics.unknown_rate(rows).ambiguous,
    ),
    "gold": (measures.GOLD_PROBABILITY, lambda rows: metrics.gold_probability(rows).overall),
    "gold, ambiguous": (
        measures.GOLD_PROBABILITY.of("ambiguous"),
        lambda rows: metrics.gold_probability(rows).ambiguous,
    ),
    "gold, disambiguated": (
        measures.GOLD_PROBABILITY.of("disambiguated"),
        lambda rows: metrics.gold_probability(rows).disambiguated,
    ),
    "discrimination": (DISCRIMINATION, metrics.discrimination),
}


@pytest.mark.parametrize("name", QUICK)
def test_quick_metrics_are_those_of_the_metrics(name: str) -> None:
    quick, slow = QUICK[name]
    for seed, ties in ((0, False), (1, True)):
        rows = crossed_rows(seed=seed, ties=ties)
        assert quick(rows) == pytest.approx(slow(rows), abs=1e-12)
    lost = replace(rows, condition=np.full(len(rows), ""), unknown=np.full(len(rows), -1))
    assert quick(lost) == slow(lost)


@pytest.mark.parametrize("name", QUICK)
@pytest.mark.parametrize("instructions", [1, 6])
def test_the_quick_way_gives_the_same_interval_as_the_slow_one(
    name: str, instructions: int
) -> None:
    quick, slow = QUICK[name][0], Slow(QUICK[name][1])
    a, b = (crossed_rows(instructions=instructions, seed=s, ties=True, items=8) for s in (2, 4))
    few = {"resamples": 60, "seed": 3}
    alone = stats.interval(quick, [a], **few), stats.interval(slow, [a], **few)
    paired = stats.interval(quick, [a], [b, b], **few), stats.interval(slow, [a], [b], **few)
    for (ours, theirs), bounds in ((alone, (0, 1)), (paired, (-1, 1))):
        # A plain function does not say what it can be at most, and is not cut off there.
        wanted = np.clip([theirs.estimate, theirs.low, theirs.high], *bounds)
        assert [ours.estimate, ours.low, ours.high] == pytest.approx(wanted, abs=1e-12)
        assert ours.low < ours.estimate < ours.high
    draws = Draws.of(a.template, a.instruction, resamples=60)
    np.testing.assert_allclose(quick.over(a, draws), slow.over(a, draws), atol=1e-12)


def test_discrimination_is_the_mean_of_the_shares_of_pairs_that_rows_win() -> None:
    """Each pair counts for both of its rows, and each instruction as much as any other."""
    rows = crossed_rows(seed=2, ties=True)
    lacking = np.where(rows.instruction == 3, "ambiguous", rows.condition)
    lacking[rows.instruction == 4] = np.where(rows.template == "t0", "", rows.condition)[
        rows.instruction == 4
    ]
    unequal = np.where((rows.template == "t0") & rows.ambiguous, "", rows.condition)
    for condition in (rows.condition, lacking, unequal):
        some = replace(rows, condition=condition)
        share, weight = DISCRIMINATION.values(some)
        assert np.average(share, weights=weight) == pytest.approx(DISCRIMINATION(some))


def test_an_auroc_of_one_over_few_templates_is_not_sure() -> None:
    """All pairs are won: an unseen template may lose all of its own and those with all others."""
    for templates in (4, 12, 40):
        rows = crossed_rows(templates, 1)
        scores = np.full((len(rows), 3), -1.0)
        scores[:, 0] = np.where(rows.condition == "ambiguous", -0.5, -2.0)
        for right, figure in ((scores, 1.0), (-3 - scores, 0.0), (np.full_like(scores, -1), 0.5)):
            found = stats.interval(DISCRIMINATION, [replace(rows, scores=right)])
            assert found is not None
            assert found.estimate == figure
            seen_pairs = 0.025 ** (2 / templates)  # both rows of templates that were seen
            ends = figure * seen_pairs, 1 - (1 - figure) * seen_pairs
            assert (found.low, found.high) == pytest.approx(ends, abs=0.01)


def test_exact_bounds_of_an_auroc_stay_within_0_and_1() -> None:
    """Twice the mean of the drawn templates, less the figure, may lie beyond 1."""
    means = np.array([1.0] * 60 + [0.5])
    for some, figure in ((means, means.mean()), (1 - means, 1 - means.mean())):
        found = Interval(float(figure), 0.0, 1.0, 0.95, 61, 1, False)
        found = found.with_exact(some, np.ones(61), (0.0, 1.0), 2)
        assert found.exact is not None
        assert 0.0 <= found.exact[0] < figure < found.exact[1] <= 1.0


def test_an_instruction_that_lacks_a_condition_takes_no_part_in_discrimination() -> None:
    rows = crossed_rows(seed=2)
    only = np.where(rows.instruction == 3, "ambiguous", rows.condition)
    rows = replace(rows, condition=only)
    draws = Draws.of(rows.template, rows.instruction, resamples=40)
    quick = DISCRIMINATION.over(rows, draws)
    slow = Slow(metrics.discrimination).over(rows, draws)
    np.testing.assert_allclose(quick, slow, atol=1e-12)


def test_a_draw_is_the_rows_of_its_templates_and_instructions() -> None:
    rows = crossed_rows(templates=3, instructions=5, items=2)
    draws = Draws.of(rows.template, rows.instruction, resamples=4, seed=1)
    for number in range(len(draws.templates)):
        wanted = []
        for g, i in itertools.product(range(3), range(5)):
            times = int(draws.templates[number, g] * draws.instructions[number, i])
            here = (rows.template == f"t{g}") & (rows.instruction == i)
            wanted += [tuple(row) for row in rows.scores[here].tolist()] * times
        drawn = taken(draws, rows, number)
        assert sorted(tuple(row) for row in drawn.scores.tolist()) == sorted(wanted)
        # Drawn twice is there twice, under names of its own: each cell has its two items.
        assert len(set(drawn.template)) == draws.templates[number].sum()
        assert len(set(drawn.instruction)) == draws.instructions[number].sum()
        cells = set(zip(drawn.template.tolist(), drawn.instruction.tolist(), strict=True))
        assert len(cells) * 2 == len(drawn)
    assert draws.templates[0].tolist() == [1, 1, 1]
    assert draws.templates[5:8].tolist() == [[0, 1, 1], [1, 0, 1], [1, 1, 0]]
    assert draws.instructions[8:].tolist() == (1 - np.eye(5)).tolist()
    assert len(draws.templates) == len(draws.instructions) == 1 + 4 + 3 + 5


def test_draws_are_with_replacement_and_even() -> None:
    rows = crossed_rows(templates=4, instructions=5)
    draws = Draws.of(rows.template, rows.instruction, resamples=20_000)
    for often in (draws.templates[1:20_001], draws.instructions[1:20_001]):
        number = often.shape[1]
        assert (often.sum(axis=1) == number).all()
        np.testing.assert_allclose(often.mean(axis=0), 1, atol=0.03)
        np.testing.assert_allclose(often.var(axis=0), 1 - 1 / number, atol=0.03)
    apart = np.corrcoef(draws.templates[1:20_001, 0], draws.instructions[1:20_001, 0])[0, 1]
    assert abs(apart) < 0.03


def test_two_templates_by_hand() -> None:
    # Means 0 and 1: the draws are 0, 1/2, 1 with variance 1/8; the jackknife says 1/4. One degree
    # of freedom. Percentiles 0 and 1 are half a point off the estimate.
    rows, mean = of([[0.0], [1.0]])
    found = stats.interval(mean, [rows], resamples=200_000)
    half = 0.5 * student.ppf(0.975, 1) / norm.ppf(0.975) * math.sqrt(0.25 / 0.125)
    assert found.estimate == 0.5
    assert found.high == pytest.approx(0.5 + half, rel=0.01)
    assert found.low == pytest.approx(0.5 - half, rel=0.01)
    assert (found.templates, found.instructions, found.resampled_instructions) == (2, 1, False)
    shares = replace(mean, bounds=(0.0, 1.0))
    cut = stats.interval(shares, [rows])
    assert (cut.low, cut.high) == (0, 1)
    # No difference in two templates: up to 1 - .025^(1/2) of others may differ, by all that is
    # possible.
    same = stats.interval(shares, [rows], [rows])
    assert same.high == -same.low == pytest.approx(1 - 0.025**0.5, abs=1e-3)


def test_the_width_is_that_of_the_two_way_variance() -> None:
    # Variances of the ways 5 and 3 that each hold the cells' 2: together 6, and the draws' own
    # variance, which counts the cells three times, is too large by what the stretch takes off.
    ways = [(10, 5.0), (6, 3.0)]
    shrink, other = 9 / 10, 5 / 6
    drawn = 5 * shrink + 3 * other + 2 * shrink * other
    freedom = (5 + 3) ** 2 / (25 / 9 + 9 / 5)
    wanted = math.sqrt(6 / drawn) * student.ppf(0.95, freedom) / norm.ppf(0.95)
    assert _stretch(drawn, ways, 0.9) == pytest.approx(wanted)
    # Where the cells' part cannot be told, the interval never falls below either way alone.
    alone = _stretch(100.0, ways, 0.9) / _stretch(drawn, ways, 0.9)
    assert alone == pytest.approx(math.sqrt(5 / 100) / math.sqrt(6 / drawn))
    assert _stretch(1.0, [(5, 2.0)], 0.9) == pytest.approx(
        math.sqrt(2) * student.ppf(0.95, 4) / norm.ppf(0.95)
    )


def test_instructions_are_crossed_from_five_on() -> None:
    # All variance is between instructions: taken as fixed they have none of it.
    for number, crossed in ((4, False), (5, True)):
        rows, mean = of([[float(i) for i in range(number)]] * 6)
        found = stats.interval(mean, [rows])
        assert found.resampled_instructions is crossed
        assert (found.high > found.low) is crossed


def test_a_difference_is_paired() -> None:
    rows, mean = of([[float(g * g)] for g in range(8)])
    shifted = replace(rows, chosen=1 - rows.chosen)  # told apart by its answers
    both = Mean(
        lambda r: (mean.values(r)[0] + (3 if r is shifted else 0), mean.values(r)[1]),
        (-math.inf, math.inf),
    )
    alone = stats.interval(both, [rows])
    assert alone.high - alone.low > 10
    paired = stats.interval(both, [shifted], [rows])
    assert paired.estimate == pytest.approx(3)
    assert paired.low == pytest.approx(3)
    assert paired.high == pytest.approx(3)
    ab, ba = (stats.interval(ACCURACY, [x], [y]) for x, y in ((rows, shifted), (shifted, rows)))
    assert (ab.low, ab.high) == pytest.approx((-ba.high, -ba.low))


def test_trials_count_as_their_mean() -> None:
    trials = [crossed_rows(seed=s) for s in range(3)]
    found = stats.interval(ACCURACY, trials)
    assert found.estimate == pytest.approx(np.mean([ACCURACY(rows) for rows in trials]))
    single = stats.interval(ACCURACY, trials[:1])
    thrice = stats.interval(ACCURACY, trials[:1] * 3)
    assert (thrice.low, thrice.high) == pytest.approx((single.low, single.high))
    assert found.high - found.low < single.high - single.low
    other = stats.interval(ACCURACY, trials, trials[:1])
    assert other.estimate == pytest.approx(found.estimate - single.estimate)


def test_no_interval_where_one_cluster_decides() -> None:
    one = crossed_rows(templates=1)
    assert stats.interval(ACCURACY, [one]) is None
    assert stats.interval(ACCURACY, [one], [one]) is None
    rows = crossed_rows()
    nothing = replace(rows, condition=np.full(len(rows), ""))
    assert stats.interval(measures.AMBIGUOUS_ACCURACY, [nothing]) is None
    single = replace(nothing, condition=np.where(rows.template == "t1", "ambiguous", ""))
    assert measures.AMBIGUOUS_ACCURACY(single) is not None
    assert stats.interval(measures.AMBIGUOUS_ACCURACY, [single]) is None
    two = replace(
        nothing, condition=np.where(np.isin(rows.template, ["t1", "t2"]), "ambiguous", "")
    )
    assert stats.interval(measures.AMBIGUOUS_ACCURACY, [two]) is not None  # some draws lack both


def test_the_seed_and_the_level_are_kept() -> None:
    rows = crossed_rows()
    assert stats.interval(ACCURACY, [rows]) == stats.interval(ACCURACY, [rows])
    assert stats.interval(ACCURACY, [rows]) != stats.interval(ACCURACY, [rows], seed=1)
    wide, narrow = (stats.interval(ACCURACY, [rows], level=level) for level in (0.99, 0.5))
    assert wide.low < narrow.low < narrow.high < wide.high
    assert wide.level == 0.99


def test_rows_that_are_not_the_same_are_refused() -> None:
    rows, fewer = crossed_rows(), crossed_rows(templates=4)
    for other in (fewer, rows.take(np.arange(len(rows))[::-1])):
        with pytest.raises(SnipbiasError, match="different rows"):
            stats.interval(ACCURACY, [rows], [other])
        with pytest.raises(SnipbiasError, match="different rows"):
            stats.sign_flip_of(ACCURACY, [rows], [other])
