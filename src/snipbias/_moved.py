"""Module paths from before the packages existed: `snipbias.stats` answers for its new place."""

import sys
import warnings
from collections.abc import Sequence
from importlib import import_module
from importlib.machinery import ModuleSpec
from types import ModuleType

MOVED = {
    "snipbias.edit": "snipbias.edits.edit",
    "snipbias.errors": "snipbias.base.errors",
    "snipbias.measures": "snipbias.evaluation.measures",
    "snipbias.metrics": "snipbias.evaluation.metrics",
    "snipbias.neurons": "snipbias.models.sites",
    "snipbias.recipes": "snipbias.method.recipes",
    "snipbias.rows": "snipbias.evaluation.rows",
    "snipbias.scores": "snipbias.method.scores",
    "snipbias.stats": "snipbias.evaluation.stats",
}


class MovedModules:
    """A finder and loader that answers an old module path with the module at its new place."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The place of a moved module; None for any other.

        Args:
            name: full name of a module.
            path, target: not used; importlib passes them.
        """
        return ModuleSpec(name, self) if name in MOVED else None  # type: ignore[arg-type]

    def create_module(self, spec: ModuleSpec) -> None:
        return None

    def exec_module(self, module: ModuleType) -> None:
        new = MOVED[module.__name__]
        warnings.warn(f"{module.__name__} is {new} now.", DeprecationWarning, stacklevel=2)
        sys.modules[module.__name__] = import_module(new)
