"""Several edits on one model, switched at run time: for all rows of a batch, or row by row."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from snipbias.base.errors import SnipbiasError
from snipbias.base.words import did_you_mean
from snipbias.edits.algebra import union
from snipbias.edits.edit import NeuronEdit
from snipbias.edits.pruning import hooks_count, times
from snipbias.models.language_model import LanguageModel
from snipbias.models.sharded import refuse_split

# What a model is given that has a row a request, whatever else it is given.
INPUTS = ("input_ids", "inputs_embeds", "decoder_input_ids", "decoder_inputs_embeds")

Choice = str | Sequence[str] | None


class Switch:
    """Which of several edits are on; made by `switched`, and at first none is.

    Whatever passes through the model from then on is under the edits that were chosen last:
    `lm.model(...)`, `lm.model.generate(...)`, `lm.score(...)`, `lm.generate(...)`. A choice is the
    name of an edit, several names (their union, as `a | b` is), or None for the original model.

    The choice belongs to the model and not to a thread: requests of different choices go into one
    batch, or one after the other.
    """

    def __init__(self, lm: LanguageModel, edits: Mapping[str, NeuronEdit]) -> None:
        self._lm = lm
        self._edits = dict(edits)
        self._is_open = True
        self._rows_differed = lm.rows_differ  # under a switch around this one
        # Per site the units that any edit touches; everything else is left alone.
        self._units = {
            site: torch.tensor(sorted({u for e in edits.values() for u in e.factors.get(site, ())}))
            for site in dict.fromkeys(site for edit in edits.values() for site in edit.factors)
        }
        self._choices: tuple[frozenset[str], ...] = ()
        self._factors: dict[str, Tensor] = {}

    def use(self, choice: Choice) -> None:
        """The same edits for every row, however many there are."""
        self._choose((choice,))

    def rows(self, choices: Sequence[Choice]) -> None:
        """For each row of the batches to come its own edits.

        A batch may hold a multiple of the rows, those of one request next to each other, as
        `generate` makes them of beams and of several sequences a request.

        Args:
            choices: one for each request of a batch.

        Raises:
            SnipbiasError: there are none, or an edit is not there. A batch whose rows cannot be
                divided among the choices is refused when it comes.
        """
        if isinstance(choices, str) or not choices:
            raise SnipbiasError("give a list with one choice of edits for each row of the batch.")
        self._choose(tuple(choices))

    def _choose(self, choices: tuple[Choice, ...]) -> None:
        if not self._is_open:
            raise SnipbiasError("the switch is off the model: use it inside its `with` block.")
        named = tuple(map(self._names, choices))
        distinct = list(dict.fromkeys(named))
        row_of = torch.tensor([distinct.index(names) for names in named])
        # All of it first, so that a choice that is refused leaves the last one in place.
        tables = self._tables(distinct)
        self._factors = {site: table[row_of] for site, table in tables.items()}
        self._choices = named
        self._lm.rows_differ = self._rows_differed or len(named) > 1

    def _names(self, choice: Choice) -> frozenset[str]:
        names = () if choice is None else (choice,) if isinstance(choice, str) else tuple(choice)
        for name in names:
            if name not in self._edits:
                known = list(self._edits)
                raise SnipbiasError(
                    f"there is no edit {name!r} to switch{did_you_mean(str(name), known)}: "
                    f"{', '.join(known)}."
                )
        return frozenset(names)

    def _tables(self, choices: Sequence[frozenset[str]]) -> dict[str, Float[Tensor, "c k"]]:
        """Per site a row of factors a choice, over the units that any edit touches."""
        # In one order whatever the set's, though a union does not depend on it.
        edits = [
            union(*(self._edits[name] for name in sorted(names))) if names else None
            for names in choices
        ]
        return {
            site: torch.tensor(
                [
                    [edit.factors.get(site, {}).get(unit, 1.0) if edit else 1.0 for unit in units]
                    for edit in edits
                ]
            )
            for site, units in ((site, units.tolist()) for site, units in self._units.items())
        }

    # -- on the model ------------------------------------------------------------------------

    def _on_forward(
        self, site: str, module: nn.Module, args: object, output: Tensor
    ) -> Tensor | None:
        """Forward hook: the layer's output with each row's units scaled by its factors."""
        if not any(self._choices):
            return None
        units = self._units[site] = self._units[site].to(output.device)
        factors = self._factors[site] = self._factors[site].to(output.device, output.dtype)
        if len(factors) > 1:
            factors = factors[self._choice_of_row(len(output)).to(output.device)]
            factors = factors.view(len(output), *[1] * (output.ndim - 2), -1)
        return output.index_copy(-1, units, times(output.index_select(-1, units), factors))

    def _choice_of_row(self, rows: int) -> Int[Tensor, " r"]:
        """The choice that each row of a layer's output belongs to.

        `lm.score` says which query each of its rows reads for; other rows are divided evenly. So
        are the rows of a layer that sees batch and tokens as one dimension, as OPT's FFN does.
        """
        owner, choices = self._lm.row_owner, len(self._choices)
        if owner is None:
            owner = torch.arange(choices)
        elif (queries := int(owner.max()) + 1) != choices:
            raise SnipbiasError(
                f"a batch of {queries} queries came and rows() was given {choices} choices: give "
                "one for each query, or use() for all."
            )
        if rows % len(owner):
            raise SnipbiasError(
                f"a batch of {rows} rows came, which cannot be divided among the {choices} "
                "choices that rows() was given: give one for each row, or use() for all."
            )
        return owner.repeat_interleave(rows // len(owner))

    def _refuse_indivisible(
        self, module: nn.Module, args: tuple[object, ...], kwargs: Mapping[str, object]
    ) -> None:
        """Pre-hook of the whole model: by its inputs, since OPT's FFN does not tell rows apart."""
        for given in (*args[:1], *map(kwargs.get, INPUTS)):
            if isinstance(given, Tensor) and len(self._choices) > 1:
                self._choice_of_row(len(given))

    def _close(self) -> None:
        self._is_open = False
        self._lm.rows_differ = self._rows_differed


@contextmanager
def switched(lm: LanguageModel, edits: Mapping[str, NeuronEdit]) -> Iterator[Switch]:
    """Inside, the edits can be switched on and off; no weight is touched, and hooks go at the end.

    Args:
        edits: any names and their edits.

    Raises:
        SnipbiasError: there are none, or one does not fit the model.
    """
    if not edits:
        raise SnipbiasError("there is no edit to switch: give at least one with its name.")
    for edit in edits.values():
        edit.check(lm)
    refuse_split()
    switch = Switch(lm, edits)
    with ExitStack() as stack:
        stack.callback(switch._close)
        stack.enter_context(hooks_count())
        check = lm.model.register_forward_pre_hook(switch._refuse_indivisible, with_kwargs=True)
        stack.callback(check.remove)
        for site in switch._units:
            hook = partial(switch._on_forward, site)
            # prepend: whoever else listens to this layer sees the edited output
            handle = lm.module(site).register_forward_hook(hook, prepend=True)
            stack.callback(handle.remove)
        yield switch
