"""An edit of a model on the hub, and the sentence that refuses one."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from huggingface_hub import constants

from snipbias.base.errors import SnipbiasError
from snipbias.edits.edit import NeuronEdit
from snipbias.edits.provenance import ModelId, Provenance

COMMIT = "0123456789abcdef0123456789abcdef01234567"
MODEL = ModelId("google/flan-t5-base", "T5ForConditionalGeneration", 500, "f0f0", COMMIT)
FOUND_ON = Provenance("bbq:SES", ("t1", "t2"), ("a", "b"), 10, "f00", {"target": "prob"})
EDIT = NeuronEdit({"encoder.a": {3: 0.0, 1: 0.5}, "decoder.b": {0: 2.0}}, MODEL, FOUND_ON, "v1 n=3")


def point_to(url: str, monkeypatch) -> None:
    template = url + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "ENDPOINT", url)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)


def refusal(use: Callable[[], object], match: str) -> str:
    with pytest.raises(SnipbiasError, match=match) as refused:
        use()
    said = str(refused.value)
    assert "\n" not in said
    assert said.endswith(".")
    return said
