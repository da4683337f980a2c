"""The network: whether it may be used, whether the hub answers, where downloads are kept."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from snipbias.base.errors import SnipbiasError
from snipbias.base.words import one_line

OFFLINE = "SNIPBIAS_OFFLINE"  # forbids all downloads; HF_HUB_OFFLINE those from the hub and of BBQ


def answers(
    repo: str, file: str, *, revision: str | None = None, token: str | bool | None = None
) -> bool:
    """Whether the hub can be reached. One request, since its client retries for half a minute.

    Args:
        repo: name of a repository that `token` may read.
        file: path of a file in it.
        revision: branch, tag or commit; None for the main branch.
        token: token of the hub; None for the one that is stored, if any.

    Raises:
        HfHubHTTPError: the hub answers with a refusal.
    """
    from huggingface_hub import errors, get_hf_file_metadata, hf_hub_url

    try:
        get_hf_file_metadata(hf_hub_url(repo, file, revision=revision), token=token)
    except errors.HfHubHTTPError as error:
        if error.response.status_code < 500:
            raise
        return False
    except (errors.HTTPError, OSError):  # pyright: ignore[reportPrivateImportUsage]
        return False
    return True


def cache_dir() -> Path:
    """The cache folder: SNIPBIAS_CACHE, else `snipbias` in XDG_CACHE_HOME or ~/.cache."""
    shared = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(os.environ.get("SNIPBIAS_CACHE") or f"{shared}/snipbias").expanduser()


def offline() -> str | None:
    """The environment variable that forbids the network, if one is set."""
    yes = {"1", "true", "yes", "on"}
    names = (OFFLINE, "HF_HUB_OFFLINE")
    return next((name for name in names if os.environ.get(name, "").strip().lower() in yes), None)


@contextmanager
def one_sentence(begin: str, file: str) -> Iterator[None]:
    """Turn errors of the hub's client about a file into one sentence that starts with `begin`.

    Raises:
        SnipbiasError: the client raised an error.
    """
    from huggingface_hub import errors

    unreachable = "it {} and the hub cannot be reached: check the connection"
    if forbidden := offline():
        instead = "unset it, or download it where there is a network"
        unreachable = f"{forbidden} is set but it {{}}: {instead}"
    try:
        yield
    except errors.GatedRepoError:
        end = "the repository is gated: ask for access on its page, and log in with `hf auth login`"
    except errors.RepositoryNotFoundError:
        end = (
            "the hub has no such repository that you may use: check the name, or log in with `hf "
            "auth login` (or HF_TOKEN) if it is private"
        )
    except errors.RevisionNotFoundError:
        end = "the repository has no such revision: name one of its branches, tags or commits"
    except errors.LocalEntryNotFoundError:
        end = unreachable.format("is not in the local cache")
    except errors.EntryNotFoundError:
        end = f"the repository on the hub has no {file}: name one that does"
    except errors.OfflineModeIsEnabled:
        end = unreachable.format("needs the hub")
    except errors.HfHubHTTPError as error:
        status = error.response.status_code
        end = f"the hub refused ({status}, {one_line(error)})"
        if status in (401, 403):
            end += ": log in with `hf auth login` and a token that may write there"
    except errors.HFValidationError as error:
        end = f"that is not a repository name ({one_line(error)}): write owner/name"
    # HTTPError comes from the client's HTTP library, for example when the connection is lost.
    except (errors.HTTPError, OSError, ValueError) as error:  # pyright: ignore[reportPrivateImportUsage]
        end = f"the hub gave no usable answer ({one_line(error)}): check the connection"
    else:
        return
    raise SnipbiasError(f"{begin}, and {end}.")
