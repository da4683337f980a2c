from __future__ import annotations

from pathlib import Path

import pytest

from bbq_rows import quartet, write
from snipbias.base.errors import SnipbiasError
from snipbias.tasks import available, general_instructions, mini, task

ROWS = quartet([("mystery", "unknown"), ("x", "disabled"), ("y", "nonDisabled")], ["disabled"])
INSTRUCTIONS_OF = {name: mini.load_category(name)["instructions"] for name in mini.CATEGORIES}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("SES", "Disability_status", "Age", "Gender_identity"):
        write(tmp_path / f"{name}.jsonl", ROWS)
    return tmp_path


@pytest.mark.parametrize(
    ("spec", "name", "counterpart"),
    [
        ("bbq:SES", "bbq:SES", "ses"),
        ("BBQ:ses", "bbq:SES", "ses"),
        ("bbq:Disability", "bbq:Disability_status", "disability"),
        ("bbq:disability-status", "bbq:Disability_status", "disability"),
        ("bbq:age", "bbq:Age", "age"),
        ("bbq:gender", "bbq:Gender_identity", None),
    ],
)
def test_bbq_by_name_under_the_instructions_that_fit(
    folder: Path, spec: str, name: str, counterpart: str | None
) -> None:
    loaded = task(spec, data_dir=folder)
    assert loaded.name == name
    expected = INSTRUCTIONS_OF[counterpart] if counterpart else general_instructions()
    assert loaded.instructions == tuple(expected)
    own = task(spec, data_dir=folder, instructions=["Mine."])
    assert (own.instructions, own.items) == (("Mine.",), loaded.items)


def test_mini_by_name() -> None:
    parts = [task(f"mini:{category}") for category in mini.CATEGORIES]
    for part, category in zip(parts, mini.CATEGORIES, strict=True):
        assert part.instructions == tuple(INSTRUCTIONS_OF[category])
        assert f"{category}.json sha256 " in part.source
    whole = task("MINI")
    assert whole.items == sum((part.items for part in parts), ())
    assert len(set(whole.instructions)) == 10
    assert all(any(text in own for own in INSTRUCTIONS_OF.values()) for text in whole.instructions)
    assert task("mini:ses", instructions=("Mine.",)).instructions == ("Mine.",)


def test_a_folder_of_the_same_name_does_not_hide_a_task(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mini").mkdir()
    monkeypatch.chdir(tmp_path)
    assert task("mini").name == "mini"


@pytest.mark.parametrize(
    ("spec", "meant"),
    [
        ("mnii", "mini"),
        ("mini:disabilty", "mini:disability"),
        ("bbq:Nationalty", "bbq:Nationality"),
        ("bbq:race", "bbq:Race_ethnicity"),  # also Race_x_SES, Race_x_gender: not to be guessed
    ],
)
def test_an_unknown_name_lists_what_there_is(spec: str, meant: str) -> None:
    with pytest.raises(SnipbiasError) as error:
        task(spec)
    message = str(error.value)
    assert message.startswith(f"there is no task {spec!r} (did you mean {meant!r}?): use mini, ")
    assert all(name in message for name, _, _ in available())


def test_nothing_close_no_guess() -> None:
    with pytest.raises(SnipbiasError, match="there is no task 'qqqqqq': use"):
        task("qqqqqq")


@pytest.mark.parametrize("spec", ["nowhere.csv", "folder/rows", "~/nowhere.jsonl"])
def test_what_looks_like_a_path_is_reported_as_one(spec: str) -> None:
    with pytest.raises(SnipbiasError, match=r"there is no file|does not end in"):
        task(spec)


def test_named_tasks_take_no_columns() -> None:
    with pytest.raises(SnipbiasError, match="mini does not take a column mapping"):
        task("mini", columns={"gold": "answer"})


@pytest.mark.parametrize("instructions", [[], ["Say who.", " "], ""])
def test_empty_instructions_are_refused(instructions: list[str] | str) -> None:
    with pytest.raises(SnipbiasError, match="give at least one, and leave none empty"):
        task("mini", instructions=instructions)


def test_a_number_of_instructions_says_how_to_take_the_first() -> None:
    with pytest.raises(SnipbiasError, match=r"are 3: give texts; for the first few .*\[:3\]"):
        task("mini", instructions=3)  # type: ignore[arg-type]


def test_available_downloads_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        pytest.fail("asked the network")

    monkeypatch.setattr("urllib.request.urlopen", fail)
    listed = {name: rows for name, rows, _ in available()}
    assert listed["bbq:Race_x_gender"] == 15960
    assert sum(rows for name, rows in listed.items() if name.startswith("bbq:")) == 58492
    assert listed["mini"] == len(task("mini"))
    assert all(listed[f"mini:{name}"] == len(task(f"mini:{name}")) for name in mini.CATEGORIES)


def test_the_skills_are_a_task() -> None:
    loaded = task("mini:skills")
    assert (len(loaded), len(loaded.instructions)) == (594, 10)
    assert ("mini:skills", 594) in [(name, rows) for name, rows, _ in available()]


def test_ten_general_instructions_that_hint_at_nothing() -> None:
    general = general_instructions()
    assert len(set(general)) == 10
    for text in general:
        assert "option" in text.lower() or "answers" in text.lower()
        for hint in ("unknown", "know", "stereotyp", "bias", "context", "people", "fair"):
            assert hint not in text.lower()
