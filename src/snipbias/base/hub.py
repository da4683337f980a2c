"""The network: whether it may be asked, whether the hub answers, where downloads are kept."""

from __future__ import annotations

import os
from pathlib import Path

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
