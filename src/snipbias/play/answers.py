"""A model's answers to one question under edits, and how the edits' neurons fire."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial, reduce

import torch
from jaxtyping import Float
from torch import Tensor, nn

from snipbias.base.errors import SnipbiasError
from snipbias.edits.algebra import stronger
from snipbias.edits.edit import NeuronEdit
from snipbias.edits.provenance import ModelId
from snipbias.edits.record import by_site
from snipbias.evaluation.reading import answered
from snipbias.models.language_model import LanguageModel, Query
from snipbias.models.sites import Neuron, Site
from snipbias.tasks.items import Item
from snipbias.tasks.prompts import DEFAULT, PromptTemplate

# Most tokens of a prompt: longer ones can exhaust the memory, and T5 has no limit of its own.
LONGEST = 4096


@dataclass(frozen=True)
class Question:
    """An item, its instruction and prompt template, and whether its gold option is known."""

    item: Item
    instruction: str
    gold_known: bool = True
    prompt: PromptTemplate = DEFAULT


@dataclass(frozen=True)
class EditSetting:
    """An edit that is on, how strongly (`NeuronEdit.scaled`), and which neurons it leaves alone."""

    edit: NeuronEdit
    strength: float = 1.0
    off: frozenset[Neuron] = frozenset()

    @property
    def factors(self) -> dict[Neuron, float]:
        """The factor of every neuron that is on."""
        scaled = self.edit.scaled(self.strength).by_neuron
        return {neuron: factor for neuron, factor in scaled.items() if neuron not in self.off}


@dataclass(frozen=True)
class Answer:
    """A model's answer to one prompt."""

    logprobs: tuple[float, ...]  # the sum of each option's token log-probabilities
    text: str  # what the model writes freely
    matched: int | None  # the option that the text names

    @property
    def chosen(self) -> int:
        """The option with the highest log-probability; the first if tied."""
        return max(range(len(self.logprobs)), key=self.logprobs.__getitem__)

    @property
    def shares(self) -> tuple[float, ...]:
        """P of each option, renormalised over the options."""
        return tuple(torch.tensor(self.logprobs, dtype=torch.float64).softmax(0).tolist())


@dataclass(frozen=True)
class Firing:
    """The output h of one edited neuron at every token it sees, in the original model."""

    neuron: Neuron
    place: str  # its stack, layer, block and role, in words
    factor: float
    tokens: tuple[str, ...]
    outputs: tuple[float, ...]  # h at each token

    def top(self, count: int) -> list[int]:
        """The tokens where h is farthest from 0, farthest first; the earlier if tied."""
        return sorted(range(len(self.outputs)), key=lambda k: -abs(self.outputs[k]))[:count]

    def scaled(self, token: int) -> float:
        """h times the factor at a token; a factor of 0 gives 0, whatever h is."""
        return self.factor * self.outputs[token] if self.factor else 0.0


def together(lm: LanguageModel, switches: Sequence[EditSetting]) -> NeuronEdit | None:
    """One edit that does what all active edits do; None if nothing changes.

    As in a union, a neuron in several edits gets the factor farthest from 1; but unlike there, an
    edit may come from other weights if it fits.
    """
    merged = reduce(stronger, (switch.factors for switch in switches), {})
    factors = by_site((neuron, factor) for neuron, factor in merged.items() if factor != 1)
    return NeuronEdit(factors, ModelId.of(lm), label="edited") if factors else None


def answer(
    lm: LanguageModel, question: Question, edit: NeuronEdit | None = None, *, writes: bool = True
) -> Answer:
    """The model's answer to a question.

    Args:
        lm, question: the model and the question.
        edit: the edit to apply; None for the model as it is.
        writes: whether it also writes freely, which takes most of the time.

    Raises:
        SnipbiasError: the prompt is too long, or the edit does not fit the model.
    """
    query = _query(lm, question)
    with _running(lm, edit):
        logprobs = lm.score([query]).logprobs[0].tolist()
        text = lm.generate([query])[0] if writes else ""
    matched = answered(question.prompt, question.item, text)
    return Answer(tuple(logprobs), text, None if matched < 0 else matched)


def firings(lm: LanguageModel, question: Question, edit: NeuronEdit, option: int) -> list[Firing]:
    """How an edit's neurons fire in the original model, those that change most first.

    A neuron sees the prompt's tokens, the given option's tokens except the last (which is only
    predicted), or both.

    Args:
        lm, question, edit: as in `answer`.
        option: index of the option to read.
    """
    whole = _query(lm, question)
    query = Query(whole.prompt, (whole.options[option],))
    with _running(lm, None), _outputs(lm, edit.factors) as outputs:
        lm.score([query])
    sites = {site.name: site for site in lm.sites}
    found = []
    for name, units in edit.factors.items():
        site, h = sites[name], torch.cat(outputs[name])
        tokens = _tokens_seen(lm, site, query)
        assert len(h) == len(tokens)
        for unit, factor in units.items():
            place = f"{site.side} layer {site.layer}, {site.block} {site.role(unit)}"
            column = tuple(h[:, unit].tolist())
            found.append(Firing(Neuron(name, unit), place, factor, tokens, column))
    return sorted(found, key=lambda f: -abs(f.factor - 1) * max(map(abs, f.outputs)))


def _query(lm: LanguageModel, question: Question) -> Query:
    query = lm.query(*question.prompt.ask(question.instruction, question.item))
    if len(query.prompt) > LONGEST:
        raise SnipbiasError(
            f"the prompt has {len(query.prompt):,} tokens, but the playground takes at most "
            f"{LONGEST:,}: shorten the text."
        )
    return query


@contextmanager
def _running(lm: LanguageModel, edit: NeuronEdit | None) -> Iterator[None]:
    """Run the model as `evaluate` does, with an edit whose warnings the page has shown already."""
    with lm.frozen(), torch.inference_mode(), warnings.catch_warnings():
        if edit is None:
            yield
            return
        warnings.simplefilter("ignore")
        with edit.applied(lm):
            yield


@contextmanager
def _outputs(lm: LanguageModel, sites: Iterable[str]) -> Iterator[dict[str, list[Tensor]]]:
    """Keep the outputs [tokens, width] of some sites while inside, on the CPU."""
    kept: dict[str, list[Float[Tensor, "k d"]]] = {site: [] for site in sites}

    def keep(site: str, module: nn.Module, args: object, output: Tensor) -> None:
        # With one prompt and one option, there is no padding and no other row.
        kept[site].append(output.detach().reshape(-1, output.shape[-1]).float().cpu())

    with lm.hooked((site, partial(keep, site)) for site in kept):
        yield kept


def _tokens_seen(lm: LanguageModel, site: Site, query: Query) -> tuple[str, ...]:
    """The tokens at which a site has outputs, in order."""
    read = query.options[0][:-1]
    if not lm.is_encoder_decoder:
        return _texts(lm, (*query.prompt, *read))
    if site.sees_prompt:
        return _texts(lm, query.prompt)
    return "(start of answer)", *_texts(lm, read)


def _texts(lm: LanguageModel, ids: Iterable[int]) -> tuple[str, ...]:
    """Each token as text, or its vocabulary entry if it is only part of a character."""
    texts = []
    for token in ids:
        text = str(lm.tokenizer.decode([token])).strip(" ")
        if not text or "\N{REPLACEMENT CHARACTER}" in text:
            text = str(lm.tokenizer.convert_ids_to_tokens([token])[0])
        texts.append(text.replace("\n", "\N{DOWNWARDS ARROW WITH CORNER LEFTWARDS}"))
    return tuple(texts)
