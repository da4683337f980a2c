"""Plain fine-tuning on the same few rows by LoRA or (IA)3, as an upper bound."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, Literal

import torch
from torch import Tensor
from transformers.pytorch_utils import Conv1D

from snipbias.base.errors import require
from snipbias.experiment.baselines.change import Change
from snipbias.experiment.cell import Cell
from snipbias.experiment.choose import Family
from snipbias.method.attribute import asked, gold_options, pick
from snipbias.models.language_model import LanguageModel
from snipbias.tasks.items import Task

Kind = Literal["LoRA", "(IA)3"]
RATES = {"LoRA": 1e-3, "(IA)3": 1e-2}
EPOCHS = (1, 3, 10)
ROWS = 8  # rows a step


def tuned(cell: Cell, kind: Kind) -> Family:
    """LoRA or (IA)3 on the trial's rows; the number of epochs is to be chosen."""
    adapters = finetune(cell.lm, cell.sample(), kind, cell.seed)
    return Family([{"epochs": n} for n in EPOCHS], lambda s: adapters[int(s["epochs"])])


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
