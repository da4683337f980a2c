"""Run the blocks below the lowest trained one only once per input, since nothing changes there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest import mock

from torch import Tensor, nn

from snipbias.models.language_model import LanguageModel
from snipbias.models.sites import Site

MOST_BYTES = 4 * 2**30


class Below:
    """A model some of whose sites are trained, and its states at the lowest of their blocks.

    The states are kept per input, in a decoder-only model whose layers share no keys. Only for
    passes without a key-value cache, which the skipped blocks would not fill.
    """

    def __init__(self, lm: LanguageModel, sites: Sequence[Site]) -> None:
        self.lm, self.sites = lm, sites
        self._blocks: list[nn.Module] = []
        self._kept: dict[Any, Any] = {}
        self._bytes = 0
        trained = {site.name for site in sites}
        whole = lm.is_encoder_decoder or lm.shares_keys  # the upper blocks need more than one state
        blocks = [] if whole else lm.blocks("decoder")
        for name, block in blocks:
            if any(site.startswith(f"{name}.") for site in trained):
                break
            self._blocks.append(block)
        if any(hasattr(block, "_hf_hook") for block in self._blocks):  # accelerate moves weights
            self._blocks = []

    @contextmanager
    def of(self, key: Any) -> Iterator[None]:
        """Run the blocks below and keep their result, or use the kept one instead."""
        if not self._blocks:
            yield
        elif key in self._kept:

            def again(*args: Any, **kwargs: Any) -> Any:
                return self._kept[key]

            with ExitStack() as stack:
                for block in self._blocks:
                    stack.enter_context(mock.patch.object(block, "forward", again))
                yield
        else:
            found: list[Any] = []
            hook = self._blocks[-1].register_forward_hook(
                lambda module, args, output: found.append(output)
            )
            try:
                yield
            finally:
                hook.remove()
            output = found[-1]
            state = output if isinstance(output, Tensor) else output[0]
            self._bytes += state.nbytes
            if self._bytes <= MOST_BYTES:
                state = state.detach()
                self._kept[key] = state if isinstance(output, Tensor) else (state, *output[1:])
