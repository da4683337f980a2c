"""Whether the hub of Hugging Face is there."""

from __future__ import annotations


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
