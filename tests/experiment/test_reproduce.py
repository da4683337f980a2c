"""`snipbias reproduce` from end to end, stopped and started again; killed: test_fuzz_results."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from command_line import save
from snipbias.base.errors import SnipbiasError
from snipbias.base.record import RunRecord
from snipbias.cli import reproduce as command
from snipbias.edits.edit import NeuronEdit
from snipbias.experiment.settings import RIVALS, preset

QUICK = [
    *("--task", "mini:age", "--instructions", "1", "--samples", "2"),
    *("--methods", "random,CC", "--trials", "1", "--draws", "1", "--items", "4"),
    *("--dev-items", "4", "--sizes", "2,5", "--retention", "mini:skills", "--no-text"),
    *("--retention-items", "4", "--elsewhere", "1", "--prompts", "none"),
]
TABLES = ("table1.csv", "table2.csv", "tables.md", "rows.parquet")


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    return save(tmp_path_factory.mktemp("models") / "tiny")


def files(folder: Path, names: tuple[str, ...] = TABLES) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in names}


def test_what_is_written_and_printed(cli, model: Path, here: Path, monkeypatch) -> None:
    """And the same command does nothing twice, and ends with the same bytes."""
    both = ("reproduce", model, *QUICK, "--task", "mini:ses", "--out", "run", "--json")
    status, out, err = cli(*both)
    assert (status, err) == (0, "")
    shown = json.loads(out)
    assert shown["out"] == "run"
    with open("run/table1.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    placed = [(row["task"], row["method"]) for row in rows]
    methods = ("original", "v1", "random", "CC")
    assert {(t, m) for t in ("mini:age", "mini:ses") for m in methods} <= set(placed)
    table = pq.read_table("run/rows.parquet")
    assert set(table["method"].unique().to_pylist()) == set(methods)
    for task in ("mini-age", "mini-ses"):
        edit = NeuronEdit.load(here / "run" / "edits" / task / "trial0" / "v1")
        assert len(edit) in (2, 5, 3)
        control = NeuronEdit.load(here / "run" / "edits" / task / "trial0" / "random")
        assert len(control) == len(edit)
    record = RunRecord.read("run")
    assert record.command == "reproduce"
    assert set(record.data) == {"mini:age", "mini:ses", "mini:skills"}
    assert record.arguments["settings"]["sizes"] == [2, 5]
    assert not list(Path("run").rglob(".*"))

    before = files(here / "run")
    monkeypatch.setattr("snipbias.experiment.cell.evaluate", None)  # nothing is left to do
    assert cli(*both) == (0, out, "")
    assert files(here / "run") == before


def test_another_experiment_is_refused_and_replaced_on_demand(cli, model: Path, here: Path) -> None:
    """And a rerun gives the same tables."""
    *_, folder, then = lines = cli("reproduce", model, *QUICK, "--out", "run")[1].splitlines()
    assert len(lines) <= 25
    assert (folder[:12], then) == ("written  run", "next     snipbias report run --out run.html")
    assert lines[0] in cli("show", "run")[1].splitlines()
    assert "Table 1: accuracy" in cli("reproduce", model, *QUICK, "--out", "run", "--full")[1]
    status, _, err = cli("rerun", "run", "--out", "again")
    assert (status, err) == (0, "")
    assert files(here / "again") == files(here / "run")
    status, out, err = cli("reproduce", model, *QUICK, "--seed", 7, "--out", "run")
    assert (status, out) == (1, "")
    assert err == (
        "error: run holds another experiment (settings.seed is 0 there and 7 here): give another "
        "--out, or --overwrite it.\n"
    )
    status, _, _ = cli("reproduce", model, *QUICK, "--seed", 7, "--out", "run", "--overwrite")
    assert status == 0
    assert RunRecord.read("run").arguments["seed"] == 7


def test_an_interrupt_says_where_it_goes_on(cli, model: Path, here: Path, monkeypatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("snipbias.experiment.results.Results.write", interrupted)
        status, out, err = cli("reproduce", model, *QUICK)
    (folder,) = Path("snipbias-runs").iterdir()
    assert (status, out) == (130, "")
    assert err == (
        f"interrupted: finished work is kept in {folder}; run the same command again to resume.\n"
    )
    assert folder.name.startswith("reproduce-tiny-v1-")
    assert cli("reproduce", model, *QUICK)[0] == 0
    assert (folder / "table1.csv").exists()
    assert len(list(Path("snipbias-runs").iterdir())) == 1


# -- arguments to settings -----------------------------------------------------------------------


def settings(**given: object):
    return command.Reproduce(**{"model": "m", **given}).settings()


def test_without_arguments_it_is_the_preset_on_bbq() -> None:
    assert settings() == preset("v1", tasks=command.BBQ)
    assert settings(preset="v2") == preset("v2", tasks=command.BBQ)
    assert settings().methods == ("original", *RIVALS)


def test_the_demo_model_has_tasks_and_limits_of_its_own() -> None:
    demo = settings(model="demo")
    assert demo.tasks == ("mini:age", "mini:ses", "mini:disability")
    assert demo.items == command.DEMO_LIMITS["items"]
    assert (demo.samples, demo.trials, demo.instructions) == (10, 3, None)
    assert settings(model="demo", items=5).items == 5


def test_arguments_become_settings() -> None:
    found = settings(methods="CC, gap,paired clamped,v1,gap", sizes="30,1,3,3", no_harm=0.05)
    assert found.methods == ("original", "CC", "gap", "paired clamped", "v1")
    assert found.sizes == (1, 3, 30)
    assert (found.objective, found.margin) == ("no-harm", 0.05)
    assert settings(balanced=True).objective == "balanced"
    assert settings(no_retention=True).retention == ()
    assert settings(retention=["mini:age"]).retention == ("mini:age",)
    assert settings(text=False).texts == 0
    assert settings(preset="v2", samples=5).sample_sizes == (10,)
    assert settings(preset="v2", sample_sizes="").sample_sizes == ()
    assert not settings(preset="v2", transfer=False).transfer


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"balanced": True, "no_harm": 0.1}, "--balanced and --no-harm contradict"),
        ({"objective": "overall", "balanced": True}, "contradict"),
        ({"no_retention": True, "retention": ["a"]}, "contradict"),
        ({"sizes": "3,x"}, "write 3,10,50"),
        ({"methods": "CC,nonsense"}, "no method 'nonsense'"),
        ({"preset": "v3"}, "no preset 'v3'"),
    ],
)
def test_what_contradicts_itself_is_refused(given: dict, said: str) -> None:
    with pytest.raises(SnipbiasError, match=said):
        settings(**given)


def test_the_default_folder_is_that_of_the_settings() -> None:
    one = command.default_folder("org/some-model", settings())
    assert one == command.default_folder("org/some-model", settings())
    assert one != command.default_folder("org/some-model", settings(seed=1))
    assert one.parent == Path("snipbias-runs")
    assert one.name.startswith("reproduce-some-model-v1-")
