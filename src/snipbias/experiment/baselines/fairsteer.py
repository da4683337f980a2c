"""A steering vector behind a probe: FairSteer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from snipbias.experiment.baselines.change import Change, at_prompt_end, states_of, with_states
from snipbias.experiment.baselines.steering import SteeringVectors, mean_difference
from snipbias.experiment.cell import Cell
from snipbias.experiment.choose import Family, Setting
from snipbias.method.attribute import Asked, asked
from snipbias.models.batching import BatchSize, one_each
from snipbias.models.language_model import LanguageModel
from snipbias.tasks.items import Task


@dataclass(frozen=True, eq=False)
class LayerProbe:
    """A linear classifier of a block's output: whether the answer will be wrong."""

    weight: Float[Tensor, " d"]
    bias: float

    def fires(self, states: Float[Tensor, "... d"]) -> Bool[Tensor, ...]:
        """Where the answer is more likely wrong than right."""
        return states.float() @ self.weight.to(states.device) + self.bias > 0

    @classmethod
    def fit(cls, states: Float[Tensor, "b d"], wrong: Bool[Tensor, " b"]) -> LayerProbe:
        """Logistic regression on standardised states, its weights held small."""
        mean, scale = states.mean(0), states.std(0, correction=0).clamp(min=1e-6)
        x, y = ((states - mean) / scale).double(), wrong.double()
        w, b = (torch.zeros(n, dtype=torch.float64, requires_grad=True) for n in (x.shape[1], 1))
        fit = torch.optim.LBFGS([w, b], max_iter=200, line_search_fn="strong_wolfe")

        def loss() -> Tensor:
            fit.zero_grad()
            data = nn.functional.binary_cross_entropy_with_logits(x @ w + b, y)
            value = data + w.square().sum() / len(y)
            value.backward()
            return value

        fit.step(loss)
        weight = w.detach().float() / scale
        return cls(weight, float(b.detach()) - float(weight @ mean))


def gated(vectors: SteeringVectors, layer: int, strength: float, probe: LayerProbe) -> Change:
    """A steering vector, added at the tokens from which something is predicted and a probe fires.

    Of a prompt whose options are scored that is its last token, and then the options' own; of a
    plain text every token.

    Args:
        vectors: the vectors of all layers.
        layer: number of the decoder block.
        strength: what its vector is multiplied by.
        probe: the block's own.
    """
    plain, block = vectors.at(layer, strength), vectors.blocks[layer]
    vector = vectors.vectors[layer] * strength

    @contextmanager
    def applied(lm: LanguageModel) -> Iterator[None]:
        reads_prompt = False

        def enter(module: nn.Module, args: object, kwargs: Mapping[str, Any]) -> None:
            nonlocal reads_prompt
            cache = kwargs.get("past_key_values")
            is_first = cache is None or cache.get_seq_length() == 0
            reads_prompt = lm.row_owner is not None and is_first and not lm.is_encoder_decoder

        def add(module: nn.Module, args: object, output: Any) -> Any:
            states = states_of(output)
            fires = probe.fires(states)
            if reads_prompt:
                fires[:, :-1] = False
            moved = states + fires[..., None] * vector.to(states.device, states.dtype)
            return with_states(output, moved)

        own, lm.rows_differ = lm.rows_differ, True  # no start that all prompts share
        with ExitStack() as stack:
            stack.callback(setattr, lm, "rows_differ", own)
            stack.enter_context(lm.hooked([(block, add)]))
            stack.callback(lm.model.register_forward_pre_hook(enter, with_kwargs=True).remove)
            yield

    label, trained = f"{plain.label} behind a probe", probe.weight.numel() + 1
    return Change(label, applied, plain.check, trained)


def gated_by_probes(cell: Cell) -> Family:
    """FairSteer: as `steered`, but where a probe says that the answer will be wrong."""
    vectors = cell.found(mean_difference)
    # What is tried is known before the probes: a resumed run learns them again only if it must.
    gates = cache(lambda: cell.found(probes))

    def at(setting: Setting) -> Change:
        layer = int(setting["layer"])
        return gated(vectors, layer, setting["strength"], gates()[layer])

    return Family(vectors.tried(cell.settings), at)


def probes(lm: LanguageModel, task: Task, *, batch_size: BatchSize = "auto") -> list[LayerProbe]:
    """A probe behind every block of the decoder: whether the model is about to answer wrongly.

    Args:
        task: the few questions, each under every instruction, with their right answers.

    Source: FairSteer (Li et al., Findings of ACL 2025, arXiv 2504.14492), its abstract and
        summaries: a linear classifier of the last token's activation detects biased ones, and a
        vector from contrasting pairs is added where it does. Read otherwise here: "biased" is an
        answer that is not the right one, so that no row needs a label of the stereotype; the vector
        is that of `steering.mean_difference`, so that the two differ by the probe alone; layer and
        strength are chosen by what they do on dev, not by the classifier's accuracy.
    """
    jobs = asked(lm, task)
    modules = dict(lm.blocks("decoder"))

    def do(batch: Sequence[Asked]) -> Iterator[tuple[Tensor, bool]]:
        queries = [job.query for job in batch]
        seen = at_prompt_end(lm, queries, modules, inputs=False)
        there = torch.stack([seen[name].float().cpu() for name in modules], 1)
        chosen = lm.score(queries).logprobs.argmax(1).tolist()
        wrong = [given != job.item.gold for given, job in zip(chosen, batch, strict=True)]
        return zip(there, wrong, strict=True)

    with torch.no_grad(), lm.frozen():
        found = one_each(lm, jobs, do, kind="activations", batch_size=batch_size)
    states, wrong = zip(*found, strict=True)
    rows = torch.stack(states, 1)  # [layers, rows, d]
    labels = torch.tensor(wrong)
    with torch.inference_mode(False), torch.enable_grad():
        return [LayerProbe.fit(layer, labels) for layer in rows]
