"""The figures of a model card: read from an evaluation's folder, kept next to the edit."""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from snipbias.base.errors import SnipbiasError
from snipbias.base.record import RunRecord
from snipbias.edits.card.facts import data_of, without_folders
from snipbias.edits.record import EditRecord

FILE = "evaluation.json"  # next to an edit
RESULTS_FILE = ".eval_results/snipbias.yaml"  # in a repository on the hub
CARDS = "cards.json"  # in the folder of an evaluation: what the card of each edit says
SILENT = ("--overwrite", "--json", "--quiet", "-q")  # options that change no result


@dataclass(frozen=True)
class Figures:
    """An evaluation as the card of one edit shows it: plain texts and figures.

    Attributes:
        label: label of the edit.
        fingerprint: of the edit, so that no other edit gets these figures.
        task, part: which rows; `on` says it in words.
        accuracy: shares by condition.
        headline: accuracy before and after, a sentence per condition.
        tables: header and rows of each: the original, the edit, its controls and the floors.
        legend: what the columns mean.
        shift: whether the edit made a gain or only shifted answers, in words.
        kept: what it kept within the margin, or may have lost.
        alarms: what is wrong with the edited model.
        notes: remarks on the evaluation.
        not_measured: what the evaluation left out.
        command, model, versions: of the run, without paths of this machine.
        date: start of the run in ISO 8601.
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
            SnipbiasError: there is no such evaluation, or it evaluates other edits.
        """
        run = Path(run)
        if not os.path.isfile(run / CARDS):
            raise SnipbiasError(
                f"there is no evaluation at {run}: give the folder that `snipbias evaluate --out` "
                "wrote."
            )
        with sound(f"{run / CARDS} is"):
            cards = json.loads((run / CARDS).read_text(encoding="utf-8"))
            record = RunRecord.read(run)
            if edit.fingerprint not in cards:
                raise SnipbiasError(
                    f"{run} does not evaluate this edit ("
                    f"{', '.join(record.data.get('edits', ())) or 'no edit'}): give the folder "
                    "that `snipbias evaluate --edit` wrote for it."
                )
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

    @classmethod
    def beside(
        cls, edit: EditRecord, folder: Path | None, evaluation: str | Path | None = None
    ) -> Figures | None:
        """The figures kept next to an edit; None if there are none for this edit.

        Args:
            edit: the edit.
            folder: its folder, if it has one.
            evaluation: folder of an evaluation whose figures are taken instead.

        Raises:
            SnipbiasError: the file is damaged, or the evaluation has no figures of this edit.
        """
        if evaluation is not None:
            return cls.of(edit, evaluation)
        if folder is None or not (path := folder / FILE).is_file():
            return None
        with sound(f"{path} is"):
            kept = cls(**json.loads(path.read_text(encoding="utf-8")))
        return kept if kept.fingerprint == edit.fingerprint else None

    def to_json(self) -> str:
        """The text of the file that keeps them."""
        return json.dumps(asdict(self), indent=1) + "\n"

    def eval_results(self) -> dict[str, str]:
        """File name -> the edit's accuracy in the format of the hub's leaderboards.

        Empty if the rows are not a dataset on the hub, which the format must name.

        Source: the hub's documentation, "Evaluation Results".

        Raises:
            SnipbiasError: the figures are damaged.
        """
        import yaml
        from huggingface_hub import EvalResultEntry, eval_result_entries_to_yaml

        dataset = data_of(self.task)
        if dataset.repository is None:
            return {}
        with sound(f"the figures of {self.label} are"):
            accuracy = round(100 * self.accuracy["overall"], 2)
        entry = EvalResultEntry(
            dataset_id=dataset.repository,
            task_id=dataset.config or "default",
            value=accuracy,
            date=self.date,
            notes=f"{self.label}: {self.on}. {self.headline[0]}",
        )
        entries = eval_result_entries_to_yaml([entry])
        return {RESULTS_FILE: yaml.safe_dump(entries, sort_keys=False, allow_unicode=True)}


def command(record: RunRecord) -> str:
    """The command line of a run, with absolute paths reduced to their last part."""
    return shlex.join(["snipbias", *(_word(word) for word in record.argv if word not in SILENT)])


@contextmanager
def sound(what: str) -> Iterator[None]:
    """Turn what malformed figures raise into one sentence, which begins with `what`.

    Raises:
        SnipbiasError: the figures are malformed.
    """
    try:
        yield
    except (KeyError, TypeError, AttributeError, ValueError, OSError, RecursionError) as error:
        raise SnipbiasError(
            f"{what} damaged ({type(error).__name__}: {error}): run `snipbias evaluate` again."
        ) from None


def portable(value: Any) -> Any:
    """Reduce every absolute path in JSON data to its last part."""
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
