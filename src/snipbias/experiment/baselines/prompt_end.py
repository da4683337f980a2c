"""Activations at a prompt's last token, from which the first answer token is predicted."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from snipbias.base.errors import SnipbiasError
from snipbias.models.language_model import LanguageModel, Query


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
        found = args[0] if inputs else output[0] if isinstance(output, tuple) else output
        seen[name] = found.reshape(len(queries), -1, found.shape[-1])[:, -1]

    # With one token per option, the pass over the prompts is the only one.
    prompts = [Query(query.prompt, tuple(o[:1] for o in query.options)) for query in queries]
    with lm.hooked((name, partial(keep, name)) for name in names):
        lm.score(prompts)
    return seen
