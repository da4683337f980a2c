"""Published figures of CRISPR, each with its source.

v1 is arXiv 2311.09627v1 (Flan-T5-base only); v2 is ACL 2024 (2024.acl-long.490). Accuracies are
percent, the mean over ten instructions; neurons are counts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Version = Literal["v1", "v2"]
Size = Literal["base", "large", "xl"]

ORIENTATION = ", for orientation"
_SIZES: tuple[Size, ...] = ("base", "large", "xl")
_V1_TASKS = ("bbq:SES", "bbq:Age", "bbq:Disability_status")
_V2_TASKS = (*_V1_TASKS, "mrpc", "rte", "qnli")

# The method's own row is under the version's name here: "v1" and "v2", as in our tables.
_V1_TABLE_1 = {
    "original": (65.78, 43.81, 44.02),
    "CC": (45.87, 40.80, 44.38),
    "DC": (49.12, 40.71, 44.15),
    "v1": (72.25, 58.49, 57.94),
}
# (ambiguous, disambiguated)
_V1_TABLE_2 = {
    "original": ((44.36, 71.77), (24.19, 57.47), (21.32, 59.41)),
    "v1": ((63.14, 67.01), (58.57, 43.37), (44.93, 55.30)),
}
_V2_ACCURACY: dict[Size, dict[str, tuple[float, ...]]] = {
    "base": {
        "original": (65.63, 43.60, 43.44, 60.95, 68.16, 80.51),
        "CC": (43.95, 39.13, 39.65, 65.83, 76.82, 67.88),
        "DC": (47.78, 40.01, 40.46, 75.01, 75.05, 68.74),
        "v2": (71.68, 60.32, 62.88, 73.27, 76.46, 84.44),
    },
    "large": {
        "original": (66.67, 53.62, 53.26, 77.42, 82.24, 91.12),
        "v2": (85.11, 73.60, 76.13, 79.28, 85.84, 90.99),
    },
    "xl": {
        "original": (82.92, 77.03, 67.54, 81.91, 89.06, 89.22),
        "v2": (93.10, 88.54, 87.85, 82.40, 90.46, 93.46),
    },
}
_V2_ABLATION = {
    "v2 mean over tokens": {"bbq:SES": 71.32, "mrpc": 72.19},
    "v2 no weight": {"bbq:SES": 70.92, "mrpc": 72.40},
    "v2 no skill term": {"bbq:SES": 70.28, "mrpc": 72.17},
    "random": {"bbq:SES": 65.62, "mrpc": 61.15},
}
_V2_NEURONS = {
    "bbq:SES": (11, 30, 59),
    "bbq:Age": (170, 92, 59),
    "mrpc": (4, 4, 6),
    "qnli": (4, 3, 23),
}
_V2_SPREAD = {"original": {"bbq:SES": 1.44, "mrpc": 4.17}, "v2": {"bbq:SES": 0.67, "mrpc": 0.65}}
NEURONS: dict[Size, int] = {"base": 227_328, "large": 614_400, "xl": 1_179_648}


@dataclass(frozen=True)
class Published:
    """One published figure (or one per condition) and where it stands."""

    values: tuple[float, ...]
    source: str


def accuracy(model: str, task: str, method: str, version: Version = "v1") -> Published | None:
    """Accuracy in percent; where only the other version has the figure, that one.

    Args:
        model: its name; figures of Flan-T5-base stand in for those of other models.
        version: whose figure to take where both have one (the original's, CC's and DC's).
    """
    versions: list[Version] = ["v1", "v2"]
    # The model's own figure before one for orientation, then the version that was asked for.
    versions.sort(key=lambda each: (_own_size(model, each) is None, each != version))
    for each in versions:
        table = _V1_TABLE_1 if each == "v1" else _V2_ACCURACY[_size(model, each)]
        tasks = _V1_TASKS if each == "v1" else _V2_TASKS
        if task in tasks and method in table:
            where = "Table 1" if each == "v1" else "accuracy table"
            return Published((table[method][tasks.index(task)],), _source(model, each, where))
    if _size(model, "v2") == "base" and task in _V2_ABLATION.get(method, {}):
        return Published((_V2_ABLATION[method][task],), _source(model, "v2", "ablation"))
    return None


def gold_percent(model: str, task: str, method: str) -> Published | None:
    """Table 2 of v1: what it calls mean logits, on ambiguous and on disambiguated rows.

    Args: as in `accuracy`.
    """
    if task not in _V1_TASKS or method not in _V1_TABLE_2:
        return None
    return Published(_V1_TABLE_2[method][_V1_TASKS.index(task)], _source(model, "v1", "Table 2"))


def neurons(model: str, task: str, method: str) -> Published | None:
    """The number of neurons that v2 pruned.

    Args: as in `accuracy`.
    """
    if method != "v2" or task not in _V2_NEURONS:
        return None
    value = _V2_NEURONS[task][_SIZES.index(_size(model, "v2"))]
    return Published((value,), _source(model, "v2", "neurons pruned"))


def spread(model: str, task: str, method: str) -> Published | None:
    """v2's standard deviation over ten instructions, in points of accuracy, of Flan-T5-base.

    Args: as in `accuracy`.
    """
    value = _V2_SPREAD.get(method, {}).get(task)
    if value is None or _size(model, "v2") != "base":
        return None
    return Published((value,), _source(model, "v2", "spread over instructions"))


def version_of(method: str) -> Version:
    """The version whose figures are shown for this method, where both papers have one."""
    return "v1" if method == "v1" else "v2"


def _own_size(model: str, version: Version) -> Size | None:
    """The model's size, if the version has figures of this very model."""
    sizes = _SIZES if version == "v2" else _SIZES[:1]
    return next((size for size in sizes if f"flan-t5-{size}" in model.lower()), None)


def _size(model: str, version: Version) -> Size:
    """The size whose figures are shown for a model: its own, or Flan-T5-base for orientation."""
    return _own_size(model, version) or "base"


def _source(model: str, version: Version, where: str) -> str:
    end = "" if _own_size(model, version) else ORIENTATION
    return f"CRISPR {version}, {where}, Flan-T5-{_size(model, version)}{end}"
