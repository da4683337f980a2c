"""A hash of everything that a model's answers depend on."""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Mapping
from contextlib import suppress
from functools import cache, partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import BuiltinFunctionType, FunctionType, SimpleNamespace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.backends.cpu import get_cpu_capability
from transformers import GenerationConfig, PretrainedConfig

if TYPE_CHECKING:
    from snipbias.models.language_model import LanguageModel

# Packages whose code is identified by their version, or (ours) by its source.
KNOWN = ("snipbias", "torch", "transformers", "accelerate", "peft", "tokenizers", "huggingface_hub")
KNOWN += ("builtins", "functools", "collections", "enum", "copyreg", "_operator", "operator")
KERNELS = ("flash_attn", "kernels", "causal_conv1d", "mamba_ssm", "flash_linear_attention")
# Attributes of modules and configurations that no forward pass reads.
UNREAD = ("_backward", "_state_dict", "_load_state", "_non_persistent", "_is_full_backward")
UNREAD += ("_forward_hooks", "_forward_pre_hooks")
UNREAD += ("_name_or_path", "_commit_hash", "_original_object_hash")


# Hashes of tensors by id; keeping the tensor makes sure that no other gets its id.
Weights = dict[int, tuple[Tensor, str]]


class _UnknownError(ValueError):
    """Something whose hash may not change when it does."""


def fingerprint(lm: LanguageModel, weights: Weights | None = None) -> str | None:
    """Hash weights, structure, configuration, tokenizer, hooks, device and software.

    The hash describes the model as it is now, including any edit that is applied.

    Args:
        weights: cache of the weights' hashes, filled in here; valid while no weight changes.

    Returns:
        The hash; None if it might miss something: rows under different edits, weights that are
        quantised or not in memory, code without a version (a user's hook or model class).
    """
    if lm.rows_differ:
        return None
    state = _State({} if weights is None else weights)
    try:
        state.dump((lm.model, lm.tokenizer, lm.reads_whole, _surroundings(lm)))
    except (ValueError, pickle.PicklingError, TypeError, AttributeError, RecursionError):
        return None  # something unknown, or that refers to itself
    return state.digest.hexdigest()


class _State(pickle.Pickler):
    """Pickle into a hash, and put in order what would differ from run to run."""

    def __init__(self, weights: Weights) -> None:
        self.digest = hashlib.sha256()
        super().__init__(SimpleNamespace(write=self.digest.update), protocol=4)  # type: ignore[arg-type]
        self.fast = True  # equal values give equal bytes, even if they are different objects
        self.weights = weights

    def persistent_id(self, obj: Any) -> Any:
        """A stand-in for an object; None if the object itself is pickled."""
        if isinstance(obj, Tensor):
            return "tensor", self._tensor(obj)
        if isinstance(obj, nn.Module):
            return "module", type(obj), type(obj).forward, _read(obj), _hooks(obj)
        if isinstance(obj, (PretrainedConfig, GenerationConfig)):
            return "config", type(obj), _read(obj)
        if isinstance(obj, (set, frozenset)):
            return "set", sorted(map(repr, obj))
        if isinstance(obj, (type, FunctionType, BuiltinFunctionType)):
            return "code", _name(obj)
        return None

    def _tensor(self, tensor: Tensor) -> str:
        if type(tensor) not in (Tensor, nn.Parameter) or tensor.is_meta or tensor.is_quantized:
            raise _UnknownError
        if id(tensor) not in self.weights:
            raw = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
            digest = hashlib.sha256(raw.numpy())  # type: ignore[arg-type]
            kind = f"{tensor.dtype} {tuple(tensor.shape)} {tensor.device.type}"
            self.weights[id(tensor)] = tensor, f"{kind} {digest.hexdigest()}"
        return self.weights[id(tensor)][1]


def _read(obj: Any) -> Mapping[str, Any]:
    """An object's attributes, without those that no forward pass reads."""
    placed = type(vars(obj).get("_hf_hook")).__module__.startswith("accelerate.")
    unread = (*UNREAD, *(("_hf_hook", "_old_forward", "forward") if placed else ()))
    return {
        name: value.func if isinstance(value, partial) and value.args[:1] == (obj,) else value
        for name, value in vars(obj).items()
        if not name.startswith(unread)
    }


def _hooks(module: nn.Module) -> list[Any]:
    """Its forward hooks in their order, identified by what they are, not by their number."""
    both = (
        (module._forward_pre_hooks, module._forward_pre_hooks_with_kwargs),
        (module._forward_hooks, module._forward_hooks_with_kwargs),
    )
    return [[(hook, key in named) for key, hook in hooks.items()] for hooks, named in both]


def _name(code: Any) -> str:
    """The name of a class or function of a package whose version is in the hash."""
    name, home = code.__qualname__, code.__module__ or "builtins"
    if home.split(".")[0] not in KNOWN or "<" in name:
        raise _UnknownError
    return f"{home}.{name}"


def _surroundings(lm: LanguageModel) -> list[Any]:
    """Settings outside the model that affect a pass."""
    kind = lm.device.type
    return [
        torch.cuda.get_device_name(lm.device) if kind == "cuda" else get_cpu_capability(),
        torch.is_autocast_enabled(kind) and str(torch.get_autocast_dtype(kind)),
        torch.get_float32_matmul_precision(),
        str(torch.get_default_dtype()),
        _software(),
    ]


@cache
def _software() -> str:
    """Versions of the packages that compute, and a hash of this package's source."""
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parents[1].rglob("*.py")):
        digest.update(path.read_bytes())
    found = [digest.hexdigest()]
    for package in KNOWN + KERNELS:
        with suppress(PackageNotFoundError):
            found.append(f"{package} {version(package)}")
    return " ".join(found)
