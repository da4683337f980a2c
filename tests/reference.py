"""CRISPR the slow and obvious way: one example, one option, one plain forward pass at a time."""

from __future__ import annotations

import torch
from torch import Tensor

from snipbias.method.equations import Method
from snipbias.models.language_model import LanguageModel, Query
from snipbias.tasks.items import Task
from snipbias.tasks.prompts import DEFAULT


def option_logprob(lm: LanguageModel, query: Query, option: tuple[int, ...]) -> Tensor:
    """Teacher-forced sum of log-probabilities by the plain Hugging Face model."""
    prompt, labels = list(query.prompt), list(option)
    if lm.is_encoder_decoder:
        start = torch.tensor([[lm.start_token, *labels[:-1]]])
        logits = lm.model(
            input_ids=torch.tensor([prompt]), decoder_input_ids=start, use_cache=False
        ).logits[0]
    else:
        # The last token is predicted and never read: no layer sees it.
        logits = lm.model(input_ids=torch.tensor([prompt + labels[:-1]])).logits[0]
        logits = logits[len(prompt) - 1 :]
    return logits.log_softmax(-1)[range(len(labels)), labels].sum()


def token_attributions(
    lm: LanguageModel, query: Query, option: tuple[int, ...]
) -> tuple[float, dict[str, Tensor]]:
    """P(option) and Eq. 1 at every token of every site: {site: [K, D]}."""
    kept: dict[str, Tensor] = {}

    def keep(name: str):
        def hook(module: object, args: object, output: Tensor) -> None:
            output.retain_grad()
            kept[name] = output

        return hook

    handles = [lm.module(s.name).register_forward_hook(keep(s.name)) for s in lm.sites]
    try:
        logprob = option_logprob(lm, query, option)
        logprob.backward()
    finally:
        for handle in handles:
            handle.remove()
    lm.model.zero_grad()
    width = {site.name: site.width for site in lm.sites}
    p = logprob.double().exp().item()  # dP/dh = P * dlogP/dh, which float32 could not hold
    return p, {
        name: p * (h * h.grad).detach().double().reshape(-1, width[name])
        for name, h in kept.items()
        if h.grad is not None
    }


def as_shares(
    every: list[tuple[float, dict[str, Tensor]]],
) -> list[tuple[float, dict[str, Tensor]]]:
    """Of s = P / (sum of all P), whose derivative is s * (dlogP - sum over options of s dlogP)."""
    total = sum(p for p, _ in every)
    found = []
    for p, _ in every:
        share, parts = p / total, {}
        for site in every[0][1]:
            longest = max(len(a[site]) for _, a in every)
            parts[site] = torch.zeros(longest, every[0][1][site].shape[1], dtype=torch.float64)
            for other, attributed in every:
                of_log = attributed[site] / other
                weight = float(other is p) - other / total
                parts[site][: len(of_log)] += share * weight * of_log
        found.append((share, parts))
    return found


def scores(lm: LanguageModel, task: Task, method: Method) -> dict[str, Tensor]:
    """{site: [D]} by Eq. 1 to 4, for the fields of Method that a test varies."""
    sees_prompt = {site.name: site.sees_prompt or not lm.is_encoder_decoder for site in lm.sites}
    per_instruction: dict[str, list[Tensor]] = {}
    for instruction in task.instructions:
        instances: dict[str, list[Tensor]] = {}
        for item in task.items:
            query = lm.query(DEFAULT.render(instruction, item), item.options)
            every = [token_attributions(lm, query, option) for option in query.options]
            wrong = max((p, c) for c, (p, _) in enumerate(every) if c != item.gold)[1]
            if method.biased == "manual" and item.biased != item.gold:
                wrong = item.biased
            if method.target == "share":
                every = as_shares(every)
            (p_gold, gold), (p_wrong, biased) = every[item.gold], every[wrong]
            for site in biased:
                a_wrong, a_gold = biased[site], gold[site]
                if method.target == "logprob":
                    a_wrong, a_gold = a_wrong / p_wrong, a_gold / p_gold
                prompt = len(query.prompt) if sees_prompt[site] else 1
                b = bias(a_wrong, a_gold, prompt, method)
                b = b * (p_wrong if method.weight == "confusion" else 1.0)
                instances.setdefault(site, []).append(b)
        for site, values in instances.items():
            per_instruction.setdefault(site, []).append(torch.stack(values).mean(0))
    combine = {"mean": lambda t: t.mean(0), "max": lambda t: t.amax(0)}[method.instructions]
    return {site: combine(torch.stack(values)) for site, values in per_instruction.items()}


def bias(wrong: Tensor, gold: Tensor, prompt: int, method: Method) -> Tensor:
    """Eq. 2 and the first line of Eq. 4: [K, D] and [K', D], as long as their options -> [D]."""

    def clamped(a: Tensor) -> Tensor:
        return a.clamp(min=0) if method.clamp else a

    if method.tokens in ("prompt", "last"):
        places = slice(prompt) if method.tokens == "prompt" else slice(prompt - 1, prompt)
        wrong, gold = wrong[places], gold[places]
    if method.terms == "apart":
        assert method.tokens in ("max", "prompt")
        return wrong.amax(0) - method.skill * clamped(gold.amax(0))
    length = max(len(wrong), len(gold) if method.skill else 0)
    both = torch.zeros(length, wrong.shape[1], dtype=torch.float64)
    both[: len(wrong)] += wrong
    if method.skill:
        both[: len(gold)] -= method.skill * clamped(gold)
    # What yhat has no token for is no token of the biased text.
    own = both[: len(wrong)]
    return {
        "max": own.amax(0),
        "prompt": own.amax(0),
        "mean": both.mean(0),
        "sum": both.sum(0),
        "last": both.sum(0),
    }[method.tokens]
