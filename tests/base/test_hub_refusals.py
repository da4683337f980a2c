"""What is said of a hub that refuses, and of one that does not answer."""

from __future__ import annotations

import huggingface_hub
import pytest
from httpx import Request, Response
from huggingface_hub import errors

from snipbias.base import hub
from snipbias.base.errors import SnipbiasError


def refused(status: int, kind: type = errors.HfHubHTTPError) -> errors.HfHubHTTPError:
    return kind("no", response=Response(status, request=Request("GET", "http://hub")))


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (refused(403, errors.GatedRepoError), "the repository is gated: ask for access"),
        (errors.HFValidationError("a/b/c"), r"not a repository name \(a/b/c\): write owner/name"),
        (refused(401), r"the hub refused \(401, no\): log in"),
        (refused(500), r"the hub refused \(500, no\)\.$"),
        (ValueError("half a page"), r"no usable answer \(half a page\)"),
    ],
)
def test_a_refusal_is_one_sentence_with_what_to_do(error: Exception, said: str) -> None:
    match = f"there is no edit, and .*{said}"
    with (
        pytest.raises(SnipbiasError, match=match),
        hub.one_sentence("there is no edit", "edit.json"),
    ):
        raise error


def test_a_hub_that_is_down_answers_nothing_and_one_that_refuses_does(monkeypatch) -> None:
    def ask(error: Exception | None) -> bool:
        def metadata(url: str, token: object = None) -> None:
            if error:
                raise error

        monkeypatch.setattr(huggingface_hub, "get_hf_file_metadata", metadata)
        return hub.answers("a/b", "edit.json")

    assert ask(None)
    assert not ask(refused(503))
    assert not ask(OSError("no route"))
    with pytest.raises(errors.HfHubHTTPError):
        ask(refused(404))
