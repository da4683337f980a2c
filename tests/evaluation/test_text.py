"""Perplexity and KL divergence against plain Hugging Face losses and by hand."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from crossed import crossed_rows
from families import tiny
from snipbias.base.errors import SnipbiasError
from snipbias.edits.controls import random_edit
from snipbias.edits.edit import NeuronEdit
from snipbias.edits.provenance import ModelId
from snipbias.evaluation.estimate import Estimate
from snipbias.evaluation.measured import Measured
from snipbias.evaluation.neutral_text import (
    Passage,
    TextShift,
    chat_answers,
    divergence,
    kl_interval,
    perplexity_ratio,
    text_shifts,
)
from snipbias.evaluation.retained import retained
from snipbias.evaluation.stats import Interval
from snipbias.evaluation.summary import Trial
from snipbias.models.sites import Neuron
from snipbias.tasks.neutral_text import (
    chat_prompts,
    chat_prompts_to_protect,
    passages,
    passages_to_protect,
)

TEXTS = ("the rain let up. she looked out at the garden", "a bridge carries its load")


def test_perplexity_of_a_decoder_is_exp_of_its_loss() -> None:
    lm = tiny("llama")
    nll, tokens = 0.0, 0
    for text in TEXTS:
        ids = torch.tensor([lm.tokenizer(text)["input_ids"]])
        nll += float(lm.model(input_ids=ids, labels=ids).loss.detach()) * (ids.shape[1] - 1)
        tokens += ids.shape[1] - 1
    (original,) = text_shifts(lm, TEXTS)
    assert original.tokens == tokens
    assert original.perplexity == pytest.approx(math.exp(nll / tokens), rel=1e-5)
    assert original.kl_per_token == 0


def test_perplexity_of_an_encoder_decoder_is_exp_of_its_loss() -> None:
    lm = tiny("flan-t5")
    text = "one two three four five"
    ids = torch.tensor([lm.tokenizer("one two")["input_ids"]])
    labels = torch.tensor([[*lm.tokenizer("three four five")["input_ids"], 1]])
    loss = lm.model(input_ids=ids, labels=labels).loss
    (original,) = text_shifts(lm, [text])
    assert original.perplexity == pytest.approx(float(loss.detach().exp()), rel=1e-5)
    assert original.tokens == labels.shape[1]


def test_divergence_by_hand() -> None:
    p = torch.tensor([[0.5, 0.25, 0.25], [1.0, 0.0, 0.0]])
    q = torch.tensor([[0.25, 0.25, 0.5], [0.5, 0.5, 0.0]])
    expected = [0.5 * math.log(2) - 0.25 * math.log(2), math.log(2)]
    assert divergence(p.log(), q.log()).tolist() == pytest.approx(expected, rel=1e-6)
    assert divergence(q.log(), q.log()).tolist() == [0.0, 0.0]
    assert divergence(q.log(), p.log())[1] == math.inf


@pytest.mark.parametrize("family", ["flan-t5", "llama"])
def test_kl_is_nothing_for_an_edit_that_is_nothing(family: str, unchanged) -> None:
    lm = tiny(family)
    neuron = Neuron(lm.sites[0].name, 0)
    nothing = NeuronEdit.of([neuron], ModelId.of(lm), factor=1.0, label="nothing")
    with unchanged(lm.model):
        original, same, other = text_shifts(lm, TEXTS, [nothing, random_edit(lm, 60)])
    assert (same.perplexity, same.kl_per_token) == (original.perplexity, 0.0)
    assert other.kl_per_token > 0
    assert other.perplexity != original.perplexity


def test_kl_is_the_mean_over_tokens_of_all_passages() -> None:
    lm = tiny("llama")
    edit = random_edit(lm, 60)
    total, tokens = 0.0, 0
    for text in TEXTS:
        before, targets = lm.text_logprobs(text)
        with edit.applied(lm):
            after, _ = lm.text_logprobs(text)
        total += float((before.exp() * (before - after)).sum().detach())
        tokens += len(targets)
    assert text_shifts(lm, TEXTS, [edit])[1].kl_per_token == pytest.approx(total / tokens, rel=1e-4)


@pytest.mark.parametrize("family", ["flan-t5", "llama"])
def test_a_passage_too_short_to_predict_changes_nothing(family: str) -> None:
    lm = tiny(family)
    done: list[int] = []
    assert text_shifts(lm, ["x", *TEXTS], progress=done.append) == text_shifts(lm, TEXTS)
    assert done == [1, 1, 1]
    with pytest.raises(SnipbiasError, match="long enough"):
        text_shifts(lm, ["x"])


def test_a_passage_longer_than_the_context_is_cut() -> None:
    lm = tiny("gpt2")
    assert lm.context_length == 256
    long = "ab " * 300  # two tokens a word
    assert text_shifts(lm, [long])[0].tokens == 255
    bart = tiny("bart")
    assert bart.context_length == 256
    assert text_shifts(bart, [long])[0].tokens == 256


def test_passages_are_paragraphs(tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    path.write_bytes("\ufeffone\r\ntwo\r\n\r\n\r\nthree\n\n".encode())
    assert passages(path) == ("one two", "three")
    assert len(passages()) > 3


@pytest.mark.parametrize("content", [b"", b" \n\n \n", b"\xff\xfe\x00caf\xe9", None])
def test_a_text_that_cannot_be_read_is_one_sentence(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "text.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SnipbiasError, match=r"text\.txt"):
        passages(path)
    with pytest.raises(SnipbiasError):
        passages(tmp_path)


def test_what_neurons_are_protected_on_is_not_what_perplexity_is_measured_on() -> None:
    sentences = [
        {s for text in texts for s in text.split(". ")}
        for texts in (passages(), passages_to_protect())
    ]
    assert len(passages_to_protect()) == 8
    assert not sentences[0] & sentences[1]


def test_the_sums_of_the_passages_add_up() -> None:
    lm = tiny("llama")
    edit = random_edit(lm, 60)
    both = text_shifts(lm, [TEXTS[0], "x", TEXTS[1]], [edit])
    for number, text in enumerate(TEXTS):
        for shift, alone in zip(both, text_shifts(lm, [text], [edit]), strict=True):
            passage = shift.passages[number]
            assert passage.tokens == alone.tokens
            assert math.exp(passage.nll / passage.tokens) == pytest.approx(alone.perplexity)
            assert passage.kl / passage.tokens == pytest.approx(alone.kl_per_token, abs=1e-9)
    for shift in both:
        assert len(shift.passages) == 2
        assert TextShift.of(shift.passages) == shift


def test_intervals_are_over_passages() -> None:
    # Two passages of 10 and 30 tokens, whose log-likelihood falls by 1 and by 6 nats.
    before = TextShift.of([Passage(10, 20.0, 0.0), Passage(30, 60.0, 0.0)])
    after = TextShift.of([Passage(10, 21.0, 0.5), Passage(30, 66.0, 1.5)])
    ratio = perplexity_ratio(after, before)
    assert ratio.estimate == pytest.approx(math.exp(7 / 40))
    assert ratio.estimate == pytest.approx(after.perplexity / before.perplexity)
    assert ratio.low < math.exp(1 / 10) < math.exp(6 / 30) < ratio.high
    assert (ratio.templates, ratio.instructions) == (2, 1)
    moved = kl_interval(after)  # both passages are off by the same, and others may not be
    assert moved.estimate == pytest.approx(0.05)
    assert (moved.low, moved.high) == moved.exact
    assert moved.low < 0.01
    assert moved.high > 0.5
    same = perplexity_ratio(before, before)
    assert same.estimate == 1
    # Nothing differs: of three quarters of other passages, by weight, nothing is known.
    assert same.high == pytest.approx(1 / same.low)
    assert same.high > 1.5
    wide = TextShift.of([Passage(10, 20.0, 0.0), Passage(30, 60.0, 9.0)])
    assert kl_interval(wide).low == 0
    broken = TextShift.of([Passage(10, math.inf, math.inf), Passage(30, 60.0, 0.0)])
    assert perplexity_ratio(broken, before) is None
    assert kl_interval(broken) is None
    assert (
        perplexity_ratio(TextShift.of(after.passages[:1]), TextShift.of(before.passages[:1]))
        is None
    )
    with pytest.raises(SnipbiasError, match="different texts"):
        perplexity_ratio(TextShift.of(after.passages[:1]), before)


def test_what_is_kept_of_neutral_text_is_said_in_full(monkeypatch: pytest.MonkeyPatch) -> None:
    original = Measured("t", "original", (Trial(crossed_rows(), TextShift(9.0, 0.0, 10)),))

    def said(ratio: Interval | None, off: Interval | None, margin: float) -> list[str]:
        edited = replace(original, before=original)
        edited.__dict__["perplexity_ratio"] = Estimate(1.01, ratio)
        monkeypatch.setattr("snipbias.evaluation.retained.kl_interval", lambda texts: off)
        return [part.sentence for part in retained(edited, margin)]

    ratio = Interval(1.01, 0.99, 1.03, 0.95, 90, 1, False, (0.995, 1.04), (0.5, 2), "passage")
    off = Interval(0.01, 0.004, 0.015, 0.95, 90, 1, False, (0.005, 0.016), (0, 0.7), "passage")
    assert said(ratio, off, 0.05)[0] == "not raised by more than 5.0 %: x 1.01 [0.99, 1.04]"
    assert said(ratio, off, 0.04)[0].startswith("may be raised by more than 4.0 %: x 1.01")
    assert said(ratio, off, 0.02)[1] == ("not above 0.02 nats per token: 0.01 [0.004, 0.016]")
    assert said(ratio, off, 0.016)[1].startswith("may be above 0.016 nats per token: ")
    perplexity, kl = said(None, None, 0.1)
    assert "may be" in perplexity
    assert "no interval" in kl


def test_the_chat_prompts_to_measure_on_are_not_those_to_learn_on() -> None:
    measured, protected = chat_prompts(), chat_prompts_to_protect()
    assert len(measured) == len(protected) == 48
    assert len({*measured, *protected}) == 96
    assert all(prompt == " ".join(prompt.split()) for prompt in (*measured, *protected))


def test_chat_answers_are_the_originals_own_read_again_under_the_edit() -> None:
    for family in ("llama", "flan-t5"):
        lm = tiny(family)
        edit = random_edit(lm, 20, seed=1)
        kl, tokens = 0.0, 0
        for request in TEXTS:
            prompt = torch.tensor([lm.tokenizer(request)["input_ids"]])
            ids = lm.model.generate(prompt, max_new_tokens=32, do_sample=False)
            if lm.is_encoder_decoder:
                inputs = {"input_ids": prompt, "decoder_input_ids": ids[:, :-1]}
                skip = 0
            else:
                inputs, skip = {"input_ids": ids[:, :-1]}, prompt.shape[1] - 1
            before = lm.model(**inputs).logits[0, skip:].log_softmax(-1)
            with edit.applied(lm):
                after = lm.model(**inputs).logits[0, skip:].log_softmax(-1)
            kl += float((before.exp() * (before - after)).sum().detach())
            tokens += len(before)
        original, edited = text_shifts(lm, chat_answers(lm, TEXTS), [edit])
        assert original.kl_per_token == 0
        assert edited.tokens == original.tokens == tokens
        assert edited.kl_per_token == pytest.approx(kl / tokens, rel=1e-4)
