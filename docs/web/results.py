"""Writes the tables of some pages from the files in docs/results that commands wrote.

A table of `snipbias reproduce` stands between `<!-- table FILE TASK -->` and `<!-- end -->`. To
renew one, copy the run's table1.csv to docs/results/FILE and run `python docs/web/results.py`. What
another command wrote itself as Markdown (`--save`) stands behind `<!-- file FILE -->`.
"""

import csv
import re
from pathlib import Path

DOCS = Path(__file__).parents[1]
NAMES = ("results", "beyond-the-paper", "check", "fidelity", "learn")
PAGES = tuple(DOCS / f"{name}.md" for name in NAMES)
HEADER = (
    "method",
    "n",
    "unanswerable",
    "answerable",
    "right person",
    "AUROC",
    "change in accuracy [95 %]",
    "KL",
)
FILE = re.compile(r"(<!-- file (\S+) -->\n).*?(<!-- end -->)", re.DOTALL)
BLOCK = re.compile(r"(<!-- table (\S+) (\S+) -->\n).*?(<!-- end -->)", re.DOTALL)


def page(text: str) -> str:
    """The page with every table as its CSV file has it."""
    text = FILE.sub(lambda m: f"{m[1]}\n{(DOCS / 'results' / m[2]).read_text()}\n{m[3]}", text)
    return BLOCK.sub(lambda m: f"{m[1]}\n{table(DOCS / 'results' / m[2], m[3])}\n\n{m[4]}", text)


def table(path: Path, task: str) -> str:
    """One task's methods as Markdown."""
    with path.open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["task"] == task]
    lines = [HEADER, ("---", *("---:" for _ in HEADER[1:])), *map(cells, rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def cells(row: dict[str, str]) -> tuple[str, ...]:
    """A method's figures as they are shown."""
    low, high = row["difference_accuracy_low"], row["difference_accuracy_high"]
    change = f"{signed(row['difference_accuracy'])} [{signed(low)}, {signed(high)}]" if low else ""
    return (
        row["method"],
        row["n"].removesuffix(".0"),
        shown(row["ambiguous"], ".1f"),
        shown(row["disambiguated"], ".1f"),
        shown(row["named_accuracy"], ".1f"),
        shown(row["discrimination"], ".2f"),
        change,
        shown(row["kl"], ".3f"),
    )


def shown(value: str, form: str) -> str:
    """A figure, or an empty cell where it is undefined."""
    return f"{float(value):{form}}" if value else ""


def signed(value: str) -> str:
    """Points with their sign; what rounds to zero is +0.0."""
    return f"{round(float(value), 1) + 0.0:+.1f}"


if __name__ == "__main__":
    for path in PAGES:
        path.write_text(page(path.read_text(encoding="utf-8")), encoding="utf-8")
