"""Whatever edit.json holds is an edit or one sentence, and nothing else."""

from __future__ import annotations

import copy
import json
import math
import warnings
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edit_json import FOUND_ON, MODEL, PART, SITES, WHOLE, one_sentence
from snipbias.edits.edit import NeuronEdit


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
