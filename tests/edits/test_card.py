"""Model cards: figures are those of the files, the unknown is called so, and text stays text."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from huggingface_hub import ModelCard, parse_eval_result_entries

import toys
from carded import EDIT, head
from families import tiny
from shared_edit import COMMIT, FOUND_ON, MODEL
from snipbias.base.errors import SnipbiasError
from snipbias.base.markdown import shown
from snipbias.base.record import RunRecord
from snipbias.base.table import percent
from snipbias.base.words import ALWAYS_UNKNOWN, BEST_OFFSET, ORIGINAL
from snipbias.edits.card.card import model_card
from snipbias.edits.card.facts import base_on_hub, data_of, without_folders
from snipbias.edits.card.figures import Figures, command
from snipbias.edits.edit import NeuronEdit
from snipbias.edits.provenance import ModelId
from snipbias.evaluation.cards import cards
from snipbias.evaluation.compare import Comparison, compare
from snipbias.evaluation.estimate import Estimate
from snipbias.evaluation.interval import Interval
from snipbias.evaluation.measured import Measured
from snipbias.evaluation.tables import comparison_grids
from snipbias.evaluation.verdicts import Verdict
from snipbias.models.sites import Neuron


def edits() -> list[NeuronEdit]:
    lm = tiny("llama")
    return [
        NeuronEdit.of(
            [Neuron(site.name, unit) for site in lm.sites for unit in range(first, site.width, 4)],
            ModelId.of(lm),
            found_on=replace(FOUND_ON, task="toy"),
            label="same name",
        )
        for first in (0, 1)
    ]


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """The folder of an evaluation of two edits of one label."""
    folder = tmp_path_factory.mktemp("run")
    comparison = compare(
        tiny("llama"),
        toys.task(),
        *edits(),
        texts=("it was the old man and the dog again", "people met and left the house"),
        retention=[toys.RAGGED],
    )
    comparison.save(folder)
    record = RunRecord("evaluate", ["evaluate", "llama", "toy", "--out", "/tmp/x/run", "-q"], {})
    record.arguments = {"generate": False, "normalize": "sum", "options": "text"}
    record.data["edits"] = {f"e{i}": edit.fingerprint for i, edit in enumerate(edits())}
    record.models["llama"] = {"weights": edits()[0].model.weights}
    record.write(folder)
    return folder


def test_figures_are_those_of_the_edit_in_the_files(run: Path) -> None:
    methods = json.loads((run / "summary.json").read_text())["methods"]
    grids = comparison_grids(Comparison.load(run))
    for number, edit in enumerate(edits()):
        figures = Figures.of(edit, run)
        assert figures.label == f"same name #{number + 1}"
        card = model_card(edit, figures=figures)
        own = (ORIGINAL, figures.label, f"random in the same layers as {figures.label}")
        named = (*own, f"{len(edit)} random neurons", ALWAYS_UNKNOWN, BEST_OFFSET)
        for grid, table in zip(grids, figures.tables, strict=True):
            assert {row[0].removesuffix(" !") for row in table["rows"]} - {""} <= set(named)
            assert [row for row in table["rows"] if row[0]] == [
                list(row) for row in grid.rows if row[0].removesuffix(" !") in named
            ]
        for name in own[:2]:
            accuracy = percent(methods[name]["accuracy"]["overall"])
            named = percent(methods[name]["changes"]["stereotyped"]["value"])
            figured = rf"( !)? \| \d+ \| {named} \| {accuracy} "
            assert re.search(rf"\| {re.escape(shown(name))}{figured}", card)
        change = methods[figures.label]["changes"]["overall"]["difference"]
        assert f"interval {percent(change['low'], sign=True)} to" in card
        assert figures.eval_results() == {}  # these rows are no dataset of the hub
        (text,) = replace(figures, task="hf:jane/rows@v1:hard:test").eval_results().values()
        (entry,) = parse_eval_result_entries(yaml.safe_load(text))
        assert (entry.dataset_id, entry.task_id) == ("jane/rows", "hard")
        accuracy = methods[figures.label]["accuracy"]["overall"]
        assert entry.value == pytest.approx(100 * accuracy, abs=0.01)
        assert entry.date == RunRecord.read(run).started
        for part in methods[figures.label]["retained"]:
            assert shown(f"{part['what']} {part['sentence']}") in card
        assert "- Not measured: text that the model writes freely." in card
        assert "- Not measured: perplexity" not in card
        assert "snipbias evaluate llama toy --out run\n" in card


def test_kept_beside_the_edit_they_are_the_same_and_no_other_edit_s(run: Path, tmp_path) -> None:
    edit, other = edits()
    figures = Figures.of(edit, run)
    edit.save_pretrained(tmp_path, evaluation=run)
    assert Figures.beside(edit, tmp_path) == figures
    assert Figures.beside(other, tmp_path) is None
    first = (tmp_path / "README.md").read_text()
    edit.save_pretrained(tmp_path)
    assert (tmp_path / "README.md").read_text() == first
    (tmp_path / "evaluation.json").write_text("{}")
    with pytest.raises(SnipbiasError, match=r"evaluation\.json is damaged"):
        edit.save_pretrained(tmp_path)


def test_figures_that_are_not_to_be_had_are_refused(run: Path, tmp_path: Path) -> None:
    with pytest.raises(SnipbiasError, match="there is no evaluation at"):
        Figures.of(EDIT, tmp_path)
    with pytest.raises(SnipbiasError, match=r"does not evaluate this edit \(e0, e1\)"):
        Figures.of(EDIT, run)
    (tmp_path / "run.json").write_text((run / "run.json").read_text())
    for damaged in ("", '{"' + edits()[0].fingerprint + '": {}}'):
        (tmp_path / "cards.json").write_text(damaged)
        with pytest.raises(SnipbiasError, match="is damaged"):
            Figures.of(edits()[0], tmp_path)
    figures = Figures.of(edits()[0], run)
    for broken in ({"kept": 3}, {"tables": [{}]}, {"headline": 3}):
        with pytest.raises(SnipbiasError, match="figures of same name are damaged"):
            model_card(edits()[0], figures=replace(figures, **broken))
    card = model_card(edits()[0], figures=replace(figures, model={}))
    assert "It was evaluated on other weights (`unknown`)" in card
    on_hub = replace(figures, task="hf:jane/rows@v1:hard:test")
    for accuracy in (None, {}, {"overall": None}):
        with pytest.raises(SnipbiasError, match="figures of same name #1 are damaged"):
            replace(on_hub, accuracy=accuracy).eval_results()


def test_a_shift_is_called_one(run: Path, monkeypatch) -> None:
    comparison = Comparison.load(run)
    interval = Interval(0.012, -0.1, 0.049, 0.95, 8, 2, False)
    shift = Verdict("shift", "a shift: so")
    monkeypatch.setattr(Measured, "verdicts", (shift,))
    monkeypatch.setattr(Measured, "gain", Estimate(0.012, interval))
    said = next(card["shift"] for card in cards(comparison).values())
    assert (
        "the edit has +1.2 points of disambiguated accuracy (95 % interval -10.0 to +4.9)" in said
    )
    assert "by that measure it is a shift" in said
    monkeypatch.setattr(Measured, "verdicts", (replace(shift, settled=False),))
    monkeypatch.setattr(Measured, "gain", Estimate(0.012))
    said = next(card["shift"] for card in cards(comparison).values())
    assert "the edit has +1.2 points of disambiguated accuracy. On all kinds" in said
    assert "by that measure" not in said
    assert said.endswith("no filler and mismatch rows: a gain cannot be told from a shift")


def test_the_head_is_what_the_hub_reads() -> None:
    card = ModelCard(model_card(EDIT, base_licence="mit"))
    assert card.data.base_model == "google/flan-t5-base"
    assert card.data["base_model_relation"] == "adapter"
    assert (card.data.library_name, card.data.license) == ("snipbias", "mit")
    assert card.data.language == ["en"]


def test_what_is_unknown_is_called_so() -> None:
    nameless = replace(MODEL, name="/home/jane/flan", revision=None)
    card = model_card(replace(EDIT, model=nameless, found_on=None))
    assert "base_model" not in head(card)
    assert head(card)["license"] == "unknown"
    for said in (
        "**Its effect has not been measured.**",
        "| its revision | unknown |",
        "| found on | no data",
        "- The base: unknown; see the base.",
        "- The data it was found on: none, or unknown.",
        "Unknown: the record of the run that found it is missing.",
        "- Nothing has been measured.",
    ):
        assert said in card
    assert "/home/jane" not in card
    assert "The instructions are not recorded" in model_card(EDIT)
    assert "| seed of the draw of items | unknown |" in model_card(EDIT)


def test_what_the_run_noted_is_told() -> None:
    argv = ["find", "google/flan-t5-base", "bbq:SES", "--data-dir=/home/jane/bbq", "--out", "/x/e"]
    record = RunRecord("find", argv, {"task": "bbq:SES"})
    record.seeds = {"sample of items": 7}
    record.data["bbq:SES"] = {"instructions": ["Read it.", "# Choose *one*"]}
    card = model_card(EDIT, record=record)
    assert command(record) == ("snipbias find google/flan-t5-base bbq:SES --data-dir=bbq --out e")
    assert command(record) in card
    assert "| seed of the draw of items | 7 |" in card
    assert "1. Read it.\n1. \\# Choose \\*one\\*\n" in card
    assert "CC-BY-4.0 (BBQ" in card
    assert f"sb.load('google/flan-t5-base', revision='{COMMIT}')" in card


@pytest.mark.parametrize(
    ("exported", "library", "code"),
    [
        ("lora", "peft", "### With PEFT\n\n```python\nown = code()\n```"),
        ("ia3", "peft", "### With PEFT\n\n```python\nown = code()\n```"),
        ("checkpoint", "transformers", "### With transformers\n\n```python\nown = code()\n```"),
        (None, "snipbias", "snipbias export here --model google/flan-t5-base --format lora"),
    ],
)
def test_an_export_says_how_it_is_loaded(exported: str | None, library: str, code: str) -> None:
    its = {"load": "own = code()", "checked": "It was.", "export_command": "snipbias export x"}
    card = model_card(EDIT, place="here", exported=exported, **(its if exported else {}))
    assert head(card)["library_name"] == library
    assert code in card
    assert "NeuronEdit.from_pretrained('here')" in card
    assert ("\nIt was.\n" in card) == ("snipbias export x" in card) == bool(exported)


def test_decoder_only_models_are_loaded_as_such() -> None:
    llama = replace(MODEL, architecture="LlamaForCausalLM")
    assert "AutoModelForCausalLM" in model_card(replace(EDIT, model=llama))


def test_only_what_came_from_the_hub_is_said_to_be_there() -> None:
    assert base_on_hub(MODEL) == MODEL.name
    assert base_on_hub(replace(MODEL, revision=None)) is None
    assert base_on_hub(replace(MODEL, name="/models/flan")) is None
    assert base_on_hub(replace(MODEL, revision="sha256:" + COMMIT)) is None


def test_names_and_licences_of_data() -> None:
    assert data_of("hf:jane/rows@main:en:test").repository == "jane/rows"
    assert data_of("hf:x](http://evil)").repository is None
    assert data_of("rte").repository == "nyu-mll/glue"
    assert data_of("mini:age").licence == "Apache-2.0 (part of snipbias)"
    assert data_of("/home/jane/rows.csv").task == "rows.csv"
    assert without_folders("C:\\Users\\jane\\rows.csv") == "rows.csv"
    assert without_folders("data/rows.csv") == "data/rows.csv"
