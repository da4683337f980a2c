"""Free memory, and the memory that a pass takes: together they limit the batch size."""

from __future__ import annotations

import math
import os
import weakref
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

# Share of the free memory that a batch may take: a GPU is ours alone, a computer is not.
SHARE = {"cuda": 0.8, "cpu": 0.5}
_CGROUP = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current")
_MEMINFO = "/proc/meminfo"

# Bytes per token of each kind of pass on each device, by model; measured once.
_measured: WeakKeyDictionary[nn.Module, dict[str, dict[torch.device, float]]] = WeakKeyDictionary()


def room(model: nn.Module, kind: str, trial: Callable[[], object], tokens: int, most: int) -> float:
    """Number of padded tokens that fit into a batch, given the memory that is free now.

    Args:
        kind: kind of pass; bytes per token are measured once per kind and model.
        trial: a pass over `tokens` tokens to measure; its result is dropped. It is not run if the
            model is so small that memory cannot run out.
        tokens: padded tokens of the trial.
        most: the most padded tokens that a batch will have.
    """
    places = {p.device for p in model.parameters()} - {torch.device("meta")}
    # Bytes per token of any pass are at most these: linear layers, attention, logits.
    bound = 16 * 4 * sum(max(p.shape) for p in model.parameters() if p.ndim == 2)
    if all(most * bound <= _spare(place) for place in places):
        return math.inf
    known = _measured.setdefault(model, {})
    if kind not in known:
        known[kind] = {place: peak / tokens for place, peak in peaks(model, trial).items()}
    limits = (_spare(place) / max(taken, 1.0) for place, taken in known[kind].items())
    return min(limits, default=math.inf)


def _spare(place: torch.device) -> float:
    """Bytes of a device's memory that a batch may take; infinite where unknown."""
    there = free(place)
    return math.inf if there is None else SHARE.get(place.type, 0.5) * there


def peaks(model: nn.Module, trial: Callable[[], object]) -> dict[torch.device, float]:
    """Peak bytes of a pass on each device, beyond what was allocated before."""
    gpus = {p.device for p in model.parameters() if p.device.type == "cuda"}
    before = {gpu: torch.cuda.memory_allocated(gpu) for gpu in gpus}
    for gpu in gpus:
        torch.cuda.reset_peak_memory_stats(gpu)
    with _Live() as live:
        trial()
    found: dict[torch.device, float] = {torch.device("cpu"): live.peak} if live.peak else {}
    return found | {gpu: torch.cuda.max_memory_allocated(gpu) - before[gpu] for gpu in gpus}


def free(place: torch.device) -> int | None:
    """Free bytes of a device for this process; None where unknown."""
    if place.type == "cuda":
        unused = torch.cuda.memory_reserved(place) - torch.cuda.memory_allocated(place)
        return torch.cuda.mem_get_info(place)[0] + unused
    found: list[int] = []
    with suppress(OSError, StopIteration, ValueError):  # not Linux
        lines = Path(_MEMINFO).read_text(encoding="ascii").splitlines()
        there = next(line for line in lines if line.startswith("MemAvail"))
        found.append(1024 * int(there.split()[1]))
    with suppress(OSError, ValueError):  # no container, or one without a limit ("max")
        most, used = (int(Path(path).read_text(encoding="ascii")) for path in _CGROUP)
        found.append(max(most - used, 0))
    beside = int(os.environ.get("LOCAL_WORLD_SIZE") or 1)  # processes on this machine
    return min(found) // beside if found else None


class _Live(TorchDispatchMode):
    """Count the bytes of all live tensors on the CPU that were made inside.

    The size of the process would not show it, since it keeps freed memory.
    """

    def __init__(self) -> None:
        super().__init__()
        self.peak = self._now = 0
        self._seen: weakref.WeakSet[Any] = weakref.WeakSet()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Iterable[Any] = (), kwargs: Any = None
    ) -> Any:
        inputs = set(map(id, _storages((args, kwargs))))
        output = func(*args, **(kwargs or {}))
        for storage in _storages(output):
            if id(storage) not in inputs and storage not in self._seen:
                self._seen.add(storage)
                self._now += storage.nbytes()
                self.peak = max(self.peak, self._now)
                weakref.finalize(storage, self._forget, storage.nbytes()).atexit = False
        return output

    def _forget(self, size: int) -> None:
        self._now -= size


def _storages(values: Any) -> list[torch.UntypedStorage]:
    tensors = (value for value in tree_leaves(values) if isinstance(value, torch.Tensor))
    return [tensor.untyped_storage() for tensor in tensors if tensor.device.type == "cpu"]
