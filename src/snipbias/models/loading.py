"""Load a LanguageModel from a hub id, a folder, a GGUF file, `demo`, or objects in memory."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any, Literal, cast, get_args

import torch
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    AutoTokenizer,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from snipbias.base.errors import SnipbiasError
from snipbias.base.parallel import workers
from snipbias.models.backbone import Backbone
from snipbias.models.language_model import LanguageModel
from snipbias.models.probe import check_runs, refuse
from snipbias.models.sharded import plan_for
from snipbias.models.source import Source, one_sentence, quiet_transformers

DType = Literal["auto", "stored", "float32", "mixed", "bfloat16", "float16"]


def load(
    model: str | Path,
    *,
    revision: str | None = None,
    dtype: DType | torch.dtype = "auto",
    device: str | torch.device | None = None,
    device_map: str | dict[str, Any] | None = None,
    chat: bool | None = None,
    trust_remote_code: bool = False,
    tensor_parallel: bool = False,
) -> LanguageModel:
    """Load a model with its tokenizer.

    Args:
        model: a hub id (`google/flan-t5-base`), a local folder, a `.gguf` file, or `demo` for the
            small model that ships with the package.
        revision: branch, tag or commit on the hub.
        dtype: `stored` is the checkpoint's own type; `auto` is the same, but float32 on a CPU.
            `mixed` is float32 with matrix products in bfloat16, which processors with avx512_bf16
            or AMX compute in half the time.
        device: by default CUDA if available, else the CPU.
        device_map: spread the model over devices with accelerate; replaces `device`.
        chat: put prompts into the chat template; by default if the tokenizer has one.
        trust_remote_code: run code from the model's repository.
        tensor_parallel: split every layer among the processes that a launcher started (torchrun,
            accelerate launch), by transformers' own plan for the model.

    Raises:
        SnipbiasError: it is not there, is not a language model, or its family is not supported.
    """
    place, dtype = _device(device), _type_name(dtype)
    if device_map is not None and workers().count > 1:
        raise SnipbiasError(
            "--device-map spreads one process's model over all devices: run one process, or leave "
            "it out to put a copy of the model on each device."
        )
    source = Source.of(str(model), revision, trust_remote_code)
    with one_sentence(source), quiet_transformers():
        config = AutoConfig.from_pretrained(source.place, **source.arguments(weights=False))
    _refuse_float16(config, dtype)
    arguments: dict[str, Any] = {"dtype": _dtype(dtype, place, config)}
    if source.gguf:
        arguments["config"] = config  # otherwise the whole file would be read for it again
    if device_map is not None:
        arguments["device_map"] = device_map
    if tensor_parallel:
        arguments["distributed_config"] = plan_for(config, str(model))
    factory = AutoModelForSeq2SeqLM if config.is_encoder_decoder else AutoModelForCausalLM
    with one_sentence(source), quiet_transformers():
        loaded, report = factory.from_pretrained(  # type: ignore[misc]
            source.place,
            **source.arguments(),
            **arguments,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # reported, and refused below
        )
        # What is missing or has another shape, transformers fills at random.
        mismatched = [key for key, *_ in report["mismatched_keys"]]
        if unread := sorted({*report["missing_keys"], *mismatched}):
            raise SnipbiasError(
                f"{model} does not hold the whole model that its config.json describes: "
                f"{len(unread)} weights are missing or have another shape ({unread[0]}); download "
                "it again."
            )
        tokenizer = AutoTokenizer.from_pretrained(source.place, **source.arguments(weights=False))
        if device_map is None and not tensor_parallel:
            loaded = loaded.to(place)
    revision = source.identity(loaded.config)
    lm = wrap(loaded, tokenizer, name=str(model), chat=chat, revision=revision)
    if dtype == "mixed":
        multiply_in_bfloat16(lm)
    return lm


def wrap(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    *,
    name: str | None = None,
    chat: bool | None = None,
    revision: str | None = None,
) -> LanguageModel:
    """Wrap a model and tokenizer that are already in memory, without changing them.

    Args:
        model: a Hugging Face model with a language-model head.
        tokenizer: its tokenizer, or a processor that has it.
        name: name of the model in edits; by default the one in its configuration.
        chat: whether prompts go through the chat template; by default if there is one.
        revision: revision of the model in edits.

    Raises:
        SnipbiasError: these are no model and tokenizer; or the model is not supported, has no
            language-model head, has projections that are not plain linear layers, or is a T5 in
            float16.
    """
    # torch.compile renames the layers, and its code ignores hooks.
    model = getattr(model, "_orig_mod", model)
    tokenizer = getattr(tokenizer, "tokenizer", tokenizer)  # of a processor, which reads images too
    if not (isinstance(model, nn.Module) and hasattr(model, "config") and callable(tokenizer)):
        raise SnipbiasError(
            f"cannot wrap a {type(model).__name__} with a {type(tokenizer).__name__}: give a model "
            "of transformers and then its tokenizer."
        )
    if any(parameter.dtype == torch.float16 for parameter in model.parameters()):
        _refuse_float16(model.config, "float16")
    has_template = getattr(tokenizer, "chat_template", None) is not None
    if chat and not has_template:
        raise SnipbiasError(
            "this tokenizer has no chat template: leave chat off, or set tokenizer.chat_template."
        )
    name = name or model.config.name_or_path or type(model).__name__
    chat = has_template if chat is None else chat
    lm = LanguageModel(model, tokenizer, name=name, chat=chat, revision=revision)
    refuse(model, lm.sites)
    check_runs(lm)  # refuses an unsupported model now rather than after the first passes
    return lm


def multiply_in_bfloat16(lm: Backbone) -> None:
    """Convert the sites' weights of a float32 model to bfloat16, and multiply in that type: faster.

    Inputs and outputs stay float32, and so do norms, attention, residual sums and logits, which a
    model entirely in bfloat16 would round too.
    """
    for site in lm.sites:
        module = lm.module(site.name)
        if type(module) is nn.Linear and module.weight.dtype == torch.float32:
            module.weight.data = module.weight.data.bfloat16()
            module.forward = partial(_product, module)  # type: ignore[method-assign]


def _product(module: nn.Linear, given: Tensor) -> Tensor:
    product = nn.functional.linear(given.to(module.weight.dtype), module.weight).to(given.dtype)
    return product if module.bias is None else product + module.bias


def _device(device: str | torch.device | None) -> torch.device:
    has_cuda = torch.cuda.is_available()
    try:
        place = torch.device(device or ("cuda" if has_cuda else "cpu"))
    except RuntimeError:
        raise SnipbiasError(f"there is no device {device!r}: give cpu, cuda or cuda:0.") from None
    if place.type not in ("cpu", "cuda"):
        raise SnipbiasError(f"the device {place} is not supported (no float64): give cpu or cuda.")
    if place.type == "cuda" and not (has_cuda and (place.index or 0) < torch.cuda.device_count()):
        raise SnipbiasError(f"there is no {place} on this machine: give another device, or cpu.")
    return place


def _type_name(dtype: DType | torch.dtype) -> DType:
    name = str(dtype).removeprefix("torch.")
    if name not in get_args(DType):
        raise SnipbiasError(
            f"there is no number type {name!r}: use one of {', '.join(get_args(DType))}."
        )
    return cast(DType, name)


def _dtype(dtype: DType, place: torch.device, config: PretrainedConfig) -> torch.dtype | str:
    if dtype not in ("auto", "stored"):
        return torch.float32 if dtype == "mixed" else getattr(torch, dtype)
    if place.type == "cpu" and dtype == "auto":
        return torch.float32
    stored = getattr(config, "dtype", None)
    return torch.bfloat16 if stored == torch.float16 and _is_t5(config) else "auto"


def _is_t5(config: PretrainedConfig) -> bool:
    return config.model_type in ("t5", "mt5", "umt5")


def _refuse_float16(config: PretrainedConfig, dtype: DType) -> None:
    if dtype == "float16" and _is_t5(config):
        raise SnipbiasError(
            "T5 overflows in float16 (its FFN outputs pass 65,504): use bfloat16 or float32."
        )
