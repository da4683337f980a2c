"""A transformer of either kind without its tokenizer: its device, layers and frozen state."""

from __future__ import annotations

import inspect
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor, nn
from transformers import PretrainedConfig, PreTrainedModel
from transformers.activations import NewGELUActivation

from snipbias.base.errors import SnipbiasError
from snipbias.models.sites import Linear, Side, Site, find_sites

# A transformer block, at the beginning of the name of what is in it.
BLOCK = re.compile(r".*?\.\d+(?=\.)")


@dataclass(frozen=True)
class Query:
    """A tokenized prompt with its tokenized options."""

    prompt: tuple[int, ...]
    options: tuple[tuple[int, ...], ...]

    @property
    def size(self) -> tuple[int, int]:
        """Tokens of the prompt, and of all options."""
        return len(self.prompt), sum(map(len, self.options))


@dataclass
class Backbone:
    """A Hugging Face model. Every change made to it here is undone on exit.

    Attributes:
        model: the Hugging Face model.
        row_owner: the index of each row's query (on the CPU) while `score` or `generate` runs.
        rows_differ: whether rows are under different edits and so cannot share a prefix.
        reads_whole: whether each option is read after its own copy of the prompt, without a cache.
        passes: prompts read so far plus tokens written ("forward"), and objectives differentiated
            ("backward").
    """

    model: PreTrainedModel
    row_owner: Int[Tensor, " r"] | None = field(default=None, init=False, repr=False, compare=False)
    rows_differ: bool = field(default=False, init=False, repr=False, compare=False)
    reads_whole: bool = field(default=False, init=False, repr=False, compare=False)
    passes: Counter[str] = field(default_factory=Counter, init=False, repr=False, compare=False)

    @cached_property
    def sites(self) -> tuple[Site, ...]:
        """Every linear layer whose outputs are neurons."""
        return find_sites(self.model)

    @property
    def is_encoder_decoder(self) -> bool:
        return bool(self.model.config.is_encoder_decoder)

    @property
    def device(self) -> torch.device:
        """Where inputs go: the device of the input embeddings."""
        embeddings = self.model.get_input_embeddings()
        weight = next(embeddings.parameters())
        if weight.is_meta:  # offloaded by accelerate, which knows where it will run
            return torch.device(embeddings._hf_hook.execution_device)  # type: ignore[union-attr]
        return weight.device

    def module(self, site: str) -> Linear:
        """The linear layer of that name.

        Raises:
            SnipbiasError: the model has none.
        """
        with suppress(AttributeError):
            if isinstance(found := self.model.get_submodule(site), Linear):
                return found
        kind = type(self.model).__name__
        raise SnipbiasError(f"{kind} has no linear layer {site!r}: use the model it came from.")

    def blocks(self, side: Side) -> list[tuple[str, nn.Module]]:
        """The transformer blocks of one stack, in order: name and module."""
        found = (BLOCK.match(site.name) for site in self.sites if site.side == side)
        names = dict.fromkeys(match[0] for match in found if match)
        return [(name, self.model.get_submodule(name)) for name in names]

    @contextmanager
    def hooked(
        self, hooks: Iterable[tuple[str, Callable[..., Any]]], *, first: bool = False
    ) -> Iterator[None]:
        """Run forward hooks while inside.

        Args:
            hooks: (name of a module, such as a site or a block, and its hook) pairs.
            first: run before other hooks, so that these see the changed output.
        """
        with ExitStack() as stack:
            # Compiled code ignores hooks that were added later, and keeps those that were removed.
            stack.enter_context(torch.compiler.set_stance("force_eager"))
            for name, hook in hooks:
                module = self.model.get_submodule(name)
                handle = module.register_forward_hook(hook, prepend=first)
                stack.callback(handle.remove)
            yield

    @contextmanager
    def rows_of(self, owner: Int[Tensor, " r"]) -> Iterator[None]:
        """Record, while inside, which query each row of the model's inputs belongs to."""
        self.row_owner = owner
        try:
            yield
        finally:
            self.row_owner = None

    @cached_property
    def start_token(self) -> int:
        """The first token of an encoder-decoder's answer (bos_token_id in T5Gemma).

        Raises:
            SnipbiasError: the configuration does not name one.
        """
        config = self.model.config.get_text_config()
        start = getattr(config, "decoder_start_token_id", None)
        if start is None:
            start = getattr(config, "bos_token_id", None)
            shift = getattr(self.model, "prepare_decoder_input_ids_from_labels", None)
            with suppress(ValueError, AttributeError):  # T5 and LongT5 without a start token
                # The answers of mBART start with their own last token, the language.
                if shift and int(shift(torch.tensor([[5, 6]]))[0, 0]) in (5, 6):
                    start = None
        if start is None:
            raise SnipbiasError(
                f"{type(self.model).__name__} does not say which token its answers start with: set "
                "config.decoder_start_token_id."
            )
        return start

    @property
    def shares_keys(self) -> bool:
        """Whether upper layers read keys and values that lower ones made (Gemma 3n and 4)."""
        return bool(getattr(self.model.config.get_text_config(), "num_kv_shared_layers", 0))

    @cached_property
    def last_logits_only(self) -> dict[str, int | Tensor]:
        """Arguments of the model's call that skip logits which are not needed."""
        supported = "logits_to_keep" in inspect.signature(self.model.forward).parameters
        # Given a number, Gemma 4's layers that share keys would skip all but the last token.
        last = torch.tensor([-1]) if self.shares_keys else 1
        return {"logits_to_keep": last} if supported else {}

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Use evaluation mode, fused activations, no weight gradients; restore all afterwards.

        The tanh form of GELU, eight operations, is replaced by a single equal one (up to rounding):
        a backward pass would keep five of its eight outputs, which costs a tenth of the time of a
        pass of Flan-T5 or GPT-2.
        """
        fused = nn.GELU(approximate="tanh")
        with ExitStack() as undo:
            for module in [*self.model.modules()]:
                undo.callback(setattr, module, "training", module.training)
                for name, child in [*module.named_children()]:
                    if type(child) is NewGELUActivation:
                        undo.callback(setattr, module, name, child)
                        setattr(module, name, fused)
            for parameter in self.model.parameters():
                if parameter.requires_grad:
                    undo.callback(parameter.requires_grad_, True)
                    parameter.requires_grad_(False)
            self.model.eval()
            yield


def longrope_switch(config: PretrainedConfig) -> int | None:
    """Tokens up to which Phi-3's "longrope" uses its short factors; None for other models.

    A longer row would change the positions of all rows of its batch, and of what is cached.
    """
    rope = getattr(config, "rope_parameters", None) or {}
    kinds = [rope, *(kind for kind in rope.values() if isinstance(kind, dict))]  # by kind of layer
    long = [kind for kind in kinds if kind.get("rope_type") == "longrope"]
    return min((kind["original_max_position_embeddings"] for kind in long), default=None)
