"""The published figures, looked up as a table asks for them."""

from __future__ import annotations

import pytest

from snipbias.experiment.settings import KNOWN
from snipbias.experiment.tables import published

BASE, LARGE, XL = (f"google/flan-t5-{size}" for size in ("base", "large", "xl"))


@pytest.mark.parametrize(
    ("model", "task", "method", "version", "value"),
    [
        (BASE, "bbq:SES", "original", "v1", 65.78),
        (BASE, "bbq:SES", "original", "v2", 65.63),
        (BASE, "bbq:Age", "CC", "v1", 40.80),
        (BASE, "bbq:Disability_status", "DC", "v1", 44.15),
        (BASE, "bbq:Disability_status", "v1", "v1", 57.94),
        (BASE, "bbq:Age", "v2", "v1", 60.32),  # v1 has no such row, so v2's stands there
        (BASE, "bbq:Age", "v1", "v2", 58.49),
        (BASE, "mrpc", "DC", "v1", 75.01),
        (BASE, "qnli", "v2", "v2", 84.44),
        (LARGE, "rte", "v2", "v2", 85.84),
        (LARGE, "bbq:SES", "original", "v1", 66.67),  # its own figure before base's
        (XL, "qnli", "original", "v2", 89.22),
        ("/models/FLAN-T5-XL", "bbq:SES", "v2", "v2", 93.10),
        (BASE, "bbq:SES", "random", "v1", 65.62),
        (BASE, "mrpc", "v2 mean over tokens", "v2", 72.19),
        (BASE, "bbq:SES", "v2 no weight", "v2", 70.92),
        (BASE, "mrpc", "v2 no skill term", "v2", 72.17),
    ],
)
def test_an_accuracy_is_the_one_that_was_published(model, task, method, version, value):
    found = published.published("accuracy", model, task, method, version)
    assert found is not None
    assert found.values == (value,)
    assert not found.source.endswith(published.ORIENTATION)


@pytest.mark.parametrize(
    ("model", "task", "method"),
    [
        (BASE, "mini:ses", "v1"),
        (BASE, "bbq:Gender_identity", "original"),
        (BASE, "bbq:SES", "steering"),
        (LARGE, "bbq:SES", "random"),
        (LARGE, "mrpc", "v2 no weight"),
    ],
)
def test_what_was_not_published_is_nothing(model, task, method):
    assert published.published("accuracy", model, task, method) is None


def test_another_model_has_the_figures_of_base_for_orientation():
    found = published.published("accuracy", "HuggingFaceTB/SmolLM2-135M-Instruct", "bbq:SES", "v1")
    assert found is not None
    assert (found.values, found.source) == (
        (72.25,),
        "CRISPR v1, Table 1, Flan-T5-base, for orientation",
    )


def test_table_2_is_by_condition():
    found = published.published("gold probability", BASE, "bbq:Age", "v1")
    assert found is not None
    assert found.values == (58.57, 43.37)
    assert published.published("gold probability", BASE, "bbq:Age", "v2") is None
    assert published.published("gold probability", BASE, "mrpc", "v1") is None


def test_neurons_and_spread():
    sizes = [published.published("neurons", model, "bbq:Age", "v2") for model in (BASE, LARGE, XL)]
    assert [size and size.values for size in sizes] == [(170,), (92,), (59,)]
    assert published.published("neurons", BASE, "rte", "v2") is None
    methods = ("original", "v2", "v1")
    spreads = [published.published("spread", BASE, "mrpc", method) for method in methods]
    assert [spread and spread.values for spread in spreads] == [(4.17,), (0.65,), None]
    assert published.published("spread", LARGE, "mrpc", "v2") is None


def test_every_method_with_a_figure_is_one_that_can_be_run():
    known = [key for key in published.figures() if key[0] == "accuracy"]
    assert known
    assert {method for _, _, _, method, _ in known} <= set(KNOWN)


def test_the_figures_of_each_table_add_up_to_what_the_papers_print():
    """Every figure was looked up in the papers' text first; one wrong digit shows."""
    sums: dict[tuple[str, ...], float] = {}
    for (figure, version, size, *_), (values, _place) in published.figures().items():
        if figure != "figure":
            key = (figure, version, size)
            sums[key] = sums.get(key, 0) + sum(map(float, values.split()))
    assert {key: round(found, 2) for key, found in sums.items()} == {
        ("accuracy", "v1", "base"): 607.32,
        ("accuracy", "v2", "base"): 2027.70,
        ("accuracy", "v2", "large"): 915.28,
        ("accuracy", "v2", "xl"): 1023.49,
        ("gold probability", "v1", "base"): 610.84,
        ("neurons", "v2", "base"): 189,
        ("neurons", "v2", "large"): 129,
        ("neurons", "v2", "xl"): 147,
        ("spread", "v2", "base"): 6.93,
    }
