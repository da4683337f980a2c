"""One FFN unit per layer rewired to say "nobody can know" where a probe says so. Experimental."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import groupby, product
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from snipbias.base.errors import SnipbiasError
from snipbias.edits.baking import plain_tensors
from snipbias.evaluation import ridge
from snipbias.evaluation.metrics import auroc
from snipbias.experiment.baselines.change import Change
from snipbias.experiment.cell import Cell
from snipbias.experiment.choose import Family
from snipbias.method.learned.anchors import predictions
from snipbias.method.learned.objective import unknown_margin
from snipbias.models.language_model import LanguageModel, Query
from snipbias.tasks.answerable import answerable
from snipbias.tasks.items import Task
from snipbias.tasks.neutral_text import chat_prompts_to_protect

# Shares of answerable questions and chat requests at which a unit may fire.
FIRES = (0.02, 0.1, 0.3)
# The gate at an average row that nobody can answer: SiLU and GELU are the identity there, and
# nearly 0 at minus as much.
SHARP = 16.0
GRADIENTS = 7  # the gradient is a mean over every so many of the unanswerable questions
RIDGE = 1e-3  # of the row that finds the last token, as a share of the inputs' mean square
FFN = tuple[str, str, str]  # names of its layers: down(act(gate(x)) * up(x))


@dataclass(frozen=True, eq=False)
class Unit:
    """Unit `number` of a gated FFN with new weights: it writes act(gate . x) (up . x) down."""

    ffn: FFN
    number: int
    gate: Float[Tensor, " d"]
    up: Float[Tensor, " d"]
    down: Float[Tensor, " d"]


def rewired(units: Sequence[Unit], label: str) -> Change:
    """Units rewired in the weights: rank one in each of three layers; undone to the bit."""

    @contextmanager
    def applied(lm: LanguageModel) -> Iterator[None]:
        with ExitStack() as undo:
            for unit in units:
                _rewire(lm, unit, undo)
            yield

    sites = [site for unit in units for site in unit.ffn]
    fitted = sum(3 * len(unit.gate) for unit in units)
    return Change(label, applied, lambda lm: [lm.module(site) for site in sites], fitted)


@torch.no_grad()
def _rewire(lm: LanguageModel, unit: Unit, undo: ExitStack) -> None:
    """Write a unit's weights into the model; its biases become 0, the down layer's stays."""
    for site, values in zip(unit.ffn, (unit.gate, unit.up, unit.down), strict=True):
        is_input = site == unit.ffn[2]
        for name, tensor, dim in plain_tensors(lm.module(site), site):
            if is_input and name == "bias":
                continue
            dim = 1 - dim if is_input else dim
            index = torch.tensor([unit.number], device=tensor.device)
            old = tensor.index_select(dim, index)
            undo.callback(torch.no_grad()(tensor.index_copy_), dim, index, old)
            new = values.to(old).view_as(old) if name == "weight" else torch.zeros_like(old)
            tensor.index_copy_(dim, index, new)


@dataclass(frozen=True, eq=False)
class Layer:
    """What a layer's unit is made of; the probe's values are of questions left out of its fit."""

    ffn: FFN
    number: int  # of the unit that matters least
    probe: Float[Tensor, " d"]  # reads off the FFN's input at a last token if nobody can know
    sure: float  # its mean on questions that nobody can answer
    others: Float[np.ndarray, " negatives"]  # its values on other questions and chat requests
    last: Float[Tensor, " d"]  # row that is 1 at a prompt's last token and 0 elsewhere
    gradient: Float[Tensor, " d"]  # of the margin of "unknown", by what is written at that token

    def unit(self, strength: float, fires: float) -> Unit:
        """The unit that raises the margin of an average unanswerable row, to first order.

        It does so by `strength` nats; the share `fires` of the other rows is above its threshold.
        """
        threshold = float(np.quantile(self.others, 1 - fires))
        # The layers have no bias: at the last token, where it is 1, `last` stands in for one.
        gate = (self.probe - threshold * self.last) * (SHARP / (self.sure - threshold))
        down = self.gradient * (strength / SHARP / self.gradient.square().sum())
        return Unit(self.ffn, self.number, gate, self.last, down)


def conditional(ranked: Sequence[Layer], setting: Mapping[str, float]) -> Change:
    """The edit of the best `layers`, each with its share of the `strength`; `fires` as `unit`."""
    layers, strength, fires = int(setting["layers"]), setting["strength"], setting["fires"]
    units = [layer.unit(strength / layers, fires) for layer in ranked[:layers]]
    return rewired(units, f"conditional {layers} layers, {strength:g} nats, {fires:g}")


def conditionals(cell: Cell) -> Family:
    """The best layer alone and all of them, of any strength and threshold."""
    ranked = conditional_layers(cell.lm, cell.task, cell.settings.layers)
    layers, strengths = sorted({1, len(ranked)}), sorted(cell.settings.strengths, key=abs)
    every = product(strengths, FIRES, layers)
    tried = [{"layers": n, "strength": s, "fires": f} for s, f, n in every]
    return Family(tried, partial(conditional, ranked))


def conditional_layers(lm: LanguageModel, task: Task, most: int) -> list[Layer]:
    """Fit the layers whose probes tell best, from neutral questions and chat requests alone.

    Args:
        lm: a model with gated FFNs.
        task: only its first instruction and prompt template are used.
        most: how many layers.

    Raises:
        SnipbiasError: no FFN of the decoder has one gate, one up and one down layer.
    """
    ffns = _gated_ffns(lm)
    items = answerable("mini" if task.name.startswith("mini") else "").items
    asked = lm.queries([task.prompt.ask(task.instructions[0], item) for item in items])
    chats = lm.queries([(text, [text]) for text in chat_prompts_to_protect()])  # and an echo
    inputs = _inputs(lm, ffns, [*asked, *chats])
    is_first = np.array([item.gold == item.unknown for item in items] + [False] * len(chats))
    group = np.array([int(item.template) for item in items] + [*range(len(chats))])
    probes = [_probe(each.last.numpy(), is_first, group) for each in inputs]
    best = sorted(range(len(ffns)), key=lambda number: -probes[number][0])[:most]
    nobody = [(asked[i], item.unknown) for i, item in enumerate(items) if is_first[i]][::GRADIENTS]
    gradients = _gradients(lm, [ffns[number][2] for number in best], nobody)
    found = []
    for number, gradient in zip(best, gradients, strict=True):
        _, direction, scores = probes[number]
        last = last_token_row(inputs[number].last, inputs[number].moment)
        slope = torch.from_numpy(direction.weights / direction.scale)
        probe = slope - last * float(slope @ torch.from_numpy(direction.mean))
        sure, others = float(scores[is_first].mean()), scores[~is_first]
        fitted = (probe.float(), sure, others, last.float(), gradient)
        found.append(Layer(ffns[number], inputs[number].weakest, *fitted))
    return found


def _gated_ffns(lm: LanguageModel) -> list[FFN]:
    inner = [site for site in lm.sites if site.side == "decoder" and site.block == "ffn"]
    found = []
    for _, group in groupby(inner, key=lambda site: site.layer):
        sites = list(group)
        roles = {site.layout[0][0]: site.name for site in sites if len(site.layout) == 1}
        if len(sites) == 3 and roles.keys() == {"gate", "up", "down"}:
            found.append((roles["gate"], roles["up"], roles["down"]))
    if not found or lm.reads_whole:
        raise SnipbiasError(
            f"a conditional edit rewires FFNs of one gate, one up and one down layer, in a model "
            f"with a key-value cache, and {lm.name} is none: leave it out of --methods."
        )
    return found


class _Inputs(NamedTuple):
    """What an FFN reads at every last token, the mean of x x' at others, and its weakest unit."""

    last: Float[Tensor, "n d"]
    moment: Float[Tensor, "d d"]
    weakest: int


def _inputs(lm: LanguageModel, ffns: Sequence[FFN], queries: Sequence[Query]) -> list[_Inputs]:
    """What the FFNs read along the prompts; the weakest unit is the one that writes least."""
    seen: dict[str, Tensor] = {}

    def keep(site: str, module: nn.Module, args: tuple[Tensor], output: Tensor) -> None:
        seen[site] = args[0].reshape(-1, args[0].shape[-1]).float().cpu()

    hooks = [(site, partial(keep, site)) for gate, _, down in ffns for site in (gate, down)]
    last: list[list[Tensor]] = [[] for _ in ffns]
    moments, uses = ([torch.zeros(())] * len(ffns) for _ in range(2))
    tokens = 0
    with torch.inference_mode(), lm.frozen(), lm.hooked(hooks):
        down = [next(plain_tensors(lm.module(ffn[2]), ffn[2]))[1] for ffn in ffns]
        sizes = [weight.float().square().sum(0).cpu() for weight in down]
        for query in queries:
            predictions(lm, Query(query.prompt, query.options[:1]), torch.tensor([0]))
            end = 0 if lm.is_encoder_decoder else len(query.prompt) - 1
            for number, (gate, _, down_site) in enumerate(ffns):
                x = seen[gate]
                last[number].append(x[end].double())
                rest = torch.cat([x[:end], x[end + 1 :]])
                moments[number] = moments[number] + rest.T @ rest
                uses[number] = uses[number] + seen[down_site].square().sum(0)
            tokens += len(seen[ffns[0][0]]) - 1
        weakest = [int((use * size).argmin()) for use, size in zip(uses, sizes, strict=True)]
    means = [moment.double() / tokens for moment in moments]
    return [_Inputs(*each) for each in zip(map(torch.stack, last), means, weakest, strict=True)]


def last_token_row(last: Float[Tensor, "n d"], moment: Float[Tensor, "d d"]) -> Float[Tensor, " d"]:
    """The row r whose r . x is nearest to 1 at last tokens x and to 0 elsewhere, by ridge.

    Of the other tokens, `moment` is the mean of x x'.
    """
    both = last.T @ last / len(last) + moment
    both += RIDGE * both.diagonal().mean() * torch.eye(len(both), dtype=both.dtype)
    row = torch.linalg.solve(both, last.mean(0))
    return row / (last @ row).mean()


def _probe(
    x: Float[np.ndarray, "n d"], is_first: Bool[np.ndarray, " n"], group: Int[np.ndarray, " n"]
) -> tuple[float, ridge.Direction, Float[np.ndarray, " n"]]:
    """AUROC on groups left out, the direction from all rows, and the scores of rows left out."""
    every = ridge.held_out_scores(x, is_first, group)
    told = [auroc(scores[is_first], scores[~is_first]) or 0.5 for scores in every]
    best = int(np.argmax(told))
    (direction,) = ridge.fit(x, is_first, [ridge.PENALTIES[best]])
    return told[best], direction, every[best]


def _gradients(
    lm: LanguageModel, sites: Sequence[str], rows: Sequence[tuple[Query, int | None]]
) -> list[Float[Tensor, " d"]]:
    """Mean gradient of the margin of "unknown", by what each layer writes at the last token."""
    given: dict[str, Tensor] = {}

    def add(site: str, module: nn.Module, args: object, output: Tensor) -> Tensor:
        if site in given:  # the options' pass, after the prompt's
            return output
        given[site] = torch.zeros(output.shape[-1], device=output.device, requires_grad=True)
        moved = output.reshape(-1, output.shape[-1])
        moved = torch.cat([moved[:-1], moved[-1:] + given[site].to(output.dtype)])
        return moved.view_as(output)

    total = [torch.zeros(())] * len(sites)
    hooks = [(site, partial(add, site)) for site in sites]
    with torch.inference_mode(False), torch.enable_grad(), lm.frozen(), lm.hooked(hooks):
        for query, unknown in rows:
            given.clear()
            logprobs = lm.score([query]).logprobs.float()
            margin = unknown_margin(logprobs, torch.tensor([unknown], device=logprobs.device))
            lm.passes["backward"] += 1
            found = torch.autograd.grad(margin.sum(), [given[site] for site in sites])
            total = [a + b.float().cpu() for a, b in zip(total, found, strict=True)]
    return [each / len(rows) for each in total]
