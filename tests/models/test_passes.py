"""Options packed behind each other: where each token stands, and that nothing else changes."""

from __future__ import annotations

import pytest
import torch

from families import FAMILIES, GENERIC, tiny
from queries import STARTS_SHARED, make_queries
from snipbias.models import scoring as passes
from snipbias.models import token_tree
from snipbias.models.backbone import Query
from snipbias.models.token_tree import Packed


def two_prompts() -> Packed:
    """The first has options of 2 and 1 tokens to read, the second of 3 and none."""
    real = torch.tensor([[1, 1, 0], [1, 0, 0], [1, 1, 1], [0, 0, 0]]).bool()
    return Packed.of(torch.tensor([0, 0, 1, 1]), real)


def test_options_stand_behind_each_other():
    packed = two_prompts()
    assert packed.shape == (2, 3)
    tokens = torch.tensor([[11, 12, -5], [21, -5, -5], [31, 32, 33], [-5, -5, -5]])
    assert packed.spread(tokens, 0).tolist() == [[11, 12, 21], [31, 32, 33]]
    back = packed.by_row(packed.spread(tokens, 0))
    assert back.tolist() == [[11, 12, 0], [21, 0, 0], [31, 32, 33], [0, 0, 0]]


def test_a_token_sees_its_own_option_up_to_itself():
    first, second = two_prompts().tree().int().tolist()
    assert first == [[1, 0, 0], [1, 1, 0], [0, 0, 1]]
    assert second == [[1, 0, 0], [1, 1, 0], [1, 1, 1]]


@pytest.mark.parametrize("family", [*FAMILIES, *GENERIC])
@torch.no_grad()
def test_packed_and_in_rows_is_the_same(family, monkeypatch):
    lm, queries = tiny(family), make_queries()
    packed = lm.score(queries)
    monkeypatch.setattr(passes, "takes_trees", lambda lm: False)
    rows = lm.score(queries)
    assert rows.packed is None
    if family in FAMILIES:
        assert (packed.packed is not None) == (family in STARTS_SHARED)
    torch.testing.assert_close(packed.logprobs, rows.logprobs, rtol=1e-6, atol=1e-5)


@torch.no_grad()
def test_a_layers_output_comes_by_option_either_way(monkeypatch):
    lm, queries = tiny("llama"), make_queries()
    seen = []
    handle = lm.module(lm.sites[-1].name).register_forward_hook(lambda m, a, out: seen.append(out))
    packed = lm.score(queries)
    monkeypatch.setattr(passes, "takes_trees", lambda lm: False)
    rows = lm.score(queries)
    handle.remove()
    real = rows.options_mask[..., None]
    torch.testing.assert_close(packed.by_row(seen[1]), rows.by_row(seen[3]) * real)


def test_code_or_kernels_that_need_not_know_such_masks_get_rows(monkeypatch):
    lm = tiny("llama")
    assert token_tree.takes_trees(lm)
    monkeypatch.setattr(lm.model.config, "_attn_implementation_internal", "flash_attention_2")
    assert not token_tree.takes_trees(lm)
    monkeypatch.undo()
    monkeypatch.setattr(type(lm.model), "__module__", "transformers_modules.somebody")
    assert not token_tree.takes_trees(lm)


@torch.no_grad()
def test_alike_prompts_are_one_tree_and_score_as_they_do_alone():
    lm = tiny("llama")
    first, *others = make_queries()
    queries = [*others, *[Query((*first.prompt, t), first.options) for t in (5, 6, 7)], first]
    tokens = []
    embeddings = lm.model.get_input_embeddings()
    handle = embeddings.register_forward_hook(lambda m, args, out: tokens.append(args[0].numel()))
    together = lm.score(queries, share_start=True).logprobs
    handle.remove()
    assert len(tokens) == 1
    assert tokens[0] < sum(len(query.prompt) for query in queries)
    for found, query in zip(together, queries, strict=True):
        alone = lm.score([query]).logprobs[0]
        torch.testing.assert_close(found[: len(alone)], alone, rtol=1e-4, atol=1e-4)
    lm.rows_differ = True
    assert not passes.reads_trees(lm)
