"""An edit for cards, and the head of a card."""

from __future__ import annotations

from typing import Any

import yaml

from shared_edit import FOUND_ON, MODEL
from snipbias.edits.edit import NeuronEdit

EDIT = NeuronEdit({"encoder.a": {3: 0.0, 1: 0.0}, "decoder.b": {0: 0.0}}, MODEL, FOUND_ON, "v1 n=3")


def head(card: str) -> dict[str, Any]:
    return yaml.safe_load(card.split("---\n")[1])
