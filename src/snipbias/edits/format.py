"""The format of `edit.json`: its versions, its schema, and checks of files.

`data/edit.schema.json` describes the fields; what a schema cannot express is checked here.
"""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from snipbias.base.errors import SnipbiasError
from snipbias.base.files import fields_once, shipped
from snipbias.base.words import clipped
from snipbias.tasks.prompts import PromptTemplate

FILE = "edit.json"
FACTORS_FILE = "factors.safetensors"
# Major version 2 is a dense edit, whose factors are in a file next to edit.json.
MAJOR, MINOR, DENSE = 1, 4, 2
# From this number of neurons on, the factors are tensors in a file of their own.
DENSE_FROM = 20_000
LONGEST_REASON = 300
DEEPEST = 50  # levels of nesting, which Python walks by recursion


@cache
def schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of an edit."""
    return json.loads(shipped("edit.schema.json"))


def read(path: Path) -> Any:
    """Read a JSON file, which need not be an edit yet.

    Raises:
        SnipbiasError: it cannot be read, or is not unambiguous JSON.
    """
    try:
        text = path.read_text(encoding="utf-8")
        # NaN is not JSON: as a text, it is refused by the name of its field.
        data = json.loads(text, object_pairs_hook=fields_once, parse_constant=str)
        json.dumps(data, ensure_ascii=False).encode()  # refuses half a character
        return data
    except (ValueError, OSError, RecursionError) as error:
        raise SnipbiasError(
            f"{path} is damaged ({_short(error)}): find or download the edit again."
        ) from None


def pack(sites: Mapping[str, Mapping[int, float]]) -> bytes:
    """The content of `factors.safetensors`: units (int32) and factors (float64) per site."""
    import torch
    from safetensors.torch import save

    tensors = {}
    for site, units in sites.items():
        tensors[f"{site}.units"] = torch.tensor(list(units), dtype=torch.int32)
        tensors[f"{site}.factors"] = torch.tensor(list(units.values()), dtype=torch.float64)
    return save(tensors)


def unpack(content: bytes, named: Mapping[str, Any], source: str | Path) -> dict[str, dict]:
    """Read site -> unit -> factor from such a file.

    Args:
        content: the file.
        named: the entry `factors` of edit.json, which names the file's hash.
        source: path of edit.json.

    Raises:
        SnipbiasError: it is another file, or its tensors are not units and factors.
    """
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load

    damaged = SnipbiasError(
        f"{Path(source).parent / FACTORS_FILE} does not fit {source}: find or download both again."
    )
    if hashlib.sha256(content).hexdigest() != named["sha256"]:
        raise damaged
    try:
        tensors = load(content)
        sites = {}
        for site, count in named["sites"].items():
            units, factors = tensors[f"{site}.units"], tensors[f"{site}.factors"]
            is_right = (units.dtype, factors.dtype) == (torch.int32, torch.float64)
            if not is_right or not units.shape == factors.shape == (count,):
                raise damaged
            found = dict(zip(units.tolist(), factors.tolist(), strict=True))
            if len(found) != count or min(found) < 0 or not factors.isfinite().all():
                raise damaged
            sites[site] = found
    except (SafetensorError, KeyError, ValueError, AttributeError):
        raise damaged from None
    return sites


def check(data: Any, source: str | Path) -> dict[str, Any]:
    """Check the data of an edit; drop fields that this version does not know, with a warning.

    Raises:
        SnipbiasError: the format is newer, or a field (which is named) is missing or malformed.
    """
    version = data.get("format") if isinstance(data, dict) else None
    if type(version) is int and version > DENSE:
        raise SnipbiasError(
            f"{source} has format {_short(version)}, newer than this snipbias reads ({DENSE}): "
            "upgrade snipbias."
        )
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import best_match

    unknown: list[str] = []
    known, fault = data, None
    error = best_match(Draft202012Validator(schema()).iter_errors(data))
    if error is None:
        known = _known(data, schema(), "", unknown)
        fault = _fault(known)
    else:
        place = ".".join(map(str, error.absolute_path))
        fault = f"{place}: {error.message}" if place else error.message
    if fault:
        raise SnipbiasError(
            f"{source} is not a complete edit ({_short(fault)}): find or download it again."
        )
    if unknown:
        newer = data.get("minor", 0) > MINOR
        why = "upgrade snipbias to read" if newer else "snipbias does not use"
        warnings.warn(
            f"{source} has fields that are ignored ({_short(', '.join(unknown))}): {why} them.",
            stacklevel=4,
        )
    return known


def _fault(known: dict[str, Any]) -> str | None:
    """A fault that the schema cannot see; None if there is none."""
    if _is_deeper(known, DEEPEST):
        return f"its fields are nested more than {DEEPEST} deep"
    counts = {site: len(part["units"]) for site, part in known["sites"].items()}
    for site, units in counts.items():
        if units != (factors := len(known["sites"][site]["factors"])):
            return f"sites.{site}: {units} units have {factors} factors"
    counts = known.get("factors", {}).get("sites") or counts
    listed, neurons = sum(counts.values()), known["model"]["neurons"]
    if listed > neurons:
        return f"model.neurons: {neurons} is fewer than the {listed} that are listed"
    for number, prompt in enumerate((known["found_on"] or {}).get("prompts", ())):
        try:
            PromptTemplate.from_dict(prompt)
        except SnipbiasError as error:
            return f"found_on.prompts.{number}: {str(error).partition(': ')[0]}"
    return None


def _is_deeper(data: Any, levels: int) -> bool:
    inside = data.values() if isinstance(data, dict) else data if isinstance(data, list) else ()
    return levels < 0 or any(_is_deeper(part, levels - 1) for part in inside)


def _known(data: Any, part: Mapping[str, Any], place: str, unknown: list[str]) -> Any:
    """The data without the fields that the schema does not list; their places go to `unknown`.

    A schema that lists no fields allows any, as for the settings of a method.
    """
    if part.get("type") == "integer":
        return int(data)  # in JSON, 1.0 is an integer too
    if isinstance(data, list) and "items" in part:
        return [_known(x, part["items"], f"{place}{i}.", unknown) for i, x in enumerate(data)]
    if not isinstance(data, dict) or not part.keys() & {"properties", "additionalProperties"}:
        return data
    known = {}
    for name, inner in data.items():
        inside = part.get("properties", {}).get(name, part.get("additionalProperties"))
        if inside is None:
            unknown.append(place + name)
        else:
            known[name] = _known(inner, inside, f"{place}{name}.", unknown)
    return known


def _short(said: object) -> str:
    """One line, without its middle if it is long."""
    return clipped(" ".join(str(said).split()), LONGEST_REASON)
