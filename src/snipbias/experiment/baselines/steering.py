"""A steering vector: shifts the residual stream instead of pruning neurons."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from snipbias.base.errors import SnipbiasError
from snipbias.base.parallel import workers
from snipbias.method import equations as crispr
from snipbias.method.attribute import Asked, asked, finite_logprobs, run_asked
from snipbias.models.batching import BatchSize
from snipbias.models.language_model import LanguageModel, Query
from snipbias.tasks.items import Task


@dataclass(frozen=True, eq=False)
class Steering:
    """A vector added to one block's output at every token."""

    vector: Float[Tensor, " d"]
    block: str
    label: str

    def check(self, lm: LanguageModel) -> None:
        """Refuse a model without that block.

        Raises:
            SnipbiasError: it has none.
        """
        if self.block not in dict(lm.blocks("decoder")):
            raise SnipbiasError(
                f"{lm.name} has no block {self.block!r}: use the vector on its own model."
            )

    @contextmanager
    def applied(self, lm: LanguageModel) -> Iterator[None]:
        """While inside, the vector is added."""
        self.check(lm)
        with lm.hooked([(self.block, partial(_add, self.vector))]):
            yield


@dataclass(frozen=True, eq=False)
class SteeringVectors:
    """One vector for every block of the decoder."""

    vectors: Float[Tensor, "l d"]
    blocks: tuple[str, ...]

    def at(self, layer: int, strength: float) -> Steering:
        """The intervention that adds `strength` times the vector of a block to its output."""
        label = f"steering layer={layer} x {strength:g}"
        return Steering(self.vectors[layer] * strength, self.blocks[layer], label)


def mean_difference(
    lm: LanguageModel, task: Task, *, batch_size: BatchSize = "auto"
) -> SteeringVectors:
    """Mean over instances of (states at the gold answer's tokens) - (at those of yhat).

    The states are each decoder block's output, averaged over the tokens of the answer; yhat is the
    wrong option that the model prefers, as for CRISPR, so that both get the same labels.

    Args:
        task: the instances.
        batch_size: prompts per pass, or `auto`; the result does not depend on it.
    """
    named = lm.blocks("decoder")
    sums = torch.zeros(len(named), lm.model.config.get_text_config().hidden_size).double()
    jobs = asked(lm, task)

    def do(batch: Sequence[Asked]) -> Tensor:
        gold = torch.tensor([job.item.gold for job in batch], device=lm.device)
        scored = lm.score([job.query for job in batch])
        wrong = crispr.most_confusing(finite_logprobs(scored), gold).tolist()
        contrast = [
            _read_whole(lm, job.query, (job.item.gold, other))
            for job, other in zip(batch, wrong, strict=True)
        ]
        states: dict[str, Tensor] = {}  # the latest output of every block: of the options' pass

        def keep(name: str, module: nn.Module, args: object, output: Any) -> None:
            states[name] = output[0] if isinstance(output, tuple) else output

        with lm.hooked((name, partial(keep, name)) for name, _ in named):
            scored = lm.score(contrast)
        real = scored.options_mask[..., None]
        differences = []
        for block, _ in named:
            h = scored.by_row(states[block]).float()
            each = (h * real.to(h.device)).sum(1) / real.sum(1).to(h.device)
            differences.append((each[0::2] - each[1::2]).double().sum(0).cpu())
        return torch.stack(differences)

    def keep_sums(numbers: Sequence[int], differences: Tensor) -> None:
        sums.add_(differences)

    with torch.inference_mode(), lm.frozen():
        run_asked(lm, jobs, do, keep_sums, kind="answers", batch_size=batch_size)
        workers().add([sums])
    return SteeringVectors((sums / len(jobs)).float(), tuple(block for block, _ in named))


def _read_whole(lm: LanguageModel, query: Query, options: tuple[int, int]) -> Query:
    """The query with two of its options, each to be read to its last token.

    The pass reads all tokens of an option but the last, which is only predicted; one more is
    appended, whichever, where an encoder-decoder's end token does not stand there already.
    """
    more = () if lm.is_encoder_decoder else (0,)
    return Query(query.prompt, tuple(query.options[o] + more for o in options))


def _add(vector: Tensor, module: nn.Module, args: object, output: Any) -> Any:
    if isinstance(output, tuple):
        return (_add(vector, module, args, output[0]), *output[1:])
    return output + vector.to(output.device, output.dtype)
