"""Records in notebooks, and as data frames."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from html import escape
from typing import TYPE_CHECKING, Any

from snipbias.base.errors import require
from snipbias.base.table import Grid

if TYPE_CHECKING:
    from pandas import DataFrame

SHOWN = 10  # rows of a long table


class Shown:
    """A record that a notebook can show, and that converts to a data frame."""

    def _shown(self) -> Iterable[Grid | str]:
        raise NotImplementedError

    def _rows(self) -> Iterable[Mapping[str, Any]]:
        raise NotImplementedError

    def _repr_html_(self) -> str:
        return "".join(
            part.html() if isinstance(part, Grid) else f"<p>{escape(part)}</p>"
            for part in self._shown()
        )

    def to_pandas(self) -> DataFrame:
        """Its rows as a data frame; nested values get column names such as `accuracy.overall`.

        Raises:
            SnipbiasError: pandas is missing.
        """
        require("pandas", "a data frame needs", "notebook")
        from pandas import json_normalize

        return json_normalize(list(map(dict, self._rows())))
