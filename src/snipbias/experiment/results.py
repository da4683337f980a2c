"""The results of an experiment: tables, verdict, files and plots; the same bytes every time."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq
from rich.console import Group, RenderableType
from rich.text import Text

from snipbias.base.errors import SnipbiasError
from snipbias.base.files import atomic_file
from snipbias.base.table import Grid, Shown
from snipbias.evaluation.glossary import legend_markdown
from snipbias.experiment.outcome import Experiment
from snipbias.experiment.rows_file import all_rows
from snipbias.experiment.tables import csv_tables, detail_grids, grids, verdict
from snipbias.experiment.tables.forest import forest

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

LEGEND = """\
All figures come from the test part. It shares no template with the items on which neurons were
found, nor with the development part on which settings were chosen. No interval covers other trials.

{}
- **kept**: the interval of the difference excludes a loss of more than the margin; **?**: it does
  not exclude it
- an empty cell or a dash: nothing was published, or the figure is undefined; `table1.csv` names the
  source of each published figure"""


@dataclass(frozen=True, eq=False, repr=False)
class Results(Experiment, Shown):
    """An experiment with every form that its figures are given out in."""

    def __repr__(self) -> str:
        tasks = ", ".join(task.name for task in self.tasks)
        return f"<Results of {self.settings.method} on {tasks}: {self.model.name}>"

    def _shown(self) -> Iterator[Grid | str]:
        for task in self.tasks:
            yield next(iter(detail_grids.task_grids(self, task.name)))
        yield from self.words.split("\n\n")

    def _rows(self) -> list[dict[str, Any]]:
        """Those of table1.csv."""
        return csv_tables.plain(csv_tables.table_1(self))

    def plot(self, task: str | None = None) -> Figure:
        """Every method's change in accuracy with its interval, on one task or the first.

        Raises:
            SnipbiasError: no method but the original was run on it.
        """
        drawn = forest(self.measured[task or self.tasks[0].name], self.methods)
        if drawn is None:
            raise SnipbiasError("no plot: no method stands beside the original on this task.")
        return drawn.drawn()

    @cached_property
    def words(self) -> str:
        """The verdict in words: one paragraph per task."""
        return verdict.in_words(self)

    @cached_property
    def grids(self) -> list[Grid]:
        """Every table, in the order of `tables.md`."""
        return self._grids()

    def _grids(self, *, seconds: bool = False) -> list[Grid]:
        return [
            *grids.referee_grids(self, seconds=seconds),
            *grids.table_1(self),
            *grids.table_2(self),
            *(g for task in self.tasks for g in detail_grids.task_grids(self, task.name)),
            *grids.neurons_grid(self),
            *detail_grids.places_grids(self),
            *grids.spread_grid(self),
            *grids.ablation_grid(self),
            *detail_grids.prompts_grid(self),
            *detail_grids.transfer_grid(self),
            *detail_grids.samples_grid(self),
            *grids.elsewhere_grids(self),
            *detail_grids.verdict_grids(self),
        ]

    @property
    def notes(self) -> list[str]:
        """Notes on the figures of each task."""
        return [f"{task.name}: {note}" for task in self.tasks for note in task.notes]

    @property
    def legend(self) -> str:
        """The meaning of every column."""
        return LEGEND.format(legend_markdown(self.grids))

    def markdown(self) -> str:
        """All tables, the verdict in words, how to read them, the data and the settings."""
        parts = [
            f"# {self.model.name}: {self.settings.method}",
            self.words,
            *(f"## {grid.title}\n\n{grid.markdown()}" for grid in self.grids),
            f"## How to read this\n\n{self.legend}",
            f"## Data\n\n{_tasks(self).markdown()}",
            "\n".join(f"- {note}" for note in self.notes),
            f"## Settings\n\n{_settings(self).markdown()}",
        ]
        return "\n\n".join(part for part in parts if part) + "\n"

    def renderable(self) -> RenderableType:
        """Every table and at the end the verdict, for a terminal."""
        tables = [part for grid in self._grids(seconds=True) for part in (grid.rich(), Text())]
        return Group(*tables, *(Text(f"note: {note}") for note in self.notes), Text(self.words))

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "model": self.model.name,
            "settings": self.settings.to_dict(),
            "table1": csv_tables.plain(csv_tables.table_1(self)),
            "table2": csv_tables.plain(csv_tables.table_2(self)),
            "verdict": self.words,
        }

    def write(self, folder: str | Path) -> None:
        """Write `table1.csv`, `table2.csv`, `tables.md` and `rows.parquet`, each whole or not."""
        folder = Path(folder)
        tables = {"table1.csv": csv_tables.table_1, "table2.csv": csv_tables.table_2}
        texts = {name: csv_tables.text(table(self)) for name, table in tables.items()}
        for name, text in {**texts, "tables.md": self.markdown()}.items():
            with atomic_file(folder / name) as new:
                new.write_bytes(text.encode())
        with atomic_file(folder / "rows.parquet") as new:
            pq.write_table(all_rows(self.all), new)


def _tasks(experiment: Experiment) -> Grid:
    header = ("task", "instructions", "items (find / dev / test)", "templates", "fingerprint")
    rows = []
    for task in experiment.tasks:
        items, templates = (
            " / ".join(str(of[part]) for part in ("find", "dev", "test"))
            for of in (task.items, task.templates)
        )
        number = str(len(task.instructions))
        rows.append((task.name, number, items, templates, task.fingerprint[:16]))
    return Grid("Data", header, tuple(rows))


def _settings(experiment: Experiment) -> Grid:
    model, settings = experiment.model, experiment.settings.to_dict()
    identity = (("model", model.name), ("neurons", f"{model.neurons}"), ("weights", model.weights))
    rows = ((name, json.dumps(value)) for name, value in settings.items())
    return Grid("Settings", ("setting", "value"), (*identity, *rows))
