"""Cells of the tables of an experiment made by hand."""

from __future__ import annotations

import csv
import io

from experiments import BIASED, outcome, right, says
from snipbias.base.table import Grid
from snipbias.experiment.results import Results
from snipbias.experiment.tables import csv_tables

BOTH = (outcome("original", says(BIASED)), outcome("v1", right, trial=0))


def cells(experiment: Results, method: str, task: str = "bbq:SES") -> dict[str, str]:
    """A row of table1.csv, read back."""
    text = csv_tables.text(csv_tables.table_1(experiment))
    rows = {(row["task"], row["method"]): row for row in csv.DictReader(io.StringIO(text))}
    return rows[task, method]


def shown(table: Grid, row: str) -> dict[str, str]:
    """A row by column; of columns with the same name the last."""
    return next(dict(zip(table.header, r, strict=True)) for r in table.rows if r[0] == row)
