"""A steering vector: shifts the residual stream instead of pruning neurons."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from snipbias.base.errors import SnipbiasError
from snipbias.base.parallel import workers
from snipbias.experiment.baselines.change import Change, states_of, with_states
from snipbias.experiment.cell import Cell
from snipbias.experiment.choose import Family, Setting
from snipbias.experiment.settings import Settings
from snipbias.method import equations as crispr
from snipbias.method.attribute import Asked, asked, finite_logprobs, gold_options
from snipbias.models.batching import BatchSize, run_batches
from snipbias.models.language_model import LanguageModel, Query
from snipbias.tasks.items import Task


@dataclass(frozen=True, eq=False)
class SteeringVectors:
    """One vector for every block of the decoder."""

    vectors: Float[Tensor, "l d"]
    blocks: tuple[str, ...]

    def at(self, layer: int, strength: float) -> Change:
        """Add `strength` times the vector of a block to its output at every token.

        Raises:
            SnipbiasError: on `check`, the model has no such block.
        """
        vector, block = self.vectors[layer] * strength, self.blocks[layer]

        def add(module: nn.Module, args: object, output: Any) -> Any:
            states = states_of(output)
            return with_states(output, states + vector.to(states.device, states.dtype))

        def check(lm: LanguageModel) -> None:
            if block not in dict(lm.blocks("decoder")):
                raise SnipbiasError(
                    f"{lm.name} has no block {block!r}: use the vector on its own model."
                )

        label = f"steering layer={layer} x {strength:g}"
        return Change(label, lambda lm: lm.hooked([(block, add)]), check)

    def tried(self, settings: Settings) -> list[Setting]:
        """Every strength at layers spread evenly over the model, the weakest first."""
        spread = np.linspace(0, len(self.blocks) - 1, settings.layers).round().astype(int)
        layers, strengths = sorted(set(spread.tolist())), sorted(settings.strengths, key=abs)
        return [{"layer": n, "strength": s} for s, n in product(strengths, layers)]


def steered(cell: Cell) -> Family:
    """A mean-difference steering vector; its layer and strength are to be chosen."""
    found = cell.found(mean_difference)
    return Family(found.tried(cell.settings), lambda s: found.at(int(s["layer"]), s["strength"]))


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
    # A pass reads all tokens of an option but the last, which is only predicted. To read that one
    # too, one more is appended, whichever; an encoder-decoder's end token stands there already.
    more = () if lm.is_encoder_decoder else (0,)

    def do(batch: Sequence[Asked]) -> Tensor:
        gold = gold_options(lm, [job.item for job in batch])
        scored = lm.score([job.query for job in batch])
        wrong = crispr.most_confusing(finite_logprobs(scored), gold).tolist()
        contrast = []
        for job, other in zip(batch, wrong, strict=True):
            pair = (job.query.options[option] + more for option in (job.item.gold, other))
            contrast.append(Query(job.query.prompt, tuple(pair)))
        states: dict[str, Tensor] = {}  # the latest output of every block: of the options' pass

        def keep(name: str, module: nn.Module, args: object, output: Any) -> None:
            states[name] = states_of(output)

        with lm.hooked((name, partial(keep, name)) for name, _ in named):
            scored = lm.score(contrast)
        real = scored.options_mask[..., None]
        differences = []
        for block, _ in named:
            h = scored.by_row(states[block]).float()
            each = (h * real.to(h.device)).sum(1) / real.sum(1).to(h.device)
            differences.append((each[0::2] - each[1::2]).double().sum(0).cpu())
        return torch.stack(differences)

    with torch.inference_mode(), lm.frozen():
        for _, differences in run_batches(lm, jobs, do, kind="answers", batch_size=batch_size):
            sums.add_(differences)
        workers().add([sums])
    return SteeringVectors((sums / len(jobs)).float(), tuple(block for block, _ in named))
