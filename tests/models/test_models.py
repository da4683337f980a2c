"""Option log-probabilities against the plain model's, whatever stands beside them in a batch."""

from __future__ import annotations

import random

import pytest
import torch
from transformers.activations import NewGELUActivation

from families import ENCODER_DECODERS, FAMILIES, GENERIC, tiny, tokenizer
from queries import STARTS_SHARED, make_queries, plain
from snipbias.models import scoring as passes
from snipbias.models.language_model import Query

DECODERS = [family for family in FAMILIES if family not in ENCODER_DECODERS]


@pytest.mark.parametrize("family", [*FAMILIES, *GENERIC])
@torch.no_grad()
def test_log_probabilities_are_the_plain_models(family):
    lm, queries = tiny(family), make_queries()
    expected = plain(lm, queries)
    assert expected[torch.isfinite(expected)].std() > 0.1  # the options do differ
    torch.testing.assert_close(lm.score(queries).logprobs, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()
def test_nothing_depends_on_the_batch_or_its_order(family):
    lm, queries = tiny(family), make_queries()
    together = lm.score(queries).logprobs
    order = [3, 0, 4, 2, 1]
    shuffled = lm.score([queries[i] for i in order]).logprobs
    torch.testing.assert_close(shuffled, together[order], rtol=1e-4, atol=1e-4)
    for b, query in enumerate(queries):
        alone = lm.score([query]).logprobs[0]
        torch.testing.assert_close(together[b, : len(alone)], alone, rtol=1e-4, atol=1e-4)


def with_a_common_start(queries: list[Query], length: int) -> list[Query]:
    start = tuple(random.Random(1).randrange(4, 64) for _ in range(length))
    return [Query(start + query.prompt, query.options) for query in queries]


@pytest.mark.parametrize("family", [*FAMILIES, *GENERIC])
@torch.no_grad()
def test_a_common_start_is_read_once_where_the_model_allows_it(family, monkeypatch):
    monkeypatch.setattr(passes, "reads_trees", lambda lm: False)  # as on a GPU
    lm, queries = tiny(family), with_a_common_start(make_queries(), passes.WORTH_SHARING)
    tokens = []
    embeddings = lm.model.get_input_embeddings()
    handle = embeddings.register_forward_hook(lambda m, args, out: tokens.append(args[0].numel()))
    shared = lm.score(queries, share_start=True).logprobs
    handle.remove()
    torch.testing.assert_close(shared, lm.score(queries).logprobs, rtol=1e-6, atol=1e-5)
    longest = max(len(query.prompt) for query in queries)
    if family in STARTS_SHARED:
        assert tokens[:2] == [
            passes.WORTH_SHARING,
            len(queries) * (longest - passes.WORTH_SHARING),
        ]
    elif family in FAMILIES and tokens:
        assert tokens[0] == len(queries) * longest


@torch.no_grad()
def test_each_prompt_keeps_a_token_of_its_own():
    lm, (first, *others) = tiny("llama"), with_a_common_start(make_queries(), 12)
    queries = [Query(first.prompt[:12], first.options), *others, Query(first.prompt[:12], ((5,),))]
    together = lm.score(queries, share_start=True).logprobs
    torch.testing.assert_close(together, plain(lm, queries), rtol=1e-4, atol=1e-4)
    same = [queries[0]] * 3
    assert lm.score(same, share_start=True).logprobs.std(0).max() < 1e-5


def test_alike_prompts_stand_together():
    queries = [Query(start * 20 + (7,) * n, ((5,),)) for n in (3, 1, 2) for start in ((5,), (6,))]
    llama = sorted(queries, key=tiny("llama").alike())
    assert [(q.prompt[0], len(q.prompt)) for q in llama] == [
        (5, 21), (5, 22), (5, 23), (6, 21), (6, 22), (6, 23)
    ]  # fmt: skip
    lengths = [len(q.prompt) for q in sorted(queries, key=tiny("flan-t5").alike())]
    assert lengths == [21, 21, 22, 22, 23, 23]


@pytest.mark.parametrize("family", ["flan-t5", "bart", "gpt2", "llama", "mistral-sliding"])
@torch.no_grad()
def test_options_of_one_token_each_need_no_second_pass(family):
    lm = tiny(family)
    queries = [Query((5, 6, 7), ((8,), (9,))), Query((5,), ((8,), (9,), (10,)))]
    scored = lm.score(queries)
    torch.testing.assert_close(scored.logprobs, plain(lm, queries), rtol=1e-4, atol=1e-4)
    assert scored.options_mask.shape == (5, 0)


@pytest.mark.parametrize("family", ["flan-t5", "bart", "llama", "gemma3", "qwen3", "gpt2"])
@torch.no_grad()
def test_eager_and_sdpa_attention_agree(family):
    lm, queries = tiny(family), make_queries()
    results = []
    for kind in ("eager", "sdpa"):
        lm.model.set_attn_implementation(kind)
        results.append(lm.score(queries).logprobs)
    torch.testing.assert_close(*results, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()
def test_bfloat16_is_close_and_reported_in_float32(family):
    lm, queries = tiny(family), make_queries()
    exact = lm.score(queries).logprobs
    lm.model.to(torch.bfloat16)
    scored = lm.score(queries).logprobs
    assert scored.dtype == torch.float32
    torch.testing.assert_close(scored, exact, rtol=0.1, atol=0.3)


@torch.no_grad()
@pytest.mark.parametrize("family", ["mistral-sliding", "gemma2", "gemma3", "cohere2"])
def test_the_sliding_window_does_slide(family):
    """A token out of every layer's reach (2 windows of 8) changes nothing; a near one does."""
    lm = tiny(family)
    assert lm.model.config.sliding_window == 8
    ids = list(range(4, 64))
    far = Query((63, *ids[1:40]), ((50, 51), (52, 53)))
    near = Query((*ids[:38], 63, ids[39]), far.options)
    base = Query(tuple(ids[:40]), far.options)
    original, moved_near = lm.score([base]).logprobs, lm.score([near]).logprobs
    assert not torch.allclose(original, moved_near)
    if family == "mistral-sliding":  # the others have layers that see everything
        torch.testing.assert_close(lm.score([far]).logprobs, original)


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("family", ["flan-t5", "llama"])
@torch.no_grad()
def test_the_tokenizers_padding_side_is_irrelevant(family, side, monkeypatch):
    monkeypatch.setattr(tokenizer(), "padding_side", side)
    lm = tiny(family)
    queries = [lm.query("a longer prompt by far", ["yes", "no no"]), lm.query("b", ["c", "d"])]
    torch.testing.assert_close(lm.score(queries).logprobs, plain(lm, queries), rtol=1e-4, atol=1e-4)
    assert tokenizer().padding_side == side


@pytest.mark.parametrize("family", ["flan-t5", "llama"])
def test_scoring_leaves_the_model_as_it_was(family, unchanged):
    lm = tiny(family)
    with unchanged(lm.model):
        lm.score(make_queries())


@pytest.mark.parametrize("fails", [False, True])
def test_frozen_gives_back_every_modules_mode_and_every_weights_gradient(fails, unchanged):
    lm = tiny("llama")
    lm.model.train()
    lm.model.model.layers[0].eval()  # as somebody who fine-tunes the second layer has it
    for parameter in lm.model.model.layers[0].parameters():
        parameter.requires_grad_(False)

    def use() -> None:
        with lm.frozen():
            assert not any(module.training for module in lm.model.modules())
            assert not any(p.requires_grad for p in lm.model.parameters())
            if fails:
                raise KeyboardInterrupt

    with unchanged(lm.model):
        if fails:
            with pytest.raises(KeyboardInterrupt):
                use()
        else:
            use()


@pytest.mark.parametrize("family", ["flan-t5", "gpt2"])
def test_composed_activations_are_one_operation_inside_frozen(family, unchanged):
    lm = tiny(family)
    plain = lm.score(make_queries()).logprobs
    composed = [m for m in lm.model.modules() if isinstance(m, NewGELUActivation)]
    assert composed
    with unchanged(lm.model), lm.frozen():
        assert not any(isinstance(module, NewGELUActivation) for module in lm.model.modules())
        torch.testing.assert_close(lm.score(make_queries()).logprobs, plain, rtol=1e-6, atol=1e-5)
