"""Which model an edit belongs to, and which rows it was found on."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from snipbias.base.errors import SnipbiasError
from snipbias.base.words import quoted
from snipbias.models.sharded import plain
from snipbias.models.sites import unit_dim
from snipbias.tasks.prompts import DEFAULT, PromptTemplate

if TYPE_CHECKING:
    from snipbias.models.language_model import LanguageModel
    from snipbias.tasks.items import Task

UNKNOWN_PART = "-"


@dataclass(frozen=True)
class ModelId:
    """Which model an edit belongs to.

    Attributes:
        name: how it was loaded.
        architecture: class of the model.
        neurons: number of neurons.
        weights: hashes of a row and a column of every site. `same_weights` compares them, whatever
            type the model is loaded in. The column shows every pruned neuron.
        revision: the hub's commit or a file's hash, if there is one.
    """

    name: str
    architecture: str
    neurons: int
    weights: str
    revision: str | None = None

    @classmethod
    def of(cls, lm: LanguageModel) -> ModelId:
        """The identity of a loaded model.

        Raises:
            SnipbiasError: it is not wrapped.
        """
        if not hasattr(lm, "sites"):
            raise SnipbiasError(
                f"{quoted(lm)} is not wrapped: give what sb.load(name) or sb.wrap(model, "
                "tokenizer) returns."
            )
        return cls(
            name=lm.name,
            architecture=type(lm.model).__name__,
            neurons=sum(site.width for site in lm.sites),
            weights=_known.get(lm.model) or _weights_hash(lm),
            revision=lm.revision,
        )


_known: WeakKeyDictionary[nn.Module, str] = WeakKeyDictionary()


@contextmanager
def weights_unchanged(lm: LanguageModel) -> Iterator[None]:
    """Promise that no weight changes inside, so that they are hashed only once."""
    _known[lm.model] = _weights_hash(lm)
    try:
        yield
    finally:
        _known.pop(lm.model, None)


def same_weights(a: str, b: str) -> bool:
    """Whether two hashes are of the same weights, whatever type each model was loaded in.

    The first part that both have decides. Earlier versions had only the first part.
    """
    pairs = zip(a.split("."), b.split("."), strict=False)
    return next((x == y for x, y in pairs if UNKNOWN_PART not in (x, y)), True)


def _weights_hash(lm: LanguageModel) -> str:
    """Hash the weights rounded to bfloat16, rounded to float16, and their signs.

    For a model loaded in one half type, the rounding to the other is unknown.
    """
    parts = {kind: hashlib.sha256() for kind in (torch.bfloat16, torch.float16, torch.int8)}
    unknown = set()
    for site in lm.sites:
        module = lm.module(site.name)
        # Inference mode does not accept weights that are split among processes.
        with _in_memory(module), torch.inference_mode(False), torch.no_grad():
            weight = module.weight.detach()
            if weight.is_floating_point() and weight.element_size() < 4:
                unknown |= {torch.bfloat16, torch.float16} - {weight.dtype}
            for dim in (unit_dim(module), 1 - unit_dim(module)):
                middle = weight.select(dim, weight.shape[dim] // 2)
                if not middle.is_meta:
                    for kind, digest in parts.items():
                        digest.update(_rounded(plain(middle).float().cpu(), kind))
    return ".".join(
        UNKNOWN_PART if kind in unknown else digest.hexdigest()[:16]
        for kind, digest in parts.items()
    )


def _rounded(values: Tensor, kind: torch.dtype) -> bytes:
    """The bytes of values in a type; for int8, their signs, with 0 for what float16 rounds to 0.

    The zeros show a pruned neuron even if one model has only bfloat16 and the other only float16.
    """
    if kind == torch.int8:
        return values.to(torch.float16).sign().to(kind).numpy().tobytes()
    return values.to(kind).contiguous().view(torch.int16).numpy().tobytes()


def _in_memory(module: nn.Module) -> AbstractContextManager[None]:
    """Load the weights of a layer that accelerate has offloaded, while inside."""
    if not hasattr(module, "_hf_hook"):
        return nullcontext()
    from accelerate.utils import align_module_device  # the hook shows that accelerate is installed

    return align_module_device(module)


@dataclass(frozen=True)
class MadeOf:
    """One of the edits that another was made from.

    Attributes:
        label: its label.
        fingerprint: hash of its neurons and factors.
        operation: union, intersection, difference (from the first of them), or "scaled by" and a
            strength.
    """

    label: str
    fingerprint: str
    operation: str


@dataclass(frozen=True)
class Provenance:
    """The data that neurons were found on: rows and templates of a task, wordings, and method.

    Attributes:
        task: name of the task.
        templates: the templates of the rows.
        items: ids of the rows.
        instructions: number of instructions that each row was asked under.
        fingerprint: hash of the task.
        method: settings of the method.
        prompts: the distinct prompt templates; older files have only the default.
        columns: {our column: the rows' column}, where names differ.
    """

    task: str
    templates: tuple[str, ...]
    items: tuple[str, ...]
    instructions: int
    fingerprint: str
    method: Mapping[str, Any] = field(default_factory=dict)
    prompts: tuple[PromptTemplate, ...] = (DEFAULT,)
    columns: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, task: Task, settings: Mapping[str, Any]) -> Provenance:
        """The provenance of scores found on a task by a method with these settings."""
        return cls(
            task=task.name,
            templates=task.templates,
            items=tuple(item.id for item in task.items),
            instructions=len(task.instructions),
            fingerprint=task.fingerprint,
            method=settings,
            prompts=(task.prompt,),
        )

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Provenance:
        """The provenance of its JSON form, in which tuples are lists."""
        lists = {name: tuple(fields[name]) for name in ("templates", "items")}
        prompts = tuple(map(PromptTemplate.from_dict, fields.get("prompts", ())))
        return cls(**{**fields, **lists, "prompts": prompts or (DEFAULT,)})

    def to_dict(self) -> dict[str, Any]:
        """Its JSON form, without `columns` if there is no mapping."""
        fields = asdict(self)
        return fields if self.columns else {k: v for k, v in fields.items() if k != "columns"}

    def __add__(self, other: Provenance) -> Provenance:
        """Both, so that no template of either counts as held out."""
        both = (self, other)
        methods = [m for p in both for m in p.method.get("combined", [p.method])]
        methods = [m for i, m in enumerate(methods) if m not in methods[:i]]
        fingerprints = "".join(sorted(p.fingerprint for p in both))
        return replace(
            self,
            task=" + ".join(dict.fromkeys(p.task for p in both)),
            templates=tuple(sorted({*self.templates, *other.templates})),
            items=(*self.items, *other.items),
            instructions=max(self.instructions, other.instructions),
            fingerprint=hashlib.sha256(fingerprints.encode()).hexdigest(),
            method=methods[0] if len(methods) == 1 else {"combined": methods},
            prompts=tuple(dict.fromkeys((*self.prompts, *other.prompts))),
        )


def found_otherwise(edits: Sequence[Any], task: Task) -> tuple[str, ...]:
    """A sentence for every edit that was found under another prompt template than the task's."""
    found = ((edit.label, getattr(edit, "found_on", None)) for edit in edits)
    return tuple(
        f"{label} was found under the prompt {' and '.join(repr(p.name) for p in on.prompts)}, but "
        f"{task.name} is asked under {task.prompt.name!r}: its neurons may mean something else"
        for label, on in found
        if on is not None and task.prompt not in on.prompts
    )
