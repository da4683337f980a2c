"""Generated inputs: whatever comes in, the answer is a result or one short SnipbiasError.

    @fuzz.amounts(7)
    def test_my_reader(examples: int, tmp_path: Path) -> None:
        fuzz.attack(lambda value: my_reader(value), fuzz.values, examples)

`amounts(7)` gives every run of the tests a few inputs, and a seventh of 10,000 behind the marker
`fuzz` (`pytest -m fuzz`): the same inputs each time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from snipbias.base.errors import SnipbiasError
from snipbias.base.words import SCREEN

QUICK, THOROUGH = 25, 10_000

texts = st.text(max_size=12) | st.text(max_size=4).map(lambda text: text * 5_000)
scalars = st.none() | st.booleans() | st.integers() | st.floats() | texts
values = st.recursive(
    scalars, lambda v: st.lists(v, max_size=3) | st.dictionaries(texts, v, max_size=3), max_leaves=6
)


def amounts(readers: int) -> pytest.MarkDecorator:
    """The argument `examples` of one of so many tests that share the 10,000."""
    thorough = pytest.param(THOROUGH // readers, marks=pytest.mark.fuzz)
    return pytest.mark.parametrize("examples", [QUICK, thorough])


def attack(call: Callable[[Any], object], inputs: st.SearchStrategy[Any], examples: int) -> None:
    """Call with generated inputs; any other exception, or a long or broken message, fails."""

    def check(value: Any) -> None:
        message = "none"
        try:
            call(value)
        except SnipbiasError as error:
            message = str(error)
        assert 0 < len(message) <= SCREEN
        assert "\n" not in message

    repeatable = settings(
        derandomize=True,
        max_examples=examples,
        deadline=None,
        database=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
    )
    repeatable(given(inputs)(check))()
