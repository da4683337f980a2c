"""What a baseline changes in a model for a while, and what it reads at a prompt's last token."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from snipbias.base.errors import SnipbiasError
from snipbias.edits.edit import NeuronEdit
from snipbias.models.language_model import LanguageModel, Query
from snipbias.models.sharded import refuse_split


@dataclass(frozen=True, eq=False)
class Change:
    """A change of a model that can be switched on like an edit."""

    label: str  # its name in tables
    applied: Callable[[LanguageModel], AbstractContextManager[None]]
    check: Callable[[LanguageModel], object] = lambda lm: None  # refuses what it does not fit
    parameters: int = 0  # how many numbers were trained for it


def held_at(edit: NeuronEdit, means: Mapping[str, Float[Tensor, " d"]]) -> Change:
    """Mean ablation: an edit's neurons at their means, by site, instead of scaled."""

    def applied(lm: LanguageModel) -> AbstractContextManager[None]:
        edit.check(lm)
        refuse_split()
        hooks = []
        for site, units in edit.factors.items():
            index = torch.tensor(list(units))
            hooks.append((site, partial(_hold, index, means[site][index].float())))
        return lm.hooked(hooks, first=True)

    return Change(f"{edit.label} at its mean", applied, edit.check)


def _hold(index: Tensor, values: Tensor, module: nn.Module, args: object, output: Tensor) -> Tensor:
    values = values.to(output.device, output.dtype).expand(*output.shape[:-1], -1)
    return output.index_copy(-1, index.to(output.device), values)


def states_of(output: Any) -> Tensor:
    """The hidden states in what a module returns: all of it, or the first of several values."""
    return output[0] if isinstance(output, tuple) else output


def with_states(output: Any, states: Tensor) -> Any:
    """What the module returned, with other hidden states."""
    return (states, *output[1:]) if isinstance(output, tuple) else states


def at_prompt_end(
    lm: LanguageModel, queries: Sequence[Query], names: Iterable[str], *, inputs: bool
) -> dict[str, Float[Tensor, "b d"]]:
    """The input or output of modules at the token that the answer is predicted from.

    That is the last token of the prompt, and of an encoder-decoder the decoder's start token.

    Args:
        names: names of the modules.
        inputs: read their inputs instead of their outputs.

    Raises:
        SnipbiasError: the model keeps no key-value cache.
    """
    if lm.reads_whole:
        raise SnipbiasError(
            f"{lm.name} keeps no key-value cache, and the method reads prompts apart from answers: "
            "leave the method out of --methods."
        )
    seen: dict[str, Tensor] = {}

    def keep(name: str, module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        found = args[0] if inputs else states_of(output)
        seen[name] = found.reshape(len(queries), -1, found.shape[-1])[:, -1]

    # With one token per option, the pass over the prompts is the only one.
    prompts = [Query(query.prompt, tuple(o[:1] for o in query.options)) for query in queries]
    with lm.hooked((name, partial(keep, name)) for name in names):
        lm.score(prompts)
    return seen
