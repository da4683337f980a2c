"""Score-only methods against numbers known on paper, plain loops and what must hold of them."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from calibrated import DEV, KINDS, assert_near, by_hand, measured, one, plain
from families import tiny
from snipbias.base.words import ORIGINAL
from snipbias.evaluation.evaluate import Evaluation
from snipbias.evaluation.reading import Reading
from snipbias.experiment.baselines import calibration as calibrate
from snipbias.experiment.baselines.calibration import domain_texts
from snipbias.experiment.baselines.offset import always_unknown
from snipbias.tasks.items import Item, Task
from toys import INSTRUCTIONS, RAGGED, task

METHODS = (
    calibrate.cc,
    calibrate.dc,
    calibrate.batch_calibration,
    calibrate.permutation_averaging,
    always_unknown,
)


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
    method(made)
    distinct = {(text, item.options) for item in asked.items for text in asked.instructions}
    assert len(distinct) < len(asked.items) * len(asked.instructions)
    assert len(lm.scored) == texts * len(distinct)


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


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", ["flan-t5", "llama"])
def test_nothing_depends_on_the_batch_size(method: Any, kind: str) -> None:
    made = measured(tiny(kind), RAGGED.with_instructions(["say it."]), batch_size=64)
    expected = method(made).table["score"].to_pylist()
    assert_near(method(replace(made, batch_size=3)), expected, 1e-4)


def test_only_the_random_words_depend_on_the_seed() -> None:
    made, other = (measured(tiny("llama"), task(1), seed=seed) for seed in (0, 1))
    for method in METHODS:
        same = method(made).table.equals(method(other).table)
        assert same == (method is not calibrate.dc)
