"""Every method's change in accuracy with its interval, one below the other."""

from __future__ import annotations

from collections.abc import Sequence

from snipbias.base.plot import Plot, mark, percents
from snipbias.base.table import Grid, p_value, percent
from snipbias.experiment.tables.figures import All


def forest(figures: All, task: str, methods: Sequence[str], place: str = "forest") -> Plot | None:
    """The change from the original on one task, best first.

    Args:
        methods: in the order that decides their colours; those without a change are left out.
    """
    changes = {
        name: figures[task, name].differences["overall"]
        for name in methods
        if (task, name) in figures and "overall" in figures[task, name].differences
    }
    known = sorted(
        (name for name, change in changes.items() if change.value is not None),
        key=lambda name: changes[name].value or 0.0,
    )
    if not known:
        return None
    data = []
    for name in known:
        change, look = changes[name], mark(methods.index(name))
        value, low, high = percents([change.value, change.low, change.high])
        assert value is not None
        bars = None if low is None or high is None else ([high - value], [value - low])
        data.append(
            {
                "type": "scatter",
                "mode": "markers",
                "name": name,
                "showlegend": False,
                "x": [value],
                "y": [name],
                "marker": look,
                "error_x": bars
                and {
                    **{"type": "data", "symmetric": False, "color": look["color"]},
                    **{"array": bars[0], "arrayminus": bars[1]},
                },
                "hovertemplate": "%{y}: %{x:+.1f} points",
            }
        )
    return Plot(
        place,
        "Every method beside the original",
        "Change in accuracy with its 95 % interval. An interval with 0 in it shows no change; a "
        "change may still be a shift of answers to “unknown”, as the next plot shows.",
        {
            "data": data,
            "layout": {
                "height": 110 + 27 * len(known),
                "xaxis": {"ticksuffix": " points", "zeroline": True, "zerolinecolor": "@muted"},
                "yaxis": {"type": "category", "showgrid": False},
                "hovermode": "closest",
            },
        },
        Grid(
            "Change in accuracy (points)",
            ("method", "change", "95 % CI", "p"),
            tuple(
                (
                    name,
                    percent(changes[name].value, sign=True),
                    "-"
                    if changes[name].low is None
                    else f"[{percent(changes[name].low, sign=True)}, "
                    f"{percent(changes[name].high, sign=True)}]",
                    p_value(figures[task, name].p_sign_flip),
                )
                for name in reversed(known)
            ),
        ),
    )
