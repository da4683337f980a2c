"""The network: whether it may be asked, whether the hub answers, where downloads are kept."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from snipbias.base.errors import SnipbiasError
from snipbias.base.words import one_line

OFFLINE = "SNIPBIAS_OFFLINE"  # forbids every download; HF_HUB_OFFLINE those from the hub and BBQ's


def answers(
    repo: str, file: str, *, revision: str | None = None, token: str | bool | None = None
) -> bool:
    """Whether the hub can be reached, asked once: its client's downloads try for half a minute.

    Raises:
        HfHubHTTPError: it is there, and refuses.
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
    """SNIPBIAS_CACHE, else `snipbias` in XDG_CACHE_HOME, else ~/.cache/snipbias."""
    own = os.environ.get("SNIPBIAS_CACHE")
    if own:
        return Path(own).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "snipbias"


def offline() -> str | None:
    """The name of the environment variable that forbids the network, if one does."""
    for name in (OFFLINE, "HF_HUB_OFFLINE"):
        if os.environ.get(name, "").strip().lower() in {"1", "true", "yes", "on"}:
            return name
    return None


@contextmanager
def one_sentence(begin: str, file: str) -> Iterator[None]:
    """Turn what the hub's client raises into one sentence that begins so; `file` was asked for."""
    from huggingface_hub import errors

    try:
        yield
    except SnipbiasError:
        raise
    except errors.GatedRepoError:
        end = "the hub asks for consent: ask for access on its page, and log in by `hf auth login`"
    except errors.RepositoryNotFoundError:
        end = (
            "the hub has no such repository that you may use: check the name, or log in by `hf "
            "auth login` (or HF_TOKEN) where it is private or yours"
        )
    except errors.RevisionNotFoundError:
        end = "the repository has no such revision: name a branch, a tag or a commit of it"
    except errors.LocalEntryNotFoundError:
        end = _unreachable("is not in the local cache")
    except errors.EntryNotFoundError:
        end = f"the repository of the hub holds no {file}: name one that does"
    except errors.OfflineModeIsEnabled:
        end = _unreachable("needs the hub")
    except errors.HfHubHTTPError as error:
        status = error.response.status_code
        end = f"the hub refuses ({status}, {one_line(error)})"
        if status in (401, 403):
            end += ": log in by `hf auth login` with a token that may write there"
    except errors.HFValidationError as error:
        end = f"that is no name of a repository ({one_line(error)}): write owner/name"
    # HTTPError is that of the client's own HTTP library: a lost connection, say.
    except (errors.HTTPError, OSError, ValueError) as error:  # pyright: ignore[reportPrivateImportUsage]
        end = f"the hub gives no usable answer ({one_line(error)}): check the connection"
    else:
        return
    raise SnipbiasError(f"{begin}, and {end}.")


def _unreachable(what: str) -> str:
    forbidden = offline()
    if forbidden:
        return f"{forbidden} is set while it {what}: unset it, or get it where there is a network"
    return f"it {what} and the hub cannot be reached: check the connection"
