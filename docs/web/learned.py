"""Writes a table of docs/results from the folders of `snipbias evaluate`, each under a name.

python docs/web/learned.py learned "seed 0=RUN" "seed 1=RUN"
python docs/web/learned.py learned-small "SmolLM2: seed 1=RUN"
python docs/web/learned.py learned-curve FOLDER      # of `snipbias learn --n`
"""

import csv
import json
import sys
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parents[1] / "results"
KINDS = ("ambiguous", "filler", "mismatch")
HEADER = (
    *("rows", "edit", "stereotyped named", *KINDS, "answerable", "right person"),
    *("AUROC", "above an offset, plain", "filler", "mismatch"),
)


def lines(run: Path, name: str) -> list[tuple[str, ...]]:
    """The original (once per task) and every edit of a run."""
    summary = json.loads((run / "summary.json").read_text(encoding="utf-8"))
    model, _, name = name.rpartition(": ")
    about = f"{summary['task']}, {summary['templates']} templates"
    about = f"{model}, {about}" if model else about
    methods = {m: v for m, v in summary["methods"].items() if v["neurons"] or m == "original"}
    found = []
    for place, (method, figures) in enumerate(methods.items()):
        label = method if method == "original" else name.split(",")[place - 1].strip()
        found.append((about, label, *cells(figures, method != "original")))
    return found


def cells(figures: dict[str, Any], edited: bool) -> tuple[str, ...]:
    """The figures of a method."""
    right, apart, changes = figures["accuracy"], figures["apart"], figures["changes"]
    auroc = (f"{apart[kind]['auroc']['value']:.2f}".removeprefix("0") for kind in KINDS)
    gains = (points(apart[kind]["gain"]["interval"]) if edited else "" for kind in KINDS)
    lost = changes.get("disambiguated", {}).get("difference")
    answerable = f"{100 * right['disambiguated']:.1f}"
    return (
        f"{100 * changes['stereotyped']['value']:.1f}",
        *(f"{100 * right[kind]:.1f}" for kind in KINDS),
        f"{answerable} ({points(lost)})" if edited and lost else answerable,
        f"{100 * figures['named_accuracy']:.1f}",
        " / ".join(auroc),
        *gains,
    )


def points(interval: dict[str, Any] | None) -> str:
    """An estimate with its interval, in points."""
    if not interval or interval["low"] is None:
        return ""
    values = (100 * interval[name] for name in ("estimate", "low", "high"))
    estimate, low, high = (f"{value:+.0f}" for value in values)
    return f"{estimate} [{low}, {high}]"


CURVE = ("neurons", *KINDS, "answerable", "right person", "AUROC", "twins")


def curve(folder: Path) -> list[tuple[str, ...]]:
    """The original and the factors of each number of neurons, on development rows."""
    with open(folder / "curve.csv", newline="", encoding="utf-8") as file:
        checks = list(csv.DictReader(file))
    found = []
    for check in (checks[0], *(check for check in checks if check["kept"] == "True")):
        right = (f"{100 * float(check[f'right_{kind}']):.1f}" for kind in KINDS)
        more = (f"{100 * float(check[f'right_{of}']):.1f}" for of in ("disambiguated", "person"))
        apart = (
            " / ".join(f"{float(check[f'{of}_{kind}']):.2f}".replace("0.", ".") for kind in KINDS)
            for of in ("auroc", "twins")
        )
        name = "original" if check is checks[0] else check["neurons"]
        found.append((name, *right, *more, *apart))
    return found


if __name__ == "__main__":
    if sys.argv[1] == "learned-curve":
        rows = [CURVE, ("---", *("---:" for _ in CURVE[1:])), *curve(Path(sys.argv[2]))]
    else:
        rows = [HEADER, ("---", "---", *("---:" for _ in HEADER[2:]))]
        for given in sys.argv[2:]:
            name, _, run = given.rpartition("=")
            rows += [row for row in lines(Path(run), name) if row not in rows]
    table = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    (RESULTS / f"{sys.argv[1]}.md").write_text(table + "\n", encoding="utf-8")
    print(table)
