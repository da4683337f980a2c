"""`--log-to trackio`: the figures of a run in an experiment tracker."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from snipbias.base.errors import require
from snipbias.base.parallel import workers
from snipbias.cli import options as o


@dataclass(kw_only=True)
class Tracked(o.Command):
    """Where else results go."""

    heading = "Output"
    log_to: Literal["trackio"] | None = o.option("Also log every figure there (extra 'trackio').")

    def ready(self) -> None:
        """Refuse before the work if the tracker is not installed."""
        if self.log_to:
            require(self.log_to, "--log-to needs")

    def log(self, name: str, settings: Mapping[str, Any], result: Mapping[str, Any]) -> None:
        """Log the figures of a result under the project `snipbias`.

        Args:
            name: name of the run.
            settings: its settings.
            result: the result; every number in it is logged.
        """
        if self.log_to is None or not workers().is_main:
            return
        import trackio  # type: ignore[import-not-found]

        told = {
            key: value if isinstance(value, (int, float)) else str(value)
            for key, value in settings.items()
            if value is not None
        }
        trackio.init(project="snipbias", name=name, config=told)
        trackio.log(dict(_figures(result)))
        trackio.finish()


def _figures(result: Mapping[str, Any], place: str = "") -> Iterator[tuple[str, float]]:
    """Every finite number in nested objects, by its path: methods/edit/accuracy/overall."""
    for name, value in result.items():
        path = f"{place}/{name}" if place else str(name)
        if isinstance(value, Mapping):
            yield from _figures(value, path)
        elif isinstance(value, (int, float)) and math.isfinite(value):
            yield path, float(value)
