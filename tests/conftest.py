"""What every test file shares: no hub, a command line, and models left as they were found."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"  # before transformers reads it
os.environ["SNIPBIAS_ANSWERS"] = "off"  # so that every test computes what it tests

import pytest
import torch
from hypothesis import settings
from torch import nn

from command_line import Done, call

settings.register_profile("no deadline", deadline=None, max_examples=40)
settings.load_profile("no deadline")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave fuzzing to those who ask for it, and begin with the files that take longest.

    Of two workers that are handed one file after the other, none is then left with a long one at
    the end.
    """
    if "fuzz" not in config.option.markexpr:
        items[:] = [item for item in items if "fuzz" not in item.keywords]
    slow = {item.path for item in items if "slow" in item.keywords}
    items.sort(key=lambda item: item.path not in slow)


def _state(model: nn.Module) -> dict[str, object]:
    hooks = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    return {
        "modules": list(model.modules()),
        "hooks": [len(getattr(m, hook)) for m in model.modules() for hook in hooks],
        "training": [m.training for m in model.modules()],
        "requires_grad": [p.requires_grad for p in model.parameters()],
        "grad": [p.grad for p in model.parameters()],
        "forward": [m.__dict__.get("forward") for m in model.modules()],
    }


@contextmanager
def _unchanged(model: nn.Module) -> Iterator[None]:
    before = _state(model)
    weights = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    yield
    assert _state(model) == before
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, weights[name]), name


@pytest.fixture
def unchanged():
    """`with unchanged(model):` asserts that hooks, modes, gradients and weights come back."""
    return _unchanged


@pytest.fixture
def cli(capsys) -> Callable[..., Done]:
    """Run a command line in this process: its status, what it printed, its errors."""
    return lambda *words: Done(call(*words), *capsys.readouterr())


@pytest.fixture
def here(tmp_path: Path, monkeypatch) -> Path:
    """An empty working folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path
