"""What may stand for a model, a task or an edit: the object itself or its name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from snipbias.base.errors import SnipbiasError
from snipbias.base.words import quoted
from snipbias.edits.edit import NeuronEdit
from snipbias.models.language_model import LanguageModel
from snipbias.models.loading import load
from snipbias.tasks import task
from snipbias.tasks.items import Task


@runtime_checkable
class Intervention(Protocol):
    """A `NeuronEdit`, a steering vector, a mean ablation: anything that can be switched on."""

    @property
    def label(self) -> str:
        """Its name in tables."""
        ...

    def check(self, lm: LanguageModel, /) -> object:
        """Refuse a model that it does not fit."""
        ...

    def applied(self, lm: LanguageModel, /) -> AbstractContextManager[None]:
        """Change the model while inside; restore it afterwards."""
        ...


GivenModel = LanguageModel | str | Path
GivenTask = Task | str | Path | Iterable[Mapping[str, Any]]
GivenEdit = NeuronEdit | str | Path
GivenEdits = Sequence[Intervention | str | Path] | Intervention | str | Path


def as_model(given: GivenModel) -> LanguageModel:
    """A loaded model, or the one that `sb.load` loads by this name.

    Raises:
        SnipbiasError: it is neither, or cannot be loaded.
    """
    if isinstance(given, LanguageModel):
        return given
    if isinstance(given, (str, Path)):
        return load(given)
    raise SnipbiasError(
        f"{quoted(given)} is not a model: give what sb.load(name) or sb.wrap(model, tokenizer) "
        "returns, or a name that sb.load takes."
    )


def as_task(given: GivenTask) -> Task:
    """A task, or the one that `sb.task` makes from this name, path or list of rows."""
    return given if isinstance(given, Task) else task(given)


def as_tasks(given: GivenTask | Sequence[GivenTask]) -> tuple[Task, ...]:
    """One or several tasks; a list of rows is one."""
    if isinstance(given, (list, tuple)) and not any(isinstance(one, Mapping) for one in given):
        return tuple(as_task(one) for one in given)  # type: ignore[arg-type]
    return (as_task(given),)  # type: ignore[arg-type]


def as_edit(given: Any) -> Any:
    """An edit or another intervention, or the edit in this folder or repository.

    Raises:
        SnipbiasError: it is none of these, or cannot be loaded.
    """
    if isinstance(given, (str, Path)):
        return NeuronEdit.load(given)
    if not isinstance(given, Intervention):
        raise SnipbiasError(
            f"{quoted(given)} is not an edit: give what sb.find returns, or the folder of one."
        )
    return given


def as_edits(given: GivenEdits) -> tuple[Any, ...]:
    """One or several edits."""
    is_several = isinstance(given, Iterable) and not isinstance(given, str)
    several: Any = given if is_several else (given,)
    return tuple(map(as_edit, several))
