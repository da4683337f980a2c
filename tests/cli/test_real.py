"""The same checks on a real instruction-tuned model, SmolLM2-135M-Instruct of the package index."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch

import reference
import snipbias as sb
from snipbias.base.errors import SnipbiasError
from snipbias.cli.demo import fetch_smollm2
from snipbias.edits.controls import random_edit
from snipbias.edits.export.checkpoint import write_checkpoint
from snipbias.evaluation.neutral_text import chat_answers, text_shifts
from snipbias.tasks.prompts import DEFAULT

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def smollm2():
    try:
        path = fetch_smollm2()
    except SnipbiasError as error:
        pytest.skip(str(error))
    return sb.load(path)


@pytest.fixture(scope="module")
def few():
    task = sb.task("mini:ses")
    return task.with_instructions(task.instructions[:1]).sample(2, seed=0)


def test_is_prompted_through_its_chat_template(smollm2):
    assert smollm2.chat
    assert "<|im_start|>user\nHello" in smollm2.prompt_text("Hello")


def test_option_scores_are_the_plain_models(smollm2, few):
    table = sb.evaluate(smollm2, few).table.to_pylist()
    items = {item.id: item for item in few.items}
    with torch.no_grad():
        for row in table:
            item = items[row["item"]]
            query = smollm2.query(DEFAULT.render(few.instructions[0], item), item.options)
            plain = [float(reference.option_logprob(smollm2, query, o)) for o in query.options]
            assert row["logprob"] == pytest.approx(plain, rel=1e-4)


def test_attribution_is_the_slow_references(smollm2, few):
    one = replace(few, items=few.items[:1])
    ours = sb.attribute(smollm2, one)
    theirs = reference.scores(smollm2, one, sb.Method.v1())
    largest = max(float(t.abs().max()) for t in theirs.values())
    for site in ours.sites:
        torch.testing.assert_close(
            ours[site], theirs[site.name], rtol=1e-3, atol=1e-4 * largest, msg=site.name
        )
    expected = torch.cat([theirs[site.name] for site in ours.sites]).topk(20).indices
    found = torch.topk(ours.flat, 20).indices
    assert set(found.tolist()) == set(expected.tolist())


def test_hooked_is_baked_and_undone_to_the_bit(smollm2, few):
    edit = sb.attribute(smollm2, few).top(10)
    ids = torch.tensor([smollm2.query("Who paid?", ["Ann"]).prompt])
    with torch.no_grad():
        before = smollm2.model(ids).logits
        with edit.applied(smollm2):
            hooked = smollm2.model(ids).logits
        baked = edit.bake(smollm2)
        written = smollm2.model(ids).logits
        baked.undo()
        after = smollm2.model(ids).logits
    assert not torch.equal(hooked, before)
    torch.testing.assert_close(written, hooked, rtol=1e-5, atol=1e-4)
    assert torch.equal(after, before)


def test_the_command_line_does_the_whole_job(cli, here, smollm2):
    (here / "model").mkdir()
    write_checkpoint(smollm2, random_edit(smollm2, 1), here / "model")  # it loads faster than GGUF

    def snipbias(*arguments: str) -> dict:
        done = cli(*arguments, "--json")
        assert done.status == 0, done.err
        return json.loads(done.out)

    found = snipbias(
        *("find", "model", "mini:age", "--n", "5", "--samples", "2"),
        *("--instructions", "1", "--out", "edit"),
    )
    assert found["edits"] == ["edit"]
    shown = snipbias(
        *("evaluate", "model", "mini:age", "--edit", "edit", "--items", "4"),
        *("--instructions", "1", "--no-retention", "--no-text", "--out", "report"),
        *("--elsewhere", "0", "--no-control-rows"),
    )
    assert shown["items"] == 4
    assert list(shown["methods"])[:2] == ["original", "edit"]


def test_an_edit_moves_neutral_text_and_chat_answers(smollm2):
    edit = random_edit(smollm2, 2000)
    for texts in (["It rained all day."], chat_answers(smollm2, ["Say hello."])):
        shift = text_shifts(smollm2, texts, [edit])[1]
        assert shift.kl_per_token > 0
