"""What an edit.json holds, field by field."""

from __future__ import annotations

from collections.abc import Callable

from snipbias.base.errors import SnipbiasError
from snipbias.edits.edit import NeuronEdit

MODEL = {"name": "toy", "architecture": "Toy", "neurons": 5, "weights": "f0", "revision": None}
FOUND_ON = {
    "task": "toy",
    "templates": ["t1", "t2"],
    "items": ["a"],
    "instructions": 10,
    "fingerprint": "f00",
    "method": {"target": "prob", "depth": {"any": [1]}},
}
SITES = {
    "a": {"units": [0, 4], "factors": [0.0, 1.5]},
    "b.c": {"units": [2], "factors": [-3]},
}
OLD = {"format": 1, "label": "x", "model": MODEL, "found_on": FOUND_ON, "sites": SITES}
PART = {"label": "y", "fingerprint": "f1", "operation": "union"}
WHOLE = {**OLD, "minor": 1, "made_of": [PART]}


def one_sentence(read: Callable[[], NeuronEdit]) -> NeuronEdit | None:
    """The edit; None where it is refused as it should be. Anything else goes through."""
    try:
        return read()
    except SnipbiasError as refused:
        said = str(refused)
    assert "\n" not in said
    assert len(said) < 700
    return None
