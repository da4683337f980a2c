from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from snipbias.base.errors import SnipbiasError
from snipbias.tasks import task

datasets = pytest.importorskip("datasets")

COLUMNS: dict[str, list[Any]] = {
    "question": ["Who won?", "Who lost?"],
    "options": [["Ann", "Ben"], ["Ann", "Ben"]],
    "label": [1, 0],
    "condition": [0, 1],
    "template": [None, "t"],
}
FEATURES = datasets.Features(
    {
        "question": datasets.Value("string"),
        "options": datasets.Sequence(datasets.Value("string")),
        "label": datasets.ClassLabel(names=["first", "second"]),
        "condition": datasets.ClassLabel(names=["ambig", "disambig"]),
        "template": datasets.Value("string"),
    }
)


@pytest.fixture
def dataset() -> Any:
    return datasets.Dataset.from_dict(COLUMNS, features=FEATURES)


@pytest.fixture
def stored(dataset: Any, tmp_path: Path) -> Path:
    """A folder that load_dataset takes for a repository: two splits."""
    folder = tmp_path / "owner-name"
    dataset.to_json(folder / "train.jsonl")
    dataset.select([0]).to_json(folder / "test.jsonl")
    return folder


def test_class_labels_are_indices_of_options_and_names_elsewhere(dataset: Any) -> None:
    loaded = task(dataset)
    assert [(item.gold, item.condition) for item in loaded.items] == [
        (1, "ambiguous"),
        (0, "disambiguated"),
    ]
    assert loaded.items[1].template == "t"
    assert loaded.source == "dataset (in memory)"


def labelled(names: list[str], options: list[list[str]], places: list[int]) -> Any:
    rows = {"question": ["?"] * len(options), "options": options, "label": places}
    labels = datasets.ClassLabel(names=names)
    return datasets.Dataset.from_dict(rows).cast_column("label", labels)


def test_a_label_counts_by_its_name_where_names_are_options() -> None:
    for names, options, places, gold in [
        (["no", "yes"], [["yes", "no"]] * 2, [0, 1], ["no", "yes"]),
        (["No", "Yes"], [["yes", "no"]], [1], ["yes"]),
        (["Ann", "Ben", "Cleo"], [["Cleo", "Ann"], ["Ben", "Cleo"]], [2, 1], ["Cleo", "Ben"]),
        (["A", "B"], [["x1", "x2"], ["B", "O"]], [0, 1], ["x1", "O"]),  # letters are places
        (["A", "B"], [["B", "A"]], [0], ["A"]),  # but not where all options are these letters
        (["good", "bad"], [["x1", "x2"]], [1], ["x2"]),
    ]:
        items = task(labelled(names, options, places)).items
        assert [item.options[item.gold] for item in items] == gold, names
    with pytest.raises(SnipbiasError, match="row 2: 'label' is 'Ben', which is none of the"):
        task(labelled(["Ann", "Ben"], [["Ann", "Dan"], ["Ann", "Eve"]], [0, 1]))


def test_labels_in_lists_and_unlabelled_cells(dataset: Any) -> None:
    names = datasets.ClassLabel(names=["Ben", "Ann"])
    lists = dataset.remove_columns("options").add_column("options", [[1, 0], [1, 0]])
    lists = lists.cast_column("options", datasets.Sequence(names))
    assert task(lists).items[0].options == ("Ann", "Ben")
    unlabelled = dataset.remove_columns("condition").add_column("condition", [-1, 0])
    unlabelled = unlabelled.cast_column("condition", FEATURES["condition"])
    assert [item.condition for item in task(unlabelled).items] == [None, "ambiguous"]


def test_a_dataset_in_the_format_of_another_library(dataset: Any) -> None:
    for name in ("numpy", "torch", "pandas", "arrow"):
        assert task(dataset.with_format(name)).items == task(dataset).items, name


def test_a_stream_is_read_like_a_dataset(dataset: Any) -> None:
    assert task(dataset.to_iterable_dataset()).items == task(dataset).items


def test_a_mapped_class_label_is_still_an_index(dataset: Any) -> None:
    renamed = dataset.rename_column("label", "answer")
    loaded = task(renamed, columns={"gold": "answer"})
    assert [item.gold for item in loaded.items] == [1, 0]


def test_splits_in_memory(dataset: Any) -> None:
    assert len(task(datasets.DatasetDict({"train": dataset}))) == 2
    with pytest.raises(SnipbiasError, match=r"has the splits train, test: name one as hf:owner"):
        task(datasets.DatasetDict({"train": dataset, "test": dataset}))


def test_a_bad_row_is_named_by_its_number(dataset: Any) -> None:
    with pytest.raises(SnipbiasError, match=r"^dataset, row 2: 'biased' is 7"):
        task(dataset.add_column("biased", [0, 7]))


def test_config_and_split_of_a_named_dataset(
    stored: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(stored.parent)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    loaded = task(f"hf:./{stored.name}::test", columns={"condition": "template"})
    assert len(loaded) == 1
    assert (loaded.items[0].gold, loaded.items[0].condition) == (1, None)
    with pytest.raises(SnipbiasError, match="has the splits"):
        task(f"hf:./{stored.name}")
    with pytest.raises(SnipbiasError, match="could not be loaded") as error:
        task(f"hf:./{stored.name}::dev")
    assert "\n" not in str(error.value)


def test_a_name_that_is_none() -> None:
    with pytest.raises(SnipbiasError, match="'hf:' does not name a dataset on the hub: write hf:"):
        task("hf:")


def test_offline_is_respected_even_if_the_library_does_not_know(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SNIPBIAS_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr(datasets, "load_dataset", lambda *_, **__: pytest.fail("asked the hub"))
    with pytest.raises(SnipbiasError, match="SNIPBIAS_OFFLINE is set, so hf:owner/name is not"):
        task("hf:owner/name")


def test_without_the_library_the_pip_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(SnipbiasError, match=r"pip install 'snipbias\[datasets\]'"):
        task("hf:owner/name")
