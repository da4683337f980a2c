"""Where the probability of the right, the biased and the unknown option went."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from snipbias.base.plot import Plot, average, mark, percents
from snipbias.base.table import Grid, percent
from snipbias.evaluation.metrics import ByCondition

KINDS = ("right", "biased", "unknown")


def probability_shift(
    place: str,
    original: Mapping[str, ByCondition],
    edited: Mapping[str, Sequence[Mapping[str, ByCondition]]],
) -> Plot | None:
    """Mean probability of the right, the biased and the unknown option, before and after.

    Args:
        original: by kind of option.
        edited: by edit, one such mapping a trial.
    """
    drawn = [
        (condition, kind)
        for condition in ("ambiguous", "disambiguated")
        for kind in KINDS
        if getattr(original[kind], condition) is not None
        # On ambiguous rows "unknown" is the right option: one line for both.
        and not (condition == "ambiguous" and kind == "right" and _same(original, condition))
    ]
    if not drawn:
        return None
    titles = [_option_title(original, *each) for each in drawn]
    data: list[dict[str, Any]] = [
        {
            "type": "scatter",
            "mode": "markers",
            "name": "original",
            "x": [percents([getattr(original[kind], condition)])[0] for condition, kind in drawn],
            "y": list(range(len(drawn))),
            "text": titles,
            "marker": {
                **{"color": "@ink", "symbol": "circle-open", "size": 15},
                "line": {"width": 3},
            },
            "hovertemplate": "%{text}: %{x:.1f} %",
        }
    ]
    rows = []
    for number_, (name, trials) in enumerate(edited.items()):
        beside = 0.15 * (number_ - (len(edited) - 1) / 2)
        place_of = [i + beside for i in range(len(drawn))]
        after = [average([getattr(trial[kind], c) for trial in trials]) for c, kind in drawn]
        for i, (x, y) in enumerate(zip(after, place_of, strict=True)):
            data.append(
                {
                    "type": "scatter",
                    "mode": "lines",
                    "x": [data[0]["x"][i], *percents([x])],
                    "y": [y, y],
                    "line": {"color": mark(number_)["color"], "width": 2},
                    "legendgroup": name,
                    "showlegend": False,
                    "hoverinfo": "skip",
                }
            )
        data.append(
            {
                "type": "scatter",
                "mode": "markers",
                "name": name,
                "legendgroup": name,
                "x": percents(after),
                "y": place_of,
                "text": titles,
                "marker": mark(number_),
                "hovertemplate": "%{text}: %{x:.1f} %",
            }
        )
        rows += [
            (name, title, percent(_at(original, each)), percent(x))
            for each, title, x in zip(drawn, titles, after, strict=True)
        ]
    bound = sum(condition == "ambiguous" for condition, _ in drawn) - 0.5
    return Plot(
        f"{place}-shift",
        "Where the probability went",
        "Mean probability of an option, renormalised over the options of its row, by condition. "
        "The ring is the original; a filled mark is the model with an edit.",
        {
            "data": [*data[1:], data[0]],
            "layout": {
                "height": 150 + 58 * len(drawn),
                "xaxis": {"range": [-3, 103], "ticksuffix": " %"},
                "yaxis": {
                    "tickvals": list(range(len(drawn))),
                    "ticktext": [title.replace(": ", "<br>") for title in titles],
                    "range": [len(drawn) - 0.4, -0.6],
                    "showgrid": False,
                },
                "shapes": [
                    {
                        **{"type": "line", "xref": "paper", "x0": 0, "x1": 1},
                        **{"y0": bound, "y1": bound, "line": {"color": "@line", "width": 2}},
                    }
                ],
                "hovermode": "closest",
            },
        },
        Grid(
            "Mean probability of an option (%)",
            ("method", "option", "original", "edited"),
            tuple(rows),
        ),
    )


def _same(original: Mapping[str, ByCondition], condition: str) -> bool:
    return getattr(original["right"], condition) == getattr(original["unknown"], condition)


def _option_title(original: Mapping[str, ByCondition], condition: str, kind: str) -> str:
    right = condition == "ambiguous" and kind == "unknown" and _same(original, condition)
    return f"{condition}: {'unknown (right)' if right else kind}"


def _at(original: Mapping[str, ByCondition], each: tuple[str, str]) -> float | None:
    condition, kind = each
    return getattr(original[kind], condition)
