"""What users install: the wheel by its name, the extras that the docs name, the example app."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from email.parser import Parser
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from zipfile import ZipFile

import pytest

ROOT = Path(__file__).parent.parent


def pip(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", *words]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT)


@pytest.mark.slow
def test_the_wheel_installs_by_name_with_every_extra_that_is_named(tmp_path: Path) -> None:
    made = pip("wheel", "--no-deps", "--wheel-dir", str(tmp_path), ".")
    if made.returncode and "hatchling" in made.stderr:
        pytest.skip("the build's backend, hatchling, cannot be had")
    assert made.returncode == 0, made.stderr
    (wheel,) = tmp_path.glob("snipbias-*.whl")
    with ZipFile(wheel) as archive:
        (name,) = (n for n in archive.namelist() if n.endswith(".dist-info/METADATA"))
        metadata = Parser().parsestr(archive.read(name).decode())
    pages = [ROOT / "README.md", *ROOT.glob("docs/*.md"), *ROOT.glob("src/snipbias/**/*.py")]
    lists = re.findall(r"snipbias\[([a-z,-]+)\]", "".join(p.read_text("utf-8") for p in pages))
    named = sorted({extra for names in lists for extra in names.split(",")})
    assert {"gguf", "report"} <= set(named) <= set(metadata.get_all("Provides-Extra", []))

    target = tmp_path / "site"
    done = pip(
        *("install", "--no-index", "--find-links", str(tmp_path), "--no-deps"),
        *("--target", str(target), f"snipbias[{','.join(named)}]"),
    )
    assert done.returncode == 0, done.stderr
    assert "does not provide the extra" not in done.stderr
    code = "import snipbias as sb; print(sb.__file__, len(sb.task('mini:age')))"
    environment = {**os.environ, "PYTHONPATH": str(target)}
    for command, shown in (
        ((sys.executable, "-c", code), f"{target / 'snipbias'}"),
        ((sys.executable, "-m", "snipbias", "show", "--help"), "snipbias show"),
    ):
        ran = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path)
        assert shown in ran.stdout, ran.stderr


def test_classifiers_name_the_python_that_runs_the_tests() -> None:
    """Only what was run is claimed."""
    text = (ROOT / "pyproject.toml").read_text("utf-8")
    claimed = re.findall(r"Programming Language :: Python :: (3\.\d+)", text)
    workflow = (ROOT / ".github/workflows/ci.yml").read_text("utf-8")
    assert claimed == re.findall(r'python-version: "(3\.\d+)"', workflow)


def test_the_space_answers_and_builds() -> None:
    spec = spec_from_file_location("space", ROOT / "examples/space/app.py")
    assert spec is not None
    assert spec.loader is not None
    app = module_from_spec(spec)
    spec.loader.exec_module(app)
    context, question, options = app.examples(1)[0]
    with pytest.raises(ValueError, match="2 to 6 different options"):
        app.answer(context, question, "one")
    table = app.answer(context, question, options)
    assert [row[0] for row in table] == options.splitlines()
    for column in (1, 2, 3):
        assert sum(row[column] for row in table) == pytest.approx(100, abs=0.2)
    assert [row[1] for row in table] != [row[2] for row in table]
    if pytest.importorskip("gradio", reason="gradio is not installed: the page is not built"):
        assert app.build() is not None
