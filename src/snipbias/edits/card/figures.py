"""The figures of a model card: taken from the folder of an evaluation, kept beside the edit."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from snipbias.base.errors import SnipbiasError
from snipbias.base.record import RunRecord
from snipbias.edits.card.facts import without_folders
from snipbias.edits.record import EditRecord

FILE = "evaluation.json"  # beside an edit
CARDS = "cards.json"  # in the folder of an evaluation: what the card of each edit says
SILENT = ("--overwrite", "--json", "--quiet", "-q")  # which change no result


@dataclass(frozen=True)
class Figures:
    """An evaluation as the card of one edit shows it, as plain texts and figures.

    Attributes:
        fingerprint: of the edit, so that no other one is given these figures.
        task, part: which rows; `on` says it in words.
        accuracy: shares by condition, where there are such rows.
        headline: accuracy before and after, a sentence per condition.
        tables: each with its header and rows: the original, the edit, its controls and the floors.
        legend: what the columns mean.
        shift: whether the edit made a gain or only shifted answers, in words.
        kept: what it kept within the margin, or may have lost.
        alarms: what is wrong with the edited model.
        not_measured: what the evaluation left out.
        command, model, versions: of the run, for other machines.
        date: when it began, in ISO 8601.
    """

    label: str
    fingerprint: str
    task: str
    part: str
    on: str
    accuracy: Mapping[str, float]
    headline: Sequence[str]
    tables: Sequence[Mapping[str, Any]]
    legend: str
    shift: str
    kept: Sequence[str]
    alarms: Sequence[str]
    notes: Sequence[str]
    not_measured: Sequence[str]
    command: str
    model: Mapping[str, Any]
    versions: Mapping[str, str]
    date: str | None = None

    @classmethod
    def of(cls, edit: EditRecord, run: str | Path) -> Figures:
        """The figures of an edit in the folder of an evaluation.

        Raises:
            SnipbiasError: there is no such evaluation, or it is of other edits.
        """
        run = Path(run)
        cards = _read(run / CARDS)
        record = RunRecord.read(run)
        if edit.fingerprint not in cards:
            raise SnipbiasError(
                f"{run} evaluates other edits ({', '.join(record.data.get('edits', ())) or 'none'})"
                " than this one: give the run of `snipbias evaluate --edit` with it."
            )
        try:
            card = portable(cards[edit.fingerprint])
            if not (run / "lm_eval.json").is_file():
                card["not_measured"].append("tasks of the lm-evaluation-harness")
            return cls(
                **card,
                fingerprint=edit.fingerprint,
                command=command(record),
                model=portable(next(iter(record.models.values()), {})),
                versions=record.versions,
                date=record.started,
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise _damaged(run / CARDS, error) from None

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


def damaged(label: str, error: Exception) -> SnipbiasError:
    """The error of figures that are not what they should be."""
    return SnipbiasError(
        f"the figures of {label} are damaged ({type(error).__name__}: {error}): run "
        "`snipbias evaluate` again."
    )


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
