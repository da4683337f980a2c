"""Answers that are kept: asked once, and never another model's, question's or edit's."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path

import pytest
import torch

from families import tiny
from snipbias.base import answers
from snipbias.edits.controls import random_edit
from snipbias.evaluation.compare import compare
from snipbias.evaluation.evaluate import evaluate
from snipbias.evaluation.neutral_text import text_shifts
from snipbias.evaluation.reading import Reading
from snipbias.models import score_all
from snipbias.models.fingerprint import fingerprint
from snipbias.models.language_model import LanguageModel
from snipbias.models.loading import multiply_in_bfloat16
from snipbias.models.score_all import score_queries
from toys import task

TASK = task(4)


@pytest.fixture(autouse=True)
def _kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SNIPBIAS_CACHE", str(tmp_path))
    monkeypatch.delenv("SNIPBIAS_ANSWERS")


class Counted:
    """Queries that reached the model, and texts."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        for name in ("score", "written", "answer_logprobs"):
            monkeypatch.setattr(LanguageModel, name, self._counting(getattr(LanguageModel, name)))

    def _counting(self, own: Callable[..., object]) -> Callable[..., object]:
        def call(lm: LanguageModel, asked: object, *more: object, **options: object) -> object:
            self.count += len(asked) if isinstance(asked, (list, tuple)) else 1
            return own(lm, asked, *more, **options)

        return call

    def by(self, work: Callable[[], object]) -> int:
        """How many are asked by it."""
        self.count = 0
        work()
        return self.count


@pytest.mark.parametrize("family", ["llama", "flan-t5"])
def test_what_was_answered_is_not_asked_again(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    lm, counted = tiny(family), Counted(monkeypatch)
    edit = random_edit(lm, 5, 1)
    texts = [
        "the man and the old dog met again and left the place",
        "yes it was the dog and the man",
    ]
    run = partial(
        compare, lm, TASK, edit, texts=texts, chat=["the man"], reading=Reading(generate=True)
    )
    first = run()
    assert counted.by(run) == 0
    again = run()
    assert again.evaluation.table.equals(first.evaluation.table)
    assert again.evaluation.text == first.evaluation.text
    evaluate(lm, TASK, [edit])
    both = partial(evaluate, lm, TASK, [edit, random_edit(lm, 5, 2)])
    assert counted.by(both) == len(TASK) * len(TASK.instructions)  # of the new edit alone


def test_the_cost_of_an_answer_does_not_depend_on_what_was_kept() -> None:
    lm, costs = tiny("llama"), []
    for _ in range(2):
        before = lm.passes["forward"]
        evaluate(lm, TASK)
        costs.append(lm.passes["forward"] - before)
    assert costs[0] == costs[1] == len(TASK) * len(TASK.instructions)


def test_nested_edit_is_the_edit(monkeypatch: pytest.MonkeyPatch) -> None:
    """An experiment's cell applies the edit around `evaluate`, a comparison inside it."""
    lm, counted = tiny("llama"), Counted(monkeypatch)
    edit = random_edit(lm, 5, 1)
    table = evaluate(lm, TASK, [edit]).rows(edit.label)
    with edit.applied(lm):
        assert counted.by(lambda: evaluate(lm, TASK)) == 0
        assert (evaluate(lm, TASK).rows().scores == table.scores).all()
    text = ["the man and the old dog met again and left the place"]
    assert text_shifts(lm, text, [edit])[1].kl_per_token > 0
    with edit.applied(lm):  # now it is the original, which is not far from itself
        assert text_shifts(lm, text)[0].kl_per_token == 0


def _hook(module: object, args: object, output: torch.Tensor) -> torch.Tensor:
    return output * 2


def test_key_tells_of_all_that_changes_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each change gives another fingerprint, or none where its code has no version."""
    lm = tiny("llama-bias")
    layer = lm.model.model.layers[1]
    before = fingerprint(lm)
    assert before is not None
    assert fingerprint(tiny("llama-bias")) == before

    def of(change: Callable[[LanguageModel], object]) -> str | None:
        other = tiny("llama-bias")
        change(other)
        return fingerprint(other)

    seen, stack = {before}, ExitStack()
    attention = "model.layers.1.self_attn"
    changes: list[Callable[[LanguageModel], object]] = [
        lambda o: o.model.lm_head.weight.data[3, 2].add_(1e-6),
        lambda o: o.model.model.embed_tokens.weight.data[3, 2].mul_(1.001),
        lambda o: o.model.model.norm.weight.data[0].add_(1e-3),
        lambda o: o.model.get_submodule(attention).q_proj.bias.data[0].add_(1e-3),
        lambda o: o.model.model.rotary_emb.inv_freq.mul_(2),
        lambda o: setattr(o.model.get_submodule(attention), "scaling", 0.1),
        lambda o: setattr(o.model.config, "_attn_implementation", "eager"),
        lambda o: setattr(o.model.generation_config, "eos_token_id", 5),
        lambda o: setattr(o.model.model.layers[0].mlp, "act_fn", torch.nn.ReLU()),
        lambda o: setattr(o.model.model, "layers", o.model.model.layers[:1]),
        lambda o: o.model.to(torch.bfloat16),
        lambda o: o.model.train(),
        lambda o: o.tokenizer.add_tokens(["zzz"]),
        lambda o: random_edit(o, 3, 0).bake(o),
        multiply_in_bfloat16,
        lambda o: stack.enter_context(random_edit(o, 3, 0, 0.5).applied(o)),
        lambda o: stack.enter_context(random_edit(o, 3, 0, 0.0).applied(o)),
        lambda o: stack.enter_context(random_edit(o, 3, 1, 0.5).applied(o)),
    ]
    for number, change in enumerate(changes):
        found = of(change)
        assert found not in {None, *seen}, number
        seen.add(found)
    assert of(multiply_in_bfloat16) == of(multiply_in_bfloat16)
    loop: list[object] = []
    loop.append(loop)
    strange: list[Callable[[LanguageModel], object]] = [
        lambda o: o.module("model.layers.0.mlp.up_proj").register_forward_hook(_hook),
        lambda o: o.module("model.layers.0.mlp.up_proj").register_forward_pre_hook(lambda m, a: a),
        lambda o: setattr(o.model.model.layers[0].mlp, "forward", lambda x: x),
        lambda o: setattr(o.model.lm_head, "forward", partial(_hook, o.model.lm_head)),
        lambda o: setattr(o, "rows_differ", True),
        lambda o: o.model.to("meta"),
        lambda o: o.model.lm_head.to("meta"),
        lambda o: setattr(o.model.config, "loop", loop),
    ]
    assert {of(change) for change in strange} == {None}
    monkeypatch.setattr(type(layer.mlp), "forward", _hook)
    assert fingerprint(lm) is None
    monkeypatch.undo()
    torch.set_default_dtype(torch.float64)
    try:
        assert fingerprint(lm) not in (before, None)
    finally:
        torch.set_default_dtype(torch.float32)
    with torch.autocast("cpu"):
        assert fingerprint(lm) not in (before, None)


def test_key_tells_of_the_question(monkeypatch: pytest.MonkeyPatch) -> None:
    lm, counted = tiny("llama"), Counted(monkeypatch)
    one = lm.query("the man", ("yes", "no it"))
    others = [
        one,
        lm.query("the men", ("yes", "no it")),
        lm.query("the man", ("no it", "yes")),
        lm.query("the man", ("yes", "no")),
        lm.query("the man yes", ("no it",)),
    ]

    def ask(query: object) -> list[list[float]]:
        return score_queries(lm, [query], batch_size=1)  # type: ignore[list-item]

    assert [counted.by(partial(ask, query)) for query in others] == [1] * 5
    assert counted.by(lambda: [ask(query) for query in others]) == 0
    assert ask(others[2])[0] == pytest.approx(ask(one)[0][::-1])
    for how in (1, 2):  # so many tokens to write
        (given,) = score_all.ask(
            lm, [one], lambda batch, how=how: [how], "writing", batch_size=1, how=how
        )
        assert given == how


def test_switched_off_or_unusable(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    lm, counted = tiny("llama"), Counted(monkeypatch)
    run = partial(evaluate, lm, TASK)
    prompts = counted.by(run)
    monkeypatch.setenv("SNIPBIAS_ANSWERS", "off")
    assert counted.by(run) == prompts
    monkeypatch.delenv("SNIPBIAS_ANSWERS")
    assert counted.by(run) == 0
    (tmp_path / answers.FILE).write_bytes(b"no database " * 1000)
    with pytest.warns(UserWarning, match="answers are not cached"):
        assert counted.by(run) == prompts


def test_bounded_by_dropping_the_oldest(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(answers, "MOST", 100_000)
    for start in range(0, 3000, 100):
        answers.keep({f"{n:064}": "x" * 50 for n in range(start, start + 100)})
    assert (tmp_path / answers.FILE).stat().st_size < 130_000
    kept = answers.known(f"{n:064}" for n in range(3000))
    assert min(map(int, kept)) > 1000
    assert max(map(int, kept)) == 2999


WRITER = """
import sys
from snipbias.base.answers import keep
start, count = map(int, sys.argv[1:])
for n in range(start, start + count):
    keep({str(n): str(n)})
"""


def test_many_processes_write_at_once_and_one_is_killed() -> None:
    begin = [sys.executable, "-c", WRITER]
    writers = [subprocess.Popen([*begin, str(start), "20"]) for start in (0, 20)]
    victim = subprocess.Popen([*begin, "1000", "1000000"])
    while not answers.known(["1000"]):
        time.sleep(0.05)
    victim.kill()
    assert [process.wait() for process in writers] == [0, 0]
    assert answers.known(map(str, range(40))) == {str(n): str(n) for n in range(40)}
    with closing(sqlite3.connect(answers.cache_dir() / answers.FILE)) as file:
        assert file.execute("PRAGMA integrity_check").fetchone() == ("ok",)
