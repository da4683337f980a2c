"""Prompt templates: their exact texts, what is refused, and that everything asks in them."""

from __future__ import annotations

import json
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from evaluations import plain_logprob, records, scores_of
from families import tiny
from snipbias.base.errors import SnipbiasError
from snipbias.edits.edit import NeuronEdit
from snipbias.evaluation.compare import compare
from snipbias.evaluation.evaluate import evaluate
from snipbias.evaluation.reading import Reading, answered
from snipbias.method.attribute import attribute
from snipbias.method.find import find
from snipbias.models.language_model import LanguageModel
from snipbias.tasks import task as named_task
from snipbias.tasks.items import Item, Task
from snipbias.tasks.prompts import DEFAULT, NAMED, PromptTemplate, prompt_template
from toys import RAGGED, task

ITEM = Item("i", "Who {context} paid?", ("Ann", "Bo, or I", "Nobody"), 0, "They ate.", "t")
BARE = Item("b", "Who paid?", ("Ann", "Bo"), 0, template="t")
ALL = "{instruction} {context} {question} {options}"


def test_the_named_templates_word_for_word() -> None:
    said = {
        "list": "Say.\nContext: They ate.\nQuestion: Who {context} paid?\n"
        "Options:\n- Ann\n- Bo, or I\n- Nobody\nAnswer:",
        "paper": "Say. Context: They ate. Question: Who {context} paid? "
        "Options: Ann, Bo, or I, Nobody Answer:",
        "letters": "Say.\nContext: They ate.\nQuestion: Who {context} paid?\n"
        "Options:\nA. Ann\nB. Bo, or I\nC. Nobody\nAnswer:",
        "plain": "Say.\nThey ate.\nWho {context} paid?\n- Ann\n- Bo, or I\n- Nobody",
    }
    said["letters-text"] = said["letters"]
    assert {name: template.render("Say.", ITEM) for name, template in NAMED.items()} == said
    for name, template in NAMED.items():
        answers = ("A", "B", "C") if name == "letters" else ITEM.options
        assert template.ask("Say.", ITEM)[1] == answers


def test_an_item_without_context_has_no_line_for_it() -> None:
    assert (
        DEFAULT.render("Say.", BARE) == "Say.\nQuestion: Who paid?\nOptions:\n- Ann\n- Bo\nAnswer:"
    )
    assert (
        NAMED["paper"].render("Say.", BARE) == "Say. Question: Who paid? Options: Ann, Bo Answer:"
    )


def test_an_order_moves_the_options_and_what_is_scored_at_each_place() -> None:
    prompt, answers = NAMED["letters-text"].ask("Say.", BARE, (1, 0))
    assert prompt.endswith("A. Bo\nB. Ann\nAnswer:")
    assert answers == ("Bo", "Ann")


def test_a_template_of_ones_own(tmp_path: Path) -> None:
    text = "{question}\n({context})\n{options}\n\n{instruction}\n"
    settings = {"text": text, "mark": "({letter}) ", "between": "; ", "answer": "letter"}
    (tmp_path / "mine.txt").write_text(text)
    (tmp_path / "mine.json").write_text(json.dumps(settings))
    by_file = prompt_template(tmp_path / "mine.json")
    assert by_file.render("Say.", BARE) == "Who paid?\n(A) Ann; (B) Bo\n\nSay."
    assert by_file == prompt_template(settings) == prompt_template(by_file.to_dict())
    assert by_file.name == "mine"
    assert prompt_template(text) == prompt_template(str(tmp_path / "mine.txt"))
    assert prompt_template("paper") is NAMED["paper"]
    for template in (by_file, *NAMED.values(), PromptTemplate(text, name="list")):
        assert prompt_template(template.spec) == template


def test_what_is_no_template_is_refused_in_one_sentence(tmp_path: Path) -> None:
    for name, content in (("bad.json", "{"), ("list.json", "[1]"), ("bin.txt", b"\xff\xfe\xff")):
        data = content if isinstance(content, bytes) else content.encode()
        (tmp_path / name).write_bytes(data)
    wrong = {
        "there is no prompt 'papr' (did you mean 'paper'?)": "papr",
        "cannot be read": str(tmp_path / "none.txt"),
        "cannot be read (Expecting": str(tmp_path / "bad.json"),
        "has no text": str(tmp_path / "list.json"),
        "'utf-8' codec": str(tmp_path / "bin.txt"),
        "a field {questoin} (did you mean 'question'?)": ALL + "{questoin}",
        "no place for {instruction}, {options}": "{context} {question}",
        "has no setting 'marks' (did you mean 'mark'?)": {"text": ALL, "marks": ""},
        "scores letters but shows none": {"text": ALL, "answer": "letter"},
        "cannot score 'both'": {"text": ALL, "answer": "both"},
        "runs its options together": {"text": ALL, "mark": "", "between": ""},
        "only {letter} may be in its mark": {"text": ALL, "mark": "{number} "},
        "the prompt's between is 3": {"text": ALL, "between": 3},
        "the prompt's join is '\\ud800'": {"text": ALL, "join": "\ud800"},
        "the prompt is 3": 3,
    }
    for sentence, spec in wrong.items():
        with pytest.raises(SnipbiasError) as refused:
            prompt_template(spec)  # type: ignore[arg-type]
        assert sentence in str(refused.value), (sentence, str(refused.value))
        assert len(str(refused.value)) < 400
    many = Item("m", "?", tuple(map(str, range(27))), 0)
    with pytest.raises(SnipbiasError, match="27 options and there are 26 letters"):
        NAMED["letters"].render("Say.", many)
    DEFAULT.render("Say.", many)


def test_the_wording_counts_in_a_tasks_hash_and_its_name_does_not() -> None:
    toy = task(3)
    assert toy.with_prompt("list") == toy
    others = {toy.with_prompt(name).fingerprint for name in NAMED}
    assert len(others) == len(NAMED)
    again = PromptTemplate(DEFAULT.text, name="called otherwise")
    assert toy.with_prompt(again).fingerprint == toy.fingerprint
    assert toy.with_prompt("paper").test.subsample(2).prompt == NAMED["paper"]
    assert named_task("mini:age", prompt="paper").prompt == NAMED["paper"]


@pytest.mark.parametrize("family", ["flan-t5", "llama"])
def test_scores_are_those_of_the_plain_model_whatever_the_batch(family: str) -> None:
    lm = tiny(family)
    for name in ("paper", "letters"):
        toy = task(3).with_prompt(name)
        rows = evaluate(lm, toy, batch_size=4)
        for (item_id, j), row in records(rows).items():
            item = next(item for item in toy.items if item.id == item_id)
            prompt, answers = NAMED[name].ask(toy.instructions[j], item)
            expected = [plain_logprob(lm, prompt, answer) for answer in answers]
            np.testing.assert_allclose(row["logprob"], expected, rtol=1e-4)
        alone = evaluate(lm, toy, batch_size=1)
        np.testing.assert_allclose(scores_of(rows), scores_of(alone), rtol=1e-4)


def test_neurons_are_found_under_the_template() -> None:
    lm = tiny("llama")
    toy = task(2)
    scores = [
        attribute(lm, toy.with_prompt(name), batch_size=n)
        for name, n in (("list", 2), ("letters", 1), ("letters", 4))
    ]
    plain, alone, together = (each.flat.numpy() for each in scores)
    np.testing.assert_allclose(alone, together, rtol=1e-3, atol=1e-9)
    assert not np.allclose(plain, alone, rtol=0.1)


def test_a_written_letter_is_an_answer_where_letters_stand() -> None:
    wanted = {"B": 1, "B. Nobody": 1, "(C)": 2, " a": -1, "A nurse": -1, "Nobody": 2, "D.": -1}
    for text, index in wanted.items():
        assert answered(NAMED["letters-text"], ITEM, text) == index, text
    assert answered(DEFAULT, ITEM, "B") == -1


def test_letters_by_reading_take_the_templates_own_wording() -> None:
    lm, toy = tiny("llama"), Task("t", (BARE,), ("say.",)).with_prompt("paper")
    (row,) = records(evaluate(lm, toy, reading=Reading(options="letters"))).values()
    head = "say. Question: Who paid? Options: "
    first = [plain_logprob(lm, head + "A. Ann, B. Bo Answer:", letter) for letter in "AB"]
    second = [plain_logprob(lm, head + "A. Bo, B. Ann Answer:", letter) for letter in "BA"]
    np.testing.assert_allclose(row["logprob"], np.mean([first, second], axis=0), rtol=1e-4)


def found(prompt: str) -> tuple[LanguageModel, Task, NeuronEdit]:
    lm, toy = tiny("llama"), RAGGED.with_prompt(prompt)
    return lm, toy, find(lm, toy, 3, samples=1)


def test_an_edit_keeps_the_template_it_was_found_under(tmp_path: Path) -> None:
    edit = found("paper")[-1]
    assert edit.found_on is not None
    assert edit.found_on.prompts == (NAMED["paper"],)
    again = NeuronEdit.load(edit.save(tmp_path / "edit"))
    assert again == edit
    assert again.found_on.prompts[0].name == "paper"  # type: ignore[union-attr]
    other = replace(edit, found_on=replace(edit.found_on, prompts=(DEFAULT,), items=("x",)))
    both = edit | other
    assert both.found_on is not None
    assert both.found_on.prompts == (NAMED["paper"], DEFAULT)
    data = json.loads(edit.to_json())
    del data["found_on"]["prompts"]
    before = NeuronEdit.from_dict({**data, "minor": 1})
    assert before.found_on is not None
    assert before.found_on.prompts == (DEFAULT,)
    for wrong in ({"text": "{question}"}, {"text": 3}, {"text": ALL, "answer": "both"}, "paper"):
        data["found_on"]["prompts"] = [wrong]
        with pytest.raises(SnipbiasError, match=r"not a complete edit \(found_on\.prompts\.0"):
            NeuronEdit.from_dict(data)
    data["found_on"]["prompts"] = [{"text": ALL, "newer": 1}]
    with pytest.warns(UserWarning, match="found_on.prompts.0.newer"):
        NeuronEdit.from_dict(data)


def test_an_edit_under_another_template_is_told_of() -> None:
    lm, toy, edit = found("paper")
    said = "was found under the prompt 'paper', but ragged is asked under 'list'"
    with pytest.warns(UserWarning, match=said):
        other = compare(lm, toy.with_prompt("list"), edit, texts=[])
    assert any(said in note for note in other.notes)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        same = compare(lm, toy, edit, texts=[])
    assert same.notes == (*toy.notes, "asked in the prompt 'paper'")
    assert (same.to_dict()["prompt"], other.to_dict()["prompt"]) == ("paper", "list")
