"""The command line, from end to end on a tiny saved model, and everything it must refuse."""

from __future__ import annotations

import contextlib
import json
import os
import re
import resource
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch
import typer
from safetensors.torch import load_file, save_file

import snipbias as sb
from families import tiny, tokenizer
from snipbias.base.errors import SnipbiasError
from snipbias.base.files import sweep
from snipbias.base.record import RunRecord
from snipbias.cli import main
from snipbias.cli.app import app
from snipbias.cli.rerun import recorded_arguments
from snipbias.models.source import quiet_transformers

COMMANDS = (
    *("find", "evaluate", "apply", "export", "show", "tasks", "demo", "reproduce"),
    *("card", "push", "play", "rerun", "fidelity", "check", "audit"),
)
TASK = ["mini:age", "--instructions", "2"]
ESCAPE = "\x1b"


@dataclass
class Done:
    status: int
    out: str
    err: str


@pytest.fixture
def cli(capsys, monkeypatch) -> Callable[..., Done]:
    """Run a command line in this process."""
    monkeypatch.setattr(sys, "argv", ["snipbias"])

    def run(*argv: object) -> Done:
        with pytest.raises(SystemExit) as stop:
            main([str(word) for word in argv])
        printed = capsys.readouterr()
        code = stop.value.code
        return Done(code if isinstance(code, int) else 0, printed.out, printed.err)

    return run


def save(place: Path, family: str = "flan-t5", seed: int = 0) -> Path:
    with quiet_transformers():
        tiny(family, seed).model.save_pretrained(place)
        tokenizer().save_pretrained(place)
    return place


@pytest.fixture(scope="session")
def model(tmp_path_factory) -> Path:
    return save(tmp_path_factory.mktemp("models") / "tiny-t5")


@pytest.fixture(scope="session")
def edit(model: Path) -> Path:
    place = model.parent / "an-edit"
    sb.find(sb.load(model), sb.task("mini:age"), 7, samples=2).save(place)
    return place


@pytest.fixture
def here(tmp_path: Path, monkeypatch) -> Path:
    """An empty working folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def tree(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def strict(text: str) -> dict:
    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    return json.loads(text, parse_constant=refuse)


# -- the job from end to end ------------------------------------------------------------------


def test_find_evaluate_apply_show_rerun(cli, here: Path, model: Path) -> None:
    found = cli("find", model, *TASK, "--n", 9, "--samples", 3, "--out", "edit", "--json")
    assert (found.status, found.err) == (0, "")
    assert strict(found.out)["edits"] == ["edit"]
    assert tree(here) == {
        "edit",
        *(
            f"edit/{name}"
            for name in ("edit.json", "README.md", "run.json", "run.toml", "sites.json")
        ),
    }
    edit = sb.NeuronEdit.load("edit")
    assert len(edit) == 9
    lm = sb.load(model)
    drawn = sb.task("mini:age")
    drawn = drawn.with_instructions(drawn.instructions[:2]).sample(3, 0)
    assert edit.factors == sb.attribute(lm, drawn).top(9).factors

    arguments = ["--edit", "edit", "--items", 8, "--no-retention", "--elsewhere", 2]
    arguments += ["--out", "result", "--json"]
    evaluated = cli("evaluate", model, *TASK, *arguments)
    assert (evaluated.status, evaluated.err) == (0, "")
    printed = strict(evaluated.out)
    assert strict(Path("result/summary.json").read_text())["margin"] == 0.02
    assert tree(here / "result") == {
        *("rows.parquet", "summary.json", "tables.md", "run.json", "run.toml", "sites.json"),
        *("cards.json", "chat.json", "text.json", "elsewhere.parquet"),
        *("edits", "edits/0-edit", "edits/0-edit/edit.json"),
    }
    summary = strict(Path("result/summary.json").read_text())
    assert {**summary, "out": "result"} == printed
    assert list(summary["methods"]) == [
        "original",
        "edit",
        "9 random neurons",
        "random in the same layers as edit",
    ]
    table = pq.read_table("result/rows.parquet")
    assert len(table) == (8 + 8) * 2 * 4  # as many filler and mismatch rows
    assert not set(table["template"].to_pylist()) & set(edit.found_on.templates)

    assert cli("apply", model, "edit", "--out", "fair", "--json").err == ""
    shown = cli("show", "fair")
    assert "9 of" in shown.out
    assert "mini:age" in shown.out
    assert sb.NeuronEdit.from_dict(strict(cli("show", "edit", "--json").out)) == edit
    assert strict(cli("show", "result", "--json").out)["command"] == "evaluate"
    assert len(cli("show", "result").out.splitlines()) <= 25
    assert "next     snipbias report result" in cli("show", "result").out

    card = Path("edit/README.md")
    assert "Its effect has not been measured" in card.read_text()
    assert "| seed of the draw of items | 0 |" in card.read_text()
    carded = cli("card", "edit", "--run", "result", "--json")
    assert strict(carded.out) == {"card": "edit/README.md", "figures": True}
    accuracy = summary["methods"]["edit"]["accuracy"]["overall"]
    assert f"→ {100 * accuracy:.1f} %" in card.read_text()
    assert cli("card", "edit").status == 0  # with the figures that were kept
    assert f"→ {100 * accuracy:.1f} %" in card.read_text()

    assert cli("rerun", "edit", "--out", "again").status == 0
    assert sb.NeuronEdit.load("again") == replace(edit, label="again")  # called as its folder
    assert cli("rerun", "result", "--out", "result-again").status == 0
    assert pq.read_table("result-again/rows.parquet").equals(table)
    # what was run again can be run again
    assert RunRecord.read("again").argv[0] == "find"
    assert cli("rerun", "again", "--out", "third", "--quiet").status == 0
    assert "--quiet" in RunRecord.read("third").argv
    assert sb.NeuronEdit.load("third") == replace(edit, label="third")


def test_several_numbers_of_neurons_give_several_edits(cli, here: Path, model: Path) -> None:
    done = cli("find", model, *TASK, "--n", "4,2,4", "--samples", 2, "--out", "edits")
    assert done.status == 0
    names = ("", "/edit.json", "/README.md")
    files = {f"edits/{size}{name}" for size in ("n2", "n4") for name in names}
    assert tree(here) == files | {"edits", "edits/run.json", "edits/run.toml", "edits/sites.json"}
    assert "edits n=4: 4 of " in done.out  # whose map is printed
    assert "edits n=2: " not in done.out
    assert "written  edits/n2, edits/n4 (list the neurons: snipbias show edits/n4)" in done.out
    card = Path("edits/n4/README.md").read_text()
    assert "from_pretrained('edits/n4')" in card
    assert cli("card", "edits/n4").status == 0
    assert Path("edits/n4/README.md").read_text() == card  # the record is in the folder above
    assert [len(sb.NeuronEdit.load(f"edits/n{n}")) for n in (2, 4)] == [2, 4]


def test_options_of_the_method_take_effect(cli, here: Path, model: Path) -> None:
    method = ["--method", "v2", "--tokens", "mean", "--target", "logprob", "--no-clamp"]
    rest = ["--skill", 0.5, "--aggregate", "max", "--weight", "none", "--factor", 0.25]
    command = ["find", model, *TASK, "--n", 3, "--samples", 2, "--seed", 5, "--out", "e"]
    assert cli(*command, *method, *rest).status == 0
    edit = sb.NeuronEdit.load("e")
    expected = sb.Method(
        target="logprob", tokens="mean", skill=0.5, clamp=False, weight="none", instructions="max"
    )
    assert edit.found_on.method == expected.to_dict()
    assert {f for units in edit.factors.values() for f in units.values()} == {0.25}
    assert edit.found_on.items == tuple(
        item.id for item in sb.task("mini:age").sample(2, seed=5).items
    )


def test_evaluate_measures_what_it_is_told_to(cli, here: Path, model: Path, edit: Path) -> None:
    Path("kept.jsonl").write_text(
        "".join(
            json.dumps({"question": f"q{i}", "options": ["ab", "cd"], "gold": 0}) + "\n"
            for i in range(5)
        )
    )
    Path("text.txt").write_text("a short text of mine\n\nand one more of them\n")
    asked = ["--retention", "kept.jsonl", "--text", "text.txt", "--options", "letters"]
    asked += ["--edit", edit, "--items", 2, "--controls", 2, "--elsewhere", 1]
    asked += ["--json", "--out", "r"]
    done = cli("evaluate", model, *TASK, *asked, "--margin", "0.3")
    assert done.err == ""
    result = strict(done.out)
    methods = result["methods"]
    assert result["margin"] == 0.3
    (edited,) = (m for m in methods if m != "original" and not methods[m]["control"])
    assert "worse by more than 30.0 points" in methods[edited]["retained"][0]["sentence"]
    rows = pq.read_table("r/retention.parquet").to_pydict()
    assert set(rows["task"]) == {"kept.jsonl"}
    assert set(rows["method"]) == {"original", edited}
    assert sum(method["control"] for method in methods.values()) == 4
    assert all(0 <= methods[m]["retention"]["kept.jsonl"] <= 1 for m in ("original", edited))
    assert all(method["perplexity"] > 1 for method in methods.values())
    assert set(RunRecord.read("r").data) >= {"mini:age", "kept.jsonl", "edits", "text"}


@pytest.mark.parametrize("kind", ["lora", "ia3", "checkpoint"])
def test_export(cli, here: Path, model: Path, edit: Path, kind: str) -> None:
    """The edit knows its model; what was found by the check is printed and kept."""
    pytest.importorskip("peft")
    done = cli("export", edit, "--format", kind, "--out", "out", "--json")
    assert (done.status, done.err) == (0, "")
    printed = strict(done.out)
    kept = strict(Path("out/export.json").read_text())
    assert printed == {**printed, **kept, "out": "out"}
    assert kept["format"] == kind
    assert kept["check"]["difference"] <= 1e-5 < kept["check"]["effect"]
    assert kept["base"]["name"] == str(model)
    assert printed["bytes"] >= Path("out/edit.json").stat().st_size
    assert {file.stat().st_mode & 0o777 for file in Path("out").iterdir()} == {0o644}
    command = f"snipbias export {edit.name} --format {kind} --out out\n"
    assert command in Path("out/README.md").read_text()
    assert cli("rerun", "out", "--out", "again").err == ""
    again = {file.name: file.read_bytes() for file in Path("again").glob("*.safetensors")}
    assert again == {file.name: file.read_bytes() for file in Path("out").glob("*.safetensors")}
    assert again
    told = cli("export", edit, "--model", model, "--format", kind, "--no-check", "--out", "o").out
    assert "7 neurons" in told
    assert "not checked" in told


def test_the_folder_of_apply_is_a_plain_checkpoint(
    cli, here: Path, model: Path, edit: Path
) -> None:
    assert cli("apply", model, edit, "--out", "fair").status == 0
    lm = sb.load(model)
    ids = torch.tensor([tokenizer()("who was it in the end?")["input_ids"]])
    with sb.NeuronEdit.load(edit).applied(lm), torch.no_grad():
        hooked = lm.model(input_ids=ids, labels=ids).logits
    script = """
import sys, torch
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer
model = AutoModelForSeq2SeqLM.from_pretrained("fair").eval()
ids = torch.tensor([AutoTokenizer.from_pretrained("fair")("who was it in the end?")["input_ids"]])
torch.save(model(input_ids=ids, labels=ids).logits.detach(), "logits.pt")
assert not any(name.startswith("snipbias") for name in sys.modules)
"""
    subprocess.run([sys.executable, "-c", script], check=True, capture_output=True)
    baked = torch.load("logits.pt")
    torch.testing.assert_close(baked, hooked, rtol=1e-4, atol=1e-4)
    with torch.no_grad():
        original = lm.model(input_ids=ids, labels=ids).logits
    assert (baked - original).abs().max() > 0.01
    assert tree(here / "fair") >= {"model.safetensors", "config.json", "edit.json", "run.json"}


@pytest.mark.parametrize("size", ["0", "-2", "half"])
def test_a_batch_size_is_a_number_or_auto(cli, here: Path, size: str) -> None:
    said = cli("find", "demo", "mini:age", "--batch-size", size)
    assert said.status == 2
    assert "neither 'auto' nor a number" in said.err


def test_a_record_says_all(cli, here: Path, model: Path) -> None:
    command = ["find", str(model), *TASK, "--n", "3", "--samples", "2", "--seed", "4"]
    assert cli(*command, "--out", "e").status == 0
    record = RunRecord.read("e")
    assert record.argv == [*command, "--out", "e"]
    assert record.arguments["seed"] == 4
    assert record.arguments["batch_size"] == "auto"
    assert record.arguments["sizes"] == [3]
    assert record.arguments["method"] == sb.Method.v1().to_dict()
    loaded = record.models[str(model)]
    assert loaded["weights"] == sb.NeuronEdit.load("e").model.weights
    assert (loaded["dtype"], loaded["device"], loaded["chat"]) == ("torch.float32", "cpu", False)
    task = sb.task("mini:age")
    data = record.data["mini:age"]
    assert data["fingerprint"] == task.with_instructions(task.instructions[:2]).fingerprint
    assert data["source"] == task.source
    assert {"python", "torch", "transformers", "snipbias"} <= set(record.versions)
    assert {"load", "attribute", "total"} <= set(record.seconds)
    assert record.peak_memory_mb["resident"] > 10


def test_a_rerun_never_overwrites(cli, here: Path, model: Path) -> None:
    command = ["find", model, *TASK, "--n", 3, "--samples", 2, "--overwrite"]
    assert cli(*command, "--out", "e").status == 0
    assert cli(*command, "--out=e").status == 0
    before = Path("e/run.json").read_bytes()
    done = cli("rerun", "e", "--out", "e")
    assert done.status == 1
    assert done.err.startswith("error: e exists")
    assert Path("e/run.json").read_bytes() == before
    assert cli("rerun", "e", "--out", "f").status == 0
    assert tree(here) == {
        f"{a}{b}"
        for a in "ef"
        for b in ("", "/edit.json", "/README.md", "/run.json", "/run.toml", "/sites.json")
    }


def test_a_record_lets_no_code_of_others_run(cli, here: Path) -> None:
    def asked(*words: str, given: dict[str, object] | None = None) -> list[str]:
        record = {"command": "evaluate", "argv": ["evaluate", *words], "arguments": {}}
        Path("run.json").write_text(json.dumps(record))
        nothing = {"--trust-remote-code": False, "--lm-eval-path": None}
        return recorded_arguments(here, Path("o"), {**nothing, **(given or {})})

    code = (["--trust-remote-code"], ["--lm-eval-path", "theirs"], ["--lm-eval-path=theirs"])
    for words in code:
        with pytest.raises(SnipbiasError, match="to rerun too if you trust it"):
            asked("m", *words)
    tasks = ["lm-eval:t", "--data-dir", "theirs"]
    for words in (["--method", "a:b"], ["--methods", "v1,a:b"], ["--methods=a:b"], tasks):
        with pytest.raises(SnipbiasError, match="run 'snipbias evaluate' with"):
            asked("m", *words)
    both = {"--trust-remote-code": True, "--lm-eval-path": Path("mine")}
    mine = ["--trust-remote-code", "--lm-eval-path", "mine", "--out", "o"]
    for words in code:
        assert asked("m", *words, given=both) == ["evaluate", "m", *mine]
    assert asked("m", "--out", "x", "--overwrite", "-q") == ["evaluate", "m", "-q", "--out", "o"]


def test_nothing_odd_is_written_over(cli, here: Path, edit: Path) -> None:
    (here / "folder").mkdir()
    (here / "file").write_text("mine")
    os.mkfifo(here / "pipe")
    for name in ("folder", "file", "nothing"):
        (here / f"to {name}").symlink_to(name)
    before = tree(here)
    for out in ("file", "pipe", "to folder", "to file", "to nothing"):
        for overwrite in ((), ("--overwrite",)):
            done = cli("combine", edit, "--strength", 0.5, "--out", out, *overwrite)
            assert_refused(done, f"{out} is a", status=1)
    record = {"command": "find", "argv": [], "arguments": {}}
    (here / "folder" / "run.json").write_text(json.dumps(record))
    for out in ("pipe", "to folder", "to file", "to nothing", "folder"):
        for overwrite in ((), ("--overwrite",)):
            assert_refused(cli("report", "folder", "--out", out, *overwrite), f"{out} is a")
    assert_refused(cli("report", "folder", "--out", "file"), "file exists")
    assert tree(here) == before | {"folder/run.json"}


@pytest.mark.parametrize("stop", [signal.SIGKILL, signal.SIGTERM])
def test_what_a_stopped_run_leaves(here: Path, edit: Path, stop: signal.Signals) -> None:
    """SIGTERM is as clean as Ctrl-C; what a killed run leaves, the next one removes."""
    script = (
        "import sys, time; from snipbias.cli import main; from snipbias.base.record import "
        "RunRecord; RunRecord.write = lambda *_: (print('at work', flush=True), time.sleep(60)); "
        "main(['combine', sys.argv[1], '--strength', '.5', '--out', 'o'])"
    )
    running = subprocess.Popen(
        [sys.executable, "-c", script, str(edit)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert running.stdout is not None
    assert running.stdout.readline() == "at work\n"
    (hidden,) = here.iterdir()
    sweep(here)
    assert list(here.iterdir()) == [hidden]  # its process is alive
    running.send_signal(stop)
    _, err = running.communicate(timeout=60)
    if stop is signal.SIGTERM:
        assert (running.returncode, err) == (130, "interrupted: nothing was written.\n")
        assert not list(here.iterdir())
    (here / ".o.original.partial").mkdir()
    (here / ".o.original.partial" / "mine").touch()
    sweep(here)
    assert [path.name for path in here.iterdir()] == [".o.original.partial"]


def test_a_kill_between_two_renames_loses_nothing(here: Path) -> None:
    hidden = here / ".o.a1b2c3d4.partial"
    (hidden / "old" / "o").mkdir(parents=True)
    (hidden / "old" / "o" / "edit.json").touch()
    (hidden / "o").mkdir()
    sweep(here)
    assert {str(path.relative_to(here)) for path in here.rglob("*")} == {"o", "o/edit.json"}


def test_a_full_standard_output_is_one_sentence(edit: Path) -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("no such device here")
    for words in (["show", str(edit), "--json"], ["--help"]):
        with full.open("w") as nowhere:
            done = subprocess.run(
                [sys.executable, "-m", "snipbias", *words],
                stdout=nowhere,
                stderr=subprocess.PIPE,
                text=True,
                check=False,
            )
        assert done.returncode == 1
        assert done.stderr.startswith("error: No space left on device")
        assert done.stderr.count("\n") == 1


def test_overwrite_replaces_the_whole_folder(cli, here: Path, model: Path) -> None:
    Path("e").mkdir()
    Path("e/old").write_text("")
    command = ["find", model, *TASK, "--n", 3, "--samples", 2, "--out", "e", "--overwrite"]
    assert cli(*command).status == 0
    files = ("edit.json", "README.md", "run.json", "run.toml", "sites.json")
    assert tree(here) == {"e", *(f"e/{name}" for name in files)}


def test_other_weights_are_one_line_of_warning(cli, here: Path, model: Path, edit: Path) -> None:
    save(here / "other", seed=1)
    done = cli("apply", "other", edit, "--out", "fair")
    assert done.status == 0
    assert re.fullmatch(r"warning: the edit was found on other weights .*\n", done.err)
    rest = ["--edit", edit, "--items", 2, "--no-retention", "--out", "r"]
    done = cli("evaluate", "other", *TASK, *rest)
    assert done.status == 0
    assert re.fullmatch(r"warning: the edit was found on other weights .*\n", done.err)


# -- what is printed -------------------------------------------------------------------------


def test_piped_output_is_plain(here: Path, model: Path, edit: Path) -> None:
    command = [sys.executable, "-m", "snipbias", "evaluate", str(model), *TASK]
    command += ["--items", "2", "--no-retention", "--no-text", "--elsewhere", "0"]
    command += ["--edit", str(edit), "--out", "r"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    assert ESCAPE not in done.stdout
    assert "\r" not in done.stdout
    for name in ("original", "v1 n=7", "random neurons", "\nnext     snipbias report r --out"):
        assert name in done.stdout


def test_tasks_are_listed(cli) -> None:
    names = [task["name"] for task in strict(cli("tasks", "--json").out)["tasks"]]
    assert {"mini:age", "bbq:SES"} <= set(names)
    shown = cli("tasks").out
    assert all(name in shown for name in names)


@pytest.mark.parametrize("command", COMMANDS)
def test_help(cli, command: str) -> None:
    done = cli(command, "--help")
    assert (done.status, done.err) == (0, "")
    assert f"snipbias {command}" in done.out


@pytest.mark.parametrize("command", COMMANDS)
def test_help_at_80_columns_breaks_no_list_of_choices(cli, monkeypatch, command: str) -> None:
    monkeypatch.setattr("typer.rich_utils.MAX_WIDTH", 80)
    assert re.findall(r"<\w+\|[^>\n]*$", cli(command, "--help").out, re.MULTILINE) == []


def test_help_names_every_command(cli) -> None:
    for words in ([], ["--help"]):
        done = cli(*words)
        assert (done.status, done.err) == (0, "")
        assert all(command in done.out for command in COMMANDS)


def examples() -> list[str]:
    listed = []
    for command in typer.main.get_group(app).commands.values():
        found = re.findall(r"snipbias [^\n]+", command.epilog)
        assert found, command.name
        listed += [example.strip() for example in found]
    return listed


@pytest.mark.parametrize("example", examples())
def test_examples_parse(example: str) -> None:
    program, name, *rest = shlex.split(example)
    assert program == "snipbias"
    command = typer.main.get_group(app).commands[name]
    context = command.make_context(name, rest)
    assert context.params
    assert not context.args
    tasks = context.params.get("task") or ()  # reproduce takes several, the others one
    for task in [tasks] if isinstance(tasks, str) else tasks:
        if not task.startswith("bbq:"):
            sb.task(task)
    for option in (word for word in rest if word.startswith("--")):
        assert option in {name for parameter in command.params for name in parameter.opts}


def test_version_by_module() -> None:
    command = [sys.executable, "-m", "snipbias", "--version"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == (f"snipbias {sb.__version__}\n", "")


def test_help_imports_no_torch() -> None:
    script = """
import sys
from snipbias.cli import main
try:
    main(["--help"])
except SystemExit as stop:
    assert stop.code == 0, stop.code
heavy = {"torch", "transformers", "numpy", "pyarrow", "scipy"} & set(sys.modules)
assert not heavy, heavy
"""
    subprocess.run([sys.executable, "-c", script], check=True, capture_output=True)


# -- what is refused -------------------------------------------------------------------------

ROW = {"question": "who?", "options": ["ab", "cd", "ef"], "gold": 0}


def write_rows(path: Path, *rows: dict | str, many: int = 6) -> Path:
    """Good rows, then the given ones."""
    lines = [json.dumps({**ROW, "template": f"t{i}"}) for i in range(many)]
    lines += [row if isinstance(row, str) else json.dumps(row) for row in rows]
    path.write_text("".join(line + "\n" for line in lines))
    return path


def assert_refused(done: Done, words: str, status: int = 1) -> None:
    assert done.status == status
    assert done.out == ""
    assert re.fullmatch(r"error: [^\n]+\n", done.err), done.err
    assert "Traceback" not in done.err
    assert words in done.err


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([{"question": "who?", "gold": 0}], "'options'"),
        ([{"options": ["a", "b"], "gold": 0}], "'question'"),
        ([{"question": "who?", "options": ["a", "b"]}], "'gold'"),
        ([{**ROW, "gold": 3}], "0 to 2"),
        ([{**ROW, "gold": -1}], "0 to 2"),
        ([{**ROW, "options": ["a"]}], "at least two"),
        ([{**ROW, "options": ["a", "a "]}], "same option twice"),
        (["{"], "valid JSON"),
        ([], "no rows"),
    ],
)
@pytest.mark.parametrize("command", ["find", "evaluate"])
def test_bad_rows(cli, here: Path, model: Path, command: str, rows: list, words: str) -> None:
    write_rows(here / "rows.jsonl", *rows, many=6 if rows else 0)
    rest = [] if command == "find" else ["--no-retention"]
    assert_refused(cli(command, model, "rows.jsonl", "--out", "o/p", *rest), words)
    assert tree(here) == {"rows.jsonl"}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["mini:age", "--n", "0"], "at least 1"),
        (["mini:age", "--n", "-3"], "at least 1"),
        (["mini:age", "--n", "3,0"], "at least 1"),
        (["mini:age", "--n", "abc"], "not a list of numbers"),
        (["mini:age", "--n", ""], "not a list of numbers"),
        (["mini:age", "--n", "99999", "--samples", "1"], "ask for 1 to"),
        (["mini:age", "--samples", "9999"], "cannot draw 9999"),
        (["mini:age", "--method", "v3"], "use v1, v2, "),
        (["mini:age", "--tokens", "median"], "max or prompt or mean or sum"),
        (["mini:age", "--target", "odds"], "prob or logprob"),
        (["mini:age", "--skill", "nan"], "number"),
        (["mini:age", "--column", "gold"], "ours=theirs"),
        (["mini:age", "--column", "gold=label"], "not take a column mapping"),
        (["rows.jsonl", "--column", "gold=answer"], "no column 'answer'"),
        (["rows.jsonl", "--column", "glod=gold"], "did you mean 'gold'"),
        (["mini:age", "--instruction", " "], "leave none empty"),
        (["mini:aeg"], "there is no task"),
        (["nowhere.jsonl"], "there is no file"),
        (["bbq:SES", "--data-dir", "nowhere"], "nowhere does not exist"),
        (["mini:age", "--chat"], "no chat template"),
        (["mini:age", "--dtype", "float16"], "bfloat16"),
        (["mini:age", "--instruction", "long " * 200], "does not fit"),
    ],
)
def test_bad_arguments_of_find(
    cli, here: Path, model: Path, arguments: list[str], words: str
) -> None:
    write_rows(here / "rows.jsonl")
    if words == "does not fit":
        model = save(here / "gpt2", "gpt2")
    before = tree(here)
    assert_refused(cli("find", model, *arguments, "--out", "o/p"), words)
    assert tree(here) == before


@pytest.mark.parametrize(
    "arguments",
    [
        ["find"],
        ["find", "model", "mini:age", "--samples", "0"],
        ["find", "model", "mini:age", "--samples", "x"],
        ["find", "model", "mini:age", "--dtype", "int8"],
        ["find", "model", "mini:age", "--no-such-option"],
        ["evaluate", "model", "mini:age", "--normalize", "words"],
        ["evaluate", "model", "mini:age", "--items", "0"],
        ["no-such-command"],
        ["rerun", "somewhere"],
    ],
)
def test_misuse_is_one_sentence_too(cli, here: Path, arguments: list[str]) -> None:
    assert_refused(cli(*arguments), "", status=2)
    assert not tree(here)


def test_a_wrong_choice_is_told_the_near_one(cli, here: Path) -> None:
    said = "'lorra' is not one of 'lora', 'ia3', 'checkpoint' (did you mean 'lora'?)."
    done = cli("export", "edit", "--format", "lorra")
    assert_refused(done, f"error: Invalid value for '--format': {said}\n", status=2)
    done = cli("export", "edit", "--format", "xyz")
    assert_refused(done, "'xyz' is not one of 'lora', 'ia3', 'checkpoint'.\n", status=2)


def test_models_that_are_none(cli, here: Path) -> None:
    (here / "empty").mkdir()
    for model in ("nowhere/at/all", "./nowhere", "no-such-model", "none.gguf", "empty"):
        assert_refused(cli("find", model, "mini:age", "--out", "o"), model)
    assert tree(here) == {"empty"}


def test_weights_that_are_cut_short(cli, here: Path, model: Path) -> None:
    shutil.copytree(model, "broken")
    weights = Path("broken/model.safetensors")
    weights.write_bytes(weights.read_bytes()[:20_000])
    before = tree(here)
    assert_refused(cli("find", "broken", *TASK, "--out", "o"), "broken")
    assert tree(here) == before


def test_weights_that_are_not_numbers(cli, here: Path, model: Path, edit: Path) -> None:
    shutil.copytree(model, "broken")
    weights = load_file("broken/model.safetensors")
    weights["encoder.block.0.layer.0.SelfAttention.q.weight"][3, 3] = torch.nan
    save_file(weights, "broken/model.safetensors", metadata={"format": "pt"})
    before = tree(here)
    assert_refused(cli("find", "broken", *TASK, "--samples", 2, "--out", "o"), "no finite number")
    arguments = ["--items", 2, "--no-retention", "--out", "o"]
    assert_refused(cli("evaluate", "broken", *TASK, *arguments), "no finite number")
    assert tree(here) == before


def damaged(here: Path, edit: Path, change: Callable[[str], str]) -> Path:
    place = here / "damaged"
    place.mkdir()
    (place / "edit.json").write_text(change((edit / "edit.json").read_text()))
    return place


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text[: len(text) // 2],
        lambda text: "",
        lambda text: text.replace('"sites"', '"places"'),
        lambda text: text.replace('"format": 1', '"format": 9'),
        lambda text: text.replace('"factors"', '"shares"'),
        lambda text: json.dumps({**json.loads(text), "sites": {}}),
    ],
)
@pytest.mark.parametrize("command", ["apply", "export", "evaluate", "show"])
def test_damaged_edits(
    cli, here: Path, model: Path, edit: Path, command: str, change: Callable[[str], str]
) -> None:
    place = damaged(here, edit, change)
    words = {
        "apply": ["apply", model, place, "--out", "o"],
        "export": ["export", place, "--model", model, "--out", "o"],
        "evaluate": ["evaluate", model, "mini:age", "--edit", place, "--out", "o"],
        "show": ["show", place],
    }[command]
    assert_refused(cli(*words), "edit.json")
    assert tree(here) == {"damaged", "damaged/edit.json"}


def test_a_terminal_obeys_nothing_in_an_edit(cli, here: Path, edit: Path) -> None:
    """Neither control characters nor rich's own markup."""
    data = json.loads((edit / "edit.json").read_text())
    evil = "\x1b[2J\x9b31m\u202e[/red][bold]x"
    data["label"], data["model"]["name"] = evil, evil
    data["sites"][evil] = {"units": [0], "factors": [0.0]}
    for name in ("one", "two"):
        Path(name).mkdir()
        Path(name, "edit.json").write_text(json.dumps({**data, "label": evil + name}))
    said = [
        cli("show", "one"),
        cli("overlap", "one", "two"),
        cli("combine", "one", "two", "--out", "both"),
        cli("apply", "demo", "one"),
    ]
    assert [done.status for done in said] == [0, 0, 0, 1]
    for done in said:
        assert not re.search("[\x1b\x9b\u202e]", done.out + done.err)
        assert "[/red][bold]x" in "".join((done.out + done.err).split())


def test_an_edit_of_another_model(cli, here: Path, edit: Path) -> None:
    save(here / "llama", "llama")
    before = tree(here)
    assert_refused(cli("apply", "llama", edit, "--out", "o"), "does not fit")
    rest = ["--edit", edit, "--items", 2, "--no-retention", "--no-text", "--out", "o"]
    assert_refused(cli("evaluate", "llama", *TASK, *rest), "does not fit")
    assert tree(here) == before


def test_nothing_to_show_or_run_again(cli, here: Path, edit: Path) -> None:
    for command in (["show", "nowhere"], ["show", here], ["rerun", "nowhere", "--out", "o"]):
        assert_refused(cli(*command), "run record")
    for argv in (["show", "x"], ["rerun", "."], ["push", "x", "me/x"], []):
        record = {"command": "find", "argv": argv, "arguments": {}}
        (here / "run.json").write_text(json.dumps(record))
        assert_refused(cli("rerun", here, "--out", "o"), "not record a run that can be repeated")
    for word in ("a\0b", "\ud800"):
        record = {"command": "find", "argv": ["find", "demo", word], "arguments": {}}
        (here / "run.json").write_text(json.dumps(record))
        assert_refused(cli("rerun", here, "--out", "o"), "not valid text", status=2)
    (here / "run.json").write_text('{"command": "find", "argv": null, "arguments": {}}')
    assert_refused(cli("rerun", here, "--out", "o"), "not a run record")
    assert_refused(cli("show", here), "not a run record")
    (here / "run.json").write_text('{"command": "evaluate", "argv": [], "arguments": {}}')
    (here / "rows.parquet").write_bytes(b"")
    assert_refused(cli("show", here), "summary.json")
    assert tree(here) == {"run.json", "rows.parquet"}


@pytest.mark.parametrize("out", ["there", "file", "file/inside", ".", "x" * 300, "a\nb/file/c"])
def test_places_that_cannot_be_written(cli, here: Path, model: Path, out: str) -> None:
    (here / "there").mkdir()
    (here / "there" / "mine").write_text("precious")
    (here / "file").write_text("precious")
    (here / "a\nb").mkdir()
    (here / "a\nb" / "file").write_text("precious")
    before = tree(here)
    command = ["find", model, *TASK, "--n", 3, "--samples", 2, "--out", out]
    assert_refused(cli(*command), "")
    if out != "there":
        assert_refused(cli(*command, "--overwrite"), "")
    assert tree(here) == before
    assert (here / "there" / "mine").read_text() == "precious"


@contextlib.contextmanager
def full_disk(limit: int) -> Iterator[None]:
    """No file may grow past so many bytes, as if the disk were full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)


def many(here: Path, model: Path) -> None:
    """An edit of so many neurons that its adapter is no small file."""
    sb.random_edit(sb.load(model), 60, seed=0).save(here / "many")


@pytest.mark.parametrize("limit", [0, 100, 5000])
@pytest.mark.parametrize("command", ["find", "evaluate", "apply", "export"])
def test_a_full_disk(cli, here: Path, model: Path, edit: Path, command: str, limit: int) -> None:
    words = {
        "find": ["find", model, *TASK, "--n", 400, "--samples", 1],
        "evaluate": ["evaluate", model, *TASK, "--items", 40, "--no-retention", "--no-text"],
        "apply": ["apply", model, edit],
        "export": ["export", "many", "--model", model],
    }[command]
    if command == "export":
        many(here, model)
    before = tree(here)
    with full_disk(limit):
        done = cli(*words, "--out", "o/p")
    assert_refused(done, "could not write")
    assert tree(here) == before


@pytest.mark.parametrize("command", ["find", "evaluate", "apply", "export", "rerun"])
def test_an_interrupt_leaves_nothing(
    cli, here: Path, model: Path, edit: Path, command: str, monkeypatch
) -> None:
    words = {
        "find": ["find", model, *TASK, "--n", 3, "--samples", 1],
        "evaluate": [
            "evaluate",
            model,
            *TASK,
            "--items",
            2,
            "--no-retention",
            "--no-text",
            "--elsewhere",
            1,
        ],
        "apply": ["apply", model, edit],
        "export": ["export", edit, "--model", model],
        "rerun": ["rerun", "done"],
    }[command]
    if command == "rerun":
        cli("find", model, *TASK, "--n", 3, "--samples", 1, "--out", "done")

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(RunRecord, "write", interrupted)  # the very last thing
    before = tree(here)
    done = cli(*words, "--out", "o/p")
    assert (done.status, done.out) == (130, "")
    assert done.err == "interrupted: nothing was written.\n"
    assert tree(here) == before


def test_the_default_place_is_cleared_away_too(cli, here: Path, model: Path) -> None:
    assert_refused(cli("find", model, "mini:age", "--samples", 9999), "cannot draw")
    assert not tree(here)


def test_a_rerun_says_what_has_changed(cli, model: str, here: Path) -> None:
    row = {"question": "Who ran?", "options": ["A b", "C d"], "gold": 0}
    rows = [{**row, "context": f"scene {i}", "template": f"t{i}"} for i in range(6)]

    def write() -> None:
        Path("mine.jsonl").write_text("\n".join(map(json.dumps, rows)))

    write()
    find = ("find", model, "mine.jsonl", "--n", 2, "--samples", 1, "--out", "first")
    assert cli(*find, "--instruction", "Say who.").status == 0
    same = cli("rerun", "first", "--out", "second")
    assert (same.status, same.err) == (0, "")
    rows[0]["context"] = "another scene"
    write()
    done = cli("rerun", "first", "--out", "third")
    assert done.status == 0
    assert done.err.startswith("warning: mine.jsonl has changed since the recorded run")
    assert done.err.count("\n") == 1
