"""The format of edit.json: whatever a file holds is an edit or one sentence, and nothing else."""

from __future__ import annotations

import copy
import json
import math
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from snipbias.base.errors import SnipbiasError
from snipbias.edits import format as edit_format
from snipbias.edits.edit import NeuronEdit

MODEL = {"name": "toy", "architecture": "Toy", "neurons": 5, "weights": "f0", "revision": None}
FOUND_ON = {
    "task": "toy",
    "templates": ["t1", "t2"],
    "items": ["a"],
    "instructions": 10,
    "fingerprint": "f00",
    "method": {"target": "prob", "depth": {"any": [1]}},
}
SITES = {
    "a": {"units": [0, 4], "factors": [0.0, 1.5]},
    "b.c": {"units": [2], "factors": [-3]},
}
OLD = {"format": 1, "label": "x", "model": MODEL, "found_on": FOUND_ON, "sites": SITES}
PART = {"label": "y", "fingerprint": "f1", "operation": "union"}
WHOLE = {**OLD, "minor": 1, "made_of": [PART]}


def put(path: str, value: Any, data: Any = WHOLE) -> Any:
    """The data with another value at a place; `...` deletes."""
    changed = copy.deepcopy(data)
    *way, last = path.split("/")
    inner = changed
    for name in way:
        inner = inner[int(name) if isinstance(inner, list) else name]
    if value is ...:
        del inner[last]
    else:
        inner[int(last) if isinstance(inner, list) else last] = value
    return changed


def reference(data: Any) -> bool:
    """Whether it is an edit of this major version, said again in plain Python."""

    def whole(value: Any) -> bool:
        real = type(value) is float and math.isfinite(value) and value == int(value)
        return (type(value) is int or real) and value >= 0

    def texts(value: Any, *names: str) -> bool:
        return isinstance(value, dict) and all(isinstance(value.get(n), str) for n in names)

    def listed(value: Any) -> bool:
        return isinstance(value, list) and all(isinstance(text, str) for text in value)

    def found(value: Any) -> bool:
        return value is None or (
            texts(value, "task", "fingerprint")
            and listed(value.get("templates"))
            and listed(value.get("items"))
            and whole(value.get("instructions"))
            and isinstance(value.get("method", {}), dict)
        )

    def site(value: Any) -> bool:
        if not isinstance(value, dict):
            return False
        units, factors = value.get("units"), value.get("factors")
        if not isinstance(units, list) or not isinstance(factors, list) or not units:
            return False
        numbers = all(type(f) in (int, float) and abs(f) <= 1.7976931348623157e308 for f in factors)
        lengths = len(units) == len(factors) and all(map(whole, units))
        return numbers and lengths and len(set(units)) == len(units)

    if not texts(data, "label") or type(data.get("format")) not in (int, float):
        return False
    model, parts, sites = data.get("model"), data.get("made_of", []), data.get("sites")
    return (
        data["format"] == 1
        and whole(data.get("minor", 0))
        and texts(model, "name", "architecture", "weights")
        and whole(model.get("neurons"))
        and model["neurons"] < 2**53
        and isinstance(model.get("revision"), (str, type(None)))
        and "found_on" in data
        and found(data["found_on"])
        and isinstance(parts, list)
        and all(texts(part, "label", "fingerprint", "operation") for part in parts)
        and isinstance(sites, dict)
        and bool(sites)
        and all(map(site, sites.values()))
        and sum(len(part["units"]) for part in sites.values()) <= model["neurons"]
    )


def one_sentence(read: Callable[[], NeuronEdit]) -> NeuronEdit | None:
    """The edit; None where it is refused as it should be. Anything else goes through."""
    try:
        return read()
    except SnipbiasError as refused:
        said = str(refused)
    assert "\n" not in said
    assert len(said) < 700
    return None


def loads(data: Any) -> bool:
    """Whether it loads; what it raises otherwise is one sentence."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        edit = one_sentence(lambda: NeuronEdit.from_dict(data))
    if edit is None:
        return False
    assert NeuronEdit.from_dict(json.loads(edit.to_json())) == edit
    assert len(edit.fingerprint) == 64
    return True


# -- the schema -------------------------------------------------------------------------------


def test_the_schema_is_one_and_names_no_host() -> None:
    Draft202012Validator.check_schema(edit_format.schema())
    assert edit_format.schema()["$id"] == f"urn:snipbias:edit:{edit_format.MAJOR}"


def test_what_is_written_fits_the_schema(tmp_path: Path) -> None:
    edit = NeuronEdit.from_dict(WHOLE)
    written = json.loads(edit.to_json())
    Draft202012Validator(edit_format.schema()).validate(written)
    folder = edit.save(tmp_path / "edit")
    assert NeuronEdit.load(folder) == edit
    assert (written["format"], written["minor"]) == (edit_format.MAJOR, edit_format.MINOR)


@pytest.mark.filterwarnings("error")
def test_a_file_of_the_first_version_is_read_without_a_word() -> None:
    edit = NeuronEdit.from_dict(OLD)
    assert edit.factors == {"a": {0: 0.0, 4: 1.5}, "b.c": {2: -3.0}}
    assert edit.found_on is not None
    assert edit.found_on.templates == ("t1", "t2")
    assert NeuronEdit.from_dict(put("model/revision", ..., OLD)) == edit
    assert NeuronEdit.from_dict(put("found_on/method", ..., OLD)).found_on.method == {}  # type: ignore[union-attr]


# -- refused in one sentence that names the field ---------------------------------------------

FAULTS = {
    "format": [("format", ...), ("format", "1"), ("format", 0), ("format", True), ("format", -1)],
    "minor": [("minor", "1"), ("minor", -1), ("minor", None), ("minor", 0.5)],
    "label": [("label", ...), ("label", None), ("label", 3)],
    "model": [("model", ...), ("model", None), ("model", [])],
    "weights": [("model/weights", ...), ("model/weights", 5)],
    "neurons": [("model/neurons", n) for n in (..., "5", -1, 2, 2**53, 1e300)],
    "revision": [("model/revision", 5)],
    "found_on": [("found_on", ...), ("found_on", "toy"), ("found_on", [])],
    "templates": [("found_on/templates", ...), ("found_on/templates", "t1")],
    "found_on.items.0": [("found_on/items/0", 3)],
    "instructions": [("found_on/instructions", None)],
    "method": [("found_on/method", [])],
    "made_of.0": [("made_of/0", 3)],
    "operation": [("made_of/0/operation", ...)],
    "sites": [("sites", ...), ("sites", {}), ("sites", [])],
    "sites.a": [("sites/a", []), ("sites/a/factors", [0.0]), ("sites/a/units", [0, 1, 2])],
    "sites.a.units": [
        ("sites/a/units", []),
        ("sites/a/units", [1, 1]),
        ("sites/a/units", [1, 1.0]),
    ],
    "sites.a.units.1": [("sites/a/units/1", value) for value in (-1, "0", 0.5, True, None)],
    "sites.b.c.factors.0": [
        ("sites/b.c/factors/0", value) for value in ("0", None, False, 10**400, float("inf"))
    ],
}


@pytest.mark.parametrize(
    ("field", "path", "value"),
    [(field, *fault) for field, faults in FAULTS.items() for fault in faults],
)
def test_a_missing_or_malformed_field_is_named(
    field: str, path: str, value: Any, tmp_path: Path
) -> None:
    (tmp_path / "edit.json").write_text(json.dumps(put(path, value)))
    with pytest.raises(SnipbiasError, match="is not a complete edit") as refused:
        NeuronEdit.load(tmp_path)
    said = str(refused.value)
    assert field in said.removeprefix(str(tmp_path))
    assert "\n" not in said


def test_no_number_is_named_too(tmp_path: Path) -> None:
    text = json.dumps(WHOLE).replace("1.5", "NaN")
    (tmp_path / "edit.json").write_text(text)
    with pytest.raises(SnipbiasError, match=r"sites\.a\.factors\.1: 'NaN' is not of type 'number'"):
        NeuronEdit.load(tmp_path)


def test_a_newer_major_version_asks_for_an_upgrade() -> None:
    with pytest.raises(SnipbiasError, match=r"has format 3, newer .* \(2\): upgrade snipbias\."):
        NeuronEdit.from_dict({"format": 3, "all": "is new"})


@pytest.mark.parametrize(
    "text",
    [
        '{"format": 1, "format": 1}',
        "[" * 100_000,
        json.dumps({**WHOLE, "label": "half a character: \ud800"}),
        "1" * 5000,
        "",
        "\x00",
    ],
)
def test_what_is_no_json_of_one_meaning_is_damaged(text: str, tmp_path: Path) -> None:
    (tmp_path / "edit.json").write_text(text)
    with pytest.raises(SnipbiasError, match=r"is damaged|is not a complete edit") as refused:
        NeuronEdit.load(tmp_path)
    assert len(str(refused.value)) < 600


def test_a_field_that_stands_twice_is_named(tmp_path: Path) -> None:
    text = json.dumps(WHOLE).replace('"b.c"', '"a"')
    (tmp_path / "edit.json").write_text(text)
    with pytest.raises(SnipbiasError, match="the field 'a' appears twice"):
        NeuronEdit.load(tmp_path)


# -- fields of a newer minor version ----------------------------------------------------------


def test_fields_of_a_newer_minor_version_are_named_once_and_left_out() -> None:
    newer = put("minor", 7)
    for path in ("new", "model/quantised", "found_on/seed", "sites/a/why", "made_of/0/more"):
        newer = put(path, {"any": "thing"}, newer)
    with pytest.warns(UserWarning, match="upgrade snipbias to read them") as said:
        edit = NeuronEdit.from_dict(newer, "the file")
    assert len(said) == 1
    for name in ("new", "model.quantised", "found_on.seed", "sites.a.why", "made_of.0.more"):
        assert name in str(said[0].message)
    assert edit == NeuronEdit.from_dict(WHOLE)


def test_a_field_that_no_version_has_is_left_out_with_a_warning() -> None:
    with pytest.warns(UserWarning, match=r"ignored \(lable\): snipbias does not use them"):
        NeuronEdit.from_dict(put("lable", "typo"))


@pytest.mark.filterwarnings("error")
def test_settings_of_a_method_are_free() -> None:
    NeuronEdit.from_dict(put("found_on/method", {"new": {"setting": None}}))


@pytest.mark.parametrize("depth", [40, 100, 900])
def test_what_is_nested_deep_is_read_and_written_again_or_refused(
    depth: int, tmp_path: Path
) -> None:
    """Python's own limit would come later, in whatever walks the settings."""
    nested = '{"a": ' * depth + "1" + "}" * depth
    text = json.dumps(put("found_on/method", "here")).replace('"here"', nested)
    (tmp_path / "edit.json").write_text(text)
    edit = one_sentence(lambda: NeuronEdit.load(tmp_path))
    assert (edit is not None) == (depth == 40)
    if edit is not None:
        assert NeuronEdit.load(edit.save(tmp_path / "again")) == edit


# -- anything at all --------------------------------------------------------------------------

SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.sampled_from([-1, 0, 1, 2, 1.0, 4.0, 0.5, -0.0, 1e308, 10**400, float("inf"), 2**70]),
    st.sampled_from(["", "1", "a", "label"]),
)
ANYTHING = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=4,
)


def places(data: Any, here: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inside = data.items() if isinstance(data, dict) else enumerate(data)
    found = [here]
    for name, value in inside if isinstance(data, (dict, list)) else ():
        found += (
            places(value, (*here, name)) if isinstance(value, (dict, list)) else [(*here, name)]
        )
    return found


@st.composite
def mutated(draw: st.DrawFn) -> Any:
    """A valid edit with one to three places deleted, replaced, copied elsewhere or added."""
    data: Any = copy.deepcopy(WHOLE)
    for _ in range(draw(st.integers(0, 3))):
        way = draw(st.sampled_from(places(data)))
        if not way:
            continue
        holder = data
        for name in way[:-1]:
            holder = holder[name]
        kind = draw(st.sampled_from(["delete", "replace", "copy", "add"]))
        if kind == "delete":
            del holder[way[-1]]
        elif kind == "add" and isinstance(holder, list):
            holder.append(draw(ANYTHING))
        elif kind == "add":
            holder[draw(st.text(max_size=3))] = draw(ANYTHING)
        else:
            other = copy.deepcopy(draw(st.sampled_from([MODEL, FOUND_ON, SITES, [PART], 1])))
            value = draw(ANYTHING) if kind == "replace" else other
            holder[way[-1]] = value
    return data


@settings(max_examples=250)
@given(mutated())
def test_mutated_edits_load_exactly_if_the_rules_say_so(data: Any) -> None:
    assert loads(data) == reference(data)


@settings(max_examples=100)
@given(ANYTHING)
def test_anything_else_is_refused(data: Any) -> None:
    assert not loads(data)


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    place=st.integers(0, len(json.dumps(WHOLE))),
    cut=st.integers(0, 6),
    extra=st.sampled_from(
        ['"', "}", "]", "-", "e9", "NaN", "\\u0000", "\ufeff", "\n", ",", "9" * 20]
    ),
)
def test_damaged_text_is_an_edit_or_one_sentence(
    place: int, cut: int, extra: str, tmp_path: Path
) -> None:
    text = json.dumps(WHOLE)
    path = tmp_path / "edit.json"
    path.write_text(text[:place] + extra + text[place + cut :], encoding="utf-8")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        one_sentence(lambda: NeuronEdit.load(path))
