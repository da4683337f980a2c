"""Baselines that train: factors by their own losses, and plain fine-tunes of few rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import cache
from typing import Any, Literal

import torch
from torch import Tensor
from transformers.pytorch_utils import Conv1D

from snipbias.base.errors import require
from snipbias.edits.edit import NeuronEdit
from snipbias.experiment.baselines.change import Change
from snipbias.experiment.cell import Cell
from snipbias.experiment.choose import Family, chosen
from snipbias.experiment.outcome import Outcome
from snipbias.method.attribute import asked, gold_options, pick
from snipbias.method.learned.below import Below
from snipbias.method.learned.check import check
from snipbias.method.learned.factors import Factors, LowRank, upper_sites
from snipbias.method.learned.learn import NothingLearnedError, gather, learn
from snipbias.method.learned.train import Training, TrainingJob, train
from snipbias.models.language_model import LanguageModel
from snipbias.tasks.items import Task

Kind = Literal["LoRA", "(IA)3"]
RATES = {"LoRA": 1e-3, "(IA)3": 1e-2}
EPOCHS = (1, 3, 10)
ROWS = 8  # rows a step
RANK = 8  # of the learned LoRA


def learned(cell: Cell, pick: str, sized: bool) -> Outcome:
    """An edit of trained factors; a pick that keeps a number of neurons keeps the largest size.

    Args:
        pick: as `learn` takes it.
        sized: whether it keeps a number of neurons.
    """
    there = _trainable(cell.lm)
    sizes = [n for n in sorted(cell.settings.sizes) if n <= there][-1:] if sized else []

    def compute() -> list[dict[str, Any]]:
        try:
            how = Training(steps=cell.settings.steps)
            found = learn(cell.lm, cell.task, sizes, pick=pick, training=how, seed=cell.seed)
        except NothingLearnedError:  # the model stays as it is
            return []
        return [edit.to_dict() for edit in found.edits.values()]

    stored = cell.store.value(cell.key("edits"), compute)
    edits = {len(edit): edit for edit in map(NeuronEdit.from_dict, stored)}
    if not edits:
        return cell.unchanged()

    tried = [{"n": n} for n in sorted(edits)]
    outcome = chosen(cell, lambda s: edits[int(s["n"])], lambda measure: map(measure, tried))
    fitted = 0 if outcome.edit is None else numbers_fitted(cell.lm, pick, len(outcome.edit))
    return replace(outcome, trained=fitted)


def numbers_fitted(lm: LanguageModel, pick: str, n: int) -> int:
    """How many numbers a pick fits: a factor, or a score in the mask, per neuron it trains.

    Args:
        pick: as in `learn`.
        n: number of neurons kept.
    """
    if pick == "first order":
        return 0
    return n if pick == "learned random" else _trainable(lm)


def _trainable(lm: LanguageModel) -> int:
    return sum(site.width for site in upper_sites(lm))


def learned_lora(cell: Cell) -> Outcome:
    """A LoRA trained by the same losses, for as many steps, on the same rows: the ceiling."""
    lm, seed = cell.lm, cell.seed
    how = Training(steps=cell.settings.steps, rate=0.003)

    @cache
    def trained() -> LowRank:
        sites = upper_sites(lm)
        with torch.inference_mode(False), lm.frozen():
            _, material = gather(Below(lm, sites), [cell.task], 2, seed, how)
            original = check(Factors(lm, sites), material)
            factors = LowRank(lm, sites, RANK, seed)
            train(TrainingJob(material, how, original, seed=seed), factors)
        return factors

    @contextmanager
    def applied(lm: LanguageModel) -> Iterator[None]:
        with torch.no_grad(), trained().applied():
            yield

    def make() -> Change:
        trained()  # before a pass in which nothing can be trained
        return Change(cell.method, applied)

    # A part of its own, so that its passes count as training and not as answers.
    fitted = cell.store.value(cell.key("training"), lambda: trained().change.numel())
    return cell.outcome(make, trained=fitted)


def tuned(cell: Cell, kind: Kind) -> Family:
    """LoRA or (IA)3 on the trial's rows; the number of epochs is to be chosen."""
    # What is tried is known before the training: a resumed run trains again only if it must.
    adapters = cache(lambda: finetune(cell.lm, cell.sample(), kind, cell.seed))
    return Family([{"epochs": n} for n in EPOCHS], lambda s: adapters()[int(s["epochs"])])


def finetune(lm: LanguageModel, task: Task, kind: Kind, seed: int = 0) -> dict[int, Change]:
    """Adapters after so many epochs of -log P(right option), each of its tokens counted once.

    Args:
        task: the few rows, each asked under every instruction.
        seed: of the order of the rows, and of LoRA's first weights.

    Source: LoRA (Hu et al. 2021, arXiv 2106.09685) on queries and values with rank 8, (IA)3 (Liu et
        al. 2022, arXiv 2205.05638) on keys, values and the FFN, both as PEFT's defaults place them;
        AdamW at a fixed rate. How many epochs is chosen on dev.
    """
    jobs = asked(lm, task)
    snapshots: dict[int, Change] = {}
    with torch.inference_mode(False), torch.enable_grad(), lm.frozen(), torch.random.fork_rng():
        torch.manual_seed(seed)
        with _injected(lm, kind) as new:
            optimizer = torch.optim.AdamW(new.values(), lr=RATES[kind], weight_decay=0.0)
            for epoch in range(1, max(EPOCHS) + 1):
                order: Sequence[int] = torch.randperm(len(jobs)).tolist()
                for start in range(0, len(jobs), ROWS):
                    batch = [jobs[number] for number in order[start : start + ROWS]]
                    gold = gold_options(lm, [job.item for job in batch])
                    logprobs = lm.score([job.query for job in batch]).logprobs
                    optimizer.zero_grad()
                    (-pick(logprobs, gold).mean()).backward()
                    lm.passes["backward"] += len(batch)
                    optimizer.step()
                if epoch in EPOCHS:
                    weights = {name: p.detach().cpu().clone() for name, p in new.items()}
                    snapshots[epoch] = _adapter(kind, weights, f"{kind} {epoch} epochs")
    return snapshots


def _adapter(kind: Kind, weights: Mapping[str, Tensor], label: str) -> Change:
    """A trained adapter of PEFT, whose layers stand in the model only while it is applied."""

    @contextmanager
    def applied(lm: LanguageModel) -> Iterator[None]:
        with _injected(lm, kind) as new, torch.no_grad():
            for name, parameter in new.items():
                parameter.copy_(weights[name])
            yield

    return Change(label, applied, parameters=sum(weight.numel() for weight in weights.values()))


@contextmanager
def _injected(lm: LanguageModel, kind: Kind) -> Iterator[dict[str, torch.nn.Parameter]]:
    """Inside, fresh adapter layers stand in the model; their parameters by name.

    Raises:
        SnipbiasError: PEFT is not installed.
    """
    require("peft", "a fine-tune by LoRA or (IA)3 needs")
    from peft import IA3Config, LoraConfig
    from peft.tuners.ia3 import IA3Model
    from peft.tuners.lora import LoraModel

    def with_role(*roles: str) -> list[str]:
        return [s.name for s in lm.sites if {role for role, _ in s.layout} & {*roles}]

    conv = any(isinstance(lm.module(site.name), Conv1D) for site in lm.sites)
    model: Any = lm.model
    was = {p: p.requires_grad for p in model.parameters()}
    with ExitStack() as stack:
        if kind == "LoRA":
            more: Any = {"target_modules": with_role("q", "v"), "fan_in_fan_out": conv}
            tuner: Any = LoraModel(model, LoraConfig(r=8, lora_alpha=16, **more), "default")
        else:
            more = {"target_modules": with_role("k", "v", "down"), "fan_in_fan_out": conv}
            config = IA3Config(feedforward_modules=with_role("down"), **more)
            tuner = IA3Model(model, config, "default")
        stack.callback(lambda: [p.requires_grad_(was[p]) for p in was])
        stack.callback(lambda: model.__dict__.pop("peft_config", None))
        stack.callback(tuner.unload)
        yield {name: p for name, p in model.named_parameters() if p not in was}
