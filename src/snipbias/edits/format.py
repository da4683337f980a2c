"""The format of `edit.json`: its versions, its schema, and what a file must be to be read.

`data/edit.schema.json` is the one description of the fields; what it cannot say is checked here.
"""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from snipbias.base.errors import SnipbiasError
from snipbias.tasks.prompts import PromptTemplate

if TYPE_CHECKING:
    from jsonschema import Draft202012Validator

FILE = "edit.json"
FACTORS_FILE = "factors.safetensors"
# Major version 2 is a dense edit, whose factors lie beside edit.json; others stay readable by all.
MAJOR, MINOR, DENSE = 1, 4, 2
# Neurons from which the factors are tensors in a file of their own: a list of more reads badly.
DENSE_FROM = 20_000
LONGEST_REASON = 200
DEEPEST = 50  # of objects within each other, which Python walks by recursion


@cache
def schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of an edit."""
    path = files("snipbias") / "data" / "edit.schema.json"
    return json.loads(path.read_text(encoding="utf-8"))


def read(path: Path) -> Any:
    """The JSON of a file, which need not be an edit yet.

    Raises:
        SnipbiasError: it cannot be read, or is no JSON that stands for one thing only.
    """
    try:
        text = path.read_text(encoding="utf-8")
        # NaN is no JSON: as a text it is refused where a number belongs, by the field's name.
        data = json.loads(text, object_pairs_hook=_once, parse_constant=str)
        json.dumps(data, ensure_ascii=False).encode()  # half a character could be shown nowhere
        return data
    except (ValueError, OSError, RecursionError) as error:
        raise SnipbiasError(
            f"{path} is damaged ({_short(error)}): find or download the edit again."
        ) from None


def pack(sites: Mapping[str, Mapping[int, float]]) -> bytes:
    """The content of `factors.safetensors`: per site its units (int32) and factors (float64)."""
    import torch
    from safetensors.torch import save

    tensors = {}
    for site, units in sites.items():
        tensors[f"{site}.units"] = torch.tensor(list(units), dtype=torch.int32)
        tensors[f"{site}.factors"] = torch.tensor(list(units.values()), dtype=torch.float64)
    return save(tensors)


def unpack(content: bytes, named: Mapping[str, Any], source: str | Path) -> dict[str, dict]:
    """Site -> unit -> factor of such a file, if it is the one that edit.json names.

    Raises:
        SnipbiasError: it is another file, or its tensors are no units and factors.
    """
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
            found = dict(zip(units.tolist(), factors.tolist(), strict=True))
            if len(found) != count or min(found) < 0 or not factors.isfinite().all():
                raise damaged
            sites[site] = found
    except (SafetensorError, KeyError, ValueError, AttributeError):
        raise damaged from None
    return sites


def check(data: Any, source: str | Path) -> dict[str, Any]:
    """The data of an edit without the fields that this version does not know, which are warned of.

    Raises:
        SnipbiasError: the format is newer, or a field is missing or malformed; names the field.
    """
    _refuse_newer(data, source)
    fault = _fault(data)
    if fault is not None:
        raise SnipbiasError(
            f"{source} is not a complete edit ({fault}): find or download it again."
        )
    unknown = list(_unknown(data, schema(), ""))
    if unknown:
        newer = data.get("minor", 0) > MINOR
        why = "upgrade snipbias to read" if newer else "snipbias has no use for"
        warnings.warn(
            f"{source} has fields that are left out ({_short(', '.join(unknown))}): {why} them.",
            stacklevel=4,
        )
    return _known(data, schema())


def _refuse_newer(data: Any, source: str | Path) -> None:
    version = data.get("format") if isinstance(data, dict) else None
    if type(version) is int and version > DENSE:
        raise SnipbiasError(
            f"{source} has format {_short(version)}, newer than this snipbias reads ({DENSE}): "
            "upgrade snipbias."
        )


def _fault(data: Any) -> str | None:
    """The first fault of an edit, with the name of the field; None if there is none."""
    from jsonschema.exceptions import best_match

    error = best_match(_validator().iter_errors(data))
    if error is not None:
        return f"{_path(error.absolute_path)}{_short(error.message)}"
    if _is_deeper(data, DEEPEST):
        return f"its fields are nested more than {DEEPEST} deep"
    for site, part in data["sites"].items():
        units, factors = len(part["units"]), len(part["factors"])
        if units != factors:
            return f"{_path(('sites', site))}{units} units have {factors} factors"
    counts = (data.get("factors") or {}).get("sites") or {
        site: len(part["units"]) for site, part in data["sites"].items()
    }
    listed, neurons = sum(counts.values()), data["model"]["neurons"]
    if listed > neurons:
        return f"model.neurons: {neurons} is fewer than the {listed} that are listed"
    return _prompt_fault(data["found_on"])


def _prompt_fault(found_on: Any) -> str | None:
    listed = (found_on or {}).get("prompts", ())
    inside = schema()["properties"]["found_on"]["properties"]["prompts"]["items"]
    for number, prompt in enumerate(listed):
        try:
            PromptTemplate.from_dict(_known(prompt, inside))
        except SnipbiasError as error:
            return f"found_on.prompts.{number}: {_short(str(error).partition(': ')[0])}"
    return None


def _is_deeper(data: Any, levels: int) -> bool:
    inside = data.values() if isinstance(data, dict) else data if isinstance(data, list) else ()
    return levels < 0 or any(_is_deeper(part, levels - 1) for part in inside)


@cache
def _validator() -> Draft202012Validator:
    from jsonschema import Draft202012Validator

    return Draft202012Validator(schema())


def _unknown(data: Any, part: Mapping[str, Any], place: str) -> Iterator[str]:
    """The places of the fields that the schema does not list."""
    for name, inner, described in _fields(data, part):
        where = f"{place}.{name}".lstrip(".")
        if described is None:
            yield where
        else:
            yield from _unknown(inner, described, where)


def _known(data: Any, part: Mapping[str, Any]) -> Any:
    """The data without those fields, its integers as such."""
    if part.get("type") == "integer":
        return int(data)  # JSON has one kind of number, so that its 1.0 is an integer
    if isinstance(data, list) and "items" in part:
        return [_known(inner, part["items"]) for inner in data]
    if isinstance(data, dict) and _lists_fields(part):
        kept = _fields(data, part)
        return {name: _known(inner, inside) for name, inner, inside in kept if inside is not None}
    return data


def _fields(
    data: Any, part: Mapping[str, Any]
) -> Iterator[tuple[str, Any, Mapping[str, Any] | None]]:
    """The parts of an object or array, each with its schema; None where there is none."""
    if isinstance(data, list):
        for number, inner in enumerate(data if "items" in part else ()):
            yield str(number), inner, part["items"]
    elif isinstance(data, dict) and _lists_fields(part):
        listed, others = part.get("properties", {}), part.get("additionalProperties")
        for name, inner in data.items():
            yield name, inner, listed.get(name, others)


def _lists_fields(part: Mapping[str, Any]) -> bool:
    """Whether a schema says which fields there are; the settings of a method are free."""
    return "properties" in part or "additionalProperties" in part


def _path(parts: Any) -> str:
    """`sites.a.units.0: `, or nothing for the whole."""
    place = ".".join(map(str, parts))
    return f"{_short(place)}: " if place else ""


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object's fields; of two of one name, one would be lost without a word."""
    fields = dict(pairs)
    if len(fields) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the field {twice!r} stands twice")
    return fields


def _short(said: object) -> str:
    """One line, cut where a file's own content makes it long."""
    line = " ".join(str(said).split())
    half = LONGEST_REASON // 2
    return line if len(line) <= LONGEST_REASON else f"{line[:half]} ... {line[-half:]}"
