"""One model, several edits, one batch: each row is what a model with that row's edit gives."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch.overrides import TorchFunctionMode

import snipbias as sb
from families import FAMILIES, GENERIC, tiny
from snipbias.base.errors import SnipbiasError
from snipbias.edits.edit import NeuronEdit
from snipbias.edits.provenance import ModelId
from snipbias.models.language_model import LanguageModel, Query
from snipbias.models.sites import Neuron

EVERY = [*FAMILIES, *GENERIC]
# Numbers of options and lengths differ, so that rows of the options' pass are not the queries'.
QUERIES = [
    Query((5, 6, 7, 8, 9), ((9, 10, 11), (12,))),
    Query((20, 21), ((5, 6), (7, 8), (9,), (10, 11, 12))),
    Query((30, 31, 32), ((5, 6, 4), (7, 8))),
    Query((11, 12, 13, 14), ((6,), (8, 3))),
]
CHOICES = ["age", None, "ses", ["age", "ses", "sex"]]


def three(lm: LanguageModel) -> dict[str, NeuronEdit]:
    """Edits that overlap, in every kind of site, with several factors."""

    def edit(start: int, every: int, factor: float) -> NeuronEdit:
        neurons = [Neuron(s.name, u) for s in lm.sites for u in range(start, s.width, every)]
        return NeuronEdit.of(neurons, ModelId.of(lm), factor)

    return {"age": edit(0, 5, 0.0), "ses": edit(1, 3, 0.5), "sex": edit(0, 4, 2.0)}


def one_by_one(lm: LanguageModel, edits: dict[str, NeuronEdit]) -> list[LanguageModel]:
    """A separate model for each of `CHOICES`, its weights scaled."""
    wanted = [edits["age"], None, edits["ses"], edits["age"] | edits["ses"] | edits["sex"]]
    separate = []
    for edit in wanted:
        other = LanguageModel(copy.deepcopy(lm.model), lm.tokenizer, name=lm.name)
        if edit is not None:
            edit.bake(other)
        separate.append(other)
    return separate


def inputs(lm: LanguageModel) -> dict[str, Any]:
    ids = torch.arange(4 * 6).reshape(4, 6) % 40 + 5
    batch = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    return {**batch, "decoder_input_ids": ids[:, :3]} if lm.is_encoder_decoder else batch


@pytest.mark.parametrize("family", EVERY)
@torch.no_grad()
def test_a_batch_of_several_edits_is_what_separate_models_give(family, unchanged):
    lm = tiny(family)
    separate, batch = one_by_one(lm, three(lm)), inputs(lm)
    expected = torch.stack([m.model(**batch).logits[i] for i, m in enumerate(separate)])
    scores = [m.score([QUERIES[i]]).logprobs[0] for i, m in enumerate(separate)]
    original = lm.model(**batch).logits
    assert not torch.allclose(expected[2], original[2], atol=1e-3)
    with unchanged(lm.model), sb.switched(lm, three(lm)) as switch:
        switch.rows(CHOICES)
        torch.testing.assert_close(lm.model(**batch).logits, expected, rtol=1e-5, atol=1e-5)
        scored = lm.score(QUERIES).logprobs
        for row, alone in zip(scored, scores, strict=True):
            torch.testing.assert_close(row[: len(alone)], alone, rtol=1e-4, atol=1e-4)
        for number, choice in enumerate(CHOICES):
            switch.use(choice)
            expected_here = separate[number].model(**batch).logits
            torch.testing.assert_close(
                lm.model(**batch).logits, expected_here, rtol=1e-5, atol=1e-5
            )
        switch.use(None)
        assert torch.equal(lm.model(**batch).logits, original)
    assert torch.equal(lm.model(**batch).logits, original)


@torch.no_grad()
def test_a_start_that_prompts_share_is_read_by_each_row_under_its_own_edits():
    lm = tiny("llama")
    start = tuple(range(5, 25))
    queries = [Query((*start, *query.prompt), query.options) for query in QUERIES]
    alone = [
        m.score([query]).logprobs[0]
        for m, query in zip(one_by_one(lm, three(lm)), queries, strict=True)
    ]
    with sb.switched(lm, three(lm)) as switch:
        switch.rows(CHOICES)
        found = lm.score(queries, share_start=True).logprobs
        for row, expected in zip(found, alone, strict=True):
            torch.testing.assert_close(row[: len(expected)], expected, rtol=1e-4, atol=1e-4)
        switch.use("age")
        found = lm.score(queries, share_start=True).logprobs
        torch.testing.assert_close(found[0][:2], alone[0], rtol=1e-4, atol=1e-4)
    assert not lm.rows_differ


WRITING = {"max_new_tokens": 5, "min_new_tokens": 5, "pad_token_id": 0}


@pytest.mark.parametrize("family", ["t5", "bart", "t5gemma", "gpt2", "opt", "llama", "gemma3"])
@torch.no_grad()
def test_written_text_is_that_of_separate_models(family):
    lm = tiny(family)
    # Far stronger ones: small changes of small random models would not show in what they write.
    edits = {name: edit.scaled(30) for name, edit in three(lm).items()}
    separate, batch = one_by_one(lm, edits), inputs(lm)
    batch.pop("decoder_input_ids", None)
    texts = [m.generate([QUERIES[i]])[0] for i, m in enumerate(separate)]
    plain = {"num_beams": 1, "do_sample": False, **WRITING}
    beams = {"num_beams": 3, "num_return_sequences": 2, "do_sample": False, **WRITING}
    with sb.switched(lm, edits) as switch:
        switch.rows(CHOICES)
        assert lm.generate(QUERIES) == texts
        for settings in (plain, beams):
            found = lm.model.generate(**batch, **settings)
            each = len(found) // len(CHOICES)
            seen = set()
            for i, other in enumerate(separate):
                one = {name: value[i : i + 1] for name, value in batch.items()}
                alone = other.model.generate(**one, **settings)
                assert found[i * each : (i + 1) * each].tolist() == alone.tolist()
                seen.add(tuple(alone[0].tolist()[-5:]))
            assert len(seen) > 1, "all models write the same, so this tests little"


@torch.no_grad()
def test_a_row_without_edits_is_exactly_the_originals():
    lm = tiny("llama-bias")
    batch = inputs(lm)
    original = lm.model(**batch).logits
    with sb.switched(lm, three(lm)) as switch:
        switch.rows(["age", None, [], "ses"])
        found = lm.model(**batch).logits
    assert torch.equal(found[1:3], original[1:3])
    assert not torch.allclose(found[0], original[0], atol=1e-3)


@torch.no_grad()
@pytest.mark.parametrize("rows", [2, 3, 5])
@pytest.mark.parametrize("family", ["llama", "opt", "t5"])
def test_rows_that_do_not_divide_are_refused(family, rows, unchanged):
    """Also where the layer sees 4 x 6 rows: 24 can be divided by 3, the batch of 4 cannot."""
    lm = tiny(family)
    batch = inputs(lm)
    ffn = next(s for s in lm.sites if s.block == "ffn" and s.side == "decoder")
    edit = NeuronEdit.of([Neuron(ffn.name, 1)], ModelId.of(lm))
    with unchanged(lm.model), sb.switched(lm, {"a": edit}) as switch:
        switch.rows(["a", None, "a", None, "a"][:rows])
        if rows == 2:
            lm.model(**batch)  # as two beams of each
        else:
            with pytest.raises(SnipbiasError, match="cannot be divided among") as refusal:
                lm.model(**batch)
            assert "\n" not in str(refusal.value)
        for run in (lm.score, lm.generate):  # where there are no beams
            with pytest.raises(SnipbiasError, match="batch has 4 queries"):
                run(QUERIES)


def test_hooks_go_after_an_exception_and_the_switch_with_them(unchanged):
    lm = tiny("gpt2")

    def fail() -> None:
        with sb.switched(lm, three(lm)) as switch:
            switch.use("age")
            kept.append(switch)
            raise KeyboardInterrupt

    kept: list[sb.Switch] = []
    with unchanged(lm.model), pytest.raises(KeyboardInterrupt):
        fail()
    with pytest.raises(SnipbiasError, match="inside its `with` block"):
        kept[0].use("age")
    assert lm.row_owner is None
    with sb.switched(lm, three(lm)) as switch:
        switch.rows(["age", None])
        with pytest.raises(SnipbiasError):
            lm.score(QUERIES)
    assert lm.row_owner is None


@torch.no_grad()
def test_a_refused_choice_leaves_the_last_one_in_place():
    lm = tiny("llama")
    batch = inputs(lm)
    with sb.switched(lm, three(lm)) as switch:
        switch.use("age")
        expected = lm.model(**batch).logits
        for refused, words in (
            (lambda: switch.use("ages"), r"no edit 'ages' to switch \(did you mean 'age'\?\)"),
            (lambda: switch.rows([]), "one choice of edits for each row"),
            (lambda: switch.rows("age"), "one choice of edits for each row"),
            (lambda: switch.rows(["age", ["ses", "x"]]), "no edit 'x'"),
        ):
            with pytest.raises(SnipbiasError, match=words):
                refused()
        assert torch.equal(lm.model(**batch).logits, expected)


def test_what_is_no_edit_of_the_model_is_refused(unchanged):
    lm = tiny("llama")
    other = NeuronEdit.of([Neuron("no.such.layer", 0)], ModelId.of(lm))
    with unchanged(lm.model):
        with pytest.raises(SnipbiasError, match="does not fit"), sb.switched(lm, {"x": other}):
            pass
        for none in ({}, other, [other]):
            with pytest.raises(SnipbiasError, match="at least one"), sb.switched(lm, none):
                pass


@torch.no_grad()
def test_zero_is_written_where_the_output_is_infinite():
    lm = tiny("llama")
    site = lm.sites[0]
    edit = NeuronEdit.of([Neuron(site.name, 1)], ModelId.of(lm))
    seen = []
    with sb.switched(lm, {"a": edit}) as switch:
        lm.module(site.name).weight[1] = torch.inf
        handle = lm.module(site.name).register_forward_hook(lambda *args: seen.append(args[2]))
        switch.rows(["a", None, "a", "a"])
        lm.model(**inputs(lm))
        handle.remove()
    assert (seen[0][[0, 2, 3], :, 1] == 0).all()
    assert not torch.isfinite(seen[0][1, :, 1]).any()


@torch.no_grad()
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
def test_the_number_type_stays(dtype):
    lm = tiny("t5")
    lm.model.to(dtype)
    edits, batch = three(lm), inputs(lm)
    edits["ses"] = edits["ses"].scaled(1.4)  # a factor that float32 would round
    with edits["ses"].applied(lm):
        expected = lm.model(**batch).logits
    with sb.switched(lm, edits) as switch:
        switch.rows([None, "ses", "age", "ses"])
        with torch.autocast("cpu", dtype=torch.bfloat16):  # must not round the factors for good
            lm.model(**batch)
        found = lm.model(**batch).logits
    assert found.dtype == dtype
    close = {torch.bfloat16: 2e-2, torch.float32: 1e-7, torch.float64: 1e-14}[dtype]
    torch.testing.assert_close(found[1], expected[1], rtol=close, atol=close)


class WithoutDoubles(TorchFunctionMode):
    """A device that has no float64, as Apple's: nothing of this type can be put on it."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        found = func(*args, **(kwargs or {}))
        if func is torch.Tensor.to and found.dtype == torch.float64:
            raise TypeError("no float64 here")
        return found


@torch.no_grad()
def test_a_device_needs_no_float64():
    lm = tiny("t5")
    with sb.switched(lm, three(lm)) as switch, WithoutDoubles():
        switch.rows([None, "ses", "age", "ses"])
        lm.model(**inputs(lm))
