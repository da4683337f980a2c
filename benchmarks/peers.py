"""What finding and evaluating are measured against: a floor below, and the plain ways above."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from snipbias.models.language_model import LanguageModel, Query
from snipbias.models.padding import in_batches, positions, token_logprobs

if TYPE_CHECKING:
    from benchmarks.workloads import Workload

Batch = Sequence[Query]
Row = tuple[tuple[int, ...], tuple[int, ...]]


def floor(lm: LanguageModel, batch: Batch) -> None:
    """One forward over prompts and options, and two backward passes to the activations.

    No hook in the model but where the graph starts, nothing reduced, nothing kept.
    """
    with lm.frozen(), torch.enable_grad(), _from_embeddings(lm) as leaves:
        logprobs = lm.score(batch).logprobs
        for option, keep in ((0, True), (1, False)):
            objective = logprobs[:, option].sum()
            torch.autograd.grad(objective, leaves, retain_graph=keep, allow_unused=True)


@contextmanager
def _from_embeddings(lm: LanguageModel) -> Iterator[list[Tensor]]:
    """Embeddings of tokens as the leaves of the graph."""
    leaves: list[Tensor] = []

    def leaf(module: nn.Module, args: object, output: Tensor) -> Tensor:
        leaves.append(output.detach().requires_grad_())
        return leaves[-1]

    size = lm.model.get_input_embeddings().num_embeddings
    handles = [
        module.register_forward_hook(leaf)
        for module in lm.model.modules()
        if isinstance(module, nn.Embedding) and module.num_embeddings == size
    ]
    try:
        yield leaves
    finally:
        for handle in handles:
            handle.remove()


def schedule(work: Workload, batch_size: int) -> None:
    """The straightforward way: every prompt with every option is a row of its own.

    Gradients of the weights on, one backward pass an option, activations kept until it is over and
    only then multiplied with their gradients and reduced over tokens.
    """
    model, modules = work.lm.model, _modules(work.lm)
    for rows in _row_batches(work, batch_size):
        kept: list[Tensor] = []

        def keep(
            module: nn.Module, args: object, output: Tensor, kept: list[Tensor] = kept
        ) -> None:
            output.retain_grad()
            kept.append(output)

        handles = [module.register_forward_hook(keep) for module in modules]
        plain_logprobs(work.lm, [row for _, row in rows]).sum().backward()
        for handle in handles:
            handle.remove()
        for h in kept:
            assert h.grad is not None
            (h.detach() * h.grad).amax(1)
        model.zero_grad()


def captum(work: Workload, batch_size: int) -> None:
    """captum's LayerGradientXActivation over the same modules, for yhat and y of every prompt.

    Which option yhat is comes from a pass over all options without gradients.
    """
    from captum.attr import LayerGradientXActivation

    lm, modules = work.lm, _modules(work.lm)
    for batch in work.batches(batch_size):
        rows = [_rows(query) for _, query in batch]
        with torch.no_grad():
            logprobs = plain_logprobs(lm, [row for options in rows for row in options])
        scores = logprobs.view(len(batch), -1)
        gold = torch.tensor([item.gold for item, _ in batch])
        wrong = scores.scatter(1, gold[:, None], -torch.inf).argmax(1)
        for option in (wrong, gold):
            chosen = [options[i] for options, i in zip(rows, option.tolist(), strict=True)]
            tensors = _tensors(lm, chosen)
            explain = LayerGradientXActivation(
                lambda *inputs: _plain(lm, inputs),
                modules,  # type: ignore[arg-type]
            )
            found: Any = explain.attribute(tensors)
            for h in found:
                h.amax(1)


def plain_scores(work: Workload, batch_size: int) -> list[list[float]]:
    """Log-probabilities of all options by plain batches of rows, as a script would do it."""
    found: dict[int, float] = {}
    with torch.inference_mode():
        for rows in _row_batches(work, batch_size):
            logprobs = plain_logprobs(work.lm, [row for _, row in rows]).tolist()
            found.update(zip((number for number, _ in rows), logprobs, strict=True))
    return _by_query([found[number] for number in range(len(found))], work)


def harness_scores(work: Workload, batch_size: int) -> list[list[float]]:
    """The same by lm-evaluation-harness's `hf` backend, given the same tokens."""
    from lm_eval.models.huggingface import HFLM

    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    backend = "seq2seq" if work.lm.is_encoder_decoder else "causal"
    harness_model: Any = HFLM  # lm_eval's decorators hide its signature from type checkers
    model = harness_model(
        pretrained=work.lm.model,
        tokenizer=work.lm.tokenizer,
        backend=backend,
        batch_size=batch_size,
        device="cpu",
    )
    requests = [
        (("", ""), list(prompt), list(option))
        for _, query in work.rows
        for prompt, option in _rows(query)
    ]
    found = model._loglikelihood_tokens(requests, disable_tqdm=True)
    return _by_query([logprob for logprob, _ in found], work)


def _by_query(found: Sequence[float], work: Workload) -> list[list[float]]:
    rest = iter(found)
    return [[next(rest) for _ in query.options] for _, query in work.rows]


def _modules(lm: LanguageModel) -> list[nn.Module]:
    return [lm.module(site.name) for site in lm.sites]


def _row_batches(work: Workload, size: int) -> Iterator[Sequence[tuple[int, Row]]]:
    """Every prompt with every option, numbered, in batches of similar length."""
    rows = enumerate(row for _, query in work.rows for row in _rows(query))
    return in_batches(sorted(rows, key=lambda row: len(row[1][0]) + len(row[1][1])), size)


def _rows(query: Query) -> list[Row]:
    return [(query.prompt, option) for option in query.options]


def plain_logprobs(lm: LanguageModel, rows: Sequence[Row]) -> Tensor:
    """log P of each row's option after its prompt, by one plain call of the model: [B]."""
    return _plain(lm, _tensors(lm, rows))


def _tensors(lm: LanguageModel, rows: Sequence[Row]) -> tuple[Tensor, ...]:
    if lm.is_encoder_decoder:
        prompts, mask = _padded([prompt for prompt, _ in rows])
        options, real = _padded([option for _, option in rows])
        return prompts, mask, options, real
    ids, mask = _padded([prompt + option for prompt, option in rows])
    first = torch.tensor([len(prompt) for prompt, _ in rows])[:, None]
    answer = mask & (torch.arange(ids.shape[1]) >= first)
    return ids, mask, answer


def _padded(sequences: Sequence[tuple[int, ...]]) -> tuple[Tensor, Tensor]:
    ids = pad_sequence([torch.tensor(s) for s in sequences], batch_first=True)
    lengths = torch.tensor([len(s) for s in sequences])
    return ids, torch.arange(ids.shape[1]) < lengths[:, None]


def _plain(lm: LanguageModel, tensors: tuple[Tensor, ...]) -> Tensor:
    if lm.is_encoder_decoder:
        prompts, mask, options, real = tensors
        logits = lm.model(
            input_ids=prompts, attention_mask=mask.long(), labels=options.masked_fill(~real, -100)
        ).logits
        return (token_logprobs(logits, options) * real).sum(1)
    ids, mask, answer = tensors
    logits = lm.model(
        input_ids=ids, attention_mask=mask.long(), position_ids=positions(mask), use_cache=False
    ).logits
    return (token_logprobs(logits[:, :-1], ids[:, 1:]) * answer[:, 1:]).sum(1)
