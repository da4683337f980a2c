"""The probe on planted features, its parts against slow code, and what `check` says."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest
import torch

import snipbias as sb
import toys
from families import tiny
from snipbias.base.table import plain_text
from snipbias.cli import main
from snipbias.edits.controls import random_edit
from snipbias.evaluation import ridge
from snipbias.evaluation.answer import answer
from snipbias.evaluation.apart import Apart, knowledge_sentence
from snipbias.evaluation.check import check, missing
from snipbias.evaluation.compare import Comparison, compare
from snipbias.evaluation.estimate import Estimate
from snipbias.evaluation.evaluate import evaluate
from snipbias.evaluation.interval import Interval
from snipbias.evaluation.probe import _as_rows, learned, probe
from snipbias.evaluation.rows import Rows
from snipbias.models.residual import states
from snipbias.tasks.answerable import answerable
from snipbias.tasks.items import Item, Task
from snipbias.tasks.unanswerable import with_controls

KINDS = ("ambiguous", "filler", "mismatch")
NEUTRAL = answerable("mini")
TASK = with_controls(sb.task("mini:age").subsample(64))
ITEMS = (*NEUTRAL.items, *TASK.items)
LENGTHS = np.array([[len(item.context.split())] for item in ITEMS], dtype=float)
UNANSWERABLE = np.array([item.condition != "disambiguated" for item in ITEMS])


def found(*layers: np.ndarray):
    """The probe on features of one's own, of a model whose answers say nothing."""
    rows = Rows.from_lists(
        [[-1.0] * 3 for _ in TASK.items],
        [item.gold for item in TASK.items],
        unknown=[item.unknown for item in TASK.items],
        condition=[item.condition for item in TASK.items],
        template=[item.template for item in TASK.items],
    )
    words = np.zeros((len(ITEMS), 2))
    return learned(np.stack(layers), LENGTHS, words, NEUTRAL.items, rows)


def test_a_planted_direction_is_found_in_its_layer_and_a_planted_absence_is_not():
    rng = np.random.default_rng(0)
    noise, along = rng.normal(size=(3, len(ITEMS), 40)), rng.normal(size=40)
    knowing = noise[1] + 0.7 * UNANSWERABLE[:, None] * along
    probe = found(noise[0], knowing, noise[2])
    assert probe.layer == 1
    for kind in KINDS:
        assert probe.told["probe"][kind].value > 0.95
        assert probe.told["probe without surface"][kind].value > 0.9
        assert probe.told["output"][kind].value == 0.5
    # What the task's rows are like has no say in how others of them are read.
    filler = [n >= len(NEUTRAL) and item.condition == "filler" for n, item in enumerate(ITEMS)]
    other = knowing + 100 * np.array(filler)[:, None] * (LENGTHS + rng.normal(size=40))
    for name, told in found(noise[0], other, noise[2]).told.items():
        assert told["mismatch"] == probe.told[name]["mismatch"]
        assert probe.ahead[kind].value > 0.45
        assert abs(probe.told["shuffled labels"][kind].value - 0.5) < 0.15
    nothing = found(*noise)
    assert all(0.35 < nothing.told["probe"][kind].value < 0.65 for kind in KINDS)
    assert nothing.ahead["mismatch"].value < 0.1


def test_a_probe_that_hears_the_length_tells_plain_rows_alone_and_nothing_without_surface():
    noise = np.random.default_rng(1).normal(size=(len(ITEMS), 20))
    probe = found(noise + (LENGTHS - LENGTHS.mean()) * np.linspace(-1, 1, 20))
    for name in ("probe", "length"):
        assert probe.told[name]["ambiguous"].value > 0.95
        assert abs(probe.told[name]["mismatch"].value - 0.5) < 0.1
    assert abs(probe.told["probe without surface"]["ambiguous"].value - 0.5) < 0.15


def test_ridge_is_the_weighted_normal_equations():
    rng = np.random.default_rng(2)
    x, first = rng.normal(3, 2, (30, 5)), np.arange(30) % 3 == 0
    (direction,) = ridge.fit(x, first, [0.1])
    w = np.where(first, 0.5 / 10, 0.5 / 20)
    z = (x - w @ x) / np.sqrt(w @ (x - w @ x) ** 2)
    gram = z.T @ (w[:, None] * z)
    penalty = 0.1 * np.trace(gram) / len(x)  # the kernel's eigenvalues are those of the gram
    expected = np.linalg.solve(gram + penalty * np.eye(5), z.T @ (w * np.where(first, 1, -1)))
    np.testing.assert_allclose(direction.weights, expected)
    np.testing.assert_allclose(direction(x), z @ expected)


@pytest.mark.parametrize("family", ["llama", "gpt2", "flan-t5", "bart"])
def test_states_are_the_plain_models_at_the_last_token_of_the_prompt(family):
    lm = tiny(family)
    queries = [
        lm.query(text, ["a", "no"]) for text in ("who was it?", "a man and a dog left. who?")
    ]
    read, logprobs = states(lm, queries, batch_size=2)
    for query, found in zip(queries, logprobs, strict=True):
        with torch.inference_mode():
            assert found == pytest.approx(lm.score([query]).logprobs[0].tolist(), abs=1e-4)
    for number, query in enumerate(queries):
        given = {"input_ids": torch.tensor([query.prompt]), "output_hidden_states": True}
        if lm.is_encoder_decoder:
            given["decoder_input_ids"] = torch.tensor([[lm.start_token]])
        with torch.no_grad():
            out = lm.model(**given)
        hidden = out.decoder_hidden_states if lm.is_encoder_decoder else out.hidden_states
        # Behind the last block transformers gives the normalised state.
        np.testing.assert_allclose(read[0, number], hidden[1][0, -1], rtol=1e-4, atol=1e-5)
    assert read.shape[:2] == (2, 2)
    np.testing.assert_allclose(states(lm, queries, blocks=1)[0], read[:1], rtol=1e-5, atol=1e-6)
    lm.reads_whole = not lm.is_encoder_decoder
    np.testing.assert_allclose(states(lm, queries)[0], read, rtol=1e-4, atol=1e-5)


def test_neutral_pairs_are_asked_in_four_ways_and_lengths_tell_little():
    for vocabulary, pairs in (("", 60), ("mini", 40)):
        task = answerable(vocabulary)
        assert len(task) == 4 * pairs
        assert len({item.context for item in task.items}) == 3 * pairs
        assert len({item.options[item.unknown] for item in task.items}) >= 8
        for plain, told, filler, mismatch in zip(*[iter(task.items)] * 4, strict=True):
            assert plain.gold == filler.gold == mismatch.gold == plain.unknown != told.gold
            assert told.context == mismatch.context != filler.context
            assert filler.context.startswith(plain.context)
            assert told.question == filler.question != mismatch.question
        words = {c: [len(i.context) for i in task.items if i.condition == c] for c in KINDS}
        assert sorted(words["filler"]) == pytest.approx(sorted(words["mismatch"]), rel=0.15)
    known = sb.load("demo").tokenizer.get_vocab()
    text = " ".join(" ".join((i.context, i.question, *i.options)) for i in answerable("mini").items)
    assert not set(text.replace(".", " ").replace("?", " ").replace(",", " ").split()) - {
        word.removeprefix("▁") for word in known
    }


def test_check_says_what_the_model_does_and_what_to_expect():
    lm, toy = tiny("llama"), toys.task()
    items = [replace(item, question=f"{item.question} {item.template}") for item in toy.items]
    task = Task("mini:toy", tuple(items), toy.instructions)  # short neutral questions fit
    result = check(lm, task, items=20)
    rows = evaluate(lm, task.with_instructions(task.instructions[:1])).rows()
    named = rows.ambiguous & (rows.chosen == rows.biased)
    assert result.stereotyped.value == pytest.approx(named.sum() / rows.ambiguous.sum())
    assert result.probe is not None
    assert set(result.apart) == set(KINDS)
    assert "probe without surface" in str(result)
    json.dumps(result.to_dict(), allow_nan=False)
    assert json.dumps(result.to_dict()["probe"]) == json.dumps(result.probe.to_dict())
    page = result._repr_html_()
    assert result.headline.split(":")[0] in page
    assert page.count("<table>") == len(result.grids()) == 2
    assert check(lm, task, items=20, with_probe=False).probe is None
    assert "no question of another template" in " ".join(check(lm, toy, items=20).outlook)


def test_a_comparison_says_what_the_model_knew_says_and_says_now(tmp_path):
    lm, toy = tiny("llama"), toys.task()
    items = [replace(item, question=f"{item.question} {item.template}") for item in toy.items]
    task, edit = Task("mini:toy", tuple(items), toy.instructions), random_edit(lm, 20)
    options = {"controls": 0, "texts": (), "elsewhere": 0}
    result = compare(lm, task, edit, with_probe=True, **options)
    assert result.inside == probe(lm, with_controls(task.test)).told["probe"]
    found = {kind: Apart(Estimate(0.6), Estimate(None)) for kind in KINDS}
    known = {kind: Estimate(value) for kind, value in zip(KINDS, (0.9, 0.8, 0.75), strict=True)}
    one = knowledge_sentence(known, found, found | {"filler": Apart(Estimate(0.7), Estimate(1.0))})
    assert re.findall(r"0\.[\d./ ]+\d", one) == [
        "0.90 / 0.80 / 0.75",
        "0.60 / 0.60 / 0.60",
        "0.60 / 0.70 / 0.60",
    ]
    assert any("a probe inside" in said for said in result.said(edit.label))
    knew, *told = (
        each.value
        for each in (
            result.inside["mismatch"],
            *(result.measured[name].apart["mismatch"].auroc for name in ("original", edit.label)),
        )
    )
    brief = f"(AUROC): {knew:.2f} inside, {told[0]:.2f} said before, {told[1]:.2f} now"
    assert brief in plain_text(answer(result), 300)
    result.save(tmp_path)
    assert Comparison.load(tmp_path).to_dict() == result.to_dict()
    without = compare(lm, toy, edit, with_probe=True, control_rows=False, **options)
    assert not without.inside
    assert any("no probe" in note for note in without.notes)


def outlook(result, reads: float, output: float, inside: float, pure: float) -> str:
    """What is said of such figures."""
    told = {"output": output, "probe": inside, "probe without surface": pure}
    probe = replace(
        result.probe,
        told={name: {"mismatch": Estimate(value)} for name, value in told.items()},
        ahead={"mismatch": Estimate(inside - output)},
    )
    right = Estimate(reads)
    return " ".join(replace(result, right_person=right, probe=probe).outlook)


def test_the_rules_that_say_no():
    lm, toy = tiny("llama"), toys.task()
    items = [replace(item, question=f"{item.question} {item.template}") for item in toy.items]
    result = check(lm, Task("mini:toy", tuple(items), toy.instructions), items=4)
    for figures, said in (
        ((0.54, 0.5, 0.9, 0.9), "hardly reads"),
        ((0.54, 0.5, 0.9, 0.9), "hardly answer better"),
        ((0.9, 0.6, 0.69, 0.69), "hardly answer better"),
        ((0.9, 0.6, 0.69, 0.71), "An edit may help"),
        ((0.9, 0.6, 0.71, 0.6), "An edit can help"),
    ):
        assert said in outlook(result, *figures), figures
    cautious = replace(result, stereotyped=Estimate(None), unknown=Estimate(0.99))
    assert 'There is little to fix: the model says "unknown" in 99 %' in " ".join(cautious.outlook)
    # None in twenty rows of eight templates: up to 37 % are not ruled out.
    for high, said in ((0.37, ", although so few rows do not prove it."), (0.08, ".")):
        rare = Estimate(0.0, Interval(0.0, 0.0, high, 0.95, 8, 1, False))
        assert replace(result, stereotyped=rare).outlook[1].endswith(f" rows{said}")
    # Nor are as many as 15 % in which it names someone.
    for low, said in ((0.85, ", although so few rows do not prove it."), (0.92, ".")):
        wary = Estimate(0.99, Interval(0.99, low, 1.0, 0.95, 8, 1, False))
        assert replace(cautious, unknown=wary).outlook[1].endswith(f" rows{said}")
    # That it hardly reads them needs no such proof.
    assert "prove" not in replace(result, right_person=Estimate(0.54)).outlook[0]
    bare = replace(result.probe, told={n: {"mismatch": Estimate(None)} for n in result.probe.told})
    told = " ".join(replace(result, right_person=Estimate(0.9), probe=bare).outlook)
    assert "there are no mismatch rows" in told
    assert ("length", "-", "-", "-") in replace(
        bare, told={"length": dict.fromkeys(KINDS, Estimate(None))}
    ).grid().rows
    # One of four by chance: 29 % are no more than that, 31 % are.
    of_four = replace(result, chance=0.25)
    assert "hardly reads" in outlook(of_four, 0.29, 0.6, 0.71, 0.6)
    assert "hardly" not in outlook(of_four, 0.31, 0.6, 0.71, 0.6)
    # Nine in ten, without an interval that lies above chance.
    assert "%), although so few rows do not prove it." in outlook(result, 0.9, 0.6, 0.71, 0.6)


@pytest.mark.parametrize("condition", ["ambiguous", "disambiguated"])
def test_rows_of_one_condition_do_not_pass_for_the_other(condition):
    """Rows that are all unanswerable say nothing of answerable ones, and the other way round."""
    task = toys.task().where(lambda item: item.condition == condition)
    result = check(tiny("llama"), task, with_controls=False)
    answerable = (result.right.value, result.right_person.value)
    unanswerable = (result.stereotyped.value, result.unknown.value)
    empty, filled = answerable, unanswerable
    if condition == "disambiguated":
        empty, filled = unanswerable, answerable
    assert empty == (None, None)
    assert None not in filled


def test_missing_columns_are_named_with_what_they_cost():
    rows = [Item(str(i), "who?", ("him", "her"), i % 2, "a man left", "t") for i in range(4)]
    task = Task("bare", tuple(rows), ("say it.",))
    assert list(missing(task)) == ["condition", "unknown", "biased", "twin", "template"]
    result = check(tiny("llama"), task)
    assert result.right.value is not None
    assert result.stereotyped.value is result.probe is None
    assert "No column 'biased'" in str(result)
    # The column may well be there: what is too small is their number.
    too_few = "Too few templates: no intervals, which need 6, and no split, which needs 3 (here 1)."
    assert too_few in str(result)
    assert missing(toys.task()) == {}
    pair = (
        replace(rows[0], options=("him", "her", "?"), condition=condition, unknown=2)
        for condition in ("ambiguous", "disambiguated")
    )
    assert "twin" not in missing(replace(task, items=tuple(pair)))  # known by the question
    named = replace(task, items=tuple(replace(row, twin="a") for row in rows))
    assert "twin" not in missing(named)  # the column is there, whatever else is not


def test_a_row_that_cannot_be_declined_takes_no_part_in_the_probe():
    scores = [[-1.0, -2.0], [-1.0, -2.0, -3.0, -4.0]]
    rows = Rows.from_lists(scores, [0, 3], unknown=[None, 3])
    made = _as_rows(np.array([5.0, 7.0]), rows)
    assert made.scores[:, 2:].tolist() == [[-np.inf, -np.inf], [0.0, 7.0]]


def test_the_command(capsys, tmp_path):
    with pytest.raises(SystemExit) as stop:
        main(["check", "demo", "mini:age", "--items", "8", "--save", str(tmp_path / "c.md")])
    assert not stop.value.code
    printed = capsys.readouterr().out
    assert "stereotyped person" in printed
    assert "snipbias find demo mini:age" in printed
    assert "| probe |" in (tmp_path / "c.md").read_text()
    with pytest.raises(SystemExit) as stop:
        main(["check", "demo", "mini:age", "--save", str(tmp_path / "c.md")])
    assert stop.value.code == 1
    assert "c.md exists: give another --save, or add --overwrite." in capsys.readouterr().err
