"""Check that an exported model answers like the model with the edit applied by hooks.

Both run in float32 on a short text. The difference is the largest difference of their logits, as a
share of the largest logit.
"""

from __future__ import annotations

import copy
import warnings
from dataclasses import dataclass
from pathlib import Path
from types import FunctionType

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from snipbias.base.errors import SnipbiasError
from snipbias.base.words import one_line
from snipbias.edits.edit import NeuronEdit
from snipbias.edits.export.checkpoint import rounding
from snipbias.models.language_model import LanguageModel, Query
from snipbias.models.source import quiet_transformers
from snipbias.tasks.neutral_text import passages

TOLERANCE = 1e-5
TOKENS = 64


@dataclass(frozen=True)
class ExportCheck:
    """How far an exported model is from the hooked one."""

    difference: float  # the largest one between logits of the exported and the hooked model
    effect: float  # the same between hooked and original model: the effect of the edit
    tolerance: float  # the largest acceptable difference
    tokens: int  # length of the text


def check_export(lm: LanguageModel, edit: NeuronEdit, folder: Path, kind: str) -> ExportCheck:
    """Run the hooked model and what was exported, and compare.

    Args:
        lm, edit: the model, and the edit that was exported.
        folder: what was exported.
        kind: lora, ia3 or checkpoint; the rounding of a checkpoint's weights is allowed for.

    Raises:
        SnipbiasError: they differ by more than the tolerance, PEFT cannot load the export, or the
            model is quantised.
    """
    text = next(query for query in map(lm.text_query, passages()) if query is not None)
    query = Query(text.prompt[: TOKENS // 2], (text.options[0][: TOKENS // 2],))
    twin = float32_twin(lm.model)
    original = _logits(twin, query, lm.device)
    with edit.applied(LanguageModel(twin, lm.tokenizer, lm.name, lm.chat, lm.revision)):
        hooked = _logits(twin, query, lm.device)
    with warnings.catch_warnings(), quiet_transformers():
        warnings.simplefilter("ignore")  # PEFT's warnings concern training
        exported = _logits(_loaded(twin, folder, kind).eval().to(lm.device), query, lm.device)
    check = ExportCheck(
        difference=_difference(exported, hooked),
        effect=_difference(original, hooked),
        tolerance=max(TOLERANCE, rounding(lm, edit) if kind == "checkpoint" else 0.0),
        tokens=sum(map(len, (query.prompt, *query.options))),
    )
    if not check.difference <= check.tolerance:  # also true for NaN
        raise SnipbiasError(
            f"the export does not answer like the edited model (logits differ by "
            f"{check.difference:.1e} of the largest; {check.tolerance:.0e} is allowed): choose "
            "another format (ia3 is exact), or --no-check if that is close enough."
        )
    return check


def float32_twin(model: PreTrainedModel) -> PreTrainedModel:
    """A copy of the model in float32 that shares tensors which are float32 already.

    Raises:
        SnipbiasError: a weight is quantised or not in memory, or a forward was replaced.
    """
    for name, module in model.named_modules():
        if isinstance(vars(module).get("forward"), FunctionType):  # a copy would run the original
            raise SnipbiasError(
                f"the forward of {name or type(model).__name__} was replaced by a function, which "
                "a copy does not follow, so the export cannot be checked: restore it, or give "
                "--no-check."
            )
    memo: dict[int, object] = {}
    for name, parameter in model.named_parameters():
        if parameter.is_meta or not parameter.is_floating_point() or parameter.element_size() == 1:
            raise SnipbiasError(
                f"{name} is quantised or not in memory, so the export cannot be checked in "
                "float32: load the model another way, or give --no-check."
            )
        memo[id(parameter)] = nn.Parameter(parameter.detach().float(), requires_grad=False)
    for buffer in model.buffers():
        memo[id(buffer)] = buffer.float() if buffer.is_floating_point() else buffer
    return copy.deepcopy(model, memo).eval()


def _loaded(twin: PreTrainedModel, folder: Path, kind: str) -> nn.Module:
    """The export in float32, as others load it; an adapter goes onto the twin."""
    if kind == "checkpoint":
        return type(twin).from_pretrained(folder, dtype=torch.float32, use_safetensors=True)
    from peft import PeftModel

    try:
        return PeftModel.from_pretrained(twin, str(folder))
    except ValueError as error:  # Beam's fused layers
        raise SnipbiasError(
            f"PEFT cannot load the export ({one_line(error)}): choose another format."
        ) from error


@torch.no_grad()
def _logits(model: nn.Module, query: Query, device: torch.device) -> Tensor:
    first = torch.tensor([query.prompt], device=device)
    second = torch.tensor([query.options[0]], device=device)
    if model.config.is_encoder_decoder:  # type: ignore[union-attr]
        return model(input_ids=first, labels=second).logits
    return model(input_ids=torch.cat([first, second], dim=1)).logits


def _difference(one: Tensor, other: Tensor) -> float:
    return float((one - other).abs().max() / other.abs().max().clamp(min=1.0))
