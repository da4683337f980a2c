"""Write a report of one or more runs to one HTML file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from snipbias.base.errors import SnipbiasError
from snipbias.base.files import atomic_file, missing, refuse_existing
from snipbias.base.record import RunRecord
from snipbias.report.evaluated import evaluated_section
from snipbias.report.found import found_section
from snipbias.report.page import Part
from snipbias.report.render import page
from snipbias.report.reproduced import reproduced_sections
from snipbias.report.texts import Texts, texts_of

AGAIN = "run it again with this snipbias"
KINDS = ("find", "evaluate", "demo", "reproduce")
LEFT_OUT = Texts({}, (), "The rows' texts were left out of this report on request.")


def write_report(
    runs: Sequence[str | Path],
    out: str | Path,
    *,
    title: str | None = None,
    data_dir: str | Path | None = None,
    texts: bool = True,
    overwrite: bool = False,
) -> Path:
    """Write one HTML file that shows what runs found, changed and kept, and loads nothing.

    Args:
        runs: folders of `snipbias find`, `evaluate`, `demo` or `reproduce`.
        out: the file.
        title: title of the page; by default it names the tasks and models.
        data_dir: where BBQ's or GLUE's files are, if not where the runs had them; they are read
            for the texts of the changed rows alone.
        texts: whether to show these texts; without them the rows are named.
        overwrite: replace the file if it is there.

    Raises:
        SnipbiasError: a folder holds no run that a report can be made of, the file exists, or
            plotly is missing.
    """
    if not runs:
        raise SnipbiasError("there is no run to report on: give the folder of one.")
    where = None if data_dir is None else Path(data_dir)
    out = Path(out)
    refuse_existing(out, overwrite=overwrite, file=True)
    parts = [_part(Path(run), where, f"part{i + 1}", texts=texts) for i, run in enumerate(runs)]
    with readable(", ".join(map(str, runs))):
        html = page(parts, title or _title(parts))
    with atomic_file(out) as new:
        new.write_text(html, encoding="utf-8", errors="replace")
    return out


def _part(folder: Path, data_dir: Path | None, name: str, *, texts: bool) -> Part:
    record = RunRecord.read(folder)
    if record.command not in KINDS:
        raise SnipbiasError(
            f"{folder} holds a run of `snipbias {record.command}`: give a folder of "
            f"{', '.join(KINDS)}."
        )

    def of(task: str) -> Texts:
        return texts_of(record, task, data_dir) if texts else LEFT_OUT

    with readable(str(folder)):
        if record.command == "find":
            sections = [found_section(folder, record)]
        elif record.command == "evaluate":
            sections = [evaluated_section(folder, of(record.arguments["task"]))]
        else:
            tasks = record.arguments["settings"]["tasks"]
            sections = reproduced_sections(folder, {task: of(task) for task in tasks})
    models = ", ".join(Path(model).name for model in record.models)
    named = [section.within(name) for section in sections]
    return Part(f"{record.command}: {models} ({folder})", named, record, str(folder))


@contextmanager
def readable(folder: str) -> Iterator[None]:
    """Report what is missing or damaged in a result folder in one sentence.

    Every exception counts: a damaged file can hold a value of any kind in the place of any other.

    Raises:
        SnipbiasError: the block raised an error.
    """
    try:
        yield
    except SnipbiasError:
        raise
    except FileNotFoundError as error:
        said = f"has no {missing(error)}, which a report needs: {AGAIN}"
        raise SnipbiasError(f"{folder} {said} (snipbias rerun {folder} --out ...).") from None
    except Exception as error:
        said = f"is damaged or of another version ({type(error).__name__}: {error})"
        raise SnipbiasError(f"{folder} {said}: {AGAIN}.") from error


def _title(parts: Sequence[Part]) -> str:
    models = dict.fromkeys(Path(model).name for part in parts for model in part.record.models)
    tasks = dict.fromkeys(f.found.task for part in parts for s in part.sections for f in s.findings)
    what = f" on {', '.join(tasks)}" if tasks else ""
    return f"{', '.join(models)}{what}"
