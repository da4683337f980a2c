"""A run's answers in the formats of other evaluation collections.

One record for each method, since an edited model is another model than its original. Texts of the
data are not in a run's folder, and so not in its records; an item has its name.

Source: the schema of Every Eval Ever, version 0.3.0; the files that lm-evaluation-harness 0.4
writes with `--log_samples`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import Any
from uuid import UUID

import pyarrow.compute as pc

from snipbias.base.files import slug
from snipbias.base.record import RunRecord
from snipbias.base.words import ORIGINAL
from snipbias.edits.card.facts import COMMIT, data_of
from snipbias.edits.card.figures import command, portable
from snipbias.evaluation.compared import Compared
from snipbias.evaluation.interval import Interval

EVER, HARNESS = "every_eval_ever", "lm_eval"
PARTS = ("overall", "ambiguous", "disambiguated")
# Unit, least and greatest value, whether lower is better.
Scale = tuple[str, float, float | str, bool]
RIGHT: Scale = ("proportion", 0.0, 1.0, False)
NAMED: Scale = ("proportion", 0.0, 1.0, True)
FIGURES: dict[str, Scale] = {
    "discrimination": RIGHT,
    "twin_discrimination": RIGHT,
    "named_accuracy": RIGHT,
    "s_dis": ("index", -1.0, 1.0, True),
    "s_amb": ("index", -1.0, 1.0, True),
    "perplexity": ("perplexity", 1.0, "Infinity", True),
    "kl_per_token": ("nats", 0.0, "Infinity", True),
}


def write_records(run: str | Path) -> Path:
    """Write `records/` into the folder of a saved comparison: both forms, every method.

    Returns:
        The folder; its part `every_eval_ever/data` is laid out as that collection is.
    """
    run = Path(run)
    compared, record, out = Compared.load(run), RunRecord.read(run), run / "records"
    for method in compared.summaries:
        ever = every_eval_ever(compared, record, method)
        place = [out, EVER, "data", slug(compared.task.name), *ever["model_info"]["id"].split("/")]
        identity = sha256(json.dumps(ever).encode()).digest()[:16]
        _write(Path(*place, f"{UUID(bytes=identity, version=4)}.json"), json.dumps(ever, indent=1))
        results, samples = _lm_eval(compared, record, method)
        folder, stamp = out / HARNESS / results["model_name_sanitized"], results["start_time"]
        _write(folder / f"results_{stamp}.json", json.dumps(results, indent=1))
        name = f"samples_{slug(compared.task.name)}_{stamp}.jsonl"
        _write(folder / name, "\n".join(map(json.dumps, samples)))
    return out


def every_eval_ever(compared: Compared, record: RunRecord, method: str) -> dict[str, Any]:
    """The aggregate record of one method; its author fills in who evaluated.

    Args:
        compared: the comparison.
        record: the run that made it.
        method: label of an edit, or the original.
    """
    task, when, data = compared.task, str(_seconds(record)), data_of(compared.task.name)
    model, found = _model(compared, record, method), compared.measured[method]
    summary = found.summary
    on_hub = {"source_type": "hf_dataset", "hf_repo": data.repository}
    source = {
        "dataset_name": data.task,
        **(on_hub if data.repository else {"source_type": "other"}),
        "additional_details": {
            "fingerprint": task.fingerprint,
            "part": task.part,
            "rows": str(task),
        },
    }
    right, named = summary.accuracy, summary.named_stereotyped
    figures: list[tuple[str, float | None, Scale, Interval | None]] = [
        *((f"accuracy.{p}", getattr(right, p), RIGHT, found.value(p).interval) for p in PARTS),
        *((f"named_stereotyped.{p}", getattr(named, p), NAMED, None) for p in PARTS),
        *((name, getattr(summary, name), scale, None) for name, scale in FIGURES.items()),
    ]
    about = {"evaluation_timestamp": when, "source_data": source}
    results = [
        _result(data.task, about, name, value, scale, interval)
        for name, value, scale, interval in figures
        if value is not None and math.isfinite(value)  # JSON has no other numbers
    ]
    return {
        "schema_version": "0.3.0",
        "evaluation_id": f"{slug(task.name)}/{model['id']}/{when}",
        "evaluation_timestamp": when,
        "retrieved_timestamp": when,
        "source_metadata": {
            "source_name": "snipbias",
            "source_type": "evaluation_run",
            "source_organization_name": "unknown",
            "evaluator_relationship": "other",
            "additional_details": {"command": command(record)},
        },
        "eval_library": {"name": "snipbias", "version": record.versions["snipbias"]},
        "model_info": model,
        "evaluation_results": results,
    }


def _lm_eval(
    compared: Compared, record: RunRecord, method: str
) -> tuple[dict[str, Any], Iterator[dict[str, Any]]]:
    """The results of one method and its rows, as the harness logs them."""
    task, model = portable(compared.task.name), _model(compared, record, method)
    accuracy = compared.summaries[method].accuracy
    found = {part: getattr(accuracy, part) for part in PARTS}
    names = {"overall": "acc", **{part: f"acc_{part}" for part in PARTS[1:]}}
    scores = {f"{names[part]},none": v for part, v in found.items() if v is not None}
    rows = compared.evaluation.table
    rows = rows.filter(pc.equal(rows["method"], method))  # type: ignore[attr-defined]
    results = {
        "results": {task: {"alias": task, **scores}},
        "configs": {
            task: {
                "task": task,
                "dataset_path": data_of(task).repository or task,
                "output_type": "multiple_choice",
                "metadata": {"fingerprint": compared.task.fingerprint},
            }
        },
        "versions": {task: 1},
        "n-shot": {task: 0},
        "higher_is_better": {task: dict.fromkeys(names.values(), True)},
        "n-samples": {task: {"original": len(rows), "effective": len(rows)}},
        "config": {"model": "snipbias", "model_args": model["additional_details"]},
        "date": _seconds(record),
        "start_time": record.started.replace(":", "-"),
        "model_name": model["id"],
        "model_name_sanitized": slug(model["id"]),
        "snipbias_version": record.versions["snipbias"],
    }
    return results, map(_sample, range(len(rows)), rows.to_pylist())


def _sample(number: int, row: Mapping[str, Any]) -> dict[str, Any]:
    labels = ("item", "instruction", "template", "condition", "polarity", "unknown", "biased")
    scores = [[score, i == row["chosen"]] for i, score in enumerate(row["score"])]
    doc, right = {name: row[name] for name in labels}, row["chosen"] == row["gold"]
    return {
        "doc_id": number,
        "doc": doc,
        "target": str(row["gold"]),
        "arguments": {},
        "resps": [[score] for score in scores],
        "filtered_resps": scores,
        "filter": "none",
        "metrics": ["acc"],
        "doc_hash": sha256(json.dumps(doc).encode()).hexdigest(),
        "acc": float(right),
    }


def _result(
    data: str,
    about: dict[str, Any],
    name: str,
    value: float,
    scale: Scale,
    interval: Interval | None,
) -> dict[str, Any]:
    unit, least, greatest, lower = scale
    score: dict[str, Any] = {"score": value}
    if interval:
        ends = {"lower": interval.low, "upper": interval.high, "confidence_level": interval.level}
        how = {"method": f"bootstrap over {interval.unit}s"}
        sure = {"confidence_interval": ends | how, "num_samples": interval.templates}
        score["uncertainty"] = sure
    words = name.replace(".", ", ")
    return {
        "evaluation_result_id": name,
        "evaluation_name": f"{data}: {words}",
        **about,
        "metric_config": {
            "metric_id": name if name.startswith("accuracy") else f"snipbias.{name}",
            "metric_name": words,
            "metric_unit": unit,
            "lower_is_better": lower,
            "score_type": "continuous",
            "min_score": least,
            "max_score": greatest,
        },
        "score_details": score,
    }


def _model(compared: Compared, record: RunRecord, method: str) -> dict[str, Any]:
    """The model of one method: an edited one is named after its base and its edit."""
    base = portable(next(iter(record.models.values())))
    on_hub = COMMIT.fullmatch(base["revision"] or "") is not None
    owner = "snipbias" if base["name"] == "demo" else "local"
    name = base["name"] if on_hub and "/" in base["name"] else f"{owner}/{slug(base['name'])}"
    details = {"base": base["name"], "weights": base["weights"], "dtype": str(base["dtype"])}
    if method != ORIGINAL:
        name = f"{name}+{slug(method)}"
        details |= {"edit": method, "neurons": str(compared.neurons[method])}
        details |= {"edit_fingerprint": compared.fingerprints.get(method, "none: a control")}
    return {
        "name": name,
        "id": name,
        "inference_engine": {"name": "transformers", "version": record.versions["transformers"]},
        "additional_details": {
            "deployment_type": "self_deployed",
            "model_availability": "open_weights" if on_hub or owner == "snipbias" else "unknown",
            **details,
        },
    }


def _seconds(record: RunRecord) -> int:
    return int(datetime.fromisoformat(record.started).timestamp())


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text + "\n", encoding="utf-8")
