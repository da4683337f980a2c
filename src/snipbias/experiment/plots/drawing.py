"""What the plots have in common: colours, sizes, captions, legends, and how they are saved."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from snipbias.base.files import atomic_file

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's palette, which colour-blind readers can tell apart; markers differ as well.
BLACK, ORANGE, BLUE, GREEN = "#000000", "#D55E00", "#0072B2", "#009E73"
YELLOW, GREY, PALE = "#F0E442", "#8C8C8C", "#E5E5E5"
STYLE: Any = {
    "svg.hashsalt": "snipbias",
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlelocation": "left",
    "axes.titleweight": "bold",
    "figure.titlesize": 13,
    "legend.frameon": False,
}
ACROSS = 3  # panels side by side


def new_figure(width: float, height: float) -> Figure:
    """A figure of so many inches; no window and no state of pyplot's."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def label_figure(figure: Figure, title: str, caption: str) -> None:
    """A title above all panels and a caption below them."""
    figure.suptitle(title, x=0.01, ha="left", weight="bold")
    lines = textwrap.wrap(caption, int(figure.get_figwidth() * 14))
    figure.supxlabel("\n".join(lines), x=0.01, ha="left", fontsize=9)


def label_panel(axis: Axes, title: str, rows: int) -> None:
    """A panel's title, and below it how many rows it is made of."""
    axis.set_title(f"{title}\n", fontsize=10)
    above: Any = {"transform": axis.transAxes, "fontsize": 9, "va": "bottom"}
    axis.text(0, 1.02, f"n = {rows:,} rows", **above)


def legend_beside(figure: Figure, axes: Sequence[Axes]) -> None:
    """One legend for all panels, at their right."""
    found: dict[str, Any] = {}
    for axis in axes:
        for handle, label in zip(*axis.get_legend_handles_labels(), strict=True):
            found.setdefault(label, handle)
    figure.legend(list(found.values()), list(found), loc="outside right upper")


def save(figure: Figure, stem: Path) -> None:
    """Write PNG and SVG without the date and the version, which would change the bytes."""
    for ending, metadata in ((".png", {"Software": None}), (".svg", {"Date": None})):
        with atomic_file(stem.with_suffix(ending)) as new:
            figure.savefig(new, dpi=150, format=ending[1:], metadata=metadata)
