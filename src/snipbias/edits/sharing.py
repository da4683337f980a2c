"""Find, write and upload edits, in folders and on the Hugging Face hub."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from snipbias.base.errors import SnipbiasError
from snipbias.base.files import atomic_file
from snipbias.base.hub import answers, one_sentence
from snipbias.base.record import FILE as RECORD_FILE
from snipbias.base.record import RunRecord
from snipbias.base.words import plural
from snipbias.edits.card.card import GENERATED, model_card
from snipbias.edits.card.facts import base_on_hub, without_folders
from snipbias.edits.card.figures import FILE as FIGURES_FILE
from snipbias.edits.card.figures import Figures
from snipbias.edits.format import DENSE, FACTORS_FILE, FILE
from snipbias.edits.provenance import same_weights
from snipbias.edits.record import EditRecord

if TYPE_CHECKING:
    from huggingface_hub import HfApi

CARD_FILE = "README.md"
EXPORT_FILE = "export.json"  # in the folder of an export
# Starts with a letter or digit: "../edits" and "./edits" are folders.
HUB_ID = re.compile(r"(?P<repo>[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*)(@(?P<revision>[^@\s]+))?")


def hub_id(place: str | Path) -> tuple[str, str | None] | None:
    """Repository and revision of `owner/name[@revision]`; None for a path."""
    text = str(place)
    match = HUB_ID.fullmatch(text)
    if match is None or text.endswith(".json") or os.path.exists(text):
        return None
    return match["repo"], match["revision"]


def locate(
    place: str | Path,
    *,
    revision: str | None = None,
    token: str | bool | None = None,
    cache_dir: str | Path | None = None,
) -> Path:
    """Find the `edit.json` of a local folder, or download it from the hub.

    Args:
        place: a folder, an `edit.json`, or `owner/name[@revision]` on the hub.
        revision, token, cache_dir: for the hub's client.

    Raises:
        SnipbiasError: there is no edit, or it cannot be downloaded.
    """
    path = Path(place).expanduser()
    path = path / FILE if os.path.isdir(path) or path.suffix != ".json" else path
    if os.path.isfile(path):  # unlike Path.is_file, it accepts impossible and forbidden names
        return path
    near = _edits_near(path)
    more = f" or {plural(len(near) - 3, 'other')}" if len(near) > 3 else ""
    there = f"name one of {', '.join(near[:3])}{more}" if near else "give the folder of one"
    said = f"there is no edit at {place}: {there} (`snipbias find --out` writes them)."
    named = hub_id(place)
    if named is None:
        raise SnipbiasError(said)
    repo, pinned = named
    commit = {"revision": revision or pinned, "token": token}
    try:
        with one_sentence(f"there is no edit at {place}: it is not a folder", FILE):
            from_cache = not answers(repo, FILE, **commit)
            return _download(repo, cache_dir=cache_dir, local_files_only=from_cache, **commit)
    except SnipbiasError:
        if near:  # probably a misspelled folder, not a repository
            raise SnipbiasError(said) from None
        raise


def _edits_near(file: Path) -> list[str]:
    """Folders with edits inside the given folder, or else next to it."""
    for place in (file.parent, file.parent.parent):
        if os.path.isdir(place) and (found := sorted(place.glob(f"*/{FILE}"))):
            return [str(edit.parent) for edit in found]
    return []


def _download(repo: str, **options: Any) -> Path:
    """Get a repository's `edit.json`, and its factors if they are in another file."""
    from huggingface_hub import hf_hub_download

    path = Path(hf_hub_download(repo, FILE, **options))
    if f'"format": {DENSE}' in path.read_text("utf-8", errors="replace"):
        hf_hub_download(repo, FACTORS_FILE, **options)
    return path


def card_files(
    edit: EditRecord, folder: Path, figures: Figures | None, licence: str | None = None
) -> dict[str, bytes]:
    """The card of an edit in a folder, README.md, and its figures: file name -> content.

    Args:
        edit, folder: the edit, and its folder, with the record of the run that found it if any.
        figures: figures on the card, if any.
        licence: licence of the edit; None if not stated.

    Raises:
        SnipbiasError: the folder is an export, whose card is another.
    """
    if (folder / EXPORT_FILE).is_file():
        raise SnipbiasError(
            f"{folder} is an export, whose card says how to load it: write the card of the edit "
            "that it was made from, and export that again."
        )
    known = {"figures": figures, "record": record_of(edit, folder), "licence": licence}
    card = model_card(edit, place=str(folder), **known)
    kept = {FIGURES_FILE: figures.to_json().encode()} if figures else {}
    return {**kept, CARD_FILE: card.encode()}


def write(files: Mapping[str, bytes], folder: Path) -> None:
    """Write files (name -> content) into a folder, each completely or not at all."""
    for name, content in files.items():
        with atomic_file(folder / name) as new:
            new.write_bytes(content)


def record_of(edit: EditRecord, folder: Path) -> RunRecord | None:
    """The record of the run that found an edit, from its folder or the folder above."""
    for place in (folder, folder.resolve().parent):
        if (place / RECORD_FILE).is_file():
            record = RunRecord.read(place)
            weights = [model.get("weights") or "" for model in record.models.values()]
            edits = record.data.get("edits")
            found = edits.values() if isinstance(edits, dict) else ()
            is_its = edit.fingerprint in found and any(
                same_weights(edit.model.weights, w) for w in weights if w
            )
            if record.command in ("find", "learn") and is_its:
                return record
    return None


def with_card(edit: EditRecord, card: str, figures: Figures | None) -> dict[str, bytes]:
    """The files of an edit for others, by name.

    Args:
        edit, card, figures: the edit, its card, and the figures on the card if any.
    """
    texts = {CARD_FILE: card}
    if figures is not None:
        texts |= {FIGURES_FILE: figures.to_json(), **figures.eval_results()}
    return edit.files() | {name: text.encode() for name, text in texts.items()}


def is_generated(folder: Path) -> bool:
    """Whether a folder's README.md may be replaced: it is missing, or snipbias wrote it.

    Raises:
        SnipbiasError: it cannot be read.
    """
    path = folder / CARD_FILE
    try:
        return not os.path.lexists(path) or GENERATED in path.read_text("utf-8", errors="replace")
    except OSError as error:
        raise SnipbiasError(
            f"{path} cannot be read ({error.strerror}): move it out of the way."
        ) from None


def portable(edit: EditRecord) -> EditRecord:
    """The edit as others may see it, with absolute paths reduced to their last part."""
    model = replace(edit.model, name=without_folders(edit.model.name))
    found = edit.found_on
    if found is not None:
        found = replace(found, task=" + ".join(map(without_folders, found.task.split(" + "))))
    return replace(edit, model=model, found_on=found)


def licence_of_base(api: HfApi, edit: EditRecord) -> str | None:
    """The base model's licence according to the hub; None if unknown."""
    from huggingface_hub import errors

    base = base_on_hub(edit.model)
    try:
        data = api.model_info(base).card_data if base else None
    except (errors.HfHubHTTPError, errors.HFValidationError):
        return None
    found = data.get("license") if data else None
    return found if isinstance(found, str) else None
