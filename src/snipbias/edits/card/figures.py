"""The figures of a model card: what a run of `snipbias evaluate` found about one edit."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from snipbias.base.errors import SnipbiasError
from snipbias.base.record import RunRecord
from snipbias.edits.card.facts import without_folders
from snipbias.edits.record import EditRecord

FILE = "evaluation.json"
SILENT = ("--overwrite", "--json", "--quiet", "-q")  # which change no result
CURVE = "offset_curve"  # hundreds of points that no card shows


@dataclass(frozen=True)
class Figures:
    """An evaluation of one edit, as it is kept beside the edit.

    Attributes:
        label: what the edit is called in the summary.
        fingerprint: of the edit, so that no other one is given these figures.
        command: that made them.
        arguments: of that command, as they took effect.
        model: identity of the model that was evaluated.
        versions: of the packages that decide results.
        summary: `summary.json` without its curves.
        lm_eval: tasks of the lm-evaluation-harness, if there were any.
    """

    label: str
    fingerprint: str
    command: str
    arguments: Mapping[str, Any]
    model: Mapping[str, Any]
    versions: Mapping[str, str]
    summary: Mapping[str, Any]
    lm_eval: Mapping[str, Any] | None = None

    @classmethod
    def of(cls, edit: EditRecord, run: str | Path) -> Figures:
        """The figures of an edit in the folder of an evaluation.

        Raises:
            SnipbiasError: there is no such evaluation, or it is of other edits.
        """
        run = Path(run)
        summary = _read(run / "summary.json")
        record = RunRecord.read(run)
        lm_eval = run / "lm_eval.json"
        try:
            label = _label(edit, run, summary, record.data.get("edits", {}))
            slim = {**summary, "methods": {n: _slim(m) for n, m in summary["methods"].items()}}
            return cls(
                label,
                edit.fingerprint,
                command(record),
                {name: record.arguments.get(name) for name in ("options", "normalize", "generate")},
                portable(next(iter(record.models.values()), {})),
                record.versions,
                portable(slim),
                portable(_read(lm_eval)) if lm_eval.is_file() else None,
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise _damaged(run / "summary.json", error) from None

    @classmethod
    def beside(cls, edit: EditRecord, folder: Path) -> Figures | None:
        """Those that were kept beside an edit; None if there are none, or they are of another."""
        path = folder / FILE
        if not path.is_file():
            return None
        try:
            kept = cls(**_read(path))
        except TypeError as error:
            raise _damaged(path, error) from None
        return kept if kept.fingerprint == edit.fingerprint else None

    def to_json(self) -> str:
        """The text that is kept."""
        return json.dumps(asdict(self), indent=1) + "\n"


def command(record: RunRecord) -> str:
    """The command line of a run, for other machines: absolute paths are their last part."""
    return shlex.join(["snipbias", *(_word(word) for word in record.argv if word not in SILENT)])


def portable(value: Any) -> Any:
    """The same for every text in JSON data."""
    if isinstance(value, str):
        return without_folders(value)
    if isinstance(value, Mapping):
        return {without_folders(name): portable(inner) for name, inner in value.items()}
    return [portable(inner) for inner in value] if isinstance(value, list) else value


def _word(word: str) -> str:
    option, equals, value = word.partition("=")
    if equals and option.startswith("--"):
        return f"{option}={without_folders(value)}"
    return without_folders(word)


def _label(
    edit: EditRecord, run: Path, summary: Mapping[str, Any], recorded: Mapping[str, str]
) -> str:
    """Under which name an edit stands in a summary; edits stand there in the order of the run's."""
    methods = summary["methods"]
    edits = [n for n, m in methods.items() if m["neurons"] and not m["control"]]
    fingerprints = list(recorded.values())
    if edit.fingerprint in fingerprints and len(edits) == len(fingerprints):
        return edits[fingerprints.index(edit.fingerprint)]
    if edit.fingerprint in fingerprints and edit.label in edits:
        return edit.label
    raise SnipbiasError(
        f"{run} evaluates other edits ({', '.join(recorded) or 'none'}) than this one: give the "
        "run of `snipbias evaluate --edit` with it."
    )


def _slim(method: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in method.items() if name != CURVE}


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise SnipbiasError(
            f"there is no evaluation at {path.parent}: give the folder that `snipbias evaluate "
            "--out` wrote."
        ) from None
    except (OSError, ValueError, RecursionError) as error:
        raise _damaged(path, error) from None


def _damaged(path: Path, error: Exception) -> SnipbiasError:
    return SnipbiasError(f"{path} is damaged ({error}): run `snipbias evaluate` again.")
