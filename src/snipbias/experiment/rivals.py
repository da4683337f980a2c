"""Methods from other papers, each a function from a cell to an outcome."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import cache, partial
from itertools import product
from typing import Any

import numpy as np

from snipbias.experiment.baselines.conditional import FIRES, conditional, conditional_layers
from snipbias.experiment.baselines.fairsteer import Gated, probes
from snipbias.experiment.baselines.finetuning import EPOCHS, Kind, finetune
from snipbias.experiment.baselines.learned import learned, lora
from snipbias.experiment.baselines.prompting import PROMPTINGS, Prompting
from snipbias.experiment.baselines.steering import mean_difference
from snipbias.experiment.baselines.unibias import biased_components
from snipbias.experiment.cell import Cell
from snipbias.experiment.choose import Setting, chosen
from snipbias.experiment.outcome import Outcome, Point
from snipbias.experiment.settings import CONDITIONAL

Measure = Callable[[Setting], Point]


def _steered(cell: Cell, *, probed: bool = False) -> Outcome:
    """A mean-difference steering vector, its layer and strength chosen on dev.

    Args:
        probed: add it only where a probe says that the answer will be wrong.
    """
    vectors = cache(lambda: cell.found(mean_difference))
    gates = cache(lambda: cell.found(probes))

    def make(setting: Setting) -> Any:
        layer = int(setting["layer"])
        vector = vectors().at(layer, setting["strength"])
        return Gated(vector, gates()[layer]) if probed else vector

    def search(measure: Measure) -> Iterable[Point]:
        last = len(vectors().blocks) - 1
        spread = np.linspace(0, last, cell.settings.layers).round().astype(int)
        layers = sorted(set(spread.tolist()))
        strengths = sorted(cell.settings.strengths, key=abs)
        return [measure({"layer": n, "strength": s}) for s, n in product(strengths, layers)]

    return chosen(cell, make, search)


def _masked(cell: Cell) -> Outcome:
    """UniBias: how many FFN vectors and heads are masked is chosen on dev."""
    components = cache(lambda: cell.found(biased_components))

    def search(measure: Measure) -> Iterable[Point]:
        vectors, heads = len(components().vectors), len(components().heads)
        sizes = [n for n in (0, *cell.settings.sizes) if n <= vectors]
        few = [n for n in (0, 1, 3) if n <= heads]
        return [measure({"vectors": v, "heads": h}) for v, h in product(sizes, few) if v or h]

    def make(setting: Setting) -> Any:
        return components().at(int(setting["vectors"]), int(setting["heads"]))

    return chosen(cell, make, search)


def _tuned(cell: Cell, kind: Kind) -> Outcome:
    """LoRA or (IA)3 on the trial's rows; the number of epochs is chosen on dev."""
    adapters = cache(lambda: finetune(cell.lm, cell.sample(), kind, cell.seed))
    tried = [{"epochs": n} for n in EPOCHS]
    return chosen(cell, lambda s: adapters()[int(s["epochs"])], lambda measure: map(measure, tried))


def _rewired(cell: Cell) -> Outcome:
    """Units rewired to write "unknown" where a probe fires; all three settings chosen on dev."""
    most = cell.settings.layers
    fitted = cache(lambda: conditional_layers(cell.lm, cell.task, most))

    def search(measure: Measure) -> Iterable[Point]:
        layers = sorted({1, len(fitted())})
        tried = product(sorted(cell.settings.strengths, key=abs), FIRES, layers)
        return [measure({"layers": n, "strength": s, "fires": f}) for s, f, n in tried]

    return chosen(cell, lambda setting: conditional(fitted(), setting), search)


def _prompted(cell: Cell, way: Prompting) -> Outcome:
    """The original model, asked otherwise; there is nothing to choose."""

    texts, asked = cell.unedited.texts(), replace(cell, ask=way.answers)
    rows = asked.rows("test", cell.test)
    return cell.report(rows, **texts, retention=asked.held(), elsewhere=asked.elsewhere())


RIVALS: dict[str, Callable[[Cell], Outcome]] = {
    "steering": _steered,
    "FairSteer": partial(_steered, probed=True),
    "UniBias": _masked,
    **{name: partial(_prompted, way=way) for name, way in PROMPTINGS.items()},
    CONDITIONAL: _rewired,
    "learned": partial(learned, pick="learned", sized=False),
    "learned random": partial(learned, pick="learned random", sized=True),
    "grafting": partial(learned, pick="grafting", sized=True),
    "first order": partial(learned, pick="first order", sized=False),
    "learned LoRA": lora,
    "LoRA": partial(_tuned, kind="LoRA"),
    "(IA)3": partial(_tuned, kind="(IA)3"),
}
