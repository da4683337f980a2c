"""A forest plot: every method's change in accuracy with its interval."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from snipbias.base.plot import Plot, mark, percents, scatter
from snipbias.base.table import Grid, p_value, percent
from snipbias.evaluation.interval import bracketed
from snipbias.evaluation.measured import Measured


def forest(
    found: Mapping[str, Measured], methods: Sequence[str], place: str = "forest"
) -> Plot | None:
    """The change from the original on one task, best first.

    Args:
        methods: in the order that decides their colours; those without a change are left out.
    """
    changes = {name: found[name].change("overall") for name in methods if name in found}
    known = [name for name, change in changes.items() if change.value is not None]
    known.sort(key=lambda name: changes[name].value or 0.0)
    if not known:
        return None
    data, rows = [], []
    for name in known:
        change, look = changes[name], mark(methods.index(name))
        value, low, high = percents([change.value, change.low, change.high])
        assert value is not None
        bars = None
        if low is not None and high is not None:
            bars = {"type": "data", "symmetric": False, "color": look["color"]}
            bars |= {"array": [high - value], "arrayminus": [value - low]}
        more = {"showlegend": False, "marker": look, "error_x": bars}
        data.append(scatter(name, [value], [name], "%{y}: %{x:+.1f} points", **more))
        interval, p = bracketed(change.interval, sign=True), found[name].sign_flip("overall")
        rows.append((name, percent(change.value, sign=True), interval, p_value(p)))
    layout = {
        "height": 110 + 27 * len(known),
        "xaxis": {"ticksuffix": " points", "zeroline": True, "zerolinecolor": "@muted"},
        "yaxis": {"type": "category", "showgrid": False},
        "hovermode": "closest",
    }
    return Plot(
        place,
        "Every method compared with the original",
        "Change in accuracy with its 95 % interval. An interval that includes 0 shows no change. A "
        "change may be a mere shift of answers to “unknown”: see the next plot.",
        {"data": data, "layout": layout},
        Grid(
            "Change in accuracy (points)", ("method", "change", "95 % CI", "p"), tuple(rows[::-1])
        ),
    )
