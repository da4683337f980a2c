"""The format of edit.json: what is an edit of this version, and what is said of any other."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from edit_json import OLD, WHOLE, one_sentence
from snipbias.base.errors import SnipbiasError
from snipbias.edits import format as edit_format
from snipbias.edits.edit import NeuronEdit


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
    "task": [("found_on/task", ...)],
    "name": [("model/name", ...)],
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
        "[]",
        "3",
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
