"""Score-only methods against numbers known on paper, plain loops and what must hold of them."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from families import tiny
from reference import option_logprob
from snipbias.base.errors import SnipbiasError
from snipbias.base.words import ORIGINAL
from snipbias.evaluation.evaluate import Evaluation, evaluate
from snipbias.evaluation.metrics import accuracy, discrimination, unknown_floor
from snipbias.evaluation.offset_curve import offset_curve
from snipbias.evaluation.reading import Reading
from snipbias.experiment.baselines import calibration as calibrate
from snipbias.experiment.baselines.calibration import Given, choose_offset, domain_texts, offset
from snipbias.models.language_model import LanguageModel, Query
from snipbias.models.scoring import Scored
from snipbias.tasks.items import Item, Task
from toys import INSTRUCTIONS, RAGGED, rows, task

METHODS = (
    calibrate.cc,
    calibrate.dc,
    calibrate.batch_calibration,
    calibrate.permutation_averaging,
    calibrate.always_unknown,
)
KINDS = ("flan-t5", "llama")
DEV = Task("dev", rows(4), ("say it.",))
LogP = Callable[[str, str], float]


class ByHand(LanguageModel):
    """A model whose log P(option | prompt) is a function; it keeps the prompts it has scored."""

    device = torch.device("cpu")
    model = torch.nn.Module()
    model.get_input_embeddings = lambda: torch.nn.Embedding(2, 8)  # type: ignore[method-assign]
    rows_differ = True
    is_encoder_decoder = False

    def __init__(self, logprob: LogP) -> None:
        self.logprob = logprob
        self.scored: list[str] = []
        self.passes = Counter()

    def frozen(self) -> AbstractContextManager[None]:
        return nullcontext()

    def queries(self, asked: Sequence[tuple[str, Sequence[str]]]) -> list[Query]:
        return [Query(tuple(map(ord, p)), tuple(tuple(map(ord, o)) for o in os)) for p, os in asked]

    def alike(self) -> Callable[[Query], int]:
        return lambda query: len(query.prompt)

    def score(self, queries: Sequence[Query], *, share_start: bool = False) -> Scored:
        most = max(len(query.options) for query in queries)
        logprobs = torch.full((len(queries), most), -torch.inf, dtype=torch.float64)
        for i, query in enumerate(queries):
            prompt = "".join(map(chr, query.prompt))
            self.scored.append(prompt)
            for j, option in enumerate(query.options):
                logprobs[i, j] = self.logprob(prompt, "".join(map(chr, option)))
        nothing = torch.empty(0, dtype=torch.long)
        return Scored(logprobs, nothing, nothing.bool(), nothing.bool())


def measured(lm: Any, asked: Task, dev: Task = DEV, **changes: Any) -> Given:
    return Given(lm, asked, evaluate(lm, asked), dev, **changes)


def by_hand(logprob: LogP, asked: Task, dev: Task = DEV) -> tuple[ByHand, Given]:
    """The toy model with the original's prompts forgotten."""
    lm = ByHand(logprob)
    made = measured(lm, asked, dev)
    lm.scored.clear()
    return lm, made


def scores(evaluation: Evaluation) -> list[np.ndarray]:
    return [np.array(row) for row in evaluation.table["score"].to_pylist()]


def assert_near(found: Evaluation, expected: Sequence[Sequence[float]], tolerance: float) -> None:
    for row, wanted in zip(scores(found), expected, strict=True):
        np.testing.assert_allclose(row, wanted, atol=tolerance, rtol=0)


def one(*options: str, context: str = "he left.", **changes: Any) -> Task:
    item = Item("i", "who?", options, 0, context, "t", **changes)
    return Task("one", (item,), ("say.",))


# -- CC ------------------------------------------------------------------------------------------


FREE = {
    "say.\nContext: he left.\nQuestion: who?\nOptions:\n- a\n- b\n- c\nAnswer:": (0.6, 0.3, 0.1),
    "say.\nContext: N/A\nQuestion: N/A\nOptions:\n- a\n- b\n- c\nAnswer:": (0.5, 0.2, 0.3),
    "say.\nQuestion: \nOptions:\n- a\n- b\n- c\nAnswer:": (0.9, 0.05, 0.05),
    "say.\nContext: [MASK]\nQuestion: [MASK]\nOptions:\n- a\n- b\n- c\nAnswer:": (0.7, 0.05, 0.25),
}


def test_cc_on_paper() -> None:
    """The mean over the three inputs is (.7, .1, .2); .6 / .7, .3 / .1 and .1 / .2 remain."""
    lm, made = by_hand(lambda prompt, o: math.log(FREE[prompt]["abc".index(o)]), one("a", "b", "c"))
    found = calibrate.cc(made)
    assert_near(found, [[math.log(6 / 7), math.log(3), math.log(1 / 2)]], 1e-12)
    assert found.table["chosen"].to_pylist() == [1]
    assert made.original.table["chosen"].to_pylist() == [0]
    assert sorted(lm.scored) == sorted(list(FREE)[1:])


def test_a_row_without_context_gets_none_from_cc() -> None:
    lm, made = by_hand(lambda prompt, o: -1.0, one("a", "b", context=""))
    calibrate.cc(made)
    expected = [
        f"say.\nQuestion: {text}\nOptions:\n- a\n- b\nAnswer:" for text in ("", "N/A", "[MASK]")
    ]
    assert sorted(lm.scored) == expected


def test_calibration_asks_in_the_tasks_own_wording() -> None:
    """CC replaces the texts of the one-line form; other orders move options, not letters."""
    lm, made = by_hand(lambda prompt, o: -1.0, one("a", "b", context="").with_prompt("paper"))
    calibrate.cc(made)
    expected = [f"say. Question: {text} Options: a, b Answer:" for text in ("", "N/A", "[MASK]")]
    assert sorted(lm.scored) == expected
    asked = one("x", "y", context="").with_prompt("letters")
    shown = {"A. x\nB. y": (0.6, 0.4), "A. y\nB. x": (0.9, 0.1)}

    def logprob(prompt: str, letter: str) -> float:
        return math.log(next(p for text, p in shown.items() if text in prompt)["AB".index(letter)])

    lm, made = by_hand(logprob, asked)
    mean = [math.log(0.6 * 0.1) / 2, math.log(0.4 * 0.9) / 2]
    assert_near(calibrate.permutation_averaging(made), [mean], 1e-12)


def test_rows_with_and_without_context_have_their_own_prior() -> None:
    """P of "a" is 1/e in a prompt with a context and 1/e**3 in one without."""
    both = tuple(replace(one("a", "b", context=c).items[0], id=c) for c in ("x y", ""))
    asked = Task("both", both, ("say.",))
    _, made = by_hand(lambda p, o: -1.0 if "Context" in p or o == "b" else -3.0, asked)
    mean = math.log((2 * math.exp(-1) + math.exp(-3)) / 3)  # "" has no line for a context
    assert_near(calibrate.cc(made), [[-1 - mean, 0], [0, 0]], 1e-12)


def test_what_underflows_is_calibrated_all_the_same() -> None:
    """exp(-2000) is 0; the difference of the logarithms is not lost."""

    def logprob(prompt: str, option: str) -> float:
        return {"a": -2000.0, "b": -3000.0}[option] - (0 if "left" in prompt else 5)

    for method in (calibrate.cc, calibrate.dc):
        _, made = by_hand(logprob, one("a", "b"), one("a", "b", context="x"))
        assert_near(method(made), [[5, 5]], 1e-9)


@pytest.mark.parametrize(("method", "texts"), [(calibrate.cc, 3), (calibrate.dc, 20)])
def test_each_instruction_and_option_tuple_is_scored_once(method: Any, texts: int) -> None:
    asked = task(6)
    lm, made = by_hand(lambda prompt, o: -len(prompt) - len(o), asked)
    calls: list[int] = []
    method(replace(made, progress=calls.append))
    distinct = {(text, item.options) for item in asked.items for text in asked.instructions}
    assert len(distinct) < len(asked.items) * len(asked.instructions)
    assert len(lm.scored) == sum(calls) == texts * len(distinct)


# -- DC ------------------------------------------------------------------------------------------


def test_domain_texts_are_as_long_as_the_items_on_average() -> None:
    """Contexts of 2 and 5 words (none does not count), questions of 3, 1 and 2."""
    items = [
        replace(DEV.items[0], id=str(i), context=context, question=question)
        for i, (context, question) in enumerate(
            [("a b", "d e f"), ("a b c d e", "g"), ("", "d e"), ("a b c d e", "d e")]
        )
    ]
    texts = domain_texts(items, seed=0)
    assert len(texts) == 20
    assert {(len(c.split()), len(q.split())) for c, q in texts} == {(4, 2)}
    assert len(set(texts)) > 1
    assert domain_texts(items[::-1], seed=0) == texts
    assert domain_texts(items, seed=1) != texts


def test_frequent_words_are_drawn_more_often() -> None:
    items = [replace(DEV.items[0], context="often " * 9 + "rare", question="often")]
    words = " ".join(" ".join(text) for text in domain_texts(items, seed=0)).split()
    assert len(words) == 20 * 11
    assert 0.85 < words.count("often") / len(words) < 0.97  # 10 of 11


def test_texts_of_items_without_context_are_questions() -> None:
    items = [replace(DEV.items[0], context="", question="who is it?")]
    assert {(c, len(q.split())) for c, q in domain_texts(items, 0)} == {("", 3)}


def test_dc_takes_its_words_from_the_development_part_alone() -> None:
    """Of the row itself its instruction and its options are left."""
    asked = one("aa", "bb", context="zebra zebra", unknown=0)
    dev = Task("dev", (Item("d", "quagga?", ("cc", "dd"), 0, "okapi okapi", "u"),), ("other.",))
    lm, made = by_hand(lambda prompt, o: -1.0, asked, dev)
    calibrate.dc(made)
    words = set(" ".join(lm.scored).split())
    frame = {"say.", "Context:", "Question:", "Options:", "Answer:", "-", "aa", "bb"}
    assert words == frame | {"quagga?", "okapi"}


# -- CC and DC against loops ---------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("method", [calibrate.cc, calibrate.dc])
def test_priors_equal_plain_loops(kind: str, method: Any) -> None:
    lm, asked = tiny(kind), RAGGED
    texts = [(t, t) for t in ("N/A", "", "[MASK]")]
    if method is calibrate.dc:
        texts = domain_texts(DEV.items, 7)
        asked = Task("small", RAGGED.items[:2], INSTRUCTIONS[:1])
    expected = []
    for item in asked.items:
        for instruction in asked.instructions:
            row = []
            for option in range(len(item.options)):
                total = 0.0
                for context, question in texts:
                    context = context if item.context else ""
                    total += math.exp(plain(lm, instruction, item, context, question, option))
                found = plain(lm, instruction, item, item.context, item.question, option)
                row.append(found - math.log(total / len(texts)))
            expected.append(row)
    assert_near(method(measured(lm, asked, seed=7)), expected, 2e-4)


def plain(
    lm: LanguageModel, instruction: str, item: Item, context: str, question: str, option: int
) -> float:
    """log P of one option alone, of a prompt put together here."""
    lines = [instruction, *([f"Context: {context}"] if context else []), f"Question: {question}"]
    lines += ["Options:", *(f"- {text}" for text in item.options), "Answer:"]
    query = lm.query("\n".join(lines), item.options)
    with torch.no_grad():
        return float(option_logprob(lm, query, query.options[option]))


# -- batch calibration ---------------------------------------------------------------------------


def batch_of(*probabilities: tuple[float, ...], instructions: int = 1) -> tuple[LogP, Task]:
    """Row k under instruction j has these P, in the order of their options; P given by hand."""
    width = len(probabilities) // instructions
    items = tuple(
        Item(str(k), f"row {k}?", tuple(f"{k}{x}" for x in "abcd"[: len(p)]), 0, "", str(k))
        for k, p in enumerate(probabilities[:width])
    )
    texts = tuple(f"say {j}." for j in range(instructions))

    def logprob(prompt: str, option: str) -> float:
        j = next(i for i, text in enumerate(texts) if prompt.startswith(text))
        row = int(option[:-1])
        return math.log(probabilities[j * width + row]["abcd".index(option[-1])])

    return logprob, Task("batch", items, texts)


def test_batch_calibration_on_paper() -> None:
    """Rows (.6, .3, .1) and (.2, .3, .5), the second at a tenth: means (.4, .3, .3)."""
    logprob, asked = batch_of((0.6, 0.3, 0.1), (0.02, 0.03, 0.05))
    _, made = by_hand(logprob, asked)
    found = scores(calibrate.batch_calibration(made))
    for row, ratios in zip(found, [(1.5, 1, 1 / 3), (0.05, 0.1, 1 / 6)], strict=True):
        np.testing.assert_allclose(row, np.log(ratios), atol=1e-12)


def test_batches_are_instructions_and_numbers_of_options() -> None:
    """A batch of one row is its own mean: nothing is left but what all its options share."""
    ones = (0.6, 0.4), (0.2, 0.5, 0.3), (0.1, 0.9), (0.3, 0.3, 0.4)
    logprob, asked = batch_of(*ones, instructions=2)
    _, made = by_hand(logprob, asked)
    assert_near(calibrate.batch_calibration(made), [[0, 0], [0, 0], [0, 0, 0], [0, 0, 0]], 1e-12)


def test_batch_calibration_leaves_no_position_preferred() -> None:
    lm, asked = tiny("llama"), task(8)
    made = measured(lm, asked)
    found = np.stack(scores(calibrate.batch_calibration(made)))
    own = np.stack(made.logprobs)
    ratio = np.exp(found - np.log(np.exp(own).sum(1, keepdims=True)))
    for j in range(len(asked.instructions)):
        np.testing.assert_allclose(ratio[j :: len(asked.instructions)].mean(0), 1, atol=1e-6)


# -- orders of the options -----------------------------------------------------------------------


@pytest.mark.parametrize(("options", "orders"), [("ab", 2), ("abc", 6), ("abcd", 4)])
def test_averaging_over_orders_cancels_what_a_position_is_worth(options: str, orders: int) -> None:
    """log P = worth of the text + worth of its place in the list: the first always wins by it."""
    place = [4.0, -1.0, 2.5, 0.25]
    worth = {"a": -5.0, "b": -4.5, "c": -6.0, "d": -5.5}

    def logprob(prompt: str, option: str) -> float:
        listed = [line[2:] for line in prompt.split("\n") if line.startswith("- ")]
        return worth[option] + place[listed.index(option)]

    lm, made = by_hand(logprob, one(*options))
    assert made.original.table["chosen"].to_pylist() == [0]
    found = calibrate.permutation_averaging(made)
    assert len(set(lm.scored)) == len(lm.scored) == orders - 1  # the given order is measured
    shared = sum(place[: len(options)]) / len(options)
    assert_near(found, [[worth[option] + shared for option in options]], 1e-12)
    assert found.table["chosen"].to_pylist() == [1]


@pytest.mark.parametrize("kind", KINDS)
def test_averages_equal_plain_loops_and_do_not_depend_on_the_order(kind: str) -> None:
    lm, asked = tiny(kind), Task("toy", rows(1), ("say it.",))
    found = scores(calibrate.permutation_averaging(measured(lm, asked)))
    for row, item in zip(found, asked.items, strict=True):
        for option, text in enumerate(item.options):
            total = 0.0
            for listed in itertools.permutations(item.options):
                turned = replace(item, options=listed)
                at = listed.index(text)
                total += plain(lm, "say it.", turned, item.context, item.question, at)
            assert row[option] == pytest.approx(total / 6, abs=2e-4)
    turned = tuple(
        replace(item, options=item.options[::-1], gold=2 - item.gold, unknown=None, biased=None)
        for item in asked.items
    )
    again = scores(calibrate.permutation_averaging(measured(lm, replace(asked, items=turned))))
    for row, other in zip(found, again, strict=True):
        np.testing.assert_allclose(row, other[::-1], atol=2e-4)


# -- always unknown, and the offset --------------------------------------------------------------


def test_always_unknown_is_the_floor() -> None:
    without = replace(rows(7)[-1], unknown=None, id="none")
    asked = replace(task(6), items=(*task(6).items, without))
    made = measured(tiny("llama"), asked)
    found = calibrate.always_unknown(made).rows("always unknown")
    assert accuracy(found) == unknown_floor(made.original.rows())
    assert 0 < (accuracy(found).overall or 0) < 0.5
    assert discrimination(found) == 0.5
    assert (found.chosen == found.unknown).all()


@pytest.mark.parametrize("kind", ["flan-t5", "llama"])
def test_offsets_reach_every_point_of_the_curve(kind: str) -> None:
    original = evaluate(tiny(kind), task(10))
    curve = offset_curve(original.rows())
    assert curve is not None
    assert len(curve.offsets) > 10
    for i in range(len(curve.offsets)):
        point = curve.point(i)
        found = accuracy(offset(original, point.offset).rows("offset"))
        assert found.overall == pytest.approx(point.overall)
        assert found.ambiguous == pytest.approx(point.ambiguous)
        assert found.disambiguated == pytest.approx(point.disambiguated)


def with_margins(*margins: tuple[str, float]) -> Evaluation:
    """Two options, the second unknown, with these margins of "unknown" by condition."""
    items = tuple(
        Item(str(k), f"{m}?", ("a", "u"), int(c[0] == "a"), "", str(k), c, unknown=1)  # type: ignore[arg-type]
        for k, (c, m) in enumerate(margins)
    )

    def logprob(prompt: str, option: str) -> float:
        margin = float(prompt.split("Question: ")[1].split("?")[0])
        return -10 + (margin if option == "u" else 0)

    return evaluate(ByHand(logprob), Task("margins", items, ("say.",)))  # type: ignore[arg-type]


AMB, DIS = "ambiguous", "disambiguated"


def test_the_offset_is_chosen_by_the_objective() -> None:
    """Margins -1 and -3 ambiguous, -2 and -6 not: "unknown" from offsets 1, 3 and 2, 6 on."""
    original = with_margins((AMB, -1), (AMB, -3), (DIS, -2), (DIS, -6))
    best = choose_offset(original, lambda overall, ambiguous, disambiguated: overall)
    assert best is not None
    assert (best.offset, best.overall) == (1.5, 0.75)  # as good as 4.5, and nearer to 0
    shifted = with_margins((AMB, 6), (AMB, 4), (DIS, 5), (DIS, 1))
    best = choose_offset(shifted, lambda overall, ambiguous, disambiguated: overall)
    assert best is not None
    assert (best.offset, best.overall) == (-2.5, 0.75)  # as good as -5.5
    best = choose_offset(original, lambda overall, ambiguous, disambiguated: ambiguous)
    assert best is not None
    assert (best.offset, best.ambiguous, best.disambiguated) == (4.5, 1, 0.5)
    harmless = choose_offset(original, lambda o, a, d: a if d == 1 else -math.inf)
    assert harmless is not None
    assert (harmless.offset, harmless.ambiguous) == (1.5, 0.5)
    never = choose_offset(original, lambda o, a, d: -math.inf)
    assert never is not None
    assert never.offset == 0


def test_the_chosen_offset_is_the_best_of_many() -> None:
    def balanced(overall: float, ambiguous: float, disambiguated: float) -> float:
        both = ambiguous + disambiguated
        return 2 * ambiguous * disambiguated / both if both else 0.0

    drawn = np.random.default_rng(0).normal([-3.0, -4.0], 2.0, (20, 2)).round(1).tolist()
    margins = [pair for both in drawn for pair in zip((AMB, DIS), both, strict=True)]
    original = with_margins(*margins)
    best = choose_offset(original, balanced)
    assert best is not None
    tried = []
    for constant in np.linspace(-20, 20, 802):
        found = accuracy(offset(original, constant).rows("offset"))
        tried.append(balanced(0.0, found.ambiguous or 0.0, found.disambiguated or 0.0))
    assert balanced(0.0, best.ambiguous, best.disambiguated) == pytest.approx(max(tried))
    assert len(set(tried)) > 10


def test_there_is_no_offset_without_unknown_options() -> None:
    original = evaluate(tiny("llama"), RAGGED)
    assert choose_offset(original, lambda o, a, d: o) is None
    assert_near(offset(original, 3.0), original.table["score"].to_pylist(), 0)


# -- what holds of all ---------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
def test_rows_stay_in_order_and_keep_what_was_measured(method: Any, tmp_path: Path) -> None:
    """And the calibrated rows are known as such beside the original's, saved or not."""
    made = measured(tiny("llama"), task(2))
    found = method(made)
    (label,) = found.methods
    kept = ["item", "instruction", "gold", "unknown", "biased", "logprob", "condition", "template"]
    assert found.table.select(kept).equals(made.original.table.select(kept))
    both = Evaluation(pa.concat_tables([made.original.table, found.table]), Reading())
    both.save(tmp_path / "rows.parquet")
    again = Evaluation(pq.read_table(tmp_path / "rows.parquet"), Reading())
    for evaluation in (both, again):
        assert evaluation.rows(ORIGINAL).probabilities
        assert not evaluation.rows(label).probabilities
        assert evaluation.summaries[label].gold_percent_raw is None
    pa.concat_tables([again.table, found.table])  # a loaded table joins a new one
    assert method(replace(made, original=again)).table.equals(found.table)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", ["flan-t5", "llama"])
def test_nothing_depends_on_the_batch_size(method: Any, kind: str) -> None:
    made = measured(tiny(kind), RAGGED.with_instructions(["say it."]), batch_size=64)
    expected = method(made).table["score"].to_pylist()
    assert_near(method(replace(made, batch_size=3)), expected, 1e-4)


def test_only_the_random_words_depend_on_the_seed() -> None:
    made = measured(tiny("llama"), task(1))
    for method in METHODS:
        same = method(made).table.equals(method(replace(made, seed=1)).table)
        assert same == (method is not calibrate.dc)


def test_rows_of_another_task_are_refused() -> None:
    lm = tiny("llama")
    original = evaluate(lm, task(3))
    with pytest.raises(SnipbiasError, match="not those of 'toy'"):
        Given(lm, task(4), original, DEV)
    with pytest.raises(SnipbiasError, match="not those of 'toy'"):
        Given(lm, task(3).with_instructions(["say it."]), original, DEV)


def test_other_readings_are_refused() -> None:
    lm = tiny("llama")
    for reading in (Reading(normalize="token"), Reading(options="letters"), Reading(generate=True)):
        original = evaluate(lm, task(1), reading=reading)
        with pytest.raises(SnipbiasError, match="without letters"):
            Given(lm, task(1), original, DEV)
