"""NeuronEdit: which neurons to scale and by how much; applied, baked, undone, saved."""

from __future__ import annotations

import hashlib
import json
import math
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from snipbias.errors import SnipbiasError
from snipbias.files import atomic_folder
from snipbias.identity import ModelId, Provenance
from snipbias.neurons import Linear, Neuron, unit_dim, width

if TYPE_CHECKING:
    from snipbias.models import LanguageModel

FORMAT = 1
FILE = "edit.json"


@dataclass(frozen=True)
class NeuronEdit:
    """A few neurons, the factor that each one's output is multiplied by, and where they come from.

    Attributes:
        factors: per site, unit -> factor; 0 prunes, 1 would change nothing.
        model: the model it was found on.
        found_on: the rows it was found on; None for a control that was found on none.
        label: what to call it in a table.
    """

    factors: Mapping[str, Mapping[int, float]]
    model: ModelId
    found_on: Provenance | None = None
    label: str = "edit"

    @classmethod
    def of(
        cls,
        neurons: Iterable[Neuron],
        model: ModelId,
        factor: float = 0.0,
        found_on: Provenance | None = None,
        label: str = "edit",
    ) -> NeuronEdit:
        """The edit that scales each of some neurons by one factor."""
        factors: dict[str, dict[int, float]] = {}
        for site, unit in neurons:
            factors.setdefault(site, {})[unit] = float(factor)
        return cls(factors, model, found_on, label)

    def __post_init__(self) -> None:
        for units in self.factors.values():
            for factor in units.values():
                if not math.isfinite(factor):
                    raise SnipbiasError(f"the factor {factor} is no finite number: give another.")

    def __len__(self) -> int:
        """Number of neurons."""
        return sum(map(len, self.factors.values()))

    @property
    def neurons(self) -> list[Neuron]:
        """Its neurons, site after site."""
        return [Neuron(site, unit) for site, units in self.factors.items() for unit in units]

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the neurons and their factors."""
        return hashlib.sha256(json.dumps(self.to_dict()["sites"]).encode()).hexdigest()

    # -- on a model --------------------------------------------------------------------------

    def check(self, lm: LanguageModel) -> None:
        """Refuse a model that the edit does not fit; warn where only the weights differ."""
        here = ModelId.of(lm)
        widths = {site.name: site.width for site in lm.sites}
        for site, units in self.factors.items():
            if site not in widths or min(units) < 0 or max(units) >= widths[site]:
                raise SnipbiasError(
                    f"this edit was found on {self.model.name} ({self.model.architecture}, "
                    f"{self.model.neurons} neurons) and does not fit {here.name} "
                    f"({here.architecture}, {here.neurons} neurons), which has no {site} of that "
                    "width: use it on its own model."
                )
        if here.weights != self.model.weights:
            warnings.warn(
                f"the edit was found on other weights ({self.model.name}) than those of "
                f"{here.name}: its neurons need not mean the same there.",
                stacklevel=3,
            )

    @contextmanager
    def applied(self, lm: LanguageModel) -> Iterator[None]:
        """While inside, the neurons' outputs are scaled; no weight is touched."""
        self.check(lm)
        with ExitStack() as stack:
            for site, units in self.factors.items():
                module = lm.module(site)
                hook = partial(_scale_outputs, *_tensors(units))
                # prepend: whoever else listens to this layer sees the edited output
                handle = module.register_forward_hook(hook, prepend=True)
                stack.callback(handle.remove)
            yield

    def bake(self, lm: LanguageModel) -> Baked:
        """Scale the rows of the weights (and bias terms) themselves; `undo` the result to go back.

        Raises:
            SnipbiasError: the edit does not fit, or a weight is quantised or not in memory.
        """
        self.check(lm)
        baked = Baked([])
        try:
            with torch.no_grad():
                for site, units in self.factors.items():
                    _bake_site(lm.module(site), units, site, baked)
        except BaseException:
            baked.undo()
            raise
        return baked

    # -- on disk -----------------------------------------------------------------------------

    def save(self, folder: str | Path, *, overwrite: bool = False) -> Path:
        """Write a small folder: `edit.json`, whole or not at all."""
        with atomic_folder(folder, overwrite=overwrite) as new:
            self.write_into(new)
        return Path(folder)

    def write_into(self, folder: Path) -> None:
        """Write the files into a folder that is being filled."""
        text = json.dumps(self.to_dict(), indent=1)
        (folder / FILE).write_text(text + "\n", encoding="utf-8")

    def to_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return {
            "format": FORMAT,
            "label": self.label,
            "model": asdict(self.model),
            "found_on": asdict(self.found_on) if self.found_on else None,
            "sites": {
                site: {"units": list(units), "factors": list(units.values())}
                for site, units in self.factors.items()
            },
        }

    @classmethod
    def load(cls, folder: str | Path) -> NeuronEdit:
        """Read an edit folder (or its `edit.json`).

        Raises:
            SnipbiasError: there is none, or it is damaged.
        """
        path = Path(folder)
        path = path / FILE if path.is_dir() or path.suffix != ".json" else path
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            inside = sorted(str(file.parent) for file in Path(folder).glob(f"*/{FILE}"))
            there = f"name one of {', '.join(inside)}" if inside else "give the folder of one"
            raise SnipbiasError(
                f"there is no edit at {folder}: {there}, as `snipbias find --out` writes them."
            ) from None
        except (ValueError, OSError) as error:
            raise SnipbiasError(
                f"{path} is damaged ({error}): find or download the edit again."
            ) from None
        return cls.from_dict(data, path)

    @classmethod
    def from_dict(cls, data: Any, source: str | Path = "the edit") -> NeuronEdit:
        """The edit of a JSON form."""
        try:
            if int(data["format"]) > FORMAT:
                raise SnipbiasError(
                    f"{source} has format {data['format']}, newer than this snipbias reads "
                    f"({FORMAT}): upgrade snipbias."
                )
            factors = {site: _units(**part) for site, part in data["sites"].items()}
            if not factors or not all(factors.values()):
                raise ValueError("no neurons")
            found_on = data["found_on"]
            if found_on is not None:
                found_on = Provenance.from_dict(found_on)
            return cls(factors, _model_id(**data["model"]), found_on, str(data["label"]))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise SnipbiasError(
                f"{source} is not a complete edit ({type(error).__name__}: {error}): find or "
                "download it again."
            ) from None


def _units(units: list[Any], factors: list[Any]) -> dict[int, float]:
    for unit in units:
        if type(unit) is not int or unit < 0:  # True is an int too
            raise ValueError(f"unit {unit!r} is not a number of a neuron")
    for factor in factors:
        if type(factor) not in (int, float) or not math.isfinite(factor):
            raise ValueError(f"factor {factor!r} is not a finite number")
    if len(set(units)) < len(units):
        raise ValueError("a unit stands twice")
    return {unit: float(factor) for unit, factor in zip(units, factors, strict=True)}


def _model_id(**fields: Any) -> ModelId:
    model = ModelId(**fields)
    texts = (model.name, model.architecture, model.weights)
    if not all(isinstance(text, str) for text in texts) or type(model.neurons) is not int:
        raise ValueError("the model is not described by texts and a number of neurons")
    return model


@dataclass(frozen=True)
class Baked:
    """Weights as they were before `bake`; undoing never divides, so it is exact to the bit."""

    originals: list[tuple[Tensor, Tensor, int, Tensor]]

    def undo(self) -> None:
        """Put the original rows back."""
        with torch.no_grad():
            while self.originals:
                weight, units, dim, rows = self.originals.pop()
                weight.index_copy_(dim, units, rows)


def plain_tensors(module: Linear, site: str) -> Iterator[tuple[str, Tensor, int]]:
    """A site's weight and bias term, if it has one, each with the dimension of its units.

    Raises:
        SnipbiasError: one of them is quantised or not in memory.
    """
    for name, dim in (("weight", unit_dim(module)), ("bias", 0)):
        tensor = getattr(module, name, None)
        if tensor is None:
            continue
        is_plain = tensor.is_floating_point() and tensor.element_size() > 1  # 1: float8, quantised
        if tensor.is_meta or not is_plain or tensor.shape[dim] != width(module):
            raise SnipbiasError(
                f"cannot bake or export {site}: its {name} is quantised or not in memory; load the "
                "model unquantised and without offloading."
            )
        yield name, tensor, dim


def _bake_site(module: Linear, units: Mapping[int, float], site: str, baked: Baked) -> None:
    for _, weight, dim in plain_tensors(module, site):
        index, factors = _tensors(units)
        index = index.to(weight.device)
        rows = weight.index_select(dim, index)
        baked.originals.append((weight, index, dim, rows))
        weight.index_copy_(dim, index, _scaled(rows, factors, dim))


def _scale_outputs(
    index: Tensor, factors: Tensor, module: nn.Module, args: object, output: Tensor
) -> Tensor:
    """Forward hook: the layer's output with its edited units scaled."""
    index = index.to(output.device)
    return output.index_copy(-1, index, _scaled(output.index_select(-1, index), factors, -1))


def _scaled(values: Tensor, factors: Tensor, dim: int) -> Tensor:
    """`values` times `factors` along a dimension; 0 is written, since 0 * inf would not be 0."""
    shape = [1] * values.ndim
    shape[dim] = -1
    factors = factors.to(values.device, values.dtype).view(shape)
    return torch.where(factors == 0, torch.zeros_like(values), values * factors)


def _tensors(units: Mapping[int, float]) -> tuple[Tensor, Tensor]:
    return torch.tensor(list(units)), torch.tensor(list(units.values()))
