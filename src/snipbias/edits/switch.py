"""Switch between several edits at run time, for a whole batch or row by row."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial

import torch
from jaxtyping import Int
from torch import Tensor, nn

from snipbias.base.errors import SnipbiasError
from snipbias.base.words import did_you_mean
from snipbias.edits.algebra import UNION, combined
from snipbias.edits.edit import NeuronEdit
from snipbias.edits.given import GivenEdit, as_edit
from snipbias.edits.pruning import times
from snipbias.models.language_model import LanguageModel
from snipbias.models.sharded import refuse_split

# Model inputs with one row per request.
INPUTS = ("input_ids", "inputs_embeds", "decoder_input_ids", "decoder_inputs_embeds")

Choice = str | Sequence[str] | None


class Switch:
    """Selects which of several edits are on; made by `switched`, with all edits off.

    The choice applies to every later call: `lm.model(...)`, `lm.model.generate(...)`,
    `lm.score(...)`, `lm.generate(...)`. A choice is the name of an edit, several names (their
    union, like `a | b`), or None for the original model.

    The choice belongs to the model, not to a thread: put requests with different choices into one
    batch, or run them one after the other.
    """

    def __init__(self, lm: LanguageModel, edits: Mapping[str, NeuronEdit]) -> None:
        self._lm = lm
        self._edits = dict(edits)
        self._is_open = True
        self._rows_differed = lm.rows_differ  # under a switch around this one
        # Site -> the units that any edit changes.
        self._units = {
            site: torch.tensor(sorted({u for e in edits.values() for u in e.factors.get(site, ())}))
            for site in dict.fromkeys(site for edit in edits.values() for site in edit.factors)
        }
        self._choices: tuple[frozenset[str], ...] = ()
        self._factors: dict[str, Tensor] = {}

    def use(self, choice: Choice) -> None:
        """Use the same edits for every row."""
        self._choose((choice,))

    def rows(self, choices: Sequence[Choice]) -> None:
        """Use different edits for each row of the next batches.

        A batch may hold several rows per request, next to each other, as `generate` makes them for
        beams and for several sequences per request.

        Args:
            choices: one choice per request of a batch.

        Raises:
            SnipbiasError: there are none, or there is no such edit. A batch whose rows cannot be
                divided among the choices is refused when it runs.
        """
        if isinstance(choices, str) or not choices:
            raise SnipbiasError("give a list with one choice of edits for each row of the batch.")
        self._choose(tuple(choices))

    def _choose(self, choices: tuple[Choice, ...]) -> None:
        if not self._is_open:
            raise SnipbiasError(
                "the switch was taken off the model: use it inside its `with` block."
            )
        named = tuple(map(self._names, choices))
        distinct = list(dict.fromkeys(named))
        row_of = [distinct.index(names) for names in named]
        # Sorted only for a stable order; a union does not depend on it.
        edits = [[self._edits[name] for name in sorted(names)] for names in distinct]
        factors = [combined(UNION, *several).factors if several else {} for several in edits]
        # Only now is anything set, so that a refused choice leaves the last one active.
        for site, index in self._units.items():
            units = index.tolist()
            table = [[each.get(site, {}).get(unit, 1.0) for unit in units] for each in factors]
            self._factors[site] = torch.tensor(table, dtype=torch.float64)[row_of]
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

    # -- on the model ------------------------------------------------------------------------

    def _on_forward(
        self, site: str, module: nn.Module, args: object, output: Tensor
    ) -> Tensor | None:
        """Forward hook: scale each row's units by its factors."""
        if not any(self._choices):
            return None
        units = self._units[site] = self._units[site].to(output.device)
        wide = torch.promote_types(output.dtype, torch.float32)  # Apple's devices have no float64
        factors = self._factors[site] = self._factors[site].to(output.device, wide)
        if len(factors) > 1:
            factors = factors[self._choice_of_row(len(output)).to(output.device)]
            factors = factors.view(len(output), *[1] * (output.ndim - 2), -1)
        return output.index_copy(-1, units, times(output.index_select(-1, units), factors))

    def _choice_of_row(self, rows: int) -> Int[Tensor, " r"]:
        """The index of the choice of each row of a layer's output.

        `lm.score` says which query its rows belong to; other rows are divided evenly. So are the
        rows of a layer that merges batch and tokens, as OPT's FFN does.
        """
        owner, choices = self._lm.row_owner, len(self._choices)
        if owner is None:
            owner = torch.arange(choices)
        elif (queries := int(owner.max()) + 1) != choices:
            raise SnipbiasError(
                f"a batch has {queries} queries, but rows() was given {choices} choices: give one "
                "for each query, or call use() for all."
            )
        if rows % len(owner):
            raise SnipbiasError(
                f"a batch of {rows} rows cannot be divided among the {choices} choices that rows() "
                "was given: give one for each row, or call use() for all."
            )
        return owner.repeat_interleave(rows // len(owner))

    def _refuse_indivisible(
        self, module: nn.Module, args: tuple[object, ...], kwargs: Mapping[str, object]
    ) -> None:
        """Pre-hook of the whole model: check its inputs, since OPT's FFN does not separate rows."""
        for given in (*args[:1], *map(kwargs.get, INPUTS)):
            if isinstance(given, Tensor) and len(self._choices) > 1:
                self._choice_of_row(len(given))

    def _close(self) -> None:
        self._is_open = False
        self._lm.rows_differ = self._rows_differed


@contextmanager
def switched(lm: LanguageModel, edits: Mapping[str, GivenEdit]) -> Iterator[Switch]:
    """Switch edits on and off while inside; no weight is changed.

    Args:
        lm: the model.
        edits: name -> edit, or its folder.

    Raises:
        SnipbiasError: there are none, or one does not fit the model.
    """
    if not isinstance(edits, Mapping) or not edits:
        raise SnipbiasError("there is no edit to switch: give at least one with its name.")
    named = {name: as_edit(edit) for name, edit in edits.items()}
    for edit in named.values():
        edit.check(lm)
    refuse_split()
    switch = Switch(lm, named)
    check = lm.model.register_forward_pre_hook(switch._refuse_indivisible, with_kwargs=True)
    hooks = ((site, partial(switch._on_forward, site)) for site in switch._units)
    try:
        with lm.hooked(hooks, first=True):
            yield switch
    finally:
        check.remove()
        switch._close()
